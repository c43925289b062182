//! Which devices begin: one element at a time, required devices first, a standby before the device.

use takt_common::api::{CampaignState, DeviceStep};
use takt_common::order::{Action, Mode};
use takt_common::regulation::OnAbort;
use takt_common::{DeviceId, UnixTime};

use crate::advance::Round;
use crate::advance::scene::{Start, is_in_element};
use crate::campaign::Member;
use crate::timetable::is_slot_open;

impl Round<'_> {
    /// Begins devices of the present element that had to wait, or else the next element.
    pub(super) fn begin(&mut self) {
        if self.campaign.state == CampaignState::RollingBack {
            return self.begin_back();
        }
        let forced = self.campaign.forced_at().is_some_and(|at| at <= self.scene.now);
        let unplanned = self.campaign.unplanned.is_some() && !forced;
        let held = self.campaign.brake.is_some() || unplanned;
        if held || self.campaign.state != CampaignState::Ongoing {
            return;
        }
        self.scene.look_again(&self.campaign);
        let members = 0..self.campaign.members.len();
        let waiting = members.filter(|index| {
            let member = &self.campaign.members[*index];
            member.step == DeviceStep::Pending
                && member.element.is_some()
                && is_slot_open(&self.campaign, member, self.scene.now)
        });
        for index in waiting.collect::<Vec<_>>() {
            if self.is_full() {
                break;
            }
            if self.try_start(index) {
                self.scene.note_begun(&self.campaign.members[index]);
            }
        }
        let may_go_on = self.campaign.pace.is_open() && self.is_overtaken().is_none();
        if may_go_on && !self.campaign.members.iter().any(is_in_element) {
            self.next_element();
        }
    }

    /// Fills the next element in upgrade order with devices that can begin now and do not need each other. When none
    /// can, the first that may gets its turn alone, so that its wait is counted.
    fn next_element(&mut self) {
        let size = self.campaign.next_size();
        let (mut begun, mut first_waiting) = (0, None);
        let count = self.campaign.members.len();
        for (online, index) in
            (0..count).map(|index| (true, index)).chain((0..count).map(|index| (false, index)))
        {
            if begun == size {
                break;
            }
            let member = &self.campaign.members[index];
            let may_begin = member.step == DeviceStep::Pending
                && is_slot_open(&self.campaign, member, self.scene.now)
                && self.is_online(member) == online;
            if !may_begin || !self.scene.unverified_requirements(member).is_empty() {
                continue;
            }
            if self.try_start(index) || self.starts_next_round(index) {
                self.take_turn(index);
                self.scene.note_begun(&self.campaign.members[index]);
                begun += 1;
            } else {
                first_waiting = first_waiting.or(Some(index));
            }
        }
        match (begun, first_waiting) {
            (0, None) => {}
            (0, Some(index)) => {
                self.take_turn(index);
                self.scene.note_begun(&self.campaign.members[index]);
                self.campaign.begin_element(size, self.scene.now);
                if let Start::Wait(why) = self.scene.start_of(&self.campaign, &self.campaign.members[index]) {
                    self.note(index, format!("its turn has come; it waits: {why}"));
                }
            }
            _ => self.campaign.begin_element(size, self.scene.now),
        }
    }

    /// Whether a member could begin but for the orders of this round, which are enough.
    pub(super) fn starts_next_round(&self, index: usize) -> bool {
        self.is_full()
            && !matches!(self.scene.start_of(&self.campaign, &self.campaign.members[index]), Start::Wait(_))
    }

    /// Whether a member is here. Those that are offline come last: silence would only hold the element up.
    fn is_online(&self, member: &Member) -> bool {
        self.scene.fleet.devices.get(&member.device).is_some_and(|state| state.online)
    }

    pub(super) fn take_turn(&mut self, index: usize) {
        // In a turn of its own, a device has at least a moment.
        let waited_max = self.campaign.request.deadline_secs.saturating_sub(1);
        let member = &mut self.campaign.members[index];
        let waited_since = self.scene.now.as_secs().saturating_sub(member.waited_secs.min(waited_max));
        member.element = Some(self.campaign.elements);
        member.turn = Some(UnixTime::from_secs(waited_since));
    }

    /// Asks for the first order of a pending member, if it can begin.
    pub(super) fn try_start(&mut self, index: usize) -> bool {
        let member = &self.campaign.members[index];
        // What is to be brought back does not wait for room.
        if self.begun >= self.others.room && member.back.is_none() {
            return false;
        }
        let begins = self.start(index);
        self.begun += usize::from(begins);
        begins
    }

    fn start(&mut self, index: usize) -> bool {
        let member = &self.campaign.members[index];
        match self.scene.start_of(&self.campaign, member) {
            Start::InPlace => self.install(index, Mode::InPlace),
            Start::Served { standby } => self.install(index, Mode::Rolling { standby }),
            Start::Rolling { standby, release } => {
                let (device, name) = (member.device, member.name.clone());
                let (how, lease) = (self.scene.drm.takeover_of(device), self.lease + 1);
                let action = Action::TakeOver { device, name, how, lease };
                let Some(order) = self.order(standby, action, Some(release), Mode::InPlace) else {
                    return false;
                };
                self.lease = lease;
                let since = self.scene.now;
                self.campaign.members[index].step = DeviceStep::TakingOver { standby, order, since };
                self.campaign.members[index].memory = None;
                let label = self.scene.fleet.label(standby);
                self.note(index, format!("{label} is asked to take over (order {order}, lease {lease})"));
                true
            }
            Start::Wait(_) => false,
        }
    }

    /// Orders the release itself.
    pub(super) fn install(&mut self, index: usize, mode: Mode) -> bool {
        let device: DeviceId = self.campaign.members[index].device;
        let member = &self.campaign.members[index];
        let release = self.campaign.target_of(member).0.clone();
        let (back, how) = if member.back.is_some() { (true, "ordered back") } else { (false, "ordered") };
        let text = match &mode {
            Mode::InPlace => format!("{how}: {release}, in place"),
            Mode::Rolling { standby } => {
                format!("{how}: {release}, rolling, {} serves", self.scene.fleet.label(*standby))
            }
        };
        let Some(order) = self.order(device, Action::Install, Some(release), mode.clone()) else {
            return false;
        };
        let (attempts, first) =
            (self.campaign.members[index].failed_attempts, self.campaign.members[index].before.is_none());
        if let Some(order) = self.orders.last_mut() {
            order.policy.downgrade |= back;
            order.policy.retry |= attempts > 0;
        }
        self.campaign.members[index].again_at = None;
        if !back && first && self.campaign.request.regulation.on_abort == OnAbort::Rollback {
            let state = self.scene.fleet.devices.get(&device);
            let runs = state.and_then(|state| state.installed_release(&self.campaign.release.id.name));
            self.campaign.members[index].before = runs.cloned();
        }
        self.campaign.members[index].step = DeviceStep::Upgrading { order, mode, since: self.scene.now };
        self.note(index, format!("{text} (order {order})"));
        true
    }
}
