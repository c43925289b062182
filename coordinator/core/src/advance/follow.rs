//! What follows from a finding: the next step of a member, hand-backs and withdrawals.

use std::collections::BTreeMap;

use takt_common::DeviceId;
use takt_common::api::DeviceStep;
use takt_common::order::{Action, Mode, Position};
use takt_common::regulation::OnAbort;
use takt_common::report::Outcome;

use crate::advance::Round;
use crate::advance::again::again_at;
use crate::advance::finding::{Finding, withdrawal_text};
use crate::advance::scene::standby_of;
use crate::campaign::{Owed, Withdrawal, WithdrawalCause};

impl Round<'_> {
    /// Moves every member on by what was found.
    pub(super) fn follow(&mut self, findings: Vec<Finding>) {
        for (index, finding) in findings.into_iter().enumerate() {
            // What is found now is found in the next round as well.
            if self.is_full() {
                break;
            }
            self.follow_one(index, finding);
        }
    }

    fn follow_one(&mut self, index: usize, finding: Finding) {
        if let Finding::Ended(outcome) | Finding::TakeoverFailed { outcome, .. } = &finding {
            let at = again_at(&self.campaign, &self.campaign.members[index], outcome, self.scene.now);
            if at.is_some() {
                self.campaign.members[index].failed_attempts += 1;
                self.campaign.members[index].again_at = at;
            }
        }
        let step = self.campaign.members[index].step.clone();
        match (finding, step) {
            (Finding::TakeoverFailed { outcome, clear: true }, DeviceStep::TakingOver { standby, .. }) => {
                self.hand_back(index, standby, outcome);
            }
            (Finding::TakeoverFailed { outcome, clear: false }, _) => self.done(index, outcome),
            // The device has not been touched: under the brake it does not begin.
            (_, DeviceStep::TakingOver { standby, .. })
                if self.campaign.withdraws() && self.campaign.members[index].back.is_none() =>
            {
                self.hand_back(index, standby, Outcome::Withdrawn);
            }
            (Finding::MemoryWanted { lease }, DeviceStep::TakingOver { standby, .. }) => {
                self.ask_for_memory(index, standby, lease);
            }
            (Finding::Served, DeviceStep::TakingOver { standby, order, .. }) => {
                self.heed_standby(index, standby, order);
                self.install(index, Mode::Rolling { standby });
            }
            (Finding::Ended(outcome), DeviceStep::Upgrading { order, mode, .. }) => {
                self.heed(index, order);
                if let Some(outcome) = self.goes_on(index, &mode, outcome) {
                    self.ended(index, &mode, outcome);
                }
            }
            (Finding::ToWithdraw(why), _) => self.withdraw(index, why),
            (Finding::Unknown { cause, withdraw }, DeviceStep::Upgrading { order, mode, .. }) => {
                if withdraw {
                    self.withdraw(index, WithdrawalCause::Deadline(cause.clone()));
                }
                if let Mode::Rolling { standby } = mode {
                    let label = self.scene.fleet.label(standby);
                    self.note(index, format!("{label} keeps serving for it until it is heard of"));
                    self.campaign.members[index].owed = Some(Owed { standby, order });
                }
                // It may run what is aborted one day, and be brought back then.
                if self.campaign.request.regulation.on_abort == OnAbort::Rollback {
                    self.campaign.members[index].unheard = Some(order);
                }
                self.done(index, Outcome::GivenUp { cause });
            }
            (Finding::NeverBegan { cause }, _) => self.done(index, Outcome::GivenUp { cause }),
            (Finding::HandedBack, DeviceStep::HandingBack { standby, outcome, .. }) => {
                let label = self.scene.fleet.label(standby);
                self.note(index, format!("{label} has handed back"));
                self.done(index, outcome);
            }
            (Finding::NotHandedBack { cause }, DeviceStep::HandingBack { outcome, .. }) => {
                self.note(index, cause.clone());
                self.campaign.members[index].fault = Some(cause);
                self.done(index, outcome);
            }
            (Finding::Lost { cause }, _) => {
                self.note(index, cause.clone());
                self.campaign.members[index].fault = Some(cause);
            }
            _ => {}
        }
    }

    /// Goes on to the next release of the path; gives how the device ended otherwise.
    fn goes_on(&mut self, index: usize, mode: &Mode, outcome: Outcome) -> Option<Outcome> {
        let member = &self.campaign.members[index];
        let on_the_way = member.hop.is_some() && member.back.is_none();
        if !on_the_way || !matches!(outcome, Outcome::Verified { .. }) {
            return Some(outcome);
        }
        if self.campaign.withdraws() {
            return Some(Outcome::Withdrawn);
        }
        let state = self.scene.fleet.devices.get(&member.device);
        let runs = state.and_then(|state| state.installed_release(&self.campaign.release.id.name));
        let reached = self.campaign.target_of(member).0.clone();
        let Ok(hop) = self.campaign.asked(None).hop(runs.map(|runs| runs.counter)) else {
            let cause =
                format!("{reached} is verified, and nothing leads on to {}", self.campaign.release.id);
            return Some(Outcome::Failed { cause });
        };
        self.campaign.members[index].hop = hop;
        self.note(index, format!("{reached} is verified on its way"));
        self.install(index, mode.clone());
        None
    }

    /// What a device warned of goes into the campaign: it passed, and is worse than before.
    fn heed(&mut self, index: usize, order: Position) {
        let device = self.campaign.members[index].device;
        let ended = self.scene.fleet.devices.get(&device).map(|state| &state.ended);
        let ended = ended.and_then(|ended| ended.iter().find(|ended| ended.position == order));
        let warnings = ended.map(|ended| ended.warnings.clone()).unwrap_or_default();
        for warning in &warnings {
            self.note(index, format!("warning: {warning}"));
        }
        self.campaign.members[index].warnings = warnings;
    }

    /// What the standby warned of when it began to serve.
    fn heed_standby(&mut self, index: usize, standby: DeviceId, order: Position) {
        let Some(state) = self.scene.fleet.devices.get(&standby) else { return };
        let label = self.scene.fleet.label(standby);
        let ended = state.ended.iter().filter(|ended| ended.position == order);
        let warnings: Vec<String> = ended.flat_map(|ended| ended.warnings.clone()).collect();
        for warning in warnings {
            self.note(index, format!("{label} warns: {warning}"));
        }
    }

    /// The device is to hand the memory of what it runs to its standby, and runs on.
    fn ask_for_memory(&mut self, index: usize, standby: DeviceId, lease: u64) {
        let device = self.campaign.members[index].device;
        let Some(state) = self.scene.fleet.devices.get(&device) else { return };
        let Some(runs) = state.installed_release(&self.campaign.release.id.name) else { return };
        let (release, label) = (runs.release.clone(), self.scene.fleet.label(standby));
        let Some(name) = self.scene.fleet.devices.get(&standby).map(|state| state.name.clone()) else {
            return;
        };
        let action = Action::Checkpoint { standby, name, lease };
        let Some(order) = self.order(device, action, Some(release), Mode::InPlace) else { return };
        self.note(index, format!("it is asked to hand its memory to {label} (order {order}, lease {lease})"));
        self.campaign.members[index].memory = Some(order);
    }

    /// The device's own order has ended: its standby hands back, unless nobody else can serve.
    fn ended(&mut self, index: usize, mode: &Mode, outcome: Outcome) {
        match (mode, &outcome) {
            (Mode::Rolling { standby }, Outcome::Stranded { .. }) => {
                let label = self.scene.fleet.label(*standby);
                self.note(index, format!("{label} keeps serving for it: it is stranded"));
                self.done(index, outcome);
            }
            (Mode::Rolling { standby }, _) => self.hand_back(index, *standby, outcome),
            (Mode::InPlace, _) => self.done(index, outcome),
        }
    }

    /// Ends the takeover. It stays to be done while the standby has an order that is not this takeover.
    fn hand_back(&mut self, index: usize, standby: DeviceId, outcome: Outcome) {
        let (device, name) = (self.campaign.members[index].device, self.campaign.members[index].name.clone());
        let Some(state) = self.scene.fleet.devices.get(&standby) else {
            self.note(index, format!("its standby {standby} is not enrolled any more"));
            return self.done(index, outcome);
        };
        let of_this_takeover =
            |action: &Action| matches!(action, Action::TakeOver { device: of, .. } if *of == device);
        if state.in_hand().is_some_and(|order| !of_this_takeover(&order.action)) {
            return;
        }
        let Some(order) = self.order(standby, Action::HandBack { device, name }, None, Mode::InPlace) else {
            return;
        };
        self.note(
            index,
            format!("{outcome}; {} is asked to hand back (order {order})", self.scene.fleet.label(standby)),
        );
        self.campaign.members[index].step =
            DeviceStep::HandingBack { standby, order, outcome, since: self.scene.now };
    }

    fn done(&mut self, index: usize, outcome: Outcome) {
        self.note(index, outcome.to_string());
        if let Some(at) = self.campaign.members[index].again_at {
            let member = &mut self.campaign.members[index];
            // Its wait is counted from then on.
            (member.step, member.turn) = (DeviceStep::Pending, Some(at));
            member.withdrawal = None;
            let (attempt, all) = (member.failed_attempts + 1, self.campaign.request.retry.attempts);
            self.note(index, format!("attempt {attempt} of {all} begins at {at}"));
            return;
        }
        self.campaign.members[index].step = DeviceStep::Done { outcome, at: self.scene.now };
    }

    fn withdraw(&mut self, index: usize, why: WithdrawalCause) {
        let device = self.campaign.members[index].device;
        let Some(order) = self.order(device, Action::Withdraw, None, Mode::InPlace) else {
            return;
        };
        self.note(index, format!("its order is withdrawn (order {order}): {}", withdrawal_text(&why)));
        self.campaign.members[index].withdrawal = Some(Withdrawal { order, at: self.scene.now, why });
    }

    /// Standbys that serve for devices nobody had heard of: hand back once the device's end is known.
    pub(super) fn settle_owed(&mut self) {
        for index in 0..self.campaign.members.len() {
            let Some(owed) = self.campaign.members[index].owed.clone() else {
                continue;
            };
            let device = self.campaign.members[index].device;
            let end = self.scene.fleet.devices.get(&device).map(|state| {
                let ended = state.ended.iter().filter(|ended| ended.position >= owed.order);
                ended.map(|ended| ended.outcome.clone()).collect::<Vec<_>>()
            });
            let label = self.scene.fleet.label(owed.standby);
            let serves = |state: &crate::DeviceState| state.standing_in_for == Some(device);
            let Some(standby) = self.scene.fleet.devices.get(&owed.standby).filter(|state| serves(state))
            else {
                self.note(index, format!("{label} does not serve for it any more"));
                self.campaign.members[index].owed = None;
                continue;
            };
            match end.as_deref() {
                Some([]) => {}
                Some(outcomes)
                    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Stranded { .. })) =>
                {
                    self.note(index, format!("heard of: stranded; {label} keeps serving for it"));
                    self.campaign.members[index].owed = None;
                }
                // Heard of, or gone for good. A later campaign that has the device in work hands back itself.
                _ if standby.in_hand().is_none() && self.is_free(device) => {
                    let name = self.campaign.members[index].name.clone();
                    let action = Action::HandBack { device, name };
                    let Some(order) = self.order(owed.standby, action, None, Mode::InPlace) else {
                        continue;
                    };
                    self.note(
                        index,
                        format!("heard of again; {label} is asked to hand back (order {order})"),
                    );
                    self.campaign.members[index].owed = None;
                }
                _ => {}
            }
        }
    }

    fn is_free(&self, device: DeviceId) -> bool {
        self.scene.fleet.devices.get(&device).is_none_or(|state| state.in_hand().is_none())
    }

    /// `; X keeps serving for Y` for every standby that is left serving.
    pub(super) fn still_serving(&self) -> String {
        let serving = self.scene.fleet.devices.values();
        let left: BTreeMap<DeviceId, DeviceId> =
            serving.filter_map(|state| Some((state.standing_in_for?, state.id))).collect();
        let serving = self.campaign.members.iter().filter_map(|member| {
            let standby = standby_of(member).or_else(|| left.get(&member.device).copied())?;
            Some(format!("; {} keeps serving for {}", self.scene.fleet.label(standby), member.name))
        });
        serving.collect()
    }
}
