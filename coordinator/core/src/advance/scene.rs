//! What a round looks at: the fleet, the graph, the DRM and what other campaigns have in work; and whether a device
//! could begin now.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::api::DeviceStep;
use takt_common::order::{Action, Mode};
use takt_common::release::ReleaseId;
use takt_common::report::Outcome;
use takt_common::{DeviceId, Name, UnixTime};
use takt_planner::{DomainGraph, RedundancyMatrix};

use crate::advance::away::Away;
use crate::campaign::{Campaign, Member};
use crate::fleet::{DeviceState, FleetView};
use crate::others::Others;
use crate::skew::too_far;

/// What a round looks at.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// All devices.
    pub fleet: &'a FleetView,
    /// Who depends on whom.
    pub graph: &'a DomainGraph,
    /// Who can stand in for whom, and how many may be away.
    pub drm: &'a RedundancyMatrix,
    /// How long the coordinator takes for a report now, in milliseconds, where that is known.
    pub response: Option<f64>,
    /// What other campaigns mean for this one.
    pub others: &'a Others,
    /// Whether to look who is a target now; it need not be done in every round.
    pub identify: bool,
    /// The last fencing token that a takeover got.
    pub lease: u64,
    /// At most so many orders are asked for; what is left over is asked for in the next round.
    pub orders_max: usize,
    /// The time.
    pub now: UnixTime,
}

/// The facts of a round, and who is away in it.
pub(crate) struct Scene<'a> {
    pub(crate) fleet: &'a FleetView,
    pub(crate) graph: &'a DomainGraph,
    pub(crate) drm: &'a RedundancyMatrix,
    pub(crate) now: UnixTime,
    others: &'a Others,
    /// Devices that are being upgraded or are about to be, in whatever campaign.
    in_work: BTreeSet<DeviceId>,
    /// The same, and those of this campaign whose turn has come.
    away: Away,
    /// Device to the standby that serves for it or has been asked to.
    served_by: BTreeMap<DeviceId, DeviceId>,
    /// Standbys that serve for devices of this campaign, or are to.
    engaged: BTreeMap<DeviceId, Name>,
    /// Devices of this campaign that are not verified.
    unverified: BTreeSet<DeviceId>,
}

/// How a device could begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nobody has to serve for it.
    InPlace,
    /// The standby takes over first, with the release that the device runs.
    Rolling { standby: DeviceId, release: ReleaseId },
    /// The standby serves already, since an earlier upgrade.
    Served { standby: DeviceId },
    /// It cannot; why, in a few words.
    Wait(String),
}

impl<'a> Scene<'a> {
    /// The facts, and who is away: with what `campaign` has in work, where one is looked at.
    pub(crate) fn new(look: &Look<'a>, campaign: Option<&Campaign>) -> Self {
        let Look { fleet, graph, drm, now, others, .. } = *look;
        let (mut in_work, mut served_by) = (BTreeSet::new(), BTreeMap::new());
        for state in fleet.devices.values() {
            if let Some(device) = state.standing_in_for {
                served_by.insert(device, state.id);
            }
            match state.order.as_ref().map(|order| &order.action) {
                Some(Action::Install) => {
                    in_work.insert(state.id);
                }
                Some(Action::TakeOver { device, .. }) => {
                    in_work.insert(*device);
                    served_by.insert(*device, state.id);
                }
                // The takeover for which it hands memory over says that it is in work.
                Some(Action::Checkpoint { .. } | Action::HandBack { .. } | Action::Withdraw) | None => {}
            }
        }
        let (away, engaged, unverified) = (Away::default(), BTreeMap::new(), BTreeSet::new());
        let mut scene =
            Self { fleet, graph, drm, now, others, in_work, away, served_by, engaged, unverified };
        if let Some(campaign) = campaign {
            scene.look_again(campaign);
        }
        scene
    }

    /// Notes where the devices of the campaign are now.
    pub(crate) fn look_again(&mut self, campaign: &Campaign) {
        self.away = Away::nobody(self.fleet, self.drm);
        let here = campaign.members.iter().filter(|member| is_in_element(member)).map(|member| member.device);
        for device in here.chain(self.in_work.iter().copied()) {
            self.away.add(device, self.fleet, self.graph, self.drm);
        }
        let engaged =
            campaign.members.iter().filter_map(|member| Some((standby_of(member)?, member.name.clone())));
        self.engaged = engaged.collect();
        if self.graph.has_requirements() {
            let unverified = campaign.members.iter().filter(|member| !is_verified(member));
            self.unverified = unverified.map(|member| member.device).collect();
        }
    }

    /// Notes that the turn of a device has come, or that it begins.
    pub(crate) fn note_begun(&mut self, member: &Member) {
        self.away.add(member.device, self.fleet, self.graph, self.drm);
        if let Some(standby) = standby_of(member) {
            self.engaged.insert(standby, member.name.clone());
        }
    }

    /// Whether all that the member requires among the campaign's devices is verified; if not, the names of the rest.
    pub(crate) fn unverified_requirements(&self, member: &Member) -> Vec<String> {
        let required = self.graph.requirements(member.device);
        required.intersection(&self.unverified).map(|device| self.fleet.label(*device)).collect()
    }

    /// How `member` could begin now.
    pub(crate) fn start_of(&self, campaign: &Campaign, member: &Member) -> Start {
        let Some(state) = self.fleet.devices.get(&member.device) else {
            return Start::Wait("it is not enrolled any more".to_owned());
        };
        if let Some(why) = state.barred() {
            return Start::Wait(format!("it {why}"));
        }
        if let Some(why) = self.not_free(state) {
            return Start::Wait(why);
        }
        if let Some(other) = self.others.claimed.get(&member.device).filter(|_| member.back.is_none()) {
            return Start::Wait(format!("campaign {other} is more urgent and has it"));
        }
        if let Some(at) = member.again_at.filter(|at| self.now < *at) {
            let attempt = member.failed_attempts + 1;
            return Start::Wait(format!(
                "attempt {attempt} of {} begins at {at}",
                campaign.request.retry.attempts
            ));
        }
        if let Some(why) = self.conflict(state) {
            return Start::Wait(why);
        }
        let goal = member.hop.and_then(|hop| campaign.path.get(hop)).unwrap_or(&campaign.release);
        let mut far = too_far(member.device, goal, self.fleet, self.graph);
        // What it ran before was not too far from them.
        if let Some(far) = far.next().filter(|_| member.back.is_none()) {
            return Start::Wait(format!(
                "{} runs release counter {} and this would be {}: they may be {} apart",
                self.fleet.label(far.neighbour),
                far.counter,
                goal.counter,
                far.most
            ));
        }
        if let Some(standby) = self.served_by.get(&member.device).copied() {
            return self.start_served(standby);
        }
        let runs = state.installed_release(&campaign.release.id.name);
        let standbys = self.standbys_of(member);
        // Silence does not mean that nothing runs there.
        if runs.is_none() && state.sequence == 0 && !standbys.is_empty() {
            return Start::Wait("it has not said yet what it runs".to_owned());
        }
        let (Some(runs), [_, ..]) = (runs, standbys.as_slice()) else {
            return Start::InPlace;
        };
        let mut reasons = Vec::with_capacity(standbys.len());
        for standby in standbys {
            match self.unable(standby) {
                None => {
                    // On the way back, the standby does not serve with what is being left.
                    let back = member.back.as_ref().and(member.before.as_ref());
                    return Start::Rolling { standby, release: back.unwrap_or(runs).release.clone() };
                }
                Some(why) => reasons.push(format!("{} {why}", self.fleet.label(standby))),
            }
        }
        Start::Wait(format!("no standby can take over: {}", reasons.join("; ")))
    }

    /// Who may serve for the member, the one that its slot foresees first.
    fn standbys_of(&self, member: &Member) -> Vec<DeviceId> {
        let mut standbys = self.drm.standbys_for(member.device).to_vec();
        let foreseen = member.slot.as_ref().and_then(|slot| slot.standby);
        standbys.sort_by_key(|standby| Some(*standby) != foreseen);
        standbys
    }

    /// Why the device cannot take an order of its own now.
    pub(crate) fn not_free(&self, state: &DeviceState) -> Option<String> {
        if let Some(order) = state.in_hand() {
            return Some(format!("its order {} ({}) has not ended", order.position, order.action));
        }
        let device = state.standing_in_for?;
        Some(format!("it stands in for {}", self.fleet.label(device)))
    }

    /// Devices that must not be away together with this one and are, here or in another campaign.
    fn conflict(&self, state: &DeviceState) -> Option<String> {
        let device = state.id;
        if let Some((other, bond)) = self.away.bond(device, self.graph, self.drm) {
            return Some(format!("{} is in work and {bond}", self.fleet.label(other)));
        }
        let in_sets = self.drm.sets_of(device).iter().find_map(|set| self.too_many_away(*set, device));
        in_sets.or_else(|| self.path_is_busy(device)).or_else(|| {
            let most = self.drm.max_in_flight()?;
            let away = self.away.in_domain_beside(state);
            (away >= most).then(|| format!("{away} devices of the domain are in work, at most {most} may be"))
        })
    }

    /// Whether the gateway of `device`, or what is behind `device` where it is one, leaves no room for it.
    fn path_is_busy(&self, device: DeviceId) -> Option<String> {
        self.drm.gateways_of(device).iter().find_map(|number| {
            let gateway = &self.drm.gateways()[*number];
            let label = self.fleet.label(gateway.device);
            let count = self.away.behind_beside(device, *number, self.drm);
            let away = || {
                let behind = gateway.members.iter().filter(|member| **member != gateway.device);
                let away = behind.filter(|member| self.away.has(**member) && **member != device);
                away.map(|member| self.fleet.label(*member)).collect::<Vec<_>>().join(", ")
            };
            if device == gateway.device {
                return (count > 0).then(|| format!("{} behind it in work", away()));
            }
            if self.away.has(gateway.device) {
                return Some(format!("{label} is in work and this device is behind it"));
            }
            let most = gateway.max_in_flight;
            (count >= most).then(|| format!("{label} feeds {most} at a time, and {} in work", away()))
        })
    }

    /// Whether so many of a set, by its number, are away that `device`, which belongs to it, must not be.
    fn too_many_away(&self, number: usize, device: DeviceId) -> Option<String> {
        let set = &self.drm.sets()[number];
        if self.away.absent_beside(device, number, self.fleet) < set.away_max {
            return None;
        }
        let away = |other: &DeviceId| match self.fleet.devices.get(other) {
            _ if self.away.has(*other) => Some(format!("{} is in work", self.fleet.label(*other))),
            Some(state) if state.online => None,
            Some(state) => Some(format!("{} {}", state.name, offline(state))),
            None => Some(format!("{other} is not enrolled any more")),
        };
        let away: Vec<String> =
            set.members.iter().filter(|other| **other != device).filter_map(away).collect();
        let (serve_min, members) = (set.members.len() - set.away_max, set.members.len());
        Some(format!("of set {}, {serve_min} of {members} must serve: {}", set.name, away.join(", ")))
    }

    /// Somebody serves for the device since an earlier upgrade: go on with that one if it can be relied on.
    fn start_served(&self, standby: DeviceId) -> Start {
        let label = self.fleet.label(standby);
        match self.fleet.devices.get(&standby) {
            Some(state) if state.in_hand().is_none() && state.online => Start::Served { standby },
            Some(state) if state.in_hand().is_some() => {
                Start::Wait(format!("{label} serves for it and has an order that has not ended"))
            }
            Some(_) | None => Start::Wait(format!("{label} serves for it and is offline")),
        }
    }

    /// Why `standby` cannot take over now.
    fn unable(&self, standby: DeviceId) -> Option<String> {
        let Some(state) = self.fleet.devices.get(&standby) else {
            return Some("is not enrolled any more".to_owned());
        };
        if let Some(why) = state.barred() {
            return Some(why);
        }
        if !state.online {
            return Some(offline(state));
        }
        if let Some(order) = state.in_hand() {
            return Some(format!("has order {} ({}) in hand", order.position, order.action));
        }
        if let Some(other) = state.standing_in_for {
            return Some(format!("stands in for {} already", self.fleet.label(other)));
        }
        if self.away.has(standby) || self.served_by.contains_key(&standby) {
            return Some("is being upgraded itself".to_owned());
        }
        self.engaged.get(&standby).map(|name| format!("serves for {name}"))
    }
}

/// `is offline since …`.
pub(crate) fn offline(state: &DeviceState) -> String {
    state
        .last_seen
        .map_or_else(|| "has never been heard of".to_owned(), |seen| format!("is offline since {seen}"))
}

/// Whether the member has reached the release.
pub(crate) fn is_verified(member: &Member) -> bool {
    member.back.is_none() && matches!(member.step, DeviceStep::Done { outcome: Outcome::Verified { .. }, .. })
}

/// Whether an order of the campaign is in hand for the member: on itself or on its standby.
pub(crate) fn is_in_work(member: &Member) -> bool {
    !matches!(member.step, DeviceStep::Pending | DeviceStep::Done { .. })
}

/// Whether its turn has come and it has not ended.
pub(crate) fn is_in_element(member: &Member) -> bool {
    is_in_work(member) || (member.step == DeviceStep::Pending && member.element.is_some())
}

/// Who serves for the member, or is to.
pub(crate) fn standby_of(member: &Member) -> Option<DeviceId> {
    match &member.step {
        DeviceStep::TakingOver { standby, .. }
        | DeviceStep::HandingBack { standby, .. }
        | DeviceStep::Upgrading { mode: Mode::Rolling { standby }, .. } => Some(*standby),
        _ => member.owed.as_ref().map(|owed| owed.standby),
    }
}
