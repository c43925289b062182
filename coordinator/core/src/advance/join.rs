//! Target identification goes on while a campaign does (paper 2): devices that fit now join, and those that have not begun and do not
//! fit any more are left out, under the same regulation.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::DeviceId;
use takt_common::api::{CampaignState, DeviceStep, ExcludedDevice};
use takt_common::report::Outcome;

use crate::advance::Round;
use crate::advance::scene::offline;
use crate::campaign::{Braking, Member};
use crate::fleet::DeviceState;
use crate::open::target_text;
use crate::skew::too_far;
use crate::targets::{Asked, Fit};

impl Round<'_> {
    /// Ends the life of a campaign.
    pub(super) fn expire(&mut self) {
        let Some(at) = self.campaign.expires().filter(|at| *at <= self.scene.now) else { return };
        let open = self.campaign.request.stays_open;
        if open || self.campaign.members.iter().any(|member| member.step == DeviceStep::Pending) {
            self.campaign.brake(self.scene.now, Braking::Expiry, format!("it has expired at {at}"));
        }
    }

    /// Looks anew who fits.
    pub(super) fn identify(&mut self) {
        let takes_in = matches!(self.campaign.state, CampaignState::Ongoing | CampaignState::Paused);
        if !takes_in || self.campaign.brake.is_some() {
            return;
        }
        let query = self.campaign.query();
        let (release, path) = (self.campaign.release.clone(), self.campaign.path.clone());
        let downgrade = self.campaign.request.policy.downgrade;
        let asked = Asked { release: &release, path: &path, query: query.as_ref(), downgrade };
        let mut excluded = self.leave_out(&asked);
        let mut members: Vec<DeviceId> = self.campaign.members.iter().map(|member| member.device).collect();
        if !members.is_sorted() {
            members.sort_unstable();
        }
        let named: BTreeSet<_> = self.campaign.request.devices.iter().collect();
        let fleet = self.scene.fleet;
        let meant = |state: &&DeviceState| {
            state.domain == *self.campaign.domain() && (named.is_empty() || named.contains(&state.name))
        };
        let mut members = members.into_iter().peekable();
        let mut is_member = |device: DeviceId| {
            while members.next_if(|member| *member < device).is_some() {}
            members.peek() == Some(&device)
        };
        let others = fleet.devices.values().filter(|state| !is_member(state.id));
        let new = others.filter(meant).filter(|state| !excluded.contains_key(&state.id));
        let new: Vec<&DeviceState> = new.collect();
        for state in new {
            let why = match asked.fit(state) {
                Fit::Unfit(why) => Some(why),
                // What it runs it has not from this campaign.
                Fit::NotMeant | Fit::Runs => continue,
                Fit::Target { hop } => self.keeps_away(state).map_or_else(
                    || {
                        self.join(state, hop);
                        None
                    },
                    Some,
                ),
            };
            if let Some(reason) = why {
                let (device, name) = (state.id, state.name.clone());
                let joins = self.others.busy.get(&state.id).is_some_and(|busy| busy.less_urgent);
                let joins = joins && matches!(asked.fit(state), Fit::Target { .. });
                excluded.insert(state.id, ExcludedDevice { device, name, reason, joins });
            }
        }
        let excluded: Vec<ExcludedDevice> = excluded.into_values().collect();
        if excluded != self.campaign.excluded {
            self.campaign.excluded = excluded;
        }
    }

    /// Why a device that fits does not join yet.
    fn keeps_away(&self, state: &DeviceState) -> Option<String> {
        // One that nobody has heard of would only fail its deadline; when it is here it joins.
        if !state.online || state.sequence == 0 {
            return Some(if state.online {
                "has not said yet what it runs".to_owned()
            } else {
                offline(state)
            });
        }
        if let Some(busy) = self.others.busy.get(&state.id) {
            return Some(format!("is in campaign {}", busy.campaign));
        }
        let far = too_far(state.id, &self.campaign.release, self.scene.fleet, self.scene.graph).next()?;
        let (neighbour, counter, most) = (self.scene.fleet.label(far.neighbour), far.counter, far.most);
        Some(format!(
            "would be too far apart from {neighbour}, which runs release counter {counter}: at most {most} are allowed between them"
        ))
    }

    fn join(&mut self, state: &DeviceState, hop: Option<usize>) {
        let text = target_text(&self.campaign, state, hop, self.scene.fleet, self.scene.drm);
        self.campaign.note(self.scene.now, Some(&state.name), format!("joins; {text}"));
        self.campaign.members.push(Member::pending(state.id, state.name.clone(), hop));
    }

    /// Takes out members that have not begun and do not fit any more; those that run the release by now have reached it.
    fn leave_out(&mut self, asked: &Asked<'_>) -> BTreeMap<DeviceId, ExcludedDevice> {
        let mut out = BTreeMap::new();
        let (fleet, now) = (self.scene.fleet, self.scene.now);
        // Both are in the order of ids, as a rule.
        let mut states = fleet.devices.values().peekable();
        for index in 0..self.campaign.members.len() {
            let member = &self.campaign.members[index];
            while states.next_if(|state| state.id < member.device).is_some() {}
            let waits =
                member.step == DeviceStep::Pending && member.element.is_none() && member.back.is_none();
            if !waits {
                continue;
            }
            let here = states.peek().copied().filter(|state| state.id == member.device);
            let Some(state) = here.or_else(|| fleet.devices.get(&member.device)) else { continue };
            match asked.fit(state) {
                Fit::Target { hop } if hop == member.hop => {}
                Fit::Target { hop } => self.campaign.members[index].hop = hop,
                Fit::Runs => {
                    self.campaign.members[index].step =
                        DeviceStep::Done { outcome: Outcome::Verified { strategy: None }, at: now };
                }
                Fit::NotMeant => {
                    out.insert(
                        member.device,
                        left_out(member, "is not meant by the query any more".to_owned()),
                    );
                }
                Fit::Unfit(why) => {
                    out.insert(member.device, left_out(member, why));
                }
            }
        }
        if !out.is_empty() {
            self.campaign.members.retain(|member| !out.contains_key(&member.device));
            for excluded in out.values() {
                self.campaign.note(now, Some(&excluded.name), format!("left out: it {}", excluded.reason));
            }
        }
        out
    }
}

fn left_out(member: &Member, reason: String) -> ExcludedDevice {
    ExcludedDevice { device: member.device, name: member.name.clone(), reason, joins: false }
}
