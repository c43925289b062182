//! Devices, network and coordinator in one virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use takt_agent_core::Phase;
use takt_common::DeviceId;
use takt_common::api::{DrmSpec, EdgeSpec, GraphSpec, StandbySpec, Takeover};
use takt_common::order::Position;
use takt_coordinator_core::{DeviceState, FleetView};
use takt_planner::{DomainGraph, RedundancyMatrix};

use crate::coordinator::{Coordinator, SIGNERS};
use crate::device::{Device, time};
use crate::network::{Message, Network};
use crate::plan::{Chance, Plan, Trouble};
use crate::promises;
use crate::releases::{Nature, name};

/// The latest that the campaign is opened; by then every device has said what it runs.
const OPENED_AT: u64 = 10_000;

/// Links, orders that are due, and the coordinator's deadlines are looked at this often.
const TICK: u64 = 1_000;

/// The coordinator looks at its deadlines this often when nothing has arrived, in ticks.
const DEADLINES_EVERY: u64 = 4;

/// How long all may take to come to rest after the network has healed: what is fetched is tried again for a deadline,
/// and devices that nobody heard of have their orders still before them.
const REST_WITHIN: u64 = 1_200_000;

/// What was met beside what devices, network and coordinator count themselves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Met {
    pub(crate) requirements: usize,
    pub(crate) relieved: usize,
    pub(crate) silent_at_work: usize,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) devices: Vec<Device>,
    pub(crate) coordinator: Coordinator,
    pub(crate) network: Network,
    /// The devices of the campaign.
    pub(crate) targets: BTreeSet<DeviceId>,
    pub(crate) met: Met,
    chance: Chance,
    now: u64,
    next_tick: u64,
    ticks: u64,
    /// Something has arrived since the campaign was brought on.
    news: bool,
}

pub(crate) fn id(number: usize) -> DeviceId {
    // Names of containers hold the first digits.
    format!("{number:012x}{number:020x}").parse().unwrap()
}

fn device_name(number: usize) -> takt_common::Name {
    name(&format!("device-{number}"))
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
        let rows = plan.standbys.iter().map(|(device, standbys)| StandbySpec {
            device: device_name(*device),
            standbys: standbys.iter().map(|standby| device_name(*standby)).collect(),
            takeover: if device % 2 == 0 { Takeover::Restore } else { Takeover::Launch },
        });
        let graph = DomainGraph::new(&GraphSpec { edges: edges.collect() }, &names).unwrap();
        let drm = RedundancyMatrix::new(&DrmSpec { rows: rows.collect(), sets: vec![] }, &names).unwrap();
        let mut states = BTreeMap::new();
        let mut devices = vec![];
        for (number, temper) in plan.devices.iter().enumerate() {
            let first = Position { epoch: 1, generation: 1 };
            let (id, label) = (id(number), device_name(number));
            states.insert(id, DeviceState::enrolled(id, label, name("site"), name("pi"), first));
            let mut temper = *temper;
            temper.nature = plan.everywhere.unwrap_or(temper.nature);
            // What was verified long ago is good.
            if temper.runs == 2 {
                temper.nature = Nature::Good;
            }
            let mut device = Device::new(id, temper, 0);
            device.machine.sabotage = plan.sabotage;
            devices.push(device);
        }
        let coordinator = Coordinator::new(FleetView { devices: states }, graph, drm, plan.sabotage);
        Self {
            chance: Chance(plan.seed),
            network: Network::new(Trouble::default()),
            plan,
            devices,
            coordinator,
            targets: BTreeSet::new(),
            met: Met::default(),
            now: 0,
            next_tick: 0,
            ticks: 0,
            news: false,
        }
    }

    pub(crate) fn device(&self, id: DeviceId) -> &Device {
        self.devices.iter().find(|device| device.id == id).expect("a device of the fleet")
    }

    /// From the first reports through the campaign, in all its trouble, to the rest after it; false when no device
    /// can take the release.
    pub(crate) fn run(&mut self) -> bool {
        if !self.plan.opened_unheard {
            self.run_until("all devices have said what they run", OPENED_AT, |world| {
                world.devices.iter().all(Device::is_at_rest)
            });
        }
        if !self.coordinator.open(self.plan.element_size, self.now) {
            return false;
        }
        self.targets = self.coordinator.view().devices.iter().map(|device| device.device).collect();
        self.network.trouble = self.plan.trouble;
        self.coordinator.crashing = self.plan.trouble.crashing;
        for device in &mut self.devices {
            device.cutting = self.plan.trouble.cutting;
        }
        // Every crash and every late look costs a little time; all of it together less than as much again.
        let patience = self.now + 2 * self.coordinator.patience(self.devices.len()) + 60_000;
        self.run_until("the campaign is over", patience, |world| world.coordinator.campaign().is_over());
        self.heal();
        let patience = self.now + REST_WITHIN;
        self.run_until("all are at rest", patience, |world| {
            let none_left = world.coordinator.fleet.devices.values().all(|state| state.order.is_none());
            let settled = none_left && world.coordinator.campaign().is_settled();
            settled && world.coordinator.is_up() && world.devices.iter().all(Device::is_at_rest)
        });
        promises::check_end(self);
        true
    }

    fn heal(&mut self) {
        self.network.trouble = Trouble::default();
        self.coordinator.crashing = 0;
        self.devices.iter_mut().for_each(Device::heal);
    }

    fn run_until(&mut self, what: &str, limit: u64, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.now = self.next_event().max(self.now);
            assert!(self.now < limit, "not in time: {what}\n{}", self.story());
            self.live();
        }
    }

    fn next_event(&self) -> u64 {
        let devices = self.devices.iter().map(Device::wake_at);
        devices.chain(self.network.next_at()).chain([self.next_tick]).min().expect("there is always a tick")
    }

    /// Everything that is due now.
    fn live(&mut self) {
        for (index, report) in self.network.arrived_up(self.now, &mut self.chance) {
            // A connection that nobody accepts: the device keeps the report.
            if self.coordinator.is_up() {
                let sequence = self.coordinator.take_report(&report, self.now);
                self.network.send_down(index, Message::Ack(sequence), self.now, &mut self.chance);
                self.news = true;
            }
        }
        for (index, message) in self.network.arrived_down(self.now) {
            let device = &mut self.devices[index];
            if !device.link.up || !device.is_up() {
                continue;
            }
            match message {
                Message::Order(envelope) => {
                    device.on_order(&envelope, &SIGNERS, self.now, &mut self.chance);
                    self.after(index);
                }
                Message::Ack(sequence) => {
                    device.on_ack(sequence, self.now);
                    self.after(index);
                }
            }
        }
        for index in 0..self.devices.len() {
            if self.devices[index].wake_at() <= self.now {
                if let Some(action) = self.devices[index].imminent().cloned() {
                    promises::check_touch(self, index, &action);
                }
                self.devices[index].wake(self.now, &mut self.chance);
                self.after(index);
            }
        }
        if self.now >= self.next_tick {
            self.next_tick = self.now + TICK;
            self.ticks += 1;
            self.tick();
        }
        self.bring_on();
    }

    /// A device has done something: its promises hold, and what it has to say goes out.
    fn after(&mut self, index: usize) {
        promises::check_device(&self.devices[index]);
        let device = &mut self.devices[index];
        if !device.is_up() {
            return self.unlink(index);
        }
        let session = device.link.session;
        for report in device.flow(self.now) {
            self.network.send_up(index, session, report, self.now, &mut self.chance);
        }
    }

    fn bring_on(&mut self) {
        let due = self.news || self.ticks.is_multiple_of(DEADLINES_EVERY);
        if !due || !self.coordinator.is_up() || self.targets.is_empty() {
            return;
        }
        self.news = false;
        if self.coordinator.bring_on(self.now, &mut self.chance).is_some() {
            self.coordinator.down_until = Some(self.now + self.chance.between(500, 10_000));
            self.network.cut_off();
            for index in 0..self.devices.len() {
                self.unlink(index);
            }
            return;
        }
        self.send_orders();
    }

    fn send_orders(&mut self) {
        for (device, envelope) in self.coordinator.dispatch(self.now) {
            let index = self.devices.iter().position(|one| one.id == device).expect("a device of the fleet");
            self.network.send_down(index, Message::Order(envelope), self.now, &mut self.chance);
        }
    }

    fn tick(&mut self) {
        if self.coordinator.down_until.is_some_and(|until| until <= self.now) {
            self.coordinator.restart();
            self.news = true;
        }
        for index in 0..self.devices.len() {
            let device = &self.devices[index];
            let silent = device.temper.silent_from.is_some_and(|from| self.now >= OPENED_AT + from * 1_000);
            let silent = silent && !self.targets.is_empty();
            self.met.silent_at_work += usize::from(silent && device.record.phase != Phase::Idle);
            let breaks = self.chance.below(1_000) < self.network.trouble.breaking;
            if device.link.up && (silent || breaks || device.is_stalled(self.now)) {
                let session = device.link.session;
                self.network.break_session(index, session, &mut self.chance);
                self.unlink(index);
            }
            let device = &mut self.devices[index];
            let can = device.is_up() && self.coordinator.is_up() && !silent;
            if !device.link.up && can && device.link.retry_at <= self.now {
                device.connect(self.now);
                self.set_online(index, true);
                self.after(index);
                self.news = true;
            }
        }
        if self.coordinator.is_up() {
            self.send_orders();
        }
    }

    fn unlink(&mut self, index: usize) {
        let device = &mut self.devices[index];
        device.link.up = false;
        device.link.retry_at = device.link.retry_at.max(self.now + self.chance.between(500, 6_000));
        self.set_online(index, false);
    }

    fn set_online(&mut self, index: usize, online: bool) {
        let id = self.devices[index].id;
        let state = self.coordinator.fleet.devices.get_mut(&id).expect("a device of the fleet");
        state.online = online;
    }

    /// For a failed run.
    pub(crate) fn story(&self) -> String {
        let mut story =
            if self.targets.is_empty() { String::new() } else { format!("{:#?}\n", self.coordinator.view()) };
        for device in &self.devices {
            let phase = device.record.phase.name();
            let known = &self.coordinator.fleet.devices[&device.id];
            let _ = writeln!(
                story,
                "{} at {}: {phase}, {:?}, accepted {:?}, ended {:?}, {} reports wait, link {:?}, order {:?}",
                device.id,
                time(self.now),
                device.doing,
                device.accepted,
                device.ended,
                device.outbox.len(),
                device.link,
                known.order
            );
        }
        story
    }
}
