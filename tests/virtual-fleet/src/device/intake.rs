//! Orders come in: every device rule, in its order, before anything is kept. As in the real agent, but for the trust
//! documents, which all agents share.

use std::time::Duration;

use takt_agent::journal::has_room;
use takt_agent::sentence;
use takt_agent_core::rules::{self, Addressed, Refusal, Standing};
use takt_agent_core::{Accepted, Phase};
use takt_common::envelope::Signers;
use takt_common::report::{Outcome, Refused};
use takt_common::{Sha256Digest, UnixTime};
use takt_trust::DirectorTrust;

use super::{Device, REFUSED_MAX};
use crate::clock;
use crate::error::DocumentError;
use crate::tally::{Acceptance, more};

/// The pause after a failed look at the repository; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// An envelope that waits for the repository's documents, or for the end of a switch. A newer one takes its place.
pub(super) struct Pending {
    envelope: Vec<u8>,
    pause: Duration,
    not_before: Duration,
    /// Why it waits.
    pub(super) why: Option<String>,
}

enum Judged {
    Accepted,
    AcceptedBefore,
    Refused(Refused),
}

impl Device {
    /// An order's envelope came in. True when it was accepted.
    pub(super) async fn on_order(&mut self, envelope: Vec<u8>) -> bool {
        let known = self.refused.contains(&Sha256Digest::of(&envelope))
            || self.pending.as_ref().is_some_and(|pending| pending.envelope == envelope);
        if known || self.outbox.is_full() {
            return false;
        }
        self.pending = Some(Pending { envelope, pause: PAUSE_FIRST, not_before: Duration::ZERO, why: None });
        self.try_pending().await
    }

    /// When the pending envelope is tried, if there is one.
    pub(super) fn pending_due(&self) -> Option<Duration> {
        self.pending.as_ref().filter(|_| self.is_at_leisure()).map(|pending| pending.not_before)
    }

    /// Judging may take a look at the repository: never in the gap between two releases.
    fn is_at_leisure(&self) -> bool {
        matches!(
            self.record.phase,
            Phase::Idle | Phase::Fetching { .. } | Phase::Staged { .. } | Phase::Ended { .. }
        )
    }

    /// Tries to accept the pending envelope. True when it was accepted.
    pub(super) async fn try_pending(&mut self) -> bool {
        let uptime = self.uptime();
        if !self.is_at_leisure() {
            return false;
        }
        let Some(pending) = self.pending.take_if(|pending| pending.not_before <= uptime) else {
            return false;
        };
        match self.judge(&pending.envelope).await {
            Ok(Judged::Accepted) => return true,
            Ok(Judged::AcceptedBefore) => more(&self.site.tally.repeated),
            Ok(Judged::Refused(refused)) => self.refuse(refused),
            // Nothing is known to be wrong with the order: a link is, and may be well again.
            Err(error) => {
                self.pending = Some(Pending {
                    envelope: pending.envelope,
                    pause: (pending.pause * 2).min(PAUSE_MAX),
                    not_before: uptime + pending.pause,
                    why: Some(format!("documents of the package repository: {}", sentence(&error))),
                });
            }
        }
        false
    }

    fn refuse(&mut self, refused: Refused) {
        more(&self.site.tally.refused);
        self.refused.push_back(refused.envelope);
        while self.refused.len() > REFUSED_MAX {
            self.refused.pop_front();
        }
        let mut report = self.report_of(&self.record, None);
        report.refused = Some(refused);
        self.commit(self.record.clone(), vec![report]);
    }

    async fn judge(&mut self, envelope: &[u8]) -> Result<Judged, DocumentError> {
        let refused = |rule: &str, why: String| {
            Judged::Refused(Refused { envelope: Sha256Digest::of(envelope), rule: rule.to_owned(), why })
        };
        let now = self.now();
        let (epoch, addressed) = self.address(envelope, now);
        let addressed = match addressed {
            // A newer director root may explain it: look once, then judge again.
            Err(refusal) if matches!(refusal.rule(), "epoch" | "order-signature") => {
                match self.site.refresh_director(epoch).await {
                    Ok(()) => self.address(envelope, now).1,
                    Err(error @ DocumentError::Refused { .. }) => {
                        return Ok(refused("director-root", sentence(&error)));
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
                if found == last && self.record.last_order == Some(digest) =>
            {
                return Ok(Judged::AcceptedBefore);
            }
            Err(refusal) => return Ok(refused(refusal.rule(), refusal.to_string())),
        };
        if addressed.installs() {
            match self.site.refresh_package(addressed.snapshot(), now).await {
                Ok(()) => {}
                Err(error @ DocumentError::Refused { .. }) => {
                    return Ok(refused("package-repository", sentence(&error)));
                }
                Err(error) => return Err(error),
            }
            if let Err(error) = self.site.trust().check_fresh(now) {
                return Ok(refused("expired-documents", sentence(&error)));
            }
        }
        let nonces = self.outbox.nonces();
        let accepted = {
            let trust = self.site.trust();
            let signers = trust.director.order_signers();
            let standing = self.standing(&nonces, &signers, &trust.director, now);
            addressed.accept(&trust.targets(), &standing)
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(refusal) => return Ok(refused(refusal.rule(), refusal.to_string())),
        };
        let issued = accepted.order.issued;
        let mut record = self.record.clone();
        let replaced = record.accept(accepted);
        if !has_room(&record) {
            let why = "the journal has no room for one more order of this size".to_owned();
            return Ok(refused("size", why));
        }
        let mut reports = Vec::new();
        if let Some(replaced) = replaced {
            self.site.tally.ended(&Outcome::Withdrawn);
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
        self.commit(record, reports);
        self.site.tally.accepted(Acceptance { device: self.id, issued, at_millis: clock::wall_millis() });
        Ok(Judged::Accepted)
    }

    /// By which director root it was judged, and the order if that one lets it in.
    fn address(&self, envelope: &[u8], now: UnixTime) -> (u64, Result<Addressed, Refusal>) {
        let nonces = self.outbox.nonces();
        let trust = self.site.trust();
        let signers = trust.director.order_signers();
        let standing = self.standing(&nonces, &signers, &trust.director, now);
        (trust.director.epoch(), rules::address(envelope, &standing))
    }

    fn standing<'a>(
        &'a self,
        nonces: &'a [String],
        signers: &'a Signers,
        director: &DirectorTrust,
        now: UnixTime,
    ) -> Standing<'a> {
        Standing {
            me: self.id,
            hardware: &self.site.hardware,
            domain: &self.domain,
            signers,
            epoch: director.epoch(),
            last: self.record.last_position,
            highest: &self.record.highest,
            way_back: self.record.way_back(),
            counter_signers: director.counter_signers(),
            nonces,
            time_floor: self.record.time_floor,
            now,
        }
    }
}
