//! A campaign as the planner sees it: the devices that have not begun, and what holds between them.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::api::DeviceStep;
use takt_common::{DeviceId, UnixTime};
use takt_planner::{Call, Drm, Gateway, Metrics, Network, Problem, ServeSet, Slots, Standby, Takeover};

use super::make::Ground;
use super::order::firsts;
use crate::advance::scene::is_in_element;
use crate::campaign::{Campaign, Member};
use crate::fleet::FleetView;

/// What is asked of the planner. Devices are numbered by their names.
pub(super) struct Ask<'a> {
    pub(super) fleet: &'a FleetView,
    pub(super) network: Network,
    pub(super) slots: Slots,
    /// Who serves for a device without being in the campaign.
    pub(super) outside: BTreeMap<DeviceId, DeviceId>,
    /// By name.
    members: BTreeMap<&'a str, &'a Member>,
    /// In upgrade order.
    order: BTreeMap<&'a str, usize>,
    drm: Drm,
    gateways: Vec<Gateway>,
    max_in_flight: usize,
    /// Devices that require others which are being upgraded, and these: they wait for another slot.
    pub(super) not_yet: BTreeMap<u32, Vec<&'a str>>,
    /// Devices for which nothing is left of the present slot, as others have begun in it.
    crowded_out: Vec<u32>,
    /// For so long from its beginning, devices begin in a slot, in seconds.
    usable: u64,
}

impl<'a> Ask<'a> {
    /// For `first`, the first devices of [`super::order::in_order`].
    pub(super) fn new(
        campaign: &'a Campaign,
        fleet: &'a FleetView,
        ground: &Ground<'_>,
        first: &[&'a Member],
        now: UnixTime,
    ) -> Self {
        let members: BTreeMap<&str, &Member> =
            first.iter().map(|member| (member.name.as_str(), *member)).collect();
        let order = first.iter().map(|member| member.name.as_str()).zip(0..).collect();
        let targets: BTreeSet<DeviceId> = members.values().map(|member| member.device).collect();
        let numbers: BTreeMap<DeviceId, u32> =
            members.values().map(|member| member.device).zip(0..).collect();
        let number = |device: &DeviceId| numbers.get(device).copied();

        let mut builder = Network::builder();
        for name in members.keys() {
            builder.device(name);
        }
        for (source, member) in (0..).zip(members.values()) {
            for required in &firsts(member, &targets, &campaign.release, fleet, ground) {
                let Some(target) = number(required) else { continue };
                let (weight, metrics) = (None, Metrics::default());
                builder.call(Call { source, target, requires: true, weight, metrics });
            }
        }
        let in_work = campaign
            .members
            .iter()
            .filter(|member| is_in_element(member) && !targets.contains(&member.device));
        let in_work: BTreeMap<DeviceId, &str> =
            in_work.map(|member| (member.device, member.name.as_str())).collect();
        let waits_for = |member: &Member| -> Vec<&str> {
            let required = ground.graph.requirements(member.device);
            required.iter().filter_map(|device| in_work.get(device).copied()).collect()
        };
        let not_yet = (0..)
            .zip(members.values())
            .map(|(number, member)| (number, waits_for(member)))
            .filter(|(_, names)| !names.is_empty());

        let (slot_secs, deadline_secs) =
            (u64::from(ground.schedule.slot_secs), campaign.request.deadline_secs);
        let element_size = usize::try_from(campaign.course().most()).unwrap_or(usize::MAX);
        // As many elements as can be done in a slot, each in its whole deadline. Of a slot that is less than twice as long, too little
        // would be left: in such slots a device begins at any time.
        let elements = usize::try_from((slot_secs / deadline_secs).max(1)).unwrap_or(1);
        let usable = if elements > 1 { slot_secs - deadline_secs + 1 } else { slot_secs };
        let mut slots = ground.schedule.slots(now);
        let since = now.as_secs().saturating_sub(u64::try_from(slots.start).unwrap_or(0));
        if since >= usable {
            slots.open[0] = false;
        }
        let (mut drm, outside) = redundancy(&members, ground, &number);
        let gateways = gateways(ground, &number, &mut drm);
        let max_in_flight = ground.schedule.max_in_flight.unwrap_or(elements.saturating_mul(element_size));
        let present = UnixTime::from_secs(u64::try_from(slots.start).unwrap_or(0));
        let crowded_out = crowded_out(campaign, first, ground, present, max_in_flight);
        Self {
            fleet,
            network: builder.build(),
            slots,
            outside,
            order,
            gateways,
            drm,
            max_in_flight,
            not_yet: not_yet.collect(),
            crowded_out: crowded_out.iter().filter_map(number).collect(),
            usable,
            members,
        }
    }

    /// No more devices than this have slots.
    pub(super) fn room(&self) -> usize {
        self.slots.open.iter().filter(|open| **open).count().saturating_mul(self.max_in_flight)
    }

    /// What the planner is to solve.
    pub(super) fn problem<'p>(&'p self, loads: &'p [f64]) -> Problem<'p> {
        Problem {
            network: &self.network,
            drm: &self.drm,
            slots: &self.slots,
            max_in_flight: Some(self.max_in_flight),
            gateways: &self.gateways,
            loads,
            kept: None,
        }
    }

    /// Takes the present slot from devices that cannot begin in it.
    pub(super) fn close_present(&self, loads: &mut [f64]) {
        for device in self.not_yet.keys().chain(&self.crowded_out) {
            loads[*device as usize * self.slots.open.len()] = f64::INFINITY;
        }
    }

    /// The slots that devices have and can still begin in.
    pub(super) fn slots_before(&self) -> Vec<Option<usize>> {
        let slot = |member: &&Member| {
            let start = i64::try_from(member.slot.as_ref()?.start.as_secs()).ok()?;
            let ahead = start.checked_sub(self.slots.start)?;
            let slot = usize::try_from(ahead / self.slots.seconds).ok()?;
            (ahead % self.slots.seconds == 0 && slot < self.slots.open.len()).then_some(slot)
        };
        self.members.values().map(slot).collect()
    }

    /// How far back devices stand in the order of their upgrade (paper 1, algorithm, step 1).
    pub(super) fn ranks(&self) -> Vec<f64> {
        let rank = |name: &String| self.order.get(name.as_str()).map_or(0.0, |rank| *rank as f64);
        self.network.devices().iter().map(rank).collect()
    }

    /// The device with this name.
    pub(super) fn member(&self, name: &str) -> Option<&'a Member> {
        self.members.get(name).copied()
    }

    /// From when until when devices begin in a slot.
    pub(super) fn span(&self, slot: usize) -> (UnixTime, UnixTime) {
        let start = u64::try_from(self.slots.at(slot)).unwrap_or(0);
        (UnixTime::from_secs(start), UnixTime::from_secs(start.saturating_add(self.usable)))
    }
}

/// The devices for which nothing is left of the present slot: as many have begun in it as may, or as many behind a gateway as it feeds,
/// or one of a gateway and a device behind it has. Those that have the slot already come first, then the first in order.
fn crowded_out(
    campaign: &Campaign,
    first: &[&Member],
    ground: &Ground<'_>,
    present: UnixTime,
    max_in_flight: usize,
) -> Vec<DeviceId> {
    let has_it = |member: &Member| member.slot.as_ref().is_some_and(|slot| slot.start == present);
    let begun = campaign.members.iter().filter(|member| member.step != DeviceStep::Pending && has_it(member));
    let mut taken: BTreeSet<DeviceId> = begun.map(|member| member.device).collect();
    if taken.is_empty() {
        return Vec::new();
    }
    let mut asking = first.to_vec();
    asking.sort_by_key(|member| !has_it(member));
    let mut out = Vec::new();
    for device in asking.into_iter().map(|member| member.device) {
        let fits = taken.len() < max_in_flight
            && ground.schedule.gateways.iter().all(|gateway| {
                let behind = gateway.members.iter().filter(|member| **member != gateway.device);
                let away = behind.filter(|member| taken.contains(member)).count();
                if device == gateway.device {
                    away == 0
                } else if gateway.members.contains(&device) {
                    away < gateway.max_in_flight && !taken.contains(&gateway.device)
                } else {
                    true
                }
            });
        if fits {
            taken.insert(device);
        } else {
            out.push(device);
        }
    }
    out
}

/// Standbys among the devices, sets of which some must serve, and who stands in from outside of the campaign. Outside standbys are
/// not upgraded: all devices that share some are a set of which no more are away than there are standbys.
fn redundancy(
    members: &BTreeMap<&str, &Member>,
    ground: &Ground<'_>,
    number: &dyn Fn(&DeviceId) -> Option<u32>,
) -> (Drm, BTreeMap<DeviceId, DeviceId>) {
    let mut drm = Drm::default();
    let mut outside = BTreeMap::new();
    let mut sharing: BTreeMap<Vec<DeviceId>, Vec<u32>> = BTreeMap::new();
    for (device, member) in (0..).zip(members.values()) {
        let standbys = ground.drm.standbys_for(member.device);
        let others: Vec<DeviceId> =
            standbys.iter().filter(|standby| number(standby).is_none()).copied().collect();
        if let Some(first) = others.first() {
            outside.insert(member.device, *first);
            sharing.entry(others).or_default().push(device);
            continue;
        }
        for by in standbys.iter().filter_map(number) {
            let (takeover, capability) = (Takeover::Launch, None);
            drm.standbys.push(Standby { device, by, takeover, capability, capacity: 1 });
        }
    }
    for (standbys, members) in sharing {
        let serve_min = members.len().saturating_sub(standbys.len());
        drm.sets.push(ServeSet { name: "devices with the same standbys".to_owned(), members, serve_min });
    }
    for set in ground.drm.sets() {
        let members: Vec<u32> = set.members.iter().filter_map(number).collect();
        let serve_min = members.len().saturating_sub(set.away_max);
        drm.sets.push(ServeSet { name: set.name.to_string(), members, serve_min });
    }
    (drm, outside)
}

/// What gateways can feed. The devices behind one that is not upgraded itself are a set of which no more are away than it feeds.
fn gateways(ground: &Ground<'_>, number: &dyn Fn(&DeviceId) -> Option<u32>, drm: &mut Drm) -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for gateway in &ground.schedule.gateways {
        let members: Vec<u32> = gateway.members.iter().filter_map(number).collect();
        let (max_in_flight, agreed) = (gateway.max_in_flight, gateway.agreed);
        if let Some(device) = number(&gateway.device) {
            gateways.push(Gateway { device, members, max_in_flight, agreed });
        } else {
            let serve_min = members.len().saturating_sub(max_in_flight);
            drm.sets.push(ServeSet { name: "devices behind one gateway".to_owned(), members, serve_min });
        }
    }
    gateways
}
