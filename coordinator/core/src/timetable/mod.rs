//! When each device of a campaign begins, where its domain has a schedule (paper 1, "Synchronize and Develop Deployment Schedule").
//!
//! [`due`] says whether slots are to be chosen anew, [`make_timetable`] chooses them, [`Campaign::with_timetable`] gives them to the
//! devices that have not begun.

mod make;
mod order;
mod problem;

pub use make::{Ground, Timetable, TimetableError, make_timetable};

use takt_common::api::{CampaignState, DeviceStep};
use takt_common::{Name, Sha256Digest, UnixTime};

use crate::campaign::{Campaign, Member, StoredPlan};

/// Why slots are to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// There is no plan yet.
    First,
    /// Graph, DRM or schedule are others than before.
    Ground,
    /// A device has not begun in its slot.
    Missed,
    /// More is known of loads.
    Loads,
}

/// Whether slots of the campaign's devices are to be chosen. `ground` is the digest of graph, DRM and schedule, `known_until` tells
/// until when loads are known.
pub fn due(campaign: &Campaign, ground: &Sha256Digest, known_until: UnixTime, now: UnixTime) -> Option<Due> {
    let goes_on = matches!(campaign.state, CampaignState::Pending | CampaignState::Ongoing);
    if !goes_on || campaign.brake.is_some() || pending(campaign).next().is_none() {
        return None;
    }
    let Some(plan) = &campaign.plan else { return Some(Due::First) };
    let missed = |member: &Member| member.slot.as_ref().is_some_and(|slot| slot.end <= now);
    let none_left = pending(campaign).all(|member| member.slot.is_none());
    // A clock that was ahead has chosen slots that may be far off.
    if plan.ground != *ground || plan.view.made > now {
        Some(Due::Ground)
    } else if none_left || pending(campaign).any(missed) {
        Some(Due::Missed)
    } else {
        (plan.known_until < known_until).then_some(Due::Loads)
    }
}

/// So much of a slot's reason stands in the timeline; the slot has all of it.
const NOTED_CHARS_MAX: usize = 120;

/// The members that have not begun.
fn pending(campaign: &Campaign) -> impl Iterator<Item = &Member> {
    campaign.members.iter().filter(|member| member.step == DeviceStep::Pending)
}

/// Whether a member may begin now: in its slot, always where the domain has no schedule, and once the campaign's time is up.
pub(crate) fn is_slot_open(campaign: &Campaign, member: &Member, now: UnixTime) -> bool {
    match &member.slot {
        // The way back waits for nothing.
        _ if member.back.is_some() => true,
        _ if campaign.forced_at().is_some_and(|at| at <= now) => true,
        Some(slot) => (slot.start..slot.end).contains(&now),
        None => !campaign.is_scheduled(),
    }
}

impl Campaign {
    /// Whether its devices have slots, or none begins because they should have some.
    pub const fn is_scheduled(&self) -> bool {
        self.plan.is_some() || self.unplanned.is_some()
    }

    /// The same once its devices should have slots and got none. Those that have some keep them; without any, no device begins.
    #[must_use]
    pub fn with_no_timetable(&self, why: &str, now: UnixTime) -> Self {
        let mut held = self.clone();
        if held.plan.is_none() && held.unplanned.as_deref() != Some(why) {
            held.note(now, None, format!("no device begins: {why}"));
            held.unplanned = Some(why.to_owned());
        }
        held
    }

    /// The device whose slot begins next, and when.
    pub(crate) fn next_slot(&self, now: UnixTime) -> Option<(&Name, UnixTime)> {
        let next = pending(self).filter_map(|member| {
            let start = member.slot.as_ref()?.start;
            (start > now).then_some((&member.name, start))
        });
        next.min_by_key(|(_, start)| *start)
    }

    /// Devices whose turn has come and whose slot is over wait for another turn; what they have waited counts.
    pub(crate) fn end_turns(&mut self, now: UnixTime) {
        for index in 0..self.members.len() {
            let member = &self.members[index];
            let Some(turn) = member.turn.filter(|_| member.step == DeviceStep::Pending) else { continue };
            if is_slot_open(self, member, now) {
                continue;
            }
            let member = &mut self.members[index];
            member.waited_secs = now.since(turn).as_secs();
            (member.element, member.turn) = (None, None);
        }
    }

    /// The same with other slots for the devices that have not begun.
    #[must_use]
    pub fn with_timetable(&self, timetable: &Timetable, now: UnixTime) -> Self {
        let mut planned = self.clone();
        planned.unplanned = None;
        planned.plan = Some(StoredPlan {
            view: timetable.view.clone(),
            ground: timetable.ground,
            known_until: timetable.known_until,
        });
        for index in 0..planned.members.len() {
            if planned.members[index].step != DeviceStep::Pending {
                continue;
            }
            let member = &mut planned.members[index];
            let Some(slot) = timetable.slots.get(&member.device) else {
                // The slots ahead are full.
                member.slot = None;
                continue;
            };
            let before = member.slot.replace(slot.clone()).map(|slot| slot.start);
            if before == Some(slot.start) {
                continue;
            }
            let (name, moved) = (member.name.clone(), if before.is_some() { "moved to " } else { "" });
            let reason: String = slot.reason.chars().take(NOTED_CHARS_MAX).collect();
            planned.note(now, Some(&name), format!("{moved}{reason}"));
        }
        planned
    }

    /// The same without slots: the domain has no schedule any more.
    #[must_use]
    pub fn without_timetable(&self, now: UnixTime) -> Self {
        let mut free = self.clone();
        (free.plan, free.unplanned) = (None, None);
        for member in free.members.change(|member| member.step == DeviceStep::Pending) {
            member.slot = None;
        }
        free.note(
            now,
            None,
            "the domain has no schedule any more: devices begin as soon as they can".to_owned(),
        );
        free
    }
}
