//! A device whose agent keeps the rules of an agent but not always its patience or its luck.

use takt_common::digest::Sha256Digest;
use takt_common::order::{Action, Position, Takeover};
use takt_common::report::{Installed, Memory, OrderRef, Outcome, PhaseName, REPORT_FORMAT, Refused, Report};
use takt_common::{DeviceId, UnixTime};
use takt_coordinator_core::OrderRequest;

use super::{Chance, Nature, envelope, installed};

/// A standby waits for memory for some rounds.
const RESTORE_ROUNDS: u64 = 4;

/// What a device does with orders that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Accepts them.
    Well,
    /// Refuses what installs.
    Refuses,
    /// Accepts, and never gets further.
    Hangs,
    /// Is never heard of.
    Dead,
}

/// How an install ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    Verified,
    RolledBack,
    Failed,
    Stranded,
}

/// A device as it is.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) nature: Nature,
    pub(crate) online: bool,
    pub(crate) installed: Option<Installed>,
    pub(crate) standing_in_for: Option<DeviceId>,
    pub(crate) stranded: bool,
    /// The order in hand and how many rounds of work it has had.
    hand: Option<(OrderRequest, u64)>,
    /// A withdrawal that came when the switch had begun.
    late_withdrawal: Option<Position>,
    last: Position,
    refused: Option<Position>,
    sequence: u64,
}

impl Device {
    pub(crate) fn new(id: DeviceId, nature: Nature) -> Self {
        let version = |counter: u64| installed(&counter.to_string(), counter);
        Self {
            id,
            nature,
            online: true,
            installed: nature.runs.map(version),
            standing_in_for: None,
            stranded: false,
            hand: None,
            late_withdrawal: None,
            last: Position::default(),
            refused: None,
            sequence: 0,
        }
    }

    pub(crate) fn revive(&mut self) {
        self.online = true;
        self.nature.takes = Takes::Well;
    }

    /// Whether its own switch has begun.
    fn switched(&self) -> bool {
        matches!(&self.hand, Some((order, work)) if order.action == Action::Install && *work > self.nature.slowness)
    }

    pub(crate) fn is_installing(&self) -> bool {
        matches!(&self.hand, Some((order, _)) if order.action == Action::Install)
    }

    /// An order arrives.
    pub(crate) fn receive(
        &mut self,
        order: &OrderRequest,
        chance: &mut Chance,
        now: UnixTime,
    ) -> Vec<Report> {
        if !self.online || self.nature.takes == Takes::Dead || order.position <= self.last {
            return Vec::new();
        }
        if self.nature.takes == Takes::Refuses
            && matches!(order.action, Action::Install | Action::TakeOver { .. } | Action::Checkpoint { .. })
        {
            if self.refused == Some(order.position) {
                return Vec::new();
            }
            self.refused = Some(order.position);
            let mut report = self.report(PhaseName::Idle, None, None, now);
            let (rule, why) = ("low-disk".to_owned(), "310 MiB free, 900 needed".to_owned());
            report.refused = Some(Refused { envelope: envelope(order), rule, why });
            return vec![report];
        }
        let mut made = Vec::new();
        self.last = order.position;
        match (&order.action, self.hand.clone()) {
            (Action::Withdraw, Some((own, _))) if self.switched() => {
                self.late_withdrawal = Some(order.position);
                made.push(self.report(PhaseName::Switching, Some(own.position), None, now));
            }
            (Action::Withdraw, in_hand) => {
                self.hand = None;
                // Agents may tell the end of the order, of its withdrawal, or of both.
                if let Some((own, _)) = in_hand.filter(|_| chance.percent(50)) {
                    made.push(self.report(
                        PhaseName::Ended,
                        Some(own.position),
                        Some(Outcome::Withdrawn),
                        now,
                    ));
                }
                made.push(self.report(PhaseName::Ended, Some(order.position), Some(Outcome::Withdrawn), now));
            }
            // Handing memory over is of no use any more.
            (_, Some((held, _))) if matches!(held.action, Action::Checkpoint { .. }) => {
                made.push(self.report(PhaseName::Ended, Some(held.position), Some(Outcome::Withdrawn), now));
                self.hand = Some((order.clone(), 0));
                made.push(self.report(PhaseName::Fetching, Some(order.position), None, now));
            }
            (Action::HandBack { .. }, in_hand) => {
                if let Some((held, _)) = in_hand {
                    let takeover = matches!(held.action, Action::TakeOver { .. });
                    assert!(takeover, "a hand-back only replaces a takeover, not {held:?}");
                    if chance.percent(50) {
                        let ended = Some(Outcome::Withdrawn);
                        made.push(self.report(PhaseName::Ended, Some(held.position), ended, now));
                    }
                }
                self.hand = Some((order.clone(), 0));
                made.push(self.report(PhaseName::Fetching, Some(order.position), None, now));
            }
            (_, Some((held, _))) => panic!("{order:?} arrived while {held:?} was in hand"),
            (_, None) => {
                self.hand = Some((order.clone(), 0));
                made.push(self.report(PhaseName::Fetching, Some(order.position), None, now));
            }
        }
        made
    }

    /// A round of work on the order in hand. Devices work offline as well; their reports wait.
    pub(crate) fn work(&mut self, chance: &mut Chance, now: UnixTime) -> Vec<Report> {
        if matches!(self.nature.takes, Takes::Hangs | Takes::Dead) {
            return Vec::new();
        }
        let Some((order, work)) = self.hand.as_mut() else { return Vec::new() };
        *work += 1;
        let (order, work) = (order.clone(), *work);
        match &order.action {
            Action::Install if work > 2 * self.nature.slowness + 1 => self.end_install(&order, now),
            // Whether the memory comes in time or not, it serves in the end.
            Action::TakeOver { how: Takeover::Restore, .. } if work == self.nature.slowness + 1 => {
                vec![self.report(PhaseName::Switching, Some(order.position), None, now)]
            }
            Action::TakeOver { how: Takeover::Restore, .. }
                if work <= self.nature.slowness + RESTORE_ROUNDS && chance.percent(70) =>
            {
                Vec::new()
            }
            Action::Checkpoint { .. } if work > self.nature.slowness => {
                let outcome = if self.nature.takeover_fails {
                    Outcome::Failed { cause: "criu is not installed".to_owned() }
                } else {
                    Outcome::Checkpointed
                };
                vec![self.end(order.position, outcome, now)]
            }
            Action::TakeOver { device, .. } if work > self.nature.slowness => {
                let outcome = if self.nature.takeover_fails {
                    Outcome::RolledBack {
                        cause: "the stand-in is sick".to_owned(),
                        memory: Memory::Untouched,
                    }
                } else {
                    self.standing_in_for = Some(*device);
                    Outcome::Serving
                };
                vec![self.end(order.position, outcome, now)]
            }
            Action::HandBack { .. } => {
                self.standing_in_for = None;
                vec![self.end(order.position, Outcome::HandedBack, now)]
            }
            _ if chance.percent(30) => {
                let mut report = self.report(PhaseName::Staged, Some(order.position), None, now);
                report.waiting_on = Some("load average 3.2, at most 2.0".to_owned());
                vec![report]
            }
            _ => Vec::new(),
        }
    }

    fn end_install(&mut self, order: &OrderRequest, now: UnixTime) -> Vec<Report> {
        let outcome = match self.nature.install {
            Install::Verified => {
                self.installed = Some(installed("2", 2));
                self.stranded = false;
                Outcome::Verified { strategy: None }
            }
            Install::RolledBack => {
                Outcome::RolledBack { cause: "it died in probation".to_owned(), memory: Memory::Kept }
            }
            Install::Failed => Outcome::Failed { cause: "the artifact is corrupt".to_owned() },
            Install::Stranded => {
                self.installed = None;
                self.stranded = true;
                Outcome::Stranded { cause: "neither starts".to_owned() }
            }
        };
        let mut made = vec![self.end(order.position, outcome, now)];
        if let Some(withdrawal) = self.late_withdrawal.take() {
            made.push(self.end(withdrawal, Outcome::Withdrawn, now));
        }
        made
    }

    fn end(&mut self, position: Position, outcome: Outcome, now: UnixTime) -> Report {
        self.hand = None;
        self.report(PhaseName::Ended, Some(position), Some(outcome), now)
    }

    fn report(
        &mut self,
        phase: PhaseName,
        position: Option<Position>,
        outcome: Option<Outcome>,
        made: UnixTime,
    ) -> Report {
        self.sequence += 1;
        let order = position.map(|position| OrderRef { position, digest: Sha256Digest::of(b"payload") });
        Report {
            format: REPORT_FORMAT,
            device: self.id,
            sequence: self.sequence,
            previous_report_digest: None,
            boot_id: String::new(),
            nonce: String::new(),
            installed: self.installed.clone().into_iter().collect(),
            standing_in_for: self.standing_in_for,
            order,
            phase,
            outcome,
            warnings: Vec::new(),
            waiting_on: None,
            refused: None,
            hooks: std::collections::BTreeMap::new(),
            timing: None,
            made,
            skipped: None,
            time_floor: made,
        }
    }
}
