//! A small world for `decide`: a disk, a container engine, ports, two slots and a kernel, clients, a clock, and a way to
//! cut the power.

#![allow(dead_code, unused_imports)] // No test uses all of it.

mod ends;
mod engine;
mod health;
mod look;
mod natures;
mod perform;
mod ports;
mod promises;
mod releases;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use takt_agent_core::{
    Action, Attempt, BootTime, ContainerName, Decision, Phase, Policy, Record, WaitingOn, Workload, decide,
};
use takt_common::Sha256Digest;
use takt_common::order::Action as OrderAction;
use takt_common::release::{HookPoint, Manifest};
use takt_common::report::{Outcome, PhaseName};

pub use ends::End;
use engine::{Engine, Sandbox};
use health::Rounds;
pub use natures::{Criu, Cut, Nature, OF_CONTAINERS, of_restarting_step, of_step};
use ports::Ports;
pub use promises::Effect;
pub use releases::{DRAIN_SECS, Part, Releases, device, order};
use slots::Slots;

/// The old release of a device that runs one.
pub const OLD_NAME: &str = "takt-counter-g1";

/// More looks than any order takes.
const LOOKS_MAX: usize = 5_000;

/// The memory that the old release has gathered before the order comes.
pub const MEMORY: u64 = 4_711;

pub struct World {
    pub nature: Nature,
    pub criu: Criu,
    pub releases: Rc<Releases>,
    pub record: Record,
    pub outcomes: Vec<(u64, Outcome)>,
    /// The warnings in the last outcome's report.
    pub warnings: Vec<String>,
    pub steps: usize,
    /// The steps at which an effect may be half done.
    pub divisible: Vec<usize>,
    pub effects: Vec<Effect>,
    /// The memory of the old release when it was checkpointed.
    pub dumped: BTreeMap<ContainerName, u64>,
    /// What the agent has waited on.
    pub waits: Vec<WaitingOn>,
    /// The phases it has been in.
    pub phases: Vec<PhaseName>,
    asked: BTreeMap<HookPoint, u32>,
    reverts: BTreeMap<usize, u32>,
    /// What was in the memory of the old release when the switch began, and of what runs when the outcome was told.
    memory_at_begin: Vec<u64>,
    pub memory_when_told: Vec<u64>,
    boots: u64,
    millis: u64,
    secs: u64,
    started: BootTime,
    files: BTreeSet<Sha256Digest>,
    engine: Engine,
    ports: Ports,
    slots: Slots,
    last: Option<Attempt>,
    done: Vec<Action>,
    rounds: Rounds,
    measuring_since: Option<u64>,
    policy: Policy,
    generation: u64,
    cut_by_power: bool,
}

impl World {
    /// A device that runs version 1.0 well.
    pub fn running(releases: &Rc<Releases>, nature: Nature, criu: Criu) -> Self {
        let mut world = Self::empty(releases, nature, criu);
        let old = releases.old.workload(OLD_NAME);
        for (name, container) in old.containers() {
            world.engine.images.insert(container.image_id);
            let sandbox = Sandbox {
                state: takt_agent_core::ContainerState::Running,
                kept: true,
                image: container.image_id,
                memory: MEMORY,
                started_at: 0,
                checkpoint: None,
            };
            world.engine.boxes.insert(name, sandbox);
        }
        if world.publishes() {
            world.ports.to = Some(old.name.clone());
        }
        world.slots.old_patch = true;
        world.record.installed.insert(old.manifest.release.name.clone(), old);
        world
    }

    /// A device that runs nothing.
    pub fn empty(releases: &Rc<Releases>, nature: Nature, criu: Criu) -> Self {
        Self {
            nature,
            criu,
            releases: Rc::clone(releases),
            record: Record::default(),
            outcomes: vec![],
            warnings: vec![],
            steps: 0,
            divisible: vec![],
            effects: vec![],
            dumped: BTreeMap::new(),
            waits: vec![],
            phases: vec![],
            asked: BTreeMap::new(),
            reverts: BTreeMap::new(),
            memory_at_begin: vec![],
            memory_when_told: vec![],
            boots: 1,
            millis: 60_000,
            secs: releases::START_SECS,
            started: BootTime { boot_id: "boot-1".to_owned(), millis: 10_000 },
            files: BTreeSet::new(),
            engine: Engine::default(),
            ports: Ports::default(),
            slots: Slots::default(),
            last: None,
            done: vec![],
            rounds: Rounds::default(),
            measuring_since: None,
            policy: Policy::default(),
            generation: 1,
            cut_by_power: false,
        }
    }

    pub fn accept(&mut self, action: OrderAction, manifest: Option<&Manifest>) {
        self.generation += 1;
        let accepted = order(self.generation, action, manifest);
        self.record.accept(accepted);
    }

    pub fn install_new(&mut self) {
        self.generation += 1;
        if self.generation == 2 {
            self.record.accept(self.releases.new.order.clone());
        } else {
            let accepted = order(self.generation, OrderAction::Install, Some(&self.releases.new.manifest));
            self.record.accept(accepted);
        }
    }

    /// Runs until the agent rests with no order in hand. `cut` is asked before each durable step.
    pub fn run(&mut self, cut: impl FnMut(usize) -> Option<Cut>) {
        self.run_until(cut, |_| false);
    }

    /// The same, or until `stop`.
    pub fn run_until(&mut self, mut cut: impl FnMut(usize) -> Option<Cut>, stop: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS_MAX {
            if stop(self) {
                return;
            }
            self.check_promises();
            let facts = self.look();
            let decision = decide(&self.record.phase, &facts, &self.policy);
            if matches!(decision, Decision::Wait(WaitingOn::Orders)) && self.record.next.is_none() {
                return;
            }
            if let Decision::Wait(waiting) = decision {
                self.rest(waiting);
                continue;
            }
            self.steps += 1;
            let cut = cut(self.steps);
            match (decision, cut) {
                // Only an effect can be half done, a commit cannot.
                (Decision::Do(action), Some(Cut::PowerDuring | Cut::KillDuring)) => self.begin_only(&action),
                (_, Some(Cut::PowerBefore | Cut::PowerDuring | Cut::KillDuring)) | (Decision::Wait(_), _) => {
                }
                (Decision::Remember(phase), _) => self.remember(phase),
                (Decision::Do(action), _) => self.act(action),
            }
            match cut {
                Some(Cut::PowerBefore | Cut::PowerDuring | Cut::PowerAfter) => self.cut_power(),
                Some(Cut::KillDuring | Cut::KillAfter) => self.kill_agent(),
                None => {}
            }
        }
        panic!("the agent never came to rest: {:?}", self.record.phase);
    }

    fn rest(&mut self, waiting: WaitingOn) {
        self.forget();
        let millis = match &waiting {
            WaitingOn::Retry { in_millis, .. } => (*in_millis).max(250),
            WaitingOn::Blockers(_) => 20_000,
            WaitingOn::Coordinator { left_millis } if self.nature == Nature::NeverHeard => {
                (*left_millis).clamp(1, 60_000)
            }
            WaitingOn::Coordinator { .. } => 1_000,
            WaitingOn::Engine | WaitingOn::Step { .. } | WaitingOn::Ports { .. } => 5_000,
            _ => 500,
        };
        let same = |last: &WaitingOn| std::mem::discriminant(last) == std::mem::discriminant(&waiting);
        if !self.waits.last().is_some_and(same) {
            self.waits.push(waiting);
        }
        self.pass(Duration::from_millis(millis));
    }

    fn act(&mut self, action: Action) {
        self.pass(Duration::from_millis(20));
        if matches!(action, Action::Apply { .. } | Action::Revert { .. } | Action::Prepare { .. }) {
            self.divisible.push(self.steps);
        }
        let run = self.started.clone();
        let result = self.perform(&action);
        // Of an action that ends the agent is never heard.
        if self.started == run {
            if result.is_ok() {
                self.done.push(action.clone());
            }
            self.last = Some(Attempt { action, result });
        }
    }

    fn remember(&mut self, phase: Phase) {
        let before = std::mem::take(&mut self.record.phase);
        let begins = matches!(before, Phase::Staged { .. })
            && matches!(phase, Phase::Checkpointing { .. } | Phase::Switching { .. });
        let ends = before.outcome().is_none() && phase.outcome().is_some();
        let turns_back =
            !matches!(before, Phase::RollingBack { .. }) && matches!(phase, Phase::RollingBack { .. });
        self.record.phase = before;
        if begins {
            self.check_begin();
            self.memory_at_begin = self.memory_of_old();
        }
        if turns_back {
            self.effects.push(Effect::TurnedBack);
        }
        self.record.enter(phase);
        self.phases.push(self.record.phase.name());
        self.forget();
        if ends {
            let job = self.record.phase.job().expect("an order has ended");
            let outcome = self.record.phase.outcome().expect("it has ended").clone();
            self.outcomes.push((job.accepted.order.generation, outcome));
            self.warnings = self.record.phase.swap().map(|swap| swap.warnings.clone()).unwrap_or_default();
            self.memory_when_told = self.memory_of_old();
            self.check_told();
        }
    }

    /// The power goes and comes back.
    pub fn cut_power(&mut self) {
        self.cut_by_power = true;
        self.reboot();
    }

    /// The agent is killed and started anew.
    pub fn kill_agent(&mut self) {
        self.restart_agent();
    }

    fn restart_agent(&mut self) {
        self.effects.push(Effect::AgentRestarted);
        let (releases, nature) = (Rc::clone(&self.releases), self.nature);
        let new = self.new_workload();
        self.slots.started(&releases, |index| new.as_ref().map(|new| new.key(index)), nature);
        self.agent_restarted();
    }

    fn forget(&mut self) {
        self.last = None;
        self.done.clear();
    }

    fn agent_restarted(&mut self) {
        self.forget();
        self.rounds = Rounds::default();
        self.measuring_since = None;
        self.pass(Duration::from_millis(10));
        self.started = self.boot();
    }

    fn reboot(&mut self) {
        self.effects.push(Effect::Rebooted);
        self.boots += 1;
        self.millis = 20_000;
        self.secs += 20;
        let (releases, nature) = (Rc::clone(&self.releases), self.nature);
        let new = self.new_workload();
        self.slots.booted(&releases, |index| new.as_ref().map(|new| new.key(index)), nature);
        self.engine.booted(self.millis);
        self.ports.booted();
        self.agent_restarted();
    }

    fn pass(&mut self, span: Duration) {
        let millis = span.as_millis() as u64;
        self.secs += (self.millis + millis) / 1_000 - self.millis / 1_000;
        self.millis += millis;
        let Some(last) = self.releases.new.last_image().filter(|_| self.nature == Nature::DiesInProbation)
        else {
            return;
        };
        for container in self.engine.boxes.values_mut().filter(|container| container.image == last) {
            let age = self.millis.saturating_sub(container.started_at);
            if container.state == takt_agent_core::ContainerState::Running && age > 1_000 {
                container.state = takt_agent_core::ContainerState::Exited(1);
            }
        }
    }

    fn boot(&self) -> BootTime {
        BootTime { boot_id: format!("boot-{}", self.boots), millis: self.millis }
    }

    fn publishes(&self) -> bool {
        self.releases.new.manifest.containers().is_some_and(takt_common::release::ContainerSet::publishes)
    }

    /// The release that comes, or has come.
    fn new_workload(&self) -> Option<Workload> {
        let installed = self.record.installed.values().find(|workload| workload.name.0 != OLD_NAME);
        self.record.phase.swap().map(|swap| &swap.new).or(installed).cloned()
    }

    /// The release that ran when the order came.
    fn old_workload(&self) -> Option<Workload> {
        let installed = self.record.installed.values().find(|workload| workload.name.0 == OLD_NAME);
        let replaced = self.record.phase.job().and_then(|job| job.old.as_ref());
        replaced.filter(|old| old.name.0 == OLD_NAME).or(installed).cloned()
    }

    /// What the containers with which it stands in for another have in memory.
    pub fn memory_of_stand_in(&self) -> Vec<u64> {
        let stand_in = self.record.stand_in.as_ref();
        stand_in.map(|stand_in| self.engine.memory(&stand_in.workload)).unwrap_or_default()
    }

    fn memory_of_old(&self) -> Vec<u64> {
        self.old_workload().map(|old| self.engine.memory(&old)).unwrap_or_default()
    }
}
