//! A small world: devices with agents of differing natures, a link that loses, repeats and delays, and a coordinator
//! that stores what the pure core decides.

mod device;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use takt_common::api::{
    CampaignRequest, CampaignView, DrmSpec, EdgeSpec, GraphSpec, ScheduleSpec, ServeSetSpec, StandbySpec,
    Takeover,
};
use takt_common::digest::Sha256Digest;
use takt_common::order::Position;
use takt_common::regulation::Regulation;
use takt_common::release::ReleaseId;
use takt_common::report::{Installed, Report};
use takt_common::{DeviceId, Name, UnixTime};
use takt_coordinator_core::{
    Campaign, CampaignFormatError, DeviceState, FleetView, Ground, Look, Opening, OrderRequest, Others,
    ReleaseFacts, due, make_timetable, open,
};
use takt_planner::{DomainGraph, DomainSchedule, RedundancyMatrix};

pub(crate) use device::{Device, Install, Takes};

/// Seconds a device may take for its order.
pub(crate) const DEADLINE_SECS: u64 = 60;
/// Seconds a switch that began at the deadline may still take.
pub(crate) const SETTLE_SECS: u64 = 20;

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn id(number: usize) -> DeviceId {
    format!("{number:032x}").parse().unwrap()
}

pub(crate) fn device_name(number: usize) -> Name {
    name(&format!("device-{number}"))
}

pub(crate) fn release(version: &str) -> ReleaseId {
    ReleaseId { name: name("counter"), version: name(version) }
}

pub(crate) fn installed(version: &str, counter: u64) -> Installed {
    Installed { release: release(version), counter, manifest: Sha256Digest::of(version.as_bytes()) }
}

pub(crate) fn release_facts() -> ReleaseFacts {
    let target = installed("2", 2);
    ReleaseFacts::plain(target.release, 2, target.manifest, SETTLE_SECS)
}

/// A campaign as it is stored.
type Written = (Vec<u8>, BTreeMap<String, Vec<u8>>);

fn write(campaign: &Campaign) -> Written {
    let sheets = campaign.sheets(None);
    (sheets.head, sheets.changed.into_iter().collect())
}

fn read((head, sheets): &Written) -> Campaign {
    let read = Campaign::from_sheets(head, |sheet| Ok::<_, CampaignFormatError>(sheets.get(sheet).cloned()));
    read.unwrap()
}

/// A repeatable source of chance (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(pub u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a run is made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) devices: Vec<Nature>,
    /// From a higher number to a lower one; true when hard.
    pub(crate) edges: BTreeMap<(usize, usize), bool>,
    pub(crate) standbys: BTreeMap<usize, Vec<usize>>,
    /// Members, and how many of them must serve.
    pub(crate) sets: Vec<(BTreeSet<usize>, u32)>,
    /// With a schedule, how long its slots are.
    pub(crate) slot_secs: Option<u32>,
    pub(crate) element_size: u32,
    /// So many orders are issued in a round at the most.
    pub(crate) orders_max: usize,
    /// The campaigns' devices; two campaigns when some are false.
    pub(crate) in_first: Vec<bool>,
    /// Chances in percent, each round: a message is lost, one is repeated, a device changes between on- and
    /// offline, the coordinator dies before it has stored its decision.
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) flapping: u64,
    pub(crate) crashing: u64,
    pub(crate) seed: u64,
}

/// How a device behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    pub(crate) runs: Option<u64>,
    pub(crate) takes: Takes,
    pub(crate) install: Install,
    pub(crate) takeover_fails: bool,
    pub(crate) slowness: u64,
}

/// The world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: UnixTime,
    pub(crate) chance: Chance,
    pub(crate) graph: DomainGraph,
    pub(crate) drm: RedundancyMatrix,
    pub(crate) schedule: Option<DomainSchedule>,
    /// What the coordinator has stored.
    pub(crate) fleet: FleetView,
    pub(crate) campaigns: Vec<Written>,
    others: Others,
    orders: BTreeMap<DeviceId, OrderRequest>,
    pub(crate) issued: Vec<(usize, UnixTime, OrderRequest)>,
    /// What is so.
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    sent: Vec<OrderRequest>,
    reports: BTreeMap<DeviceId, VecDeque<Report>>,
    told: Vec<Report>,
}

fn request(campaign: &str, devices: Vec<Name>, element_size: u32) -> CampaignRequest {
    CampaignRequest {
        devices,
        element_size: Some(element_size),
        deadline_secs: DEADLINE_SECS,
        regulation: Regulation { observe_secs: 0, ..Regulation::default() },
        ..CampaignRequest::new(name(campaign), release("2"), name("site"))
    }
}

fn opening<'a>(
    request: &'a CampaignRequest,
    fleet: &'a FleetView,
    graph: &'a DomainGraph,
    drm: &'a RedundancyMatrix,
    others: &'a [&'a Campaign],
    now: UnixTime,
) -> Opening<'a> {
    static RELEASE: LazyLock<ReleaseFacts> = LazyLock::new(release_facts);
    Opening { request, release: &RELEASE, earlier: &[], fleet, graph, drm, others, operator: "operator", now }
}

fn matrix(
    standbys: &BTreeMap<usize, Vec<usize>>,
    sets: &[(BTreeSet<usize>, u32)],
    names: &BTreeMap<Name, DeviceId>,
) -> RedundancyMatrix {
    let rows = standbys.iter().map(|(device, standbys)| StandbySpec {
        device: device_name(*device),
        standbys: standbys.iter().map(|standby| device_name(*standby)).collect(),
        takeover: if device % 3 == 0 { Takeover::Restore } else { Takeover::Launch },
    });
    let sets = sets.iter().enumerate().map(|(number, (members, serve_min))| ServeSetSpec {
        name: name(&format!("set-{number}")),
        members: members.iter().map(|member| device_name(*member)).collect(),
        serve_min: *serve_min,
    });
    RedundancyMatrix::new(&DrmSpec { rows: rows.collect(), sets: sets.collect() }, names).unwrap()
}

/// The digest that stands for an order's envelope.
pub(crate) fn envelope(order: &OrderRequest) -> Sha256Digest {
    Sha256Digest::of(format!("{} {}", order.device, order.position).as_bytes())
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let names = (0..plan.devices.len()).map(|number| (device_name(number), id(number))).collect();
        let edges = plan.edges.iter().map(|((from, to), requires)| EdgeSpec {
            source: device_name(*from),
            target: device_name(*to),
            requires: *requires,
            weight: None,
            skew_max: None,
        });
        let graph = DomainGraph::new(&GraphSpec { edges: edges.collect() }, &names).unwrap();
        let drm = matrix(&plan.standbys, &plan.sets, &names);
        let spec = |slot_secs| ScheduleSpec { slot_secs, ..ScheduleSpec::default() };
        let schedule = plan.slot_secs.map(|slot_secs| DomainSchedule::new(&spec(slot_secs), &names).unwrap());
        let (mut fleet, mut devices) = (FleetView::default(), BTreeMap::new());
        for (number, nature) in plan.devices.iter().enumerate() {
            let next = Position { epoch: 1, generation: 1 };
            let mut state =
                DeviceState::enrolled(id(number), device_name(number), name("site"), name("pi"), next);
            let device = Device::new(id(number), *nature);
            state.installed = device.installed.clone().into_iter().collect();
            state.online = true;
            fleet.devices.insert(id(number), state);
            devices.insert(id(number), device);
        }
        let now = UnixTime::from_secs(1_000_000);
        let (seed, mut campaigns) = (plan.seed, Vec::new());
        for first in [true, false] {
            let chosen = (0..plan.devices.len()).filter(|number| plan.in_first[*number] == first);
            let chosen: Vec<_> = chosen.map(device_name).collect();
            if chosen.is_empty() {
                continue;
            }
            let request = request(if first { "first" } else { "second" }, chosen, plan.element_size);
            let others: Vec<_> = campaigns.iter().map(|bytes: &Written| read(bytes)).collect();
            let others: Vec<&Campaign> = others.iter().collect();
            let campaign = open(&opening(&request, &fleet, &graph, &drm, &others, now)).unwrap();
            campaigns.push(write(&campaign));
        }
        Self {
            plan,
            now,
            chance: Chance(seed),
            graph,
            drm,
            schedule,
            fleet,
            campaigns,
            others: Others::default(),
            orders: BTreeMap::new(),
            issued: Vec::new(),
            devices,
            sent: Vec::new(),
            reports: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// Opens one more campaign over all devices, as an operator does who tries again.
    pub(crate) fn open_again(&mut self) {
        let request = request("again", Vec::new(), self.plan.element_size);
        let others: Vec<_> = (0..self.campaigns.len()).map(|index| self.campaign(index)).collect();
        let others: Vec<&Campaign> = others.iter().collect();
        let (fleet, graph, drm) = (&self.fleet, &self.graph, &self.drm);
        let opened = open(&opening(&request, fleet, graph, drm, &others, self.now)).unwrap();
        self.campaigns.push(write(&opened));
    }

    pub(crate) fn campaign(&self, index: usize) -> Campaign {
        read(&self.campaigns[index])
    }

    /// Gives the devices of a campaign their slots, where that is due.
    pub(crate) fn plan(&mut self, index: usize) {
        let campaign = self.campaign(index);
        let Some(schedule) = &self.schedule else { return };
        let digest = Sha256Digest::of(b"ground");
        let Some(due) = due(&campaign, &digest, UnixTime::from_secs(0), self.now) else { return };
        let (graph, drm, known_until) = (&self.graph, &self.drm, UnixTime::from_secs(0));
        let ground = Ground { graph, drm, schedule, digest, series: &[], known_until };
        let timetable =
            make_timetable(&campaign, &self.fleet, &ground, due, self.now, &|_| Box::new(|| false)).unwrap();
        let planned = campaign.with_timetable(&timetable, self.now);
        assert_eq!(takt_coordinator_core::due(&planned, &digest, known_until, self.now), None);
        self.store(index, &planned, &[]);
    }

    /// What a round looks at.
    pub(crate) const fn look(&self) -> Look<'_> {
        Look {
            fleet: &self.fleet,
            graph: &self.graph,
            drm: &self.drm,
            response: None,
            others: &self.others,
            identify: true,
            lease: 0,
            orders_max: self.plan.orders_max,
            now: self.now,
        }
    }

    pub(crate) fn view(&self, index: usize) -> CampaignView {
        self.campaign(index).view()
    }

    /// Stores a decision: campaign and orders in one batch.
    pub(crate) fn store(&mut self, index: usize, campaign: &Campaign, orders: &[OrderRequest]) {
        self.campaigns[index] = write(campaign);
        for order in orders {
            self.fleet.record_order(order, self.now);
            self.orders.insert(order.device, order.clone());
            self.issued.push((index, self.now, order.clone()));
        }
    }

    /// An operator edits the DRM: other standbys, other sets, and other numbers of devices that must serve.
    pub(crate) fn edit_drm(&mut self) {
        let count = self.plan.devices.len() as u64;
        let any = |chance: &mut Chance| usize::try_from(chance.below(count)).unwrap();
        let mut standbys = BTreeMap::new();
        for device in 0..self.plan.devices.len() {
            let standby = any(&mut self.chance);
            if standby != device && self.chance.percent(40) {
                standbys.insert(device, vec![standby]);
            }
        }
        let mut members: BTreeSet<usize> = (0..4).map(|_| any(&mut self.chance)).collect();
        members.insert(any(&mut self.chance));
        let serve_min = 1 + u32::try_from(self.chance.below(members.len() as u64)).unwrap();
        let mut sets = self.plan.sets.clone();
        if serve_min < u32::try_from(members.len()).unwrap() {
            sets.push((members, serve_min));
        }
        let names = self.fleet.devices.values().map(|state| (state.name.clone(), state.id)).collect();
        self.drm = matrix(&standbys, &sets, &names);
    }

    /// The coordinator's clock jumps, forwards or back, by up to an hour.
    pub(crate) fn jump(&mut self) {
        let by = self.chance.below(3_600);
        let now = self.now.as_secs();
        self.now = UnixTime::from_secs(if self.chance.percent(50) { now + by } else { now - by.min(now) });
    }

    /// Time passes: devices come and go, orders are sent again, agents work, reports arrive.
    pub(crate) fn live(&mut self) {
        self.now = self.now + Duration::from_secs(1 + self.chance.below(8));
        self.come_and_go();
        self.deliver_orders();
        for (device, agent) in &mut self.devices {
            let made = agent.work(&mut self.chance, self.now);
            self.reports.entry(*device).or_default().extend(made);
        }
        self.deliver_reports();
    }

    /// From now on everybody answers and nothing is lost.
    pub(crate) fn revive(&mut self) {
        (self.plan.lost, self.plan.flapping, self.plan.crashing) = (0, 0, 0);
        for (device, agent) in &mut self.devices {
            agent.revive();
            if let Some(state) = self.fleet.devices.get_mut(device) {
                state.online = true;
            }
        }
    }

    /// Whether no device has an order in hand as far as the coordinator knows.
    pub(crate) fn is_quiet(&self) -> bool {
        self.fleet.devices.values().all(|state| state.order.is_none())
    }

    pub(crate) fn targets(&self, index: usize) -> BTreeSet<DeviceId> {
        self.view(index).devices.iter().map(|device| device.device).collect()
    }

    fn come_and_go(&mut self) {
        for (device, agent) in &mut self.devices {
            if self.chance.percent(self.plan.flapping) {
                agent.online = !agent.online;
            }
            let online = agent.online && agent.nature.takes != Takes::Dead;
            if let Some(state) = self.fleet.devices.get_mut(device) {
                state.online = online;
            }
        }
    }

    fn deliver_orders(&mut self) {
        let open = self.fleet.devices.values().filter(|state| state.order.is_some());
        let mut arriving: Vec<OrderRequest> =
            open.filter_map(|state| self.orders.get(&state.id)).cloned().collect();
        self.sent.extend(arriving.iter().cloned());
        // What was sent before may arrive late or twice.
        if !self.sent.is_empty() && self.chance.percent(self.plan.repeated) {
            let old = self.chance.below(self.sent.len() as u64);
            arriving.push(self.sent[usize::try_from(old).unwrap()].clone());
        }
        for order in arriving {
            let device = self.devices.get_mut(&order.device).unwrap();
            if !self.chance.percent(self.plan.lost) {
                let made = device.receive(&order, &mut self.chance, self.now);
                self.reports.entry(order.device).or_default().extend(made);
            }
        }
    }

    fn deliver_reports(&mut self) {
        let mut arriving = Vec::new();
        for (device, outbox) in &mut self.reports {
            // In order and until acknowledged, as an outbox does it.
            while self.devices[device].online && !outbox.is_empty() && !self.chance.percent(self.plan.lost) {
                arriving.extend(outbox.pop_front());
            }
        }
        self.told.extend(arriving.iter().cloned());
        if !self.told.is_empty() && self.chance.percent(self.plan.repeated) {
            let old = self.chance.below(self.told.len() as u64);
            arriving.push(self.told[usize::try_from(old).unwrap()].clone());
        }
        for report in arriving {
            let envelope = self.orders.get(&report.device).map(envelope);
            let state = self.fleet.devices.get_mut(&report.device).unwrap();
            let before = state.clone();
            if !state.record_report(&report, envelope.as_ref(), self.now) {
                assert_eq!(*state, before, "an old report changes nothing");
            }
        }
    }
}
