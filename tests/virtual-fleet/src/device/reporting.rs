//! What the agent says of itself in reports, as the real one does.

use std::time::Duration;

use takt_agent_core::{Phase, Record, WaitingOn};
use takt_common::report::{Outcome, Report};

use super::Device;

/// A changed reason to wait is reported at most so often.
const WAITING_EVERY: Duration = Duration::from_secs(10);

/// Which reason to wait was reported last, and when.
#[derive(Debug, Default)]
pub(super) struct Told {
    kind: Option<std::mem::Discriminant<WaitingOn>>,
    reason: String,
    at: Duration,
}

impl Device {
    /// A report of `record` as it will be once committed.
    pub(super) fn report_of(&self, record: &Record, outcome: Option<Outcome>) -> Report {
        record.report(self.id, self.boot_id.clone(), self.now(), outcome)
    }

    /// Reports a reason to wait when it is a new one.
    pub(super) fn tell_waiting(&mut self, waiting: &WaitingOn) {
        let kind = Some(std::mem::discriminant(waiting));
        let worth = !matches!(
            waiting,
            WaitingOn::Orders
                | WaitingOn::FirstGoodRound { .. }
                | WaitingOn::Probation { .. }
                | WaitingOn::Baseline { .. }
                | WaitingOn::Draining { .. }
        );
        let text = waiting.to_string();
        let reason = match waiting {
            WaitingOn::Retry { why, .. } if matches!(self.record.phase, Phase::Idle) => why.clone(),
            _ => text.clone(),
        };
        let uptime = self.uptime();
        let due = uptime.saturating_sub(self.told_waiting.at) >= WAITING_EVERY;
        if self.told_waiting.kind == kind && !(due && self.told_waiting.reason != reason) {
            return;
        }
        self.told_waiting = Told { kind, reason, at: uptime };
        if worth {
            let mut report = self.report_of(&self.record, None);
            report.waiting_on = Some(text);
            self.commit(self.record.clone(), vec![report]);
        }
    }
}
