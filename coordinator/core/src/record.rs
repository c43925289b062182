//! What an issued order and a verified report change in a device's state.

use takt_common::UnixTime;
use takt_common::api::{Lease, OpenOrder};
use takt_common::digest::Sha256Digest;
use takt_common::order::{Action, Position};
use takt_common::report::Report;

use crate::fleet::{DeviceState, EndedOrder, OrderRequest, RefusedOrder, Waiting};

impl DeviceState {
    /// Notes an order as issued: it is the order in hand now, and the next one gets a higher position.
    pub fn record_order(&mut self, order: &OrderRequest, issued: UnixTime) {
        if let Action::TakeOver { device, lease: token, .. } = order.action {
            self.lease = Some(Lease { device, token, since: issued });
        }
        self.order = Some(OpenOrder {
            position: order.position,
            action: order.action.clone(),
            release: order.release.clone(),
            issued,
            accepted: false,
        });
        self.refused = None;
        self.next = self.next.max(after(order.position));
    }

    /// Under a newer director root generations begin anew: a thief of an order key that was taken away may have used up all that there are.
    pub fn begin_epoch(&mut self, epoch: u64) {
        if epoch > self.next.epoch {
            self.next = Position { epoch, generation: 1 };
        }
    }

    /// Notes a report whose signature and device have been checked. `envelope` is the digest of the envelope of the
    /// order in hand, to tell whether that one was refused. Returns false, with nothing changed, for a report that
    /// is not newer than the last one.
    pub fn record_report(
        &mut self,
        report: &Report,
        envelope: Option<&Sha256Digest>,
        received: UnixTime,
    ) -> bool {
        if report.sequence <= self.sequence {
            return false;
        }
        self.sequence = report.sequence;
        self.last_seen = Some(received);
        self.installed.clone_from(&report.installed);
        self.standing_in_for = report.standing_in_for;
        self.phase = Some(report.phase);
        let since = self.waiting_on.as_ref().map_or(received, |waiting| waiting.since);
        self.waiting_on = report.waiting_on.clone().map(|on| Waiting { on, since });
        if let Some(shown) = &report.order {
            self.record_shown(shown.position, report, received);
        }
        self.record_refusal(report, envelope);
        let to_serve = self.order.as_ref().is_some_and(|open| matches!(open.action, Action::TakeOver { .. }));
        if self.standing_in_for.is_none() && !to_serve {
            self.lease = None;
        }
        true
    }

    /// True when the report speaks of another order that has the position of the order in hand, whose payload has the
    /// digest `payload`. What it says of that order must not count for this one: see [`Self::without_other`].
    pub fn shows_another(&self, report: &Report, payload: &Sha256Digest) -> bool {
        let (Some(shown), Some(order)) = (&report.order, &self.order) else { return false };
        shown.position == order.position && shown.digest != *payload
    }

    /// What a report that [shows another order](Self::shows_another) says all the same: neither that order nor how it
    /// ended, but everything else.
    pub fn without_other(report: &Report) -> Report {
        Report { order: None, outcome: None, ..report.clone() }
    }

    fn record_shown(&mut self, shown: Position, report: &Report, received: UnixTime) {
        if let Some(order) = self.order.as_mut().filter(|order| order.position == shown) {
            order.accepted = true;
            self.refused = None;
        }
        // A device that shows a higher position than any that is known here has acted on orders that this store
        // lost; it would ignore everything up to there.
        self.next = self.next.max(after(shown));
        let Some(outcome) = &report.outcome else { return };
        if self.order.as_ref().is_some_and(|order| order.position == shown) {
            self.order = None;
        }
        if self.ended.iter().any(|ended| ended.position == shown) {
            return;
        }
        let warnings = report.warnings.iter().take(Self::WARNINGS_KEPT);
        let warnings = warnings.map(|text| text.chars().take(Self::WARNING_CHARS_MAX).collect()).collect();
        self.ended.push(EndedOrder { position: shown, outcome: outcome.clone(), warnings, at: received });
        if self.ended.len() > Self::ENDED_KEPT {
            self.ended.remove(0);
        }
    }

    fn record_refusal(&mut self, report: &Report, envelope: Option<&Sha256Digest>) {
        let (Some(refused), Some(order)) = (&report.refused, &self.order) else {
            return;
        };
        // An accepted order is refused when a copy of it arrives; that says nothing.
        if !order.accepted && envelope == Some(&refused.envelope) {
            self.refused = Some(RefusedOrder { position: order.position, refused: refused.clone() });
        }
    }
}

fn after(position: Position) -> Position {
    Position { generation: position.generation.saturating_add(1), ..position }
}
