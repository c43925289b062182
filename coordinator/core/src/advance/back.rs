//! The way back of a fleet: after an abort, devices that run the release are brought back to what they ran before, elements at a time
//! and faster than they came, standbys first.

use std::collections::BTreeSet;
use std::time::Duration;

use takt_common::DeviceId;
use takt_common::api::{CampaignState, DeviceStep};

use crate::advance::Round;
use crate::advance::scene::{is_in_element, is_in_work};
use crate::campaign::{Back, Member};
use crate::open::DEADLINE_SECS_MAX;
use crate::regulation::{Course, Tally};

/// The first element of the way back is so many times as large as that of the way there, and each other one as the one before it.
const FIRST_TIMES: u32 = 2;
const GROWTH_TIMES: u32 = 4;
/// An element is at most this part of the devices that are to be brought back.
const ELEMENT_PARTS: u32 = 2;

impl Round<'_> {
    /// Once nothing is in work under the brake: whether devices are to be brought back. Then each has that before it.
    pub(super) fn turn_back(&mut self) -> bool {
        if !self.campaign.brings_back() || self.campaign.state == CampaignState::RollingBack {
            return false;
        }
        let affected: Vec<usize> = (0..self.campaign.members.len())
            .filter(|index| {
                let member = &self.campaign.members[*index];
                member.before.is_some() && member.owed.is_none() && self.runs_release(member)
            })
            .collect();
        for index in &affected {
            self.turn(*index);
        }
        if affected.is_empty() {
            return false;
        }
        self.campaign.state = CampaignState::RollingBack;
        let text = format!("{} devices are to be brought back to what they ran before", affected.len());
        let cause = self.campaign.brake.as_ref().map_or("", |brake| brake.reason.as_str());
        self.campaign.reason = format!("{cause}; {text}");
        self.campaign.note(self.scene.now, None, text);
        true
    }

    /// Devices whose end nobody knew, once they are heard of: those that run a release which was aborted meanwhile are brought back too.
    pub(super) fn hear_late(&mut self) {
        let forgotten = self.campaign.ended.map(|ended| ended + Duration::from_secs(DEADLINE_SECS_MAX));
        for index in 0..self.campaign.members.len() {
            let member = &self.campaign.members[index];
            let Some(order) = member.unheard else { continue };
            let (device, awaited) = (member.device, self.campaign.awaits(member));
            let state = self.scene.fleet.devices.get(&device);
            let heard = state.is_none_or(|state| state.ended.iter().any(|ended| ended.position >= order));
            if !heard {
                if forgotten.is_some_and(|at| at <= self.scene.now) {
                    self.campaign.members[index].unheard = None;
                    self.note(index, "it is awaited no more".to_owned());
                }
                continue;
            }
            // Its standby hands back first; and under the brake all who run the release turn back together.
            let ending = !self.campaign.is_over() && self.campaign.state != CampaignState::RollingBack;
            if member.owed.is_some() || ending {
                continue;
            }
            let runs_it = self.runs_release(member);
            self.campaign.members[index].unheard = None;
            if !awaited || !runs_it {
                continue;
            }
            if let Some(busy) = self.others.busy.get(&device) {
                let text = format!(
                    "heard of again with {}; campaign {} has it",
                    self.campaign.release.id, busy.campaign
                );
                self.note(index, text);
                continue;
            }
            self.turn(index);
            self.note(
                index,
                format!("heard of again with {}: it is to be brought back", self.campaign.release.id),
            );
            if self.campaign.is_over() {
                self.campaign.state = CampaignState::RollingBack;
                self.campaign.ended = None;
            }
        }
    }

    /// `; 3 silent devices are brought back …`, where some are awaited.
    pub(super) fn awaited(&self) -> String {
        let awaited = self.campaign.members.iter().filter(|member| self.campaign.awaits(member)).count();
        if awaited == 0 {
            return String::new();
        }
        format!("; {awaited} silent devices are brought back once they are heard of, if they run it then")
    }

    /// Whether the device says that it runs the release.
    fn runs_release(&self, member: &Member) -> bool {
        let state = self.scene.fleet.devices.get(&member.device);
        let runs = state.and_then(|state| state.installed_release(&self.campaign.release.id.name));
        runs.is_some_and(|runs| runs.manifest == self.campaign.release.manifest)
    }

    /// Lets a device that has ended wait for its way back.
    fn turn(&mut self, index: usize) {
        let member = &mut self.campaign.members[index];
        if let DeviceStep::Done { outcome, .. } = &member.step {
            member.back = Some(Back { outcome: outcome.clone() });
            member.step = DeviceStep::Pending;
            (member.element, member.turn, member.slot) = (None, None, None);
            member.withdrawal = None;
        }
    }

    /// The next element of the way back, once the last one has ended.
    pub(super) fn begin_back(&mut self) {
        if self.way_back_fails().is_some() {
            return;
        }
        self.scene.look_again(&self.campaign);
        let waiting: Vec<usize> = self.back_members(|member| is_in_element(member) && !is_in_work(member));
        for index in waiting {
            if self.try_start(index) {
                self.scene.note_begun(&self.campaign.members[index]);
            }
        }
        if self.campaign.members.iter().any(is_in_element) {
            return;
        }
        let pending = self.back_members(|member| member.step == DeviceStep::Pending);
        let (size, standbys) = (self.back_size() as usize, self.standbys());
        let of_standbys = |index: &usize| standbys.contains(&self.campaign.members[*index].device);
        let (first, rest): (Vec<usize>, Vec<usize>) = pending.into_iter().partition(of_standbys);
        let (mut begun, mut left) = (0, None);
        for index in first.into_iter().chain(rest) {
            if begun == size {
                break;
            }
            if self.try_start(index) || self.starts_next_round(index) {
                self.take_turn(index);
                self.scene.note_begun(&self.campaign.members[index]);
                begun += 1;
            } else {
                left = left.or(Some(index));
            }
        }
        match left {
            Some(index) if begun == 0 => self.take_turn(index),
            None if begun == 0 => return,
            _ => {}
        }
        self.campaign.elements += 1;
        self.campaign.pace.back += 1;
    }

    /// Whether all have been brought back that can be, and how it stands, in words.
    pub(super) fn back_state(&self) -> (bool, String) {
        let all = self.back_members(|_| true);
        let is_back = |member: &Member| matches!(&member.step, DeviceStep::Done { outcome, .. } if outcome.is_success());
        let back = self.back_members(is_back).len();
        let failed =
            self.back_members(|member| matches!(member.step, DeviceStep::Done { .. }) && !is_back(member));
        let mut text = format!("{back} of {} devices are brought back to what they ran before", all.len());
        if !failed.is_empty() {
            let failed: Vec<&Member> = failed.iter().map(|index| &self.campaign.members[*index]).collect();
            text = format!("{text}, not {}", super::names(&failed));
        }
        let in_work = self.campaign.members.iter().any(is_in_element);
        match self.way_back_fails() {
            Some(why) => {
                (!in_work, format!("{text}; the others are left as they are, for the way back fails: {why}"))
            }
            None => (back + failed.len() == all.len(), text),
        }
    }

    /// Why no other device is brought back: the way back harms as well.
    fn way_back_fails(&self) -> Option<String> {
        let mut tally = Tally::default();
        for index in self.back_members(|_| true) {
            if let DeviceStep::Done { outcome, .. } = &self.campaign.members[index].step {
                tally.devices += 1;
                tally.errors += u32::from(!outcome.is_success());
            }
        }
        let fleet = u32::try_from(self.back_members(|_| true).len()).unwrap_or(u32::MAX);
        let course = Course { regulation: &self.campaign.request.regulation, fleet, asked: None };
        (tally.errors > 0).then(|| course.must_abort(tally)).flatten()
    }

    fn back_size(&self) -> u32 {
        let all = u32::try_from(self.back_members(|_| true).len()).unwrap_or(u32::MAX);
        let first = self.campaign.course().first().saturating_mul(FIRST_TIMES);
        let grown = first.saturating_mul(GROWTH_TIMES.saturating_pow(self.campaign.pace.back));
        grown.min((all / ELEMENT_PARTS).max(1))
    }

    fn back_members(&self, which: impl Fn(&Member) -> bool) -> Vec<usize> {
        let members = self.campaign.members.iter().enumerate();
        members.filter(|(_, member)| member.back.is_some() && which(member)).map(|(index, _)| index).collect()
    }

    /// Devices that may have to serve for others.
    fn standbys(&self) -> BTreeSet<DeviceId> {
        let members = self.campaign.members.iter();
        members.flat_map(|member| self.scene.drm.standbys_for(member.device).iter().copied()).collect()
    }
}
