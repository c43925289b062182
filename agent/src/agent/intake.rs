//! Orders come in: every device rule, in its order, before anything is kept.

use std::time::Duration;

use takt_agent_core::rules::{self, Addressed, Refusal, Standing};
use takt_agent_core::{Accepted, Phase};
use takt_common::envelope::PayloadType;
use takt_common::order::Position;
use takt_common::report::{Outcome, Refused};
use takt_common::{Envelope, Sha256Digest, UnixTime};

use super::{Agent, AgentError, REFUSED_MAX};
use crate::journal::{OUTBOX_MAX, has_room};
use crate::trust::KeeperError;

/// The pause after a failed look at the repository; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// An envelope that waits for the repository's documents. A newer one takes its place.
pub(super) struct Pending {
    envelope: Vec<u8>,
    pause: Duration,
    not_before: Duration,
    /// Why it waits.
    pub(super) why: Option<String>,
}

impl Agent {
    /// An order's envelope came in. True when it was accepted.
    pub(super) async fn on_order(&mut self, envelope: Vec<u8>) -> Result<bool, AgentError> {
        let digest = Sha256Digest::of(&envelope);
        let known = self.refused.contains(&digest)
            || self.pending.as_ref().is_some_and(|pending| pending.envelope == envelope);
        if known || self.journal.outbox_length() >= OUTBOX_MAX {
            return Ok(false);
        }
        let pending = Pending { envelope, pause: PAUSE_FIRST, not_before: Duration::ZERO, why: None };
        if let Some(overtaken) = self.pending.replace(pending) {
            self.note_arrived(&overtaken.envelope);
        }
        self.try_pending().await
    }

    /// Tries to accept the pending envelope. True when it was accepted.
    pub(super) async fn try_pending(&mut self) -> Result<bool, AgentError> {
        if !self.is_at_leisure() {
            return Ok(false);
        }
        let uptime = self.uptime();
        let Some(pending) = self.pending.take_if(|pending| pending.not_before <= uptime) else {
            return Ok(false);
        };
        match self.judge(&pending.envelope).await {
            Ok(Judged::Accepted) => Ok(true),
            Ok(Judged::AcceptedBefore) => Ok(false),
            Ok(Judged::Refused(refused)) => {
                tracing::warn!(rule = %refused.rule, why = %refused.why, "order refused");
                // Old ones, of which somebody can send many, must not push out what has arrived.
                if !matches!(refused.rule.as_str(), "never-older" | "for-me") {
                    self.note_arrived(&pending.envelope);
                }
                self.refused.push_back(refused.envelope);
                while self.refused.len() > REFUSED_MAX {
                    self.refused.pop_front();
                }
                let record = self.journal.record().clone();
                let mut report = self.report_of(&record, None);
                report.refused = Some(refused);
                self.commit(record, vec![report]).await?;
                Ok(false)
            }
            // Nothing is known to be wrong with the order: a link or a disk is, and may be well again.
            Err(AgentError::Trust(error)) => {
                let why = crate::sentence(&error);
                tracing::warn!(%why, "order waits for documents of the package repository");
                let pause = (pending.pause * 2).min(PAUSE_MAX);
                let why = Some(format!("documents of the package repository: {why}"));
                self.pending.get_or_insert(Pending {
                    envelope: pending.envelope,
                    pause,
                    not_before: uptime + pending.pause,
                    why,
                });
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// An order that is not accepted has arrived all the same: nobody has withheld it. Only what the order keys have signed counts.
    fn note_arrived(&mut self, envelope: &[u8]) {
        let signers = self.keeper.director().order_signers();
        let opened = Envelope::from_bytes(envelope).and_then(|read| read.open(PayloadType::Order, &signers));
        self.arrived.extend(opened.ok().map(|payload| Sha256Digest::of(&payload)));
        while self.arrived.len() > REFUSED_MAX {
            self.arrived.pop_front();
        }
    }

    /// Judging may take a look at the repository over HTTPS: never in the gap between two releases.
    pub(super) fn is_at_leisure(&self) -> bool {
        matches!(
            self.journal.record().phase,
            Phase::Idle
                | Phase::Fetching { .. }
                | Phase::Staged { .. }
                | Phase::GivingMemory { .. }
                | Phase::Ended { .. }
        )
    }

    async fn judge(&mut self, envelope: &[u8]) -> Result<Judged, AgentError> {
        let refused = |rule: &str, why: String| {
            Judged::Refused(Refused { envelope: Sha256Digest::of(envelope), rule: rule.to_owned(), why })
        };
        let addressed = match self.address(envelope) {
            // A newer director root may explain it: look once, then judge again.
            Err(refusal) if matches!(refusal.rule(), "epoch" | "order-signature") => {
                match self.walk_to_director().await {
                    Ok(()) => self.address(envelope),
                    Err(AgentError::Trust(error @ KeeperError::Refused { .. })) => {
                        return Ok(refused("director-root", crate::sentence(&error)));
                    }
                    Err(error) => return Err(error),
                }
            }
            other => other,
        };
        let addressed = match addressed {
            Ok(addressed) => addressed,
            // The coordinator sends an order until a report shows it. Another order in the same place is refused.
            Err(Refusal::NeverOlder { found, last, digest })
                if found == last && self.journal.record().last_order == Some(digest) =>
            {
                return Ok(Judged::AcceptedBefore);
            }
            Err(refusal) => return Ok(refused(refusal.rule(), refusal.to_string())),
        };
        let fresh = self.keeper.check_fresh(self.now()).is_ok();
        if addressed.installs() && !(fresh && self.keeper.knows(addressed.snapshot())) {
            match self.look_at_packages().await {
                Ok(()) => {}
                Err(AgentError::Trust(error @ KeeperError::Refused { .. })) => {
                    return Ok(refused("package-repository", crate::sentence(&error)));
                }
                Err(error) => return Err(error),
            }
            if let Err(error) = self.keeper.check_fresh(self.now()) {
                return Ok(refused("expired-documents", crate::sentence(&error)));
            }
        }
        let record = self.journal.record();
        let (nonces, signers) = (self.journal.nonces(), self.keeper.director().order_signers());
        let standing = self.standing(&nonces, &signers, self.now());
        let accepted = match addressed.accept(&self.keeper, &standing) {
            Ok(accepted) => accepted,
            Err(refusal) => return Ok(refused(refusal.rule(), refusal.to_string())),
        };
        let position: Position = accepted.order.position();
        let action = accepted.order.action.clone();
        let mut record = record.clone();
        let skipped = record.skipped(&accepted.order, self.arrived.iter().copied());
        let before = record.time_floor;
        let replaced = record.accept(accepted);
        record.limit_time(before, self.keeper.director().expires());
        if !has_room(&record) {
            let why = "the journal has no room for one more order of this size".to_owned();
            return Ok(refused("size", why));
        }
        let mut reports = Vec::new();
        if let Some(replaced) = replaced {
            let mut report = self.report_of(&record, Some(Outcome::Withdrawn));
            report.order = Some(replaced.order_ref());
            reports.push(report);
        }
        if !record.begins_next() {
            // Says that the order has arrived: its phase may follow much later, after the one in hand.
            let mut report = self.report_of(&record, None);
            report.order = record.next.as_ref().map(Accepted::order_ref);
            reports.push(report);
        }
        if let Some(skipped) = skipped {
            // It goes on with what it has: a later order takes the place of an earlier one. But people should know.
            tracing::warn!(%skipped, "an order has not arrived");
            let mut report = self.report_of(&record, None);
            report.skipped = Some(skipped);
            reports.push(report);
        }
        self.commit(record, reports).await?;
        self.arrived.clear();
        tracing::info!(%position, %action, "order accepted");
        Ok(Judged::Accepted)
    }

    fn address(&self, envelope: &[u8]) -> Result<Addressed, Refusal> {
        let (nonces, signers) = (self.journal.nonces(), self.keeper.director().order_signers());
        rules::address(envelope, &self.standing(&nonces, &signers, self.now()))
    }

    fn standing<'a>(
        &'a self,
        nonces: &'a [String],
        signers: &'a takt_common::envelope::Signers,
        now: UnixTime,
    ) -> Standing<'a> {
        let record = self.journal.record();
        Standing {
            me: self.membership.device,
            hardware: &self.settings.hardware,
            domain: &self.membership.domain,
            signers,
            epoch: self.keeper.director().epoch(),
            last: record.last_position,
            highest: &record.highest,
            way_back: record.way_back(),
            counter_signers: self.keeper.director().counter_signers(),
            nonces,
            time_floor: record.time_floor,
            now,
        }
    }
}

enum Judged {
    Accepted,
    AcceptedBefore,
    Refused(Refused),
}
