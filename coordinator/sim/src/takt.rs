//! The coordinator's own loops over virtual devices.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use takt_common::api::{CampaignRequest, CampaignState, DrmSpec, GatewaySpec, GraphSpec, ScheduleSpec};
use takt_common::order::{Action, Position};
use takt_common::regulation::{Growth, OnAbort, Regulation};
use takt_common::release::ReleaseId;
use takt_common::report::{Installed, Memory, OrderRef, Outcome, PhaseName, REPORT_FORMAT, Report};
use takt_common::{DeviceId, Name, Sha256Digest, UnixTime};
use takt_coordinator_core::{
    Campaign, DeviceState, FleetView, Look, Opening, OrderRequest, Others, ReleaseFacts, Step, advance, open,
};
use takt_planner::{DomainGraph, DomainSchedule, RedundancyMatrix};

use crate::fleet::{ACCEPT_SECS, Nature, VirtualFleet};
use crate::result::{ElementRow, SimResult, SimState};
use crate::scenario::Scenario;

/// When it all begins.
const START: UnixTime = UnixTime::from_secs(1_700_000_000);
/// The usual response time, in milliseconds.
const RESPONSE_MS: f64 = 100.0;
/// The coordinator looks at most this often, in seconds; more rarely at very many devices.
const LOOK_SECS: u64 = 10;
const LOOK_SECS_MANY: u64 = 60;
const MANY: u32 = 20_000;
const LOOK_SECS_MOST: u64 = 300;
const MOST: u32 = 200_000;
/// Seconds that a device may take to accept its order.
const DEADLINE_SECS: u64 = 1_800;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A device shows its order.
    Accept(u32),
    /// It runs the other release.
    Switch(u32),
    /// Its probation is over.
    Verify(u32),
    /// The release fails on it.
    Fail(u32),
    /// The withdrawal of its order arrives.
    Withdraw(u32, Position),
    /// What it had to tell arrives.
    Tell(u32, u64),
    /// A site is cut off, or back.
    Site(u32, bool),
}

/// A virtual device.
#[derive(Debug, Clone, Default)]
struct Device {
    runs_new: bool,
    harmed: bool,
    brought_back: bool,
    /// The order it has in hand.
    hand: Option<Hand>,
    sequence: u64,
}

#[derive(Debug, Clone, Copy)]
struct Hand {
    position: Position,
    to_new: bool,
    switched: bool,
    /// Its withdrawal, which came too late.
    late: Option<Position>,
}

struct World<'a> {
    scenario: &'a Scenario,
    fleet: VirtualFleet,
    view: FleetView,
    graph: DomainGraph,
    drm: RedundancyMatrix,
    campaign: Campaign,
    others: Others,
    devices: Vec<Device>,
    numbers: HashMap<DeviceId, u32>,
    /// Time, order of their making, what.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
    /// Reports on their way.
    reports: HashMap<u64, Report>,
    now: u64,
    /// Devices whose orders have ended.
    ended: u32,
    rows: Vec<ElementRow>,
    /// How far the campaign was when its last element was decided upon.
    progress: f64,
}

pub(crate) fn run(scenario: &Scenario, fleet: VirtualFleet, growth: Growth) -> SimResult {
    let mut world = World::new(scenario, fleet, growth);
    let mut over_at = None;
    while world.step() {
        if over_at.is_none() && world.campaign.is_over() {
            over_at = Some(world.now);
        }
    }
    world.result(over_at)
}

fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|_| unreachable!("'{text}' is a name"))
}

fn installed(new: bool) -> Installed {
    let (version, counter) = if new { ("2", 2) } else { ("1", 1) };
    let release = ReleaseId { name: name("app"), version: name(version) };
    Installed { release, counter, manifest: Sha256Digest::of(version.as_bytes()) }
}

fn device_id(number: u32) -> DeviceId {
    format!("{number:032x}").parse().unwrap_or_else(|_| unreachable!("32 hex digits are an id"))
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, fleet: VirtualFleet, growth: Growth) -> Self {
        let domain = name("fleet");
        let ids: Vec<DeviceId> = (0..scenario.devices).map(device_id).collect();
        let names: BTreeMap<Name, DeviceId> =
            ids.iter().zip(0..).map(|(id, number)| (device_name(number), *id)).collect();
        let graph = DomainGraph::new(&GraphSpec::default(), &names);
        let drm = RedundancyMatrix::new(&DrmSpec::default(), &names);
        let schedule = DomainSchedule::new(&gateways(scenario), &names);
        let (Ok(graph), Ok(drm), Ok(schedule)) = (graph, drm, schedule) else {
            unreachable!("a domain without edges and standbys is sound")
        };
        let drm = drm.with_limits(&schedule);
        let state = |(id, number): (&DeviceId, u32)| {
            let next = Position { epoch: 1, generation: 1 };
            let mut state =
                DeviceState::enrolled(*id, device_name(number), domain.clone(), name("any"), next);
            (state.online, state.last_seen, state.sequence) = (true, Some(START), 1);
            state.installed = vec![installed(false)];
            (*id, state)
        };
        let view = FleetView { devices: ids.iter().zip(0..).map(state).collect() };
        let release = installed(true);
        let request = CampaignRequest {
            deadline_secs: DEADLINE_SECS,
            regulation: Regulation {
                tolerance: scenario.tolerance,
                growth,
                on_abort: OnAbort::Rollback,
                ..Regulation::default()
            },
            ..CampaignRequest::new(name("simulated"), release.release.clone(), domain)
        };
        let settle_secs = 600 + 2 * scenario.verify_s;
        let facts = ReleaseFacts::plain(release.release, release.counter, release.manifest, settle_secs);
        let campaign = open(&Opening {
            request: &request,
            release: &facts,
            earlier: &[],
            fleet: &view,
            graph: &graph,
            drm: &drm,
            others: &[],
            operator: "simulator",
            now: START,
        })
        .unwrap_or_else(|error| unreachable!("the scenario was checked: {error}"));
        let devices = vec![Device { sequence: 1, ..Device::default() }; ids.len()];
        let numbers = ids.iter().copied().zip(0..).collect();
        let mut world = Self {
            scenario,
            fleet,
            view,
            graph,
            drm,
            campaign,
            others: Others::default(),
            devices,
            numbers,
            events: BinaryHeap::new(),
            made: 0,
            reports: HashMap::new(),
            now: 0,
            ended: 0,
            rows: Vec::new(),
            progress: 0.0,
        };
        for site in 0..scenario.sites {
            for (from, to) in world.fleet.outages[site as usize].clone() {
                world.at(from, Event::Site(site, false));
                world.at(to, Event::Site(site, true));
            }
        }
        world
    }

    fn at(&mut self, time: u64, event: Event) {
        self.made += 1;
        self.events.push(Reverse((time, self.made, event)));
    }

    fn time(&self) -> UnixTime {
        START + Duration::from_secs(self.now)
    }

    /// What happens until now, what the coordinator does about it, and on to the next time; false when nothing is left.
    fn step(&mut self) -> bool {
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if at > self.now {
                break;
            }
            self.events.pop();
            self.happen(at, event);
        }
        let changed = !self.campaign.is_settled() && self.round();
        let every = match self.scenario.devices {
            devices if devices > MOST => LOOK_SECS_MOST,
            devices if devices > MANY => LOOK_SECS_MANY,
            _ => LOOK_SECS,
        };
        let event = self.events.peek().map(|Reverse((at, ..))| at.div_ceil(every) * every);
        let wakes = self.campaign.wakes_at(self.time()).map(|at| at.since(START).as_secs());
        let again = changed.then_some(self.now + every);
        let Some(next) = event.into_iter().chain(wakes).chain(again).min() else { return false };
        self.now = next.max(self.now + 1);
        true
    }

    /// A round of the real loop; false when nothing followed from it.
    fn round(&mut self) -> bool {
        let response = Some(RESPONSE_MS * self.response_factor());
        let look = Look {
            fleet: &self.view,
            graph: &self.graph,
            drm: &self.drm,
            response,
            others: &self.others,
            // The fleet stays as it is.
            identify: false,
            lease: 0,
            orders_max: usize::MAX,
            now: self.time(),
        };
        let Step { campaign, orders, .. } = advance(&self.campaign, &look);
        let changed = campaign != self.campaign || !orders.is_empty();
        self.campaign = campaign;
        for order in &orders {
            self.view.record_order(order, self.time());
            self.receive(order);
        }
        self.note_elements();
        changed
    }

    fn receive(&mut self, order: &OrderRequest) {
        let Some(number) = self.numbers.get(&order.device).copied() else { return };
        let nature = self.nature(number);
        let arrives = self.fleet.back_at(nature.site, self.now).unwrap_or(self.now) + ACCEPT_SECS;
        match &order.action {
            Action::Install => {
                let to_new = order.release.as_ref() == Some(&self.campaign.release().id);
                if to_new && nature.silent {
                    return;
                }
                self.devices[number as usize].hand =
                    Some(Hand { position: order.position, to_new, switched: false, late: None });
                self.at(arrives, Event::Accept(number));
                self.at(arrives + nature.install_secs, Event::Switch(number));
            }
            Action::Withdraw => self.at(arrives, Event::Withdraw(number, order.position)),
            Action::TakeOver { .. } | Action::Checkpoint { .. } | Action::HandBack { .. } => {}
        }
    }

    fn happen(&mut self, at: u64, event: Event) {
        match event {
            Event::Accept(number) => {
                if let Some(hand) = self.devices[number as usize].hand {
                    self.tell(number, at, Some(hand.position), None, Vec::new());
                }
            }
            Event::Switch(number) => self.switch(number, at),
            Event::Verify(number) => {
                let warns = self.nature(number).warns && self.devices[number as usize].runs_new;
                let warnings = if warns { vec!["slower than before".to_owned()] } else { Vec::new() };
                self.end(number, at, Outcome::Verified { strategy: None }, warnings);
            }
            Event::Fail(number) => self.fail(number, at),
            Event::Withdraw(number, position) => {
                let device = &mut self.devices[number as usize];
                match &mut device.hand {
                    Some(hand) if hand.switched => hand.late = Some(position),
                    hand => {
                        *hand = None;
                        self.tell(number, at, Some(position), Some(Outcome::Withdrawn), Vec::new());
                    }
                }
            }
            Event::Tell(number, key) => {
                if let Some(report) = self.reports.remove(&key) {
                    self.deliver(number, &report);
                }
            }
            Event::Site(site, online) => {
                let online = online && self.fleet.back_at(site, at).is_none();
                let (sites, devices) = (self.scenario.sites as usize, self.scenario.devices);
                for number in (site..devices).step_by(sites) {
                    let time = self.time();
                    if let Some(state) = self.view.devices.get_mut(&device_id(number)) {
                        state.online = online;
                        state.last_seen = Some(time);
                    }
                }
            }
        }
    }

    fn switch(&mut self, number: u32, at: u64) {
        let nature = self.nature(number);
        let device = &mut self.devices[number as usize];
        // It was withdrawn before.
        let Some(hand) = device.hand.as_mut().filter(|hand| !hand.switched) else { return };
        (hand.switched, device.runs_new) = (true, hand.to_new);
        let fails_after = (hand.to_new && nature.bad).then_some(self.scenario.failure_delay_s);
        if let Some(secs) = fails_after {
            self.at(at + secs, Event::Fail(number));
        }
        if fails_after.is_none_or(|secs| secs > nature.verify_secs) {
            self.at(at + nature.verify_secs, Event::Verify(number));
        }
    }

    fn fail(&mut self, number: u32, at: u64) {
        let device = &mut self.devices[number as usize];
        // It has been brought back before.
        if !device.runs_new {
            return;
        }
        (device.runs_new, device.harmed) = (false, true);
        if device.hand.is_some_and(|hand| hand.to_new) {
            let outcome = Outcome::RolledBack {
                cause: "it failed its probation".to_owned(),
                memory: Memory::Untouched,
            };
            self.end(number, at, outcome, Vec::new());
        } else {
            self.tell(number, at, None, None, Vec::new());
        }
    }

    /// The order in hand has ended.
    fn end(&mut self, number: u32, at: u64, outcome: Outcome, warnings: Vec<String>) {
        let device = &mut self.devices[number as usize];
        let Some(hand) = device.hand.take() else { return };
        device.brought_back |= !hand.to_new && outcome.is_success();
        self.tell(number, at, Some(hand.position), Some(outcome), warnings);
        if let Some(late) = hand.late {
            self.tell(number, at, Some(late), Some(Outcome::Withdrawn), Vec::new());
        }
    }

    /// The device reports; where its site is cut off, later.
    fn tell(
        &mut self,
        number: u32,
        at: u64,
        position: Option<Position>,
        outcome: Option<Outcome>,
        warnings: Vec<String>,
    ) {
        let device = &mut self.devices[number as usize];
        device.sequence += 1;
        let order = position.map(|position| OrderRef { position, digest: Sha256Digest::of(b"order") });
        let made = START + Duration::from_secs(at);
        let report = Report {
            format: REPORT_FORMAT,
            device: device_id(number),
            sequence: device.sequence,
            previous_report_digest: None,
            boot_id: String::new(),
            nonce: String::new(),
            installed: vec![installed(device.runs_new)],
            standing_in_for: None,
            order,
            phase: if outcome.is_some() { PhaseName::Ended } else { PhaseName::Fetching },
            outcome,
            warnings,
            waiting_on: None,
            refused: None,
            timing: None,
            hooks: BTreeMap::new(),
            made,
            skipped: None,
            time_floor: made,
        };
        match self.fleet.back_at(self.nature(number).site, at) {
            Some(back) => {
                let key = self.made + 1;
                self.reports.insert(key, report);
                self.at(back, Event::Tell(number, key));
            }
            None => self.deliver(number, &report),
        }
    }

    fn deliver(&mut self, number: u32, report: &Report) {
        let time = self.time();
        let Some(state) = self.view.devices.get_mut(&device_id(number)) else { return };
        if state.record_report(report, None, time) && report.outcome.is_some() {
            self.ended += 1;
        }
    }

    fn nature(&self, number: u32) -> Nature {
        self.fleet.natures[number as usize]
    }

    fn share(&self) -> f64 {
        f64::from(self.ended) / f64::from(self.scenario.devices)
    }

    /// Whether the campaign has passed a share of the fleet at which the coordinator answers otherwise.
    fn response_factor(&self) -> f64 {
        let (before, now) = (self.progress, self.share());
        let passed = self.scenario.infra.iter().rev().find(|(progress, _)| (before..now).contains(progress));
        passed.map_or(1.0, |(_, factor)| *factor)
    }

    fn note_elements(&mut self) {
        let known = self.rows.last().map(|row| row.index);
        let new: Vec<_> = self
            .campaign
            .elements()
            .iter()
            .filter(|element| known.is_none_or(|known| element.index > known))
            .cloned()
            .collect();
        for element in new {
            self.progress = self.share();
            self.rows.push(ElementRow {
                index: element.index,
                stage: Some(element.stage),
                size: element.size,
                errors: element.errors,
                warnings: element.warnings,
                response: element.response.map_or(1.0, |response| response / RESPONSE_MS),
                decision: element.decision,
                reason: element.reason,
                progress: self.progress,
            });
        }
    }

    fn result(self, over_at: Option<u64>) -> SimResult {
        let count = |what: fn(&Device) -> bool| {
            u32::try_from(self.devices.iter().filter(|device| what(device)).count()).unwrap_or(u32::MAX)
        };
        let finished = self.campaign.state() == CampaignState::Finished;
        SimResult {
            state: if finished { SimState::Finished } else { SimState::Aborted },
            reason: self.campaign.reason().to_owned(),
            harmed: count(|device| device.harmed),
            rolled_back: count(|device| device.brought_back),
            elapsed_s: over_at.unwrap_or(self.now),
            devices_done: count(|device| device.runs_new),
            elements: self.rows,
        }
    }
}

fn device_name(number: u32) -> Name {
    name(&format!("d-{number:07}"))
}

/// The first device of each site is the gateway of the others.
fn gateways(scenario: &Scenario) -> ScheduleSpec {
    let (sites, devices) = (scenario.sites, scenario.devices);
    let gateway = |site: u32| GatewaySpec {
        device: device_name(site),
        members: (site + sites..devices).step_by(sites as usize).map(device_name).collect(),
        max_in_flight: devices,
        agreed: true,
    };
    let gateways = (0..sites).filter(|site| sites > 1 && site + sites < devices).map(gateway);
    ScheduleSpec { gateways: gateways.collect(), ..ScheduleSpec::default() }
}
