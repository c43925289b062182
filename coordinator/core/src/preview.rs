//! What a campaign would do if all went well: its order, its elements and its end, found by running the real loop over a copy of the
//! fleet in which every order succeeds after the time that it takes at least.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use takt_common::api::{CampaignPreview, DeviceStep, PreviewDevice};
use takt_common::order::{Action, Mode};
use takt_common::report::{Installed, Outcome};
use takt_common::{DeviceId, UnixTime};

use crate::advance::{Look, advance};
use crate::campaign::Campaign;
use crate::fleet::{EndedOrder, FleetView, OrderRequest};

/// A standby takes over and hands back within so many seconds, if nothing is in its way.
const TAKEOVER_SECS: u64 = 10;

/// More rounds than any campaign that gets on takes; beyond it the preview says that it does not end.
const ROUNDS_MAX: usize = 200_000;

/// Beyond this nothing is foreseen: one year.
const AHEAD: Duration = Duration::from_hours(365 * 24);

/// Runs `campaign`, which has not begun, over a copy of the fleet that `look` shows. `replan` gives it slots where they are due.
pub fn preview(
    campaign: &Campaign,
    look: &Look<'_>,
    replan: &mut dyn FnMut(&Campaign, &FleetView, UnixTime) -> Option<Campaign>,
) -> CampaignPreview {
    let mut run = Run {
        campaign: campaign.clone(),
        fleet: look.fleet.clone(),
        ending: BinaryHeap::new(),
        begun: BTreeMap::new(),
        now: look.now,
        took: Duration::from_secs(campaign.release().expected_secs.max(1)),
    };
    run.campaign.request.approval = false;
    // Those that are offline are shown as if they came back.
    for state in run.fleet.devices.values_mut() {
        state.online = true;
    }
    let ends = run.run_out(look, replan);
    run.result(ends, look)
}

struct Run {
    campaign: Campaign,
    fleet: FleetView,
    /// When which device ends its order.
    ending: BinaryHeap<Reverse<(UnixTime, DeviceId)>>,
    /// When each device began, and how.
    begun: BTreeMap<DeviceId, (UnixTime, Mode)>,
    now: UnixTime,
    took: Duration,
}

impl Run {
    /// Until the campaign has ended; `None` if it does not.
    fn run_out(
        &mut self,
        look: &Look<'_>,
        replan: &mut dyn FnMut(&Campaign, &FleetView, UnixTime) -> Option<Campaign>,
    ) -> Option<UnixTime> {
        let until = self.now + AHEAD;
        for _ in 0..ROUNDS_MAX {
            if let Some(planned) = replan(&self.campaign, &self.fleet, self.now) {
                self.campaign = planned;
            }
            let step = advance(&self.campaign, &Look { fleet: &self.fleet, now: self.now, ..*look });
            let changed = step.campaign != self.campaign || !step.orders.is_empty();
            self.campaign = step.campaign;
            for order in &step.orders {
                self.receive(order);
            }
            if self.campaign.is_over() {
                return Some(self.now);
            }
            // One that stays open has nothing more to do.
            let waits =
                self.campaign.members.iter().any(|member| !matches!(member.step, DeviceStep::Done { .. }));
            if !waits && self.ending.is_empty() {
                return Some(self.now);
            }
            if changed {
                continue;
            }
            let ends = self.ending.peek().map(|Reverse((at, _))| *at);
            let next = ends.into_iter().chain(self.campaign.wakes_at(self.now)).min()?;
            self.now = next.max(self.now + Duration::from_secs(1));
            if self.now > until {
                return None;
            }
            self.end_orders();
        }
        None
    }

    fn receive(&mut self, order: &OrderRequest) {
        self.fleet.record_order(order, self.now);
        let took = match order.action {
            Action::Install => {
                self.begun.entry(order.device).or_insert_with(|| (self.now, order.mode.clone()));
                self.took
            }
            _ => Duration::from_secs(TAKEOVER_SECS),
        };
        self.ending.push(Reverse((self.now + took, order.device)));
    }

    fn end_orders(&mut self) {
        while let Some(Reverse((at, device))) = self.ending.peek().copied() {
            if at > self.now {
                return;
            }
            self.ending.pop();
            let runs = self.campaign.members.iter().find(|member| member.device == device).map(|member| {
                let (release, manifest) = self.campaign.target_of(member);
                let facts = self.campaign.path.iter().find(|facts| facts.id == *release);
                let counter = facts.unwrap_or(&self.campaign.release).counter;
                Installed { release: release.clone(), counter, manifest: *manifest }
            });
            let Some(state) = self.fleet.devices.get_mut(&device) else { continue };
            let Some(order) = state.order.take() else { continue };
            state.sequence += 1;
            state.last_seen = Some(at);
            let outcome = match order.action {
                Action::Install => {
                    let Some(runs) = runs else { continue };
                    state.installed.retain(|installed| installed.release.name != runs.release.name);
                    state.installed.push(runs);
                    Outcome::Verified { strategy: None }
                }
                Action::TakeOver { device, .. } => {
                    state.standing_in_for = Some(device);
                    Outcome::Serving
                }
                Action::Checkpoint { .. } => Outcome::Checkpointed,
                Action::HandBack { .. } => {
                    state.standing_in_for = None;
                    Outcome::HandedBack
                }
                Action::Withdraw => Outcome::Withdrawn,
            };
            state.ended.push(EndedOrder { position: order.position, outcome, warnings: Vec::new(), at });
        }
    }

    fn result(&self, ends: Option<UnixTime>, look: &Look<'_>) -> CampaignPreview {
        let device = |member: &crate::campaign::Member| {
            let (begins, mode) = self.begun.get(&member.device).cloned().unzip();
            let offline = look.fleet.devices.get(&member.device).is_none_or(|state| !state.online);
            let done = match &member.step {
                DeviceStep::Done { at, .. } => Some(*at),
                _ => None,
            };
            PreviewDevice {
                device: member.device,
                name: member.name.clone(),
                element: member.element,
                begins,
                ends: done,
                standby: match mode {
                    Some(Mode::Rolling { standby }) => Some(standby),
                    Some(Mode::InPlace) | None => None,
                },
                predicted_load: member.slot.as_ref().and_then(|slot| slot.predicted_load),
                offline,
            }
        };
        let mut devices: Vec<PreviewDevice> = self.campaign.members.iter().map(device).collect();
        // Those that never begin come last.
        devices.sort_by_key(|device| (device.begins.is_none(), device.begins));
        let in_place = self.begun.values().filter(|(_, mode)| *mode == Mode::InPlace).count();
        CampaignPreview {
            elements: self.campaign.pace.elements.clone(),
            ends,
            in_place,
            rolling: self.begun.len() - in_place,
            away_secs: self.took.as_secs().saturating_mul(in_place as u64),
            predicted_load: self.campaign.plan.as_ref().map(|plan| plan.view.objective),
            why_not: ends.is_none().then(|| self.campaign.reason.clone()),
            excluded: self.campaign.excluded.clone(),
            path: self.campaign.path.iter().map(|release| release.id.clone()).collect(),
            devices,
        }
    }
}
