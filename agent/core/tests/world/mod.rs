//! A small world for `decide`: a disk, a container engine, a clock and a way to cut the power.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use takt_agent_core::{
    Accepted, Action, ActionFailure, Attempt, BootTime, ContainerName, ContainerState, Decision, Facts,
    Nature as Kind, Phase, Policy, Presence, Record, WaitingOn, Wellness, Workload, WorkloadState, decide,
};
use takt_common::order::{
    Action as OrderAction, Member, Mode, ORDER_FORMAT, Order, Policy as OrderPolicy, SnapshotRef,
};
use takt_common::release::{
    Artifact, Container, Health, Kind as ReleaseKind, MANIFEST_FORMAT, Manifest, Probe, ReleaseId, Severity,
    Strategy,
};
use takt_common::report::Outcome;
use takt_common::{DeviceId, Sha256Digest, SigningKey, UnixTime};

/// What is the matter with the new release, or with the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    Good,
    WillNotFetch,
    CorruptArtifact,
    DiskFull,
    ArchiveHoldsAnotherImage,
    WillNotStart,
    DiesAtOnce,
    StartsSick,
    DiesInProbation,
    FallsIllInProbation,
    NeverReports,
}

pub const NATURES: [Nature; 11] = [
    Nature::Good,
    Nature::WillNotFetch,
    Nature::CorruptArtifact,
    Nature::DiskFull,
    Nature::ArchiveHoldsAnotherImage,
    Nature::WillNotStart,
    Nature::DiesAtOnce,
    Nature::StartsSick,
    Nature::DiesInProbation,
    Nature::FallsIllInProbation,
    Nature::NeverReports,
];

/// What the device's CRIU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criu {
    Works,
    Missing,
    RefusesToDump,
    RefusesToRestore,
}

/// How the agent is interrupted at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The power goes before the effect or commit.
    PowerBefore,
    /// The power goes after it, before anybody knew.
    PowerAfter,
    /// The agent is killed after it, before it knew; the machine goes on.
    KillAfter,
}

#[derive(Debug, Clone)]
struct Sandbox {
    state: ContainerState,
    kept: bool,
    is_new: bool,
    memory: u64,
    started_at: u64,
    checkpoint: Option<u64>,
}

pub struct World {
    pub nature: Nature,
    pub criu: Criu,
    pub record: Record,
    pub outcomes: Vec<(u64, Outcome)>,
    pub steps: usize,
    /// The memory of the old release when it was checkpointed.
    pub dumped: Option<u64>,
    /// The memory of what ran when the last outcome was told.
    pub memory_when_told: Option<u64>,
    boots: u64,
    millis: u64,
    secs: u64,
    files: BTreeSet<Sha256Digest>,
    images: BTreeSet<Sha256Digest>,
    boxes: BTreeMap<ContainerName, Sandbox>,
    last: Option<Attempt>,
    rounds: Rounds,
    policy: Policy,
    generation: u64,
}

#[derive(Default)]
struct Rounds {
    of: Option<(ContainerName, String)>,
    wellness: Wellness,
    well_since: Option<u64>,
}

static V1: LazyLock<Manifest> = LazyLock::new(|| made("1.0", 1));
static V2: LazyLock<Manifest> = LazyLock::new(|| made("2.0", 2));
static V2_DIGEST: LazyLock<Sha256Digest> = LazyLock::new(|| Sha256Digest::of(&V2.to_bytes()));

pub fn manifest(version: &str) -> &'static Manifest {
    if version == "1.0" { &V1 } else { &V2 }
}

fn made(version: &str, counter: u64) -> Manifest {
    let archive = Sha256Digest::of(format!("archive {version}").as_bytes());
    Manifest {
        format: MANIFEST_FORMAT,
        release: ReleaseId { name: "counter".parse().unwrap(), version: version.parse().unwrap() },
        counter,
        severity: Severity::Minor,
        kind: ReleaseKind::Container,
        hardware: vec![],
        artifacts: vec![Artifact { sha256: archive, length: 1 << 20 }],
        container: Some(Container {
            archive,
            image_id: Sha256Digest::of(format!("image {version}").as_bytes()),
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
        unpacked_bytes: 1 << 20,
    }
}

fn image(manifest: &Manifest) -> Sha256Digest {
    manifest.container.as_ref().unwrap().image_id
}

pub fn order(generation: u64, action: OrderAction, manifest: Option<&Manifest>) -> Accepted {
    let members = manifest.map_or(vec![], |manifest| {
        let bytes = manifest.to_bytes();
        let member = |path, length, sha256| Member {
            path,
            length,
            sha256,
            release: manifest.release.clone(),
            hw: vec![],
        };
        let mut members =
            vec![member(manifest.release.target_path(), bytes.len() as u64, Sha256Digest::of(&bytes))];
        members.extend(
            manifest.artifacts.iter().map(|file| member(file.target_path(), file.length, file.sha256)),
        );
        members
    });
    let order = Order {
        format: ORDER_FORMAT,
        device: device(),
        epoch: 1,
        generation,
        nonce: None,
        issued: UnixTime::from_secs(1_000_000),
        not_after: UnixTime::from_secs(1_000_600),
        previous_order_digest: None,
        snapshot: SnapshotRef { version: 1, sha256: Sha256Digest::of(b"snapshot") },
        action,
        members,
        mode: Mode::InPlace,
        window: None,
        deadline: UnixTime::from_secs(1_000_600),
        policy: OrderPolicy::default(),
    };
    let digest = Sha256Digest::of(&order.to_bytes());
    Accepted { order, digest, at: UnixTime::from_secs(1_000_000) }
}

pub fn device() -> DeviceId {
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";
    DeviceId::of_key(&SigningKey::from_pem(pem).unwrap().public())
}

/// The memory that the old release has gathered before the order comes.
pub const MEMORY: u64 = 4_711;

impl World {
    /// A device that runs version 1.0 well.
    pub fn running_v1(nature: Nature, criu: Criu) -> Self {
        let mut world = Self::empty(nature, criu);
        let old = manifest("1.0");
        let name = ContainerName("takt-counter-g1".into());
        let workload = Workload {
            manifest_sha256: Sha256Digest::of(&old.to_bytes()),
            container: name.clone(),
            manifest: old.clone(),
        };
        world.record.installed.insert(old.release.name.clone(), workload);
        world.images.insert(image(old));
        world.boxes.insert(
            name,
            Sandbox {
                state: ContainerState::Running,
                kept: true,
                is_new: false,
                memory: MEMORY,
                started_at: 0,
                checkpoint: None,
            },
        );
        world
    }

    /// A device that runs nothing.
    pub fn empty(nature: Nature, criu: Criu) -> Self {
        Self {
            nature,
            criu,
            record: Record::default(),
            outcomes: vec![],
            steps: 0,
            dumped: None,
            memory_when_told: None,
            boots: 1,
            millis: 60_000,
            secs: 1_000_000,
            files: BTreeSet::new(),
            images: BTreeSet::new(),
            boxes: BTreeMap::new(),
            last: None,
            rounds: Rounds::default(),
            policy: Policy::default(),
            generation: 1,
        }
    }

    pub fn accept(&mut self, action: OrderAction, manifest: Option<&Manifest>) {
        self.generation += 1;
        let accepted = order(self.generation, action, manifest);
        self.record.accept(accepted);
    }

    pub fn install_v2(&mut self) {
        self.accept(OrderAction::Install, Some(manifest("2.0")));
    }

    /// Runs until the agent rests with no order in hand. `cut` is asked before each durable step.
    pub fn run(&mut self, mut cut: impl FnMut(usize) -> Option<Cut>) {
        for _ in 0..20_000 {
            self.check_promises();
            let facts = self.look();
            let decision = decide(&self.record.phase, &facts, &self.policy);
            let cut = if matches!(decision, Decision::Wait(_)) {
                None
            } else {
                self.steps += 1;
                cut(self.steps)
            };
            if cut == Some(Cut::PowerBefore) {
                self.reboot();
                continue;
            }
            match decision {
                Decision::Wait(WaitingOn::Orders) if self.record.next.is_none() => return,
                Decision::Wait(waiting) => {
                    self.last = None;
                    let millis = match waiting {
                        WaitingOn::Retry { in_millis, .. } => in_millis.max(250),
                        WaitingOn::Blockers(_) => 5_000,
                        _ => 250,
                    };
                    self.pass(Duration::from_millis(millis));
                }
                Decision::Remember(phase) => self.remember(phase),
                Decision::Do(action) => {
                    self.pass(Duration::from_millis(20));
                    let result = self.perform(&action);
                    self.last = Some(Attempt { action, result });
                }
            }
            match cut {
                Some(Cut::PowerAfter) => self.reboot(),
                Some(Cut::KillAfter) => self.restart_agent(),
                _ => {}
            }
        }
        panic!("the agent never came to rest: {:?}", self.record.phase);
    }

    fn remember(&mut self, phase: Phase) {
        let ended_before = matches!(self.record.phase, Phase::Ended { .. });
        self.record.enter(phase);
        self.last = None;
        if let (Phase::Ended { job, outcome, .. }, false) = (&self.record.phase, ended_before) {
            self.outcomes.push((job.accepted.order.generation, outcome.clone()));
            self.memory_when_told = self.running().first().map(|container| container.memory);
        }
    }

    fn restart_agent(&mut self) {
        self.last = None;
        self.rounds = Rounds::default();
    }

    fn reboot(&mut self) {
        self.restart_agent();
        self.boots += 1;
        self.millis = 20_000;
        self.secs += 20;
        let millis = self.millis;
        for container in
            self.boxes.values_mut().filter(|container| container.state == ContainerState::Running)
        {
            container.memory = 0;
            container.started_at = millis;
            if !container.kept {
                container.state = ContainerState::Exited(137);
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let millis = span.as_millis() as u64;
        self.secs += (self.millis + millis) / 1_000 - self.millis / 1_000;
        self.millis += millis;
        let (now, nature) = (self.millis, self.nature);
        for container in self.boxes.values_mut().filter(|container| container.is_new) {
            let age = now.saturating_sub(container.started_at);
            if container.state == ContainerState::Running && nature == Nature::DiesInProbation && age > 2_000
            {
                container.state = ContainerState::Exited(1);
            }
        }
    }

    fn perform(&mut self, action: &Action) -> Result<(), ActionFailure> {
        let fail = |nature, text: &str| Err(ActionFailure { nature, text: text.to_owned() });
        let now = self.millis;
        match action {
            Action::Fetch { sha256, .. } => match self.nature {
                Nature::WillNotFetch => return fail(Kind::Transient, "connection reset"),
                Nature::CorruptArtifact if *sha256 != *V2_DIGEST => {
                    return fail(Kind::Corrupt, "the digest is another");
                }
                _ => {
                    self.files.insert(*sha256);
                }
            },
            Action::LoadImage { archive, image } => {
                assert!(self.files.contains(archive), "an image is loaded from an archive that is not there");
                if self.nature != Nature::ArchiveHoldsAnotherImage {
                    self.images.insert(*image);
                }
            }
            Action::Create { name, container, .. } => {
                assert!(self.images.contains(&container.image_id), "a container without its image");
                let is_new = container.image_id == image(manifest("2.0"));
                self.boxes.entry(name.clone()).or_insert(Sandbox {
                    state: ContainerState::Created,
                    kept: false,
                    is_new,
                    memory: 0,
                    started_at: 0,
                    checkpoint: None,
                });
            }
            Action::Start { name } => {
                let nature = self.nature;
                let container = self.boxes.get_mut(name).expect("a container that is started exists");
                if container.is_new && nature == Nature::WillNotStart {
                    return fail(Kind::Fatal, "no such file in the image");
                }
                let dies = container.is_new && nature == Nature::DiesAtOnce;
                container.state = if dies { ContainerState::Exited(1) } else { ContainerState::Running };
                container.started_at = now;
                container.memory = 0;
            }
            Action::Stop { name, .. } => {
                let container = self.boxes.get_mut(name).expect("a container that is stopped exists");
                container.kept = false;
                if container.state == ContainerState::Running {
                    container.state = ContainerState::Exited(0);
                    container.memory = 0;
                }
            }
            Action::Checkpoint { name, .. } => {
                if self.criu == Criu::RefusesToDump {
                    return fail(Kind::Fatal, "criu refuses");
                }
                let container = self.boxes.get_mut(name).expect("a container that is dumped exists");
                container.kept = false;
                container.checkpoint = Some(container.memory);
                container.state = ContainerState::Exited(137);
                self.dumped = Some(container.memory);
            }
            Action::Restore { name, .. } => {
                if self.criu == Criu::RefusesToRestore {
                    return fail(Kind::Transient, "content already exists");
                }
                let container = self.boxes.get_mut(name).expect("a container that is restored exists");
                let Some(memory) = container.checkpoint else {
                    return fail(Kind::Transient, "no such checkpoint");
                };
                container.state = ContainerState::Running;
                container.memory = memory;
                container.started_at = now;
            }
            Action::KeepRunning { name } => {
                self.boxes.get_mut(name).expect("a container that is kept exists").kept = true;
            }
            Action::Remove { name } => {
                self.boxes.remove(name);
            }
            Action::DeleteCheckpoint { name, .. } => {
                if let Some(container) = self.boxes.get_mut(name) {
                    container.checkpoint = None;
                }
            }
            Action::Prune { keep_images, keep_files } => {
                self.images.retain(|image| keep_images.contains(image));
                self.files.retain(|file| keep_files.contains(file));
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Facts {
        let wellness = self.probe();
        let record = &self.record;
        let state = |workload: &Workload| {
            let container = self.boxes.get(&workload.container);
            WorkloadState {
                container: container.map_or(ContainerState::Absent, |container| container.state),
                kept_running: container.is_some_and(|container| container.kept),
                image: self.presence(&workload.manifest),
            }
        };
        let job = record.phase.job();
        let fetched = job
            .and_then(|job| job.accepted.order.members.first())
            .is_some_and(|member| self.files.contains(&member.sha256));
        let manifest = (fetched && matches!(record.phase, Phase::Fetching { .. })).then(|| {
            let of = &job.unwrap().accepted.order.members[0].release.version;
            Ok(manifest(of.as_str()).clone())
        });
        let wanted = record.phase.swap().map(|swap| &swap.new.manifest);
        let wanted = wanted
            .or(manifest.as_ref().and_then(|manifest: &Result<Manifest, String>| manifest.as_ref().ok()));
        let image = wanted.map_or(Presence::Unknown, |manifest| self.presence(manifest));
        let old = job.and_then(|job| job.old.as_ref());
        let new = record.phase.swap().map(|swap| &swap.new);
        let containers = old
            .into_iter()
            .chain(new)
            .map(|workload| (workload.container.clone(), state(workload).container))
            .collect();
        Facts {
            now: UnixTime::from_secs(self.secs),
            boot: self.boot(),
            next: record.next.clone(),
            installed: record
                .installed
                .values()
                .map(|workload| (workload.clone(), state(workload)))
                .collect(),
            stand_in: record.stand_in.clone().map(|stand_in| {
                let state = state(&stand_in.workload);
                (stand_in, state)
            }),
            retained: record.retained.clone(),
            failed_here: record.failed_here.clone(),
            free_disk_bytes: if self.nature == Nature::DiskFull { 1 << 20 } else { 1 << 34 },
            free_memory_bytes: 1 << 30,
            load_per_cpu: 0.1,
            staged: self.files.clone(),
            partial: BTreeMap::new(),
            manifest,
            image,
            containers,
            checkpoint_ability: if self.criu == Criu::Missing { Err("no criu".into()) } else { Ok(()) },
            wellness,
            locks: vec![],
            last: self.last.clone(),
        }
    }

    fn presence(&self, manifest: &Manifest) -> Presence {
        if self.images.contains(&image(manifest)) { Presence::Present } else { Presence::Absent }
    }

    fn boot(&self) -> BootTime {
        BootTime { boot_id: format!("boot-{}", self.boots), millis: self.millis }
    }

    fn probe(&mut self) -> Wellness {
        let watched = match &self.record.phase {
            Phase::Probation { swap, .. } => Some((swap.new.container.clone(), String::new())),
            Phase::RollingBack { job, way, .. } => {
                job.old.as_ref().map(|old| (old.container.clone(), format!("{way:?}")))
            }
            _ => None,
        };
        if self.rounds.of != watched {
            self.rounds = Rounds { of: watched.clone(), ..Rounds::default() };
        }
        let Some(container) = watched.and_then(|(name, _)| self.boxes.get(&name)) else {
            return Wellness::default();
        };
        if container.state != ContainerState::Running {
            return self.rounds.wellness.clone();
        }
        let age = self.millis.saturating_sub(container.started_at);
        let sick = container.is_new
            && match self.nature {
                Nature::StartsSick | Nature::NeverReports => true,
                Nature::FallsIllInProbation => age > 2_000,
                _ => false,
            };
        let now = self.millis;
        let wellness = &mut self.rounds.wellness;
        if sick {
            wellness.failures_in_a_row += 1;
            wellness.last_failure = Some("status 500".into());
            if wellness.failures_in_a_row >= 3 {
                self.rounds.well_since = None;
            }
        } else {
            wellness.failures_in_a_row = 0;
            wellness.ever_well = true;
            self.rounds.well_since.get_or_insert(now);
        }
        wellness.well_for = self.rounds.well_since.map(|since| Duration::from_millis(now - since));
        wellness.clone()
    }

    fn running(&self) -> Vec<&Sandbox> {
        self.boxes.values().filter(|container| container.state == ContainerState::Running).collect()
    }

    /// What must hold at every step, cut or not.
    fn check_promises(&self) {
        assert!(self.running().len() <= 1, "two releases run at once");
        let verified = self
            .record
            .installed
            .values()
            .any(|workload| workload.manifest.release.version.as_str() == "2.0");
        let had_old =
            self.record.installed.values().any(|workload| workload.container.0 == "takt-counter-g1");
        if had_old && !verified {
            assert!(
                self.boxes.contains_key(&ContainerName("takt-counter-g1".into())),
                "the previous container went before the new release was verified"
            );
        }
    }

    /// The version that runs, and its memory; exactly one must.
    pub fn at_rest(&self) -> (&'static str, u64) {
        let running = self.running();
        assert_eq!(running.len(), 1, "at rest exactly one release runs");
        assert!(running[0].kept, "what runs at rest comes back after a reboot");
        (if running[0].is_new { "2.0" } else { "1.0" }, running[0].memory)
    }

    pub fn nothing_runs(&self) -> bool {
        self.running().is_empty()
    }

    pub fn containers(&self) -> usize {
        self.boxes.len()
    }

    pub fn images(&self) -> usize {
        self.images.len()
    }

    pub fn has_checkpoint(&self) -> bool {
        self.boxes.values().any(|container| container.checkpoint.is_some())
    }
}
