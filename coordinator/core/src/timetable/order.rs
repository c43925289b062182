//! Which of the devices that have not begun come first, by all that holds between them.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::DeviceId;

use super::make::Ground;
use super::pending;
use crate::campaign::{Campaign, Member, ReleaseFacts};
use crate::fleet::FleetView;
use crate::skew::too_far;

/// What comes before `member` among `targets`: what it requires, and what it would be too far ahead of.
pub(super) fn firsts(
    member: &Member,
    targets: &BTreeSet<DeviceId>,
    release: &ReleaseFacts,
    fleet: &FleetView,
    ground: &Ground<'_>,
) -> BTreeSet<DeviceId> {
    let mut firsts = ground.graph.next_requirements(member.device, targets);
    let ahead_of = too_far(member.device, release, fleet, ground.graph).map(|far| far.neighbour);
    firsts.extend(ahead_of.filter(|device| targets.contains(device)));
    firsts
}

/// The devices of a campaign that have not begun, each behind those that come before it: those of [`firsts`] and, before a gateway,
/// those that it cuts off. Of those that are free the first in upgrade order comes first; devices that wait for each other in a
/// circle come last.
pub(super) fn in_order<'c>(
    campaign: &'c Campaign,
    fleet: &FleetView,
    ground: &Ground<'_>,
) -> Vec<&'c Member> {
    let members: Vec<&Member> = pending(campaign).collect();
    let places: BTreeMap<DeviceId, usize> =
        members.iter().enumerate().map(|(place, member)| (member.device, place)).collect();
    let targets: BTreeSet<DeviceId> = places.keys().copied().collect();
    let mut before: Vec<BTreeSet<usize>> = members
        .iter()
        .map(|member| {
            let firsts = firsts(member, &targets, &campaign.release, fleet, ground);
            firsts.iter().filter_map(|device| places.get(device).copied()).collect()
        })
        .collect();
    for gateway in ground.schedule.gateways.iter().filter(|gateway| !gateway.agreed) {
        let Some(own) = places.get(&gateway.device) else { continue };
        let wants_it = |member: DeviceId| ground.graph.requirements(member).contains(&gateway.device);
        let cut_off =
            gateway.members.iter().filter(|member| **member != gateway.device && !wants_it(**member));
        before[*own].extend(cut_off.filter_map(|member| places.get(member)));
    }
    let mut left: BTreeSet<usize> = (0..members.len()).collect();
    let mut order = Vec::with_capacity(members.len());
    while !left.is_empty() {
        let free = left.iter().copied().find(|place| before[*place].is_disjoint(&left));
        let Some(next) = free else { break };
        left.remove(&next);
        order.push(members[next]);
    }
    order.extend(left.into_iter().map(|place| members[place]));
    order
}
