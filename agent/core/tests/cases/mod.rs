//! A device that upgrades `counter` from 1.0 to 2.0: phases as `decide` itself makes them, and facts to change.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use takt_agent_core::facts::{Baseline, ClockState, LinkCost, Power, Routed, StandbyState};
use takt_agent_core::{
    Accepted, Action, ActionFailure, Attempt, BootTime, ContainerFacts, ContainerName, ContainerState,
    Decision, Facts, Helpless, Job, Nature, Phase, Policy, Presence, StandIn, StepKey, StepState, Tries,
    WaitingOn, Wellness, Workload, WorkloadName, decide,
};
use takt_common::order::{
    Action as OrderAction, Member, Mode, ORDER_FORMAT, Order, Policy as OrderPolicy, SnapshotRef, Takeover,
};
use takt_common::release::{
    Artifact, BaselineLimits, Conffiles, Container, ContainerSet, FileSet, FileSpec, Health, Hook, HookPoint,
    Kind, LivePatch, MANIFEST_FORMAT, Manifest, Network, OsImage, Package, PackageFormat, PackageSet, Port,
    Probe, ReleaseId, Requirements, Severity, Step, Strategy,
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
    let container = Container {
        name: None,
        archive,
        image_id: digest(&format!("image {major}")),
        env: BTreeMap::new(),
        command: vec![],
        volumes: vec![],
        memory_mib: None,
        network: Network::Host,
        ports: vec![],
        stop_grace_secs: 1,
    };
    let set = ContainerSet::of_one(container, vec![Strategy::Preserve, Strategy::Replace]);
    Manifest {
        format: MANIFEST_FORMAT,
        release: ReleaseId { name: name("counter"), version: name(&format!("{major}.0")) },
        counter: major,
        severity: Severity::Minor,
        hardware: vec![],
        artifacts: vec![Artifact { sha256: archive, length: 8 * MIB }],
        steps: vec![Step::Container(set)],
        hooks: BTreeMap::new(),
        health: Health {
            probes: vec![Probe::Tcp("127.0.0.1:1".into())],
            interval_millis: 500,
            timeout_millis: 500,
            start_millis: 3_000,
            probation_millis: 5_000,
            failures_max: 3,
            baseline: BaselineLimits::default(),
        },
        unpacked_bytes: 16 * MIB,
        requires: Requirements::default(),
    }
}

/// Its containers.
pub fn containers(manifest: &mut Manifest) -> &mut ContainerSet {
    let set = manifest.steps.iter_mut().find_map(|step| match step {
        Step::Container(set) => Some(set),
        _ => None,
    });
    set.unwrap()
}

/// Its first image.
pub fn image(manifest: &Manifest) -> Sha256Digest {
    manifest.containers().unwrap().containers[0].image_id
}

/// Version 2.0 as a release that allows these strategies only.
pub fn allowing(strategies: &[Strategy]) -> Manifest {
    let mut new = manifest(2);
    containers(&mut new).strategies = strategies.to_vec();
    new
}

/// A step of kind file; `text` tells it from others.
pub fn file_step(text: &str) -> Step {
    Step::File(FileSet {
        files: vec![FileSpec {
            path: format!("/etc/{text}"),
            content: Some(digest(text)),
            mode: None,
            owner: None,
            xattrs: BTreeMap::new(),
        }],
    })
}

/// A step of kind package that brings another agent.
pub fn agent_step() -> Step {
    let package = Package {
        file: digest("package"),
        name: "takt-agent".into(),
        version: "2.0-1".into(),
        architecture: "all".into(),
    };
    let set =
        PackageSet { format: PackageFormat::Deb, packages: vec![package], conffiles: Conffiles::default() };
    Step::Package(set)
}

/// A step of kind os-image.
pub fn os_step() -> Step {
    Step::OsImage(OsImage {
        bundle: digest("bundle"),
        compatible: "board-a".into(),
        version: "2.0".into(),
        boot_secs: 600,
    })
}

/// A step of kind live-patch.
pub fn patch_step() -> Step {
    Step::LivePatch(LivePatch {
        module: digest("module"),
        name: "mend".into(),
        kernel: "6.1.0-1".into(),
        stands_for: "6.1.0-2".into(),
        transition_secs: 60,
    })
}

/// `manifest` with `steps`, and what they need.
pub fn with_steps(mut manifest: Manifest, steps: Vec<Step>) -> Manifest {
    let texts = ["first", "last", "package", "bundle", "module"];
    manifest.artifacts.extend(texts.map(|text| Artifact { sha256: digest(text), length: 100 }));
    manifest.steps = steps;
    manifest.check().unwrap();
    manifest
}

/// Version 2.0 with files that change before its container does, and after.
pub fn between_files() -> Manifest {
    let new = manifest(2);
    let container = new.steps[0].clone();
    with_steps(new, vec![file_step("first"), container, file_step("last")])
}

/// Two containers, of which one has a published port.
pub fn publishing(major: u64) -> Manifest {
    let mut new = manifest(major);
    let set = containers(&mut new);
    let mut side = set.containers[0].clone();
    side.name = Some(name("side"));
    set.containers[0].ports = vec![Port { variable: name("web"), container_port: None }];
    set.containers.push(side);
    set.strategies = vec![Strategy::Handover, Strategy::Replace];
    new.check().unwrap();
    new
}

/// A hook at each point.
pub fn with_hooks(mut manifest: Manifest) -> Manifest {
    let program = digest("hook");
    manifest.artifacts.push(Artifact { sha256: program, length: 10 });
    let hook = |point| (point, Hook { program, args: vec![], timeout_secs: 30 });
    manifest.hooks = POINTS.map(hook).into_iter().collect();
    manifest.check().unwrap();
    manifest
}

pub const POINTS: [HookPoint; 9] = [
    HookPoint::PreFetch,
    HookPoint::PreSwitch,
    HookPoint::Takeover,
    HookPoint::HandBack,
    HookPoint::ExportState,
    HookPoint::ImportState,
    HookPoint::PostSwitch,
    HookPoint::Healthy,
    HookPoint::Rollback,
];

/// Version 2.0 with a step of each kind, and a hook at each point.
pub fn of_every_kind() -> Manifest {
    let new = publishing(2);
    let container = new.steps[0].clone();
    let steps = vec![file_step("first"), agent_step(), container, os_step(), patch_step(), file_step("last")];
    with_hooks(with_steps(new, steps))
}

pub fn workload(manifest: &Manifest, generation: u64) -> Workload {
    Workload {
        manifest: manifest.clone(),
        manifest_sha256: Sha256Digest::of(&manifest.to_bytes()),
        name: WorkloadName(format!("counter-g{generation}")),
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
        permission: None,
    }
}

pub fn accepted(order: Order) -> Accepted {
    Accepted { digest: Sha256Digest::of(&order.to_bytes()), order, at: NOW }
}

pub fn take_over() -> OrderAction {
    OrderAction::TakeOver { device: peer(), name: name("camera-2"), how: Takeover::Launch, lease: 12 }
}

pub fn stand_in() -> StandIn {
    StandIn { device: peer(), name: name("camera-2"), workload: workload(&manifest(1), 3), lease: 12 }
}

/// The name of the only container of `workload`.
pub fn only(workload: &Workload) -> ContainerName {
    workload.containers().next().unwrap().0
}

pub fn at_rest(state: ContainerState) -> ContainerFacts {
    ContainerFacts { state, kept_running: true }
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
    /// What comes, by the name that `decide` gives it.
    pub new: Workload,
}

impl Case {
    /// Runs 1.0; the order wants `new`. All is on disk and well.
    pub fn upgrade_to(new: &Manifest) -> Self {
        Self::over(workload(&manifest(1), 2), new)
    }

    /// Runs `old`; the order wants `new`. All is on disk and well.
    pub fn over(old: Workload, new: &Manifest) -> Self {
        let order = order(7, OrderAction::Install, Some(new));
        let facts = Facts {
            now: NOW,
            boot: boot(1, 60_000),
            started: boot(1, 10_000),
            next: None,
            installed: vec![old.clone()],
            stand_in: None,
            retained: vec![],
            failed_here: BTreeMap::new(),
            free_disk_bytes: 1 << 34,
            free_memory_bytes: 1 << 30,
            load_per_cpu: 0.2,
            power: Power::Mains,
            link: LinkCost::Free,
            clock: ClockState::Trusted,
            standby: StandbyState::NotAsked,
            staged: order.members.iter().map(|member| member.sha256).collect(),
            partial: BTreeMap::new(),
            manifest: Some(Ok(new.clone())),
            images: BTreeMap::new(),
            containers: BTreeMap::new(),
            routes: BTreeMap::new(),
            connections: BTreeMap::new(),
            steps: BTreeMap::new(),
            kept: BTreeSet::new(),
            checkpoint_ability: Ok(()),
            handover_ability: Ok(()),
            wellness: Wellness::default(),
            vitals: None,
            baseline: Baseline::None,
            heard: false,
            locks: vec![],
            last: None,
            done: vec![],
            helpless: Helpless::default(),
        };
        let name = WorkloadName(format!("takt-{}-counter-g1-7", &device().to_string()[..12]));
        let new = Workload { name, ..workload(new, 7) };
        let mut case = Self { order, facts, policy: Policy::default(), old: Some(old), new };
        case.set_old(ContainerState::Running);
        case.set_new(ContainerState::Created);
        case.set_images(Presence::Present);
        for (key, step) in case.new.clone().steps() {
            if step.kind() != Kind::Container {
                case.facts.steps.insert(key, StepState::Prepared);
            }
        }
        let workloads = [(case.old.clone().unwrap(), Routed::Yes), (case.new.clone(), Routed::No)];
        case.facts.routes.extend(workloads.map(|(workload, routed)| (workload.name, routed)));
        case
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

    /// The same once what is counted of the order has been noted: another run of the agent, or what cannot be looked at.
    pub fn decide_noted(&self, phase: &Phase) -> Decision {
        match self.decide(phase) {
            Decision::Remember(next)
                if next.name() == phase.name()
                    && next.swap().map(|swap| &swap.bounds) != phase.swap().map(|swap| &swap.bounds) =>
            {
                self.decide(&next)
            }
            decision => decision,
        }
    }

    pub fn job(&self) -> Box<Job> {
        Box::new(Job { accepted: accepted(self.order.clone()), old: self.old.clone() })
    }

    pub fn new_name(&self) -> ContainerName {
        only(&self.new)
    }

    pub fn old_name(&self) -> ContainerName {
        only(self.old.as_ref().unwrap())
    }

    /// All containers of what comes.
    pub fn set_new(&mut self, state: ContainerState) {
        let new = self.new.clone();
        self.facts.containers.extend(new.containers().map(|(name, _)| (name, at_rest(state))));
    }

    pub fn set_old(&mut self, state: ContainerState) {
        let Some(old) = &self.old else { return };
        self.facts.containers.extend(old.containers().map(|(name, _)| (name, at_rest(state))));
    }

    /// The images of what runs and of what comes.
    pub fn set_images(&mut self, presence: Presence) {
        let (old, new) = (self.old.clone(), self.new.clone());
        for workload in old.iter().chain([&new]) {
            let images = workload.containers().map(|(_, container)| (container.image_id, presence));
            self.facts.images.extend(images);
        }
    }

    /// The device stands in for another one, with a container in this state.
    pub fn stands_in(&mut self, state: ContainerState) {
        let stand_in = stand_in();
        self.facts.containers.insert(only(&stand_in.workload), at_rest(state));
        self.facts.images.insert(image(&stand_in.workload.manifest), Presence::Present);
        self.facts.stand_in = Some(stand_in);
    }

    /// The key of a step of what comes.
    pub fn key(&self, index: usize) -> StepKey {
        self.new.key(index)
    }

    pub fn set_step(&mut self, index: usize, state: StepState) {
        self.facts.steps.insert(self.key(index), state);
    }

    /// All steps of what comes that are no containers.
    pub fn set_steps(&mut self, state: &StepState) {
        self.facts.steps.values_mut().for_each(|step| step.clone_from(state));
    }

    pub fn pass(&mut self, millis: u64) {
        self.facts.boot.millis += millis;
    }

    pub fn reboot(&mut self) {
        let count: u64 = self.facts.boot.boot_id.trim_start_matches("boot-").parse().unwrap();
        self.facts.boot = boot(count + 1, 20_000);
        self.facts.started = boot(count + 1, 15_000);
        self.forget();
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
        let (last, boot) = (self.facts.last.clone().unwrap(), self.facts.boot.clone());
        self.facts.helpless.note(&last, &boot, &self.policy);
    }

    pub fn succeeded(&mut self, action: Action) {
        self.facts.done.push(action.clone());
        self.facts.last = Some(Attempt { action, result: Ok(String::new()) });
    }

    /// A commit or a rest: what was done before is forgotten.
    pub fn forget(&mut self) {
        self.facts.last = None;
        self.facts.done.clear();
    }

    /// The agent is killed and starts anew.
    pub fn kill(&mut self) {
        self.pass(1_000);
        self.facts.started = self.facts.boot.clone();
        self.forget();
    }

    /// A commit: the last action is forgotten.
    pub fn remember(&mut self, decision: Decision) -> Phase {
        self.forget();
        remembered(decision)
    }

    pub fn fetching(&self) -> Phase {
        let asked = self.new.manifest.hooks.contains_key(&HookPoint::PreFetch);
        Phase::Fetching { job: self.job(), hook: asked.then(String::new), tries: Tries::default() }
    }

    // The phases below are made by `decide` from a world in which all is well, whatever the facts are by now.

    /// The same device in a world in which all is well.
    fn well(&self) -> Self {
        let old = self.old.clone().unwrap_or_else(|| workload(&manifest(1), 2));
        let mut well = Self::over(old, &self.new.manifest);
        well.order.clone_from(&self.order);
        well.old.clone_from(&self.old);
        well
    }

    pub fn staged(&self) -> Phase {
        let well = self.well();
        let phase = remembered(well.decide(&well.fetching()));
        assert!(matches!(phase, Phase::Staged { .. }), "{phase:?}");
        phase
    }

    /// `Checkpointing` or, where the release allows only `replace`, `Switching`.
    pub fn begun(&self) -> Phase {
        let mut well = self.well();
        well.order.window = None;
        remembered(well.decide(&self.staged()))
    }

    pub fn switching(&self) -> Phase {
        let phase = self.begun();
        if matches!(phase, Phase::Switching { .. }) {
            return phase;
        }
        let mut well = self.well();
        well.set_old(ContainerState::Exited(137));
        remembered(well.decide(&phase))
    }

    pub fn probation(&self) -> Phase {
        let mut well = self.well();
        well.set_old(ContainerState::Exited(137));
        well.set_new(ContainerState::Running);
        well.set_steps(&StepState::Applied);
        well.facts.routes.insert(self.new.name.clone(), Routed::Yes);
        let phase = remembered(well.decide(&self.switching()));
        assert!(matches!(phase, Phase::Probation { .. }), "{phase:?}");
        phase
    }

    /// `Confirming`, for a release that has other steps than containers.
    pub fn confirming(&self) -> Phase {
        let mut well = self.well();
        well.set_new(ContainerState::Running);
        well.set_steps(&StepState::Applied);
        well.well_for(5_000);
        let phase = remembered(well.decide(&self.probation()));
        assert!(matches!(phase, Phase::Confirming { .. }), "{phase:?}");
        phase
    }

    /// Turned back from probation because the new one has exited.
    pub fn rolling_back(&self) -> Phase {
        let mut well = self.well();
        well.set_new(ContainerState::Exited(1));
        remembered(well.decide(&self.probation()))
    }

    /// The end of a rollback that succeeded.
    pub fn rolled_back(&self) -> Phase {
        let mut well = self.well();
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
        let mut well = self.well();
        well.set_new(ContainerState::Running);
        well.well_for(5_000);
        remembered(well.decide(&self.probation()))
    }
}

pub fn boot(count: u64, millis: u64) -> BootTime {
    BootTime { boot_id: format!("boot-{count}"), millis }
}
