//! What other campaigns mean for one: devices that they have, whether one goes first, and how much of what the coordinator can do at a
//! time is left (paper 2, "Operation Enforcement": severities reorder the queue, which the coordinator's capacity bounds).

use std::collections::BTreeMap;

use takt_common::api::CampaignState;
use takt_common::release::Severity;
use takt_common::{DeviceId, Name};

use crate::advance::scene::is_in_element;
use crate::campaign::{Campaign, Member};
use takt_common::api::DeviceStep;

/// What other campaigns mean for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Others {
    /// Devices that another campaign has and does not give away.
    pub(crate) busy: BTreeMap<DeviceId, Busy>,
    /// Devices that have not begun here and that a more urgent campaign has.
    pub(crate) claimed: BTreeMap<DeviceId, Name>,
    /// A campaign of the same domain that goes first.
    pub(crate) first: Option<(Name, Severity)>,
    /// So many further devices may begin now.
    pub(crate) room: usize,
}

/// Another campaign that has a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Busy {
    /// Its name.
    pub(crate) campaign: Name,
    /// It is less urgent, so that the device is waited for.
    pub(crate) less_urgent: bool,
}

impl Default for Others {
    fn default() -> Self {
        Self { busy: BTreeMap::new(), claimed: BTreeMap::new(), first: None, room: usize::MAX }
    }
}

impl Others {
    /// For `campaign`, of all that have not settled. `room` is how many further orders the coordinator takes in hand now; campaigns that
    /// have devices to begin share it by their weights.
    pub fn of(campaign: &Campaign, all: &[&Campaign], room: usize) -> Self {
        let mut others = Self { room, ..Self::default() };
        let rank = |campaign: &Campaign| (campaign.release.severity, campaign.request.weight);
        let mut weights = 0_u64;
        for other in all.iter().filter(|other| !other.is_over()) {
            if waits_to_begin(other) {
                weights += u64::from(other.request.weight.max(1));
            }
            if other.request.name == campaign.request.name {
                continue;
            }
            let urgent = rank(other) > rank(campaign);
            for member in other.members.iter().filter(|member| is_unfinished(member)) {
                let less_urgent = campaign.release.severity > other.release.severity;
                if !(less_urgent && waits(member)) {
                    let busy = Busy { campaign: other.request.name.clone(), less_urgent };
                    others.busy.insert(member.device, busy);
                }
                if urgent {
                    others.claimed.insert(member.device, other.request.name.clone());
                }
            }
            let severer = other.release.severity > campaign.release.severity;
            if severer && other.request.domain == campaign.request.domain && waits_to_begin(other) {
                others.first = Some((other.request.name.clone(), other.release.severity));
            }
        }
        if weights > 0 && room != usize::MAX {
            let share = u64::try_from(room)
                .unwrap_or(u64::MAX)
                .saturating_mul(u64::from(campaign.request.weight.max(1)));
            // A share of less than one would never begin.
            others.room = usize::try_from(share / weights).unwrap_or(usize::MAX).max(usize::from(room > 0));
        }
        others
    }
}

impl Others {
    /// So many further devices may begin now.
    pub const fn room(&self) -> usize {
        self.room
    }
}

/// Whether the campaign has the device still.
fn is_unfinished(member: &Member) -> bool {
    !matches!(member.step, DeviceStep::Done { .. })
}

/// Whether devices of it are to begin as soon as they may.
fn waits_to_begin(campaign: &Campaign) -> bool {
    let goes_on = campaign.state == CampaignState::Ongoing
        || (campaign.state == CampaignState::Pending && campaign.is_approved());
    let pending = |member: &Member| member.step == DeviceStep::Pending || is_in_element(member);
    goes_on && campaign.brake.is_none() && campaign.members.iter().any(pending)
}

/// Whether `campaign` may take a device that `other` has: it is more urgent, and the device has not begun there.
pub(crate) fn may_overtake(severity: Severity, other: &Campaign, device: DeviceId) -> bool {
    let member = other.members.iter().find(|member| member.device == device);
    severity > other.release.severity && member.is_some_and(waits)
}

/// Whether its turn has not come.
fn waits(member: &Member) -> bool {
    member.step == DeviceStep::Pending && member.element.is_none()
}
