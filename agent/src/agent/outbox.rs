//! The flow of reports: out of the journal, over the link, away on a signed acknowledgement.

use std::time::Duration;

use takt_common::envelope::{EnvelopeError, PayloadType};
use takt_common::report::Ack;
use takt_common::{Envelope, strict_json};

use super::{Agent, AgentError};

/// Reports on the way at once.
const WINDOW: usize = 8;
/// An up link over which nothing was acknowledged for so long is given up and built anew.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// A link that neither came up nor said that it was lost for so long is built anew: longer than a connect and the
/// longest pause after it.
const SILENT_AFTER: Duration = Duration::from_mins(2);

/// What is on the way.
#[derive(Debug, Default)]
pub(super) struct Flow {
    up: bool,
    /// The last report sent over this link.
    sent: Option<u64>,
    /// Uptime at the last sign of life: a change of the link, an empty outbox, or an acknowledgement.
    moved_at: Duration,
    /// That it does not come up has been said since it was up last.
    complained: bool,
}

impl Flow {
    pub(super) fn up(&mut self, uptime: Duration) {
        *self = Self { up: true, sent: None, moved_at: uptime, complained: false };
    }

    pub(super) fn down(&mut self, uptime: Duration) {
        *self = Self { up: false, sent: None, moved_at: uptime, complained: self.complained };
    }

    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    /// True the first time since it was up: people should hear it once and not every minute.
    pub(super) const fn complain(&mut self) -> bool {
        !std::mem::replace(&mut self.complained, true)
    }
}

impl Agent {
    /// Sends what waits, and rebuilds a link that passes nothing on, or that has fallen silent on its way up.
    pub(super) fn keep_flowing(&mut self) -> Result<(), AgentError> {
        let uptime = self.uptime();
        let limit = if self.flow.up { STALLED_AFTER } else { SILENT_AFTER };
        let waiting = if self.flow.up { self.journal.waiting(None, WINDOW)? } else { Vec::new() };
        if self.flow.up && waiting.is_empty() {
            self.flow.moved_at = uptime;
            return Ok(());
        }
        if uptime.saturating_sub(self.flow.moved_at) > limit {
            tracing::warn!(
                up = self.flow.up,
                "the link passed nothing on for {} s: building it anew",
                limit.as_secs()
            );
            self.flow.down(uptime);
            self.link.rebuild();
            return Ok(());
        }
        for report in waiting {
            if self.flow.sent.is_some_and(|sent| report.sequence <= sent) {
                continue;
            }
            if !self.link.send_report(report.envelope) {
                break;
            }
            self.flow.sent = Some(report.sequence);
        }
        Ok(())
    }

    /// Forgets what the coordinator has on disk. An acknowledgement that is not signed by the order keys, or not for this
    /// device, counts for nothing: a broker alone must not be able to make reports vanish.
    pub(super) async fn on_ack(&mut self, envelope: &[u8]) -> Result<(), AgentError> {
        let signers = self.keeper.director().order_signers();
        let opened =
            Envelope::from_bytes(envelope).and_then(|envelope| envelope.open(PayloadType::Ack, &signers));
        if matches!(opened, Err(EnvelopeError::Threshold { .. })) {
            self.foreign.keep(envelope);
        }
        let ack: Ack = match opened.map(|payload| strict_json::from_slice(&payload, payload.len())) {
            Ok(Ok(ack)) => ack,
            Ok(Err(error)) => {
                tracing::warn!(error = %crate::sentence(&error), "acknowledgement refused");
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(error = %crate::sentence(&error), "acknowledgement refused");
                return Ok(());
            }
        };
        if ack.device != self.membership.device || self.flow.sent.is_none_or(|sent| ack.sequence > sent) {
            tracing::warn!(device = %ack.device, sequence = ack.sequence, "acknowledgement ignored: not for what was sent");
            return Ok(());
        }
        self.journal.acknowledged(ack.sequence).await?;
        self.heard |= self.first_report.is_some_and(|first| ack.sequence >= first);
        self.flow.moved_at = self.uptime();
        // Only the answer to a nonce of ours is fresh evidence of the time.
        if self.journal.nonces().contains(&ack.nonce) {
            if ack.time > self.keeper.director().expires() {
                // By what it says the director root has expired: there should be a newer one.
                self.foreign.keep(envelope);
            }
            self.learn_time(ack.time).await?;
        }
        self.keep_flowing()
    }
}
