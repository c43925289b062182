//! A device that upgrades `counter` from 1.0 to 2.0: phases as `decide` itself makes them, and facts to change.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use takt_agent_core::{
    Accepted, Action, ActionFailure, Attempt, BootTime, ContainerName, ContainerState, Decision, Facts, Job,
    Nature, Phase, Policy, Presence, StandIn, Tries, WaitingOn, Wellness, Workload, WorkloadState, decide,
};
use takt_common::order::{
    Action as OrderAction, Member, Mode, ORDER_FORMAT, Order, Policy as OrderPolicy, SnapshotRef,
};
use takt_common::release::{
    Artifact, Container, Health, Kind, MANIFEST_FORMAT, Manifest, Probe, ReleaseId, Severity, Strategy,
};
use takt_common::report::Outcome;
use takt_common::{DeviceId, Name, Sha256Digest, UnixTime};

pub const NOW: UnixTime = UnixTime::from_secs(2_000_000);
pub const DEADLINE: UnixTime = UnixTime::from_secs(2_000_600);
pub const MIB: u64 = 1 << 20;

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}

pub fn device() -> DeviceId {
    "00112233445566778899aabbccddeeff".parse().unwrap()
}

pub fn peer() -> DeviceId {
    "ffeeddccbbaa99887766554433221100".parse().unwrap()
}

/// Version `1.0`, `2.0` … of `counter`.
pub fn manifest(major: u64) -> Manifest {
    let archive = digest(&format!("archive {major}"));
    Manifest {
        format: MANIFEST_FORMAT,
        release: ReleaseId { name: name("counter"), version: name(&format!("{major}.0")) },
        counter: major,
        severity: Severity::Minor,
        kind: Kind::Container,
        hardware: vec![],
        artifacts: vec![Artifact { sha256: archive, length: 8 * MIB }],
        container: Some(Container {
            archive,
            image_id: digest(&format!("image {major}")),
            env: BTreeMap::new(),
            command: vec![],
            volumes: vec![],
            memory_mib: None,
            strategies: vec![Strategy::Preserve, Strategy::Replace],
            stop_grace_secs: 1,
        }),
        health: Health {
            probes: vec![Probe::Tcp("127.0.0.1:1".into())],
            interval_millis: 500,
            timeout_millis: 500,
            start_millis: 3_000,
            probation_millis: 5_000,
            failures_max: 3,
        },
        unpacked_bytes: 16 * MIB,
    }
}

/// Version 2.0 as a release that allows these strategies only.
pub fn allowing(strategies: &[Strategy]) -> Manifest {
    let mut new = manifest(2);
    new.container.as_mut().unwrap().strategies = strategies.to_vec();
    new
}

pub fn workload(manifest: &Manifest, generation: u64) -> Workload {
    Workload {
        manifest: manifest.clone(),
        manifest_sha256: Sha256Digest::of(&manifest.to_bytes()),
        container: ContainerName(format!("counter-g{generation}")),
    }
}

pub fn order(generation: u64, action: OrderAction, manifest: Option<&Manifest>) -> Order {
    let members = manifest.map_or(vec![], |manifest| {
        let bytes = manifest.to_bytes();
        let member = |path, length, sha256| Member {
            path,
            length,
            sha256,
            release: manifest.release.clone(),
            hw: manifest.hardware.clone(),
        };
        let first = member(manifest.release.target_path(), bytes.len() as u64, Sha256Digest::of(&bytes));
        let files =
            manifest.artifacts.iter().map(|file| member(file.target_path(), file.length, file.sha256));
        std::iter::once(first).chain(files).collect()
    });
    Order {
        format: ORDER_FORMAT,
        device: device(),
        epoch: 1,
        generation,
        nonce: None,
        issued: NOW,
        not_after: DEADLINE,
        previous_order_digest: None,
        snapshot: SnapshotRef { version: 1, sha256: digest("snapshot") },
        action,
        members,
        mode: Mode::InPlace,
        window: None,
        deadline: DEADLINE,
        policy: OrderPolicy::default(),
    }
}

pub fn accepted(order: Order) -> Accepted {
    Accepted { digest: Sha256Digest::of(&order.to_bytes()), order, at: NOW }
}

pub fn take_over() -> OrderAction {
    OrderAction::TakeOver { device: peer(), name: name("camera-2") }
}

pub fn stand_in(state: ContainerState) -> (StandIn, WorkloadState) {
    let stand_in = StandIn { device: peer(), name: name("camera-2"), workload: workload(&manifest(1), 3) };
    (stand_in, at_rest(state))
}

pub fn at_rest(container: ContainerState) -> WorkloadState {
    WorkloadState { container, kept_running: true, image: Presence::Present }
}

pub fn remembered(decision: Decision) -> Phase {
    match decision {
        Decision::Remember(phase) => phase,
        other => panic!("a phase was expected, not {other:?}"),
    }
}

pub fn done(decision: Decision) -> Action {
    match decision {
        Decision::Do(action) => action,
        other => panic!("an action was expected, not {other:?}"),
    }
}

pub fn waited(decision: Decision) -> WaitingOn {
    match decision {
        Decision::Wait(waiting) => waiting,
        other => panic!("a wait was expected, not {other:?}"),
    }
}

pub fn outcome(decision: Decision) -> Outcome {
    let phase = remembered(decision);
    phase.outcome().unwrap_or_else(|| panic!("an end was expected, not {phase:?}")).clone()
}

/// A device and the order it has in hand.
#[derive(Clone)]
pub struct Case {
    pub order: Order,
    pub facts: Facts,
    pub policy: Policy,
    pub old: Option<Workload>,
}

impl Case {
    /// Runs 1.0; the order wants `new`. All is on disk and well.
    pub fn upgrade_to(new: &Manifest) -> Self {
        let order = order(7, OrderAction::Install, Some(new));
        let old = workload(&manifest(1), 2);
        let new_name = ContainerName(format!("takt-{}-counter-g1-7", &device().to_string()[..12]));
        let facts = Facts {
            now: NOW,
            boot: boot(1, 60_000),
            next: None,
            installed: vec![(old.clone(), at_rest(ContainerState::Running))],
            stand_in: None,
            retained: vec![],
            failed_here: BTreeMap::new(),
            free_disk_bytes: 1 << 34,
            free_memory_bytes: 1 << 30,
            load_per_cpu: 0.2,
            staged: order.members.iter().map(|member| member.sha256).collect(),
            partial: BTreeMap::new(),
            manifest: Some(Ok(new.clone())),
            image: Presence::Present,
            containers: BTreeMap::from([
                (old.container.clone(), ContainerState::Running),
                (new_name, ContainerState::Created),
            ]),
            checkpoint_ability: Ok(()),
            wellness: Wellness::default(),
            locks: vec![],
            last: None,
        };
        Self { order, facts, policy: Policy::default(), old: Some(old) }
    }

    pub fn upgrade() -> Self {
        Self::upgrade_to(&manifest(2))
    }

    /// Version 2.0 as an order that allows these strategies only.
    pub fn allowing(strategies: &[Strategy]) -> Self {
        Self::upgrade_to(&allowing(strategies))
    }

    pub fn decide(&self, phase: &Phase) -> Decision {
        decide(phase, &self.facts, &self.policy)
    }

    pub fn job(&self) -> Box<Job> {
        Box::new(Job { accepted: accepted(self.order.clone()), old: self.old.clone() })
    }

    pub fn new_name(&self) -> ContainerName {
        let old = self.old.as_ref().map(|old| &old.container);
        self.facts.containers.keys().find(|name| Some(*name) != old).unwrap().clone()
    }

    pub fn old_name(&self) -> ContainerName {
        self.old.as_ref().unwrap().container.clone()
    }

    pub fn set_new(&mut self, state: ContainerState) {
        self.facts.containers.insert(self.new_name(), state);
    }

    pub fn set_old(&mut self, state: ContainerState) {
        self.facts.containers.insert(self.old_name(), state);
    }

    pub fn pass(&mut self, millis: u64) {
        self.facts.boot.millis += millis;
    }

    pub fn reboot(&mut self) {
        let count: u64 = self.facts.boot.boot_id.trim_start_matches("boot-").parse().unwrap();
        self.facts.boot = boot(count + 1, 20_000);
        self.facts.last = None;
    }

    pub fn well_for(&mut self, millis: u64) {
        self.facts.wellness = Wellness {
            failures_in_a_row: 0,
            ever_well: true,
            well_for: Some(Duration::from_millis(millis)),
            last_failure: None,
        };
    }

    pub fn sick(&mut self, failures: u32) {
        self.facts.wellness = Wellness {
            failures_in_a_row: failures,
            ever_well: false,
            well_for: None,
            last_failure: Some("status 500".into()),
        };
    }

    /// The last action failed.
    pub fn failed(&mut self, action: Action, nature: Nature) {
        let failure = ActionFailure { nature, text: "the engine said no".into() };
        self.facts.last = Some(Attempt { action, result: Err(failure) });
    }

    pub fn succeeded(&mut self, action: Action) {
        self.facts.last = Some(Attempt { action, result: Ok(()) });
    }

    /// A commit: the last action is forgotten.
    pub fn remember(&mut self, decision: Decision) -> Phase {
        self.facts.last = None;
        remembered(decision)
    }

    pub fn fetching(&self) -> Phase {
        Phase::Fetching { job: self.job(), tries: Tries::default() }
    }

    // The phases below are made by `decide` from a world in which all is well, whatever the facts are by now.

    pub fn staged(&self) -> Phase {
        let mut well = Self::upgrade_to(self.facts.manifest.as_ref().unwrap().as_ref().unwrap());
        well.order.clone_from(&self.order);
        well.old.clone_from(&self.old);
        let phase = remembered(well.decide(&well.fetching()));
        assert!(matches!(phase, Phase::Staged { .. }), "{phase:?}");
        phase
    }

    /// `Checkpointing` or, where the release allows only `replace`, `Switching`.
    pub fn begun(&self) -> Phase {
        let mut well = self.clone();
        well.order.window = None;
        well.facts = Self::upgrade_to(&manifest(2)).facts;
        remembered(well.decide(&self.staged()))
    }

    pub fn switching(&self) -> Phase {
        let phase = self.begun();
        if matches!(phase, Phase::Switching { .. }) {
            return phase;
        }
        let mut well = self.clone();
        well.facts = Self::upgrade_to(&manifest(2)).facts;
        well.set_old(ContainerState::Exited(137));
        remembered(well.decide(&phase))
    }

    pub fn probation(&self) -> Phase {
        let mut well = self.clone();
        well.facts = Self::upgrade_to(&manifest(2)).facts;
        well.set_old(ContainerState::Exited(137));
        well.set_new(ContainerState::Running);
        let phase = remembered(well.decide(&self.switching()));
        assert!(matches!(phase, Phase::Probation { .. }), "{phase:?}");
        phase
    }

    /// Turned back from probation because the new one has exited.
    pub fn rolling_back(&self) -> Phase {
        let mut well = self.clone();
        well.facts = Self::upgrade_to(&manifest(2)).facts;
        well.set_new(ContainerState::Exited(1));
        remembered(well.decide(&self.probation()))
    }

    /// The end of a rollback that succeeded.
    pub fn rolled_back(&self) -> Phase {
        let mut well = self.clone();
        well.facts = Self::upgrade_to(&manifest(2)).facts;
        well.set_new(ContainerState::Exited(1));
        well.set_old(ContainerState::Exited(137));
        let mut phase = remembered(well.decide(&self.rolling_back()));
        well.set_old(ContainerState::Running);
        well.well_for(0);
        for _ in 0..4 {
            if phase.outcome().is_some() {
                return phase;
            }
            phase = remembered(well.decide(&phase));
        }
        panic!("no end: {phase:?}")
    }

    /// The end of an upgrade that was verified.
    pub fn verified(&self) -> Phase {
        let mut well = self.clone();
        well.facts = Self::upgrade_to(&manifest(2)).facts;
        well.set_new(ContainerState::Running);
        well.well_for(5_000);
        remembered(well.decide(&self.probation()))
    }
}

pub fn boot(count: u64, millis: u64) -> BootTime {
    BootTime { boot_id: format!("boot-{count}"), millis }
}
