//! Releases 1.0 and 2.0 of `counter`, made of what a test asks for, and the orders to install them.

use std::collections::BTreeMap;
use std::rc::Rc;

use takt_agent_core::{Accepted, Workload, WorkloadName};
use takt_common::order::{
    Action as OrderAction, Member, Mode, ORDER_FORMAT, Order, Policy as OrderPolicy, SnapshotRef,
};
use takt_common::release::{
    Artifact, BaselineLimits, Conffiles, Container, ContainerSet, FileSet, FileSpec, Health, Hook, HookPoint,
    LivePatch, MANIFEST_FORMAT, Manifest, Network, OsImage, Package, PackageFormat, PackageSet, Port, Probe,
    ReleaseId, Requirements, Severity, Step, Strategy,
};
use takt_common::{DeviceId, Sha256Digest, SigningKey, UnixTime};

/// When all tests begin, and the deadline of their orders.
pub const START_SECS: u64 = 1_000_000;
pub const DEADLINE_SECS: u64 = START_SECS + 600;

/// How long clients of the old release may take to go.
pub const DRAIN_SECS: u32 = 3;

/// One step of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One container that may be preserved.
    Container,
    /// Two containers, of which one has a published port; they switch in this way.
    Containers(Strategy),
    File,
    Package,
    /// The agent's own package.
    Agent,
    OsImage,
    LivePatch,
}

/// Both releases.
#[derive(Debug)]
pub struct Releases {
    pub old: Release,
    pub new: Release,
}

/// One of them, with what would take time to make anew for each world.
#[derive(Debug)]
pub struct Release {
    pub manifest: Manifest,
    pub sha256: Sha256Digest,
    /// The order of generation 2 that installs it.
    pub order: Accepted,
}

impl Releases {
    pub fn of(parts: &[Part]) -> Rc<Self> {
        Rc::new(Self { old: Release::of(made(1, parts)), new: Release::of(made(2, parts)) })
    }

    /// The same, and 2.0 has a hook at each point.
    pub fn with_hooks(parts: &[Part]) -> Rc<Self> {
        let mut new = made(2, parts);
        let program = digest("hook", 2);
        new.artifacts.push(Artifact { sha256: program, length: 1 << 10 });
        let hook = |point| (point, Hook { program, args: vec![], timeout_secs: 30 });
        new.hooks = POINTS.map(hook).into_iter().collect();
        new.check().unwrap();
        Rc::new(Self { old: Release::of(made(1, parts)), new: Release::of(new) })
    }

    pub fn has(&self, part: impl Fn(&Step) -> bool) -> bool {
        self.new.manifest.steps.iter().any(part)
    }
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

impl Release {
    fn of(manifest: Manifest) -> Self {
        let sha256 = Sha256Digest::of(&manifest.to_bytes());
        let order = order(2, OrderAction::Install, Some(&manifest));
        Self { manifest, sha256, order }
    }

    pub fn workload(&self, name: &str) -> Workload {
        Workload {
            manifest: self.manifest.clone(),
            manifest_sha256: self.sha256,
            name: WorkloadName(name.to_owned()),
        }
    }

    /// Its image of the container that starts last.
    pub fn last_image(&self) -> Option<Sha256Digest> {
        self.manifest.containers()?.containers.last().map(|container| container.image_id)
    }
}

fn digest(what: &str, major: u64) -> Sha256Digest {
    Sha256Digest::of(format!("{what} {major}.0").as_bytes())
}

fn made(major: u64, parts: &[Part]) -> Manifest {
    let steps: Vec<(Step, Vec<Sha256Digest>)> =
        parts.iter().enumerate().map(|(index, part)| step(major, index, *part)).collect();
    let files = steps.iter().flat_map(|(_, files)| files.clone());
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        release: ReleaseId {
            name: "counter".parse().unwrap(),
            version: format!("{major}.0").parse().unwrap(),
        },
        counter: major,
        severity: Severity::Minor,
        hardware: vec![],
        artifacts: files.map(|sha256| Artifact { sha256, length: 1 << 20 }).collect(),
        steps: steps.into_iter().map(|(step, _)| step).collect(),
        hooks: BTreeMap::new(),
        health: Health {
            probes: vec![Probe::Tcp("127.0.0.1:1".into())],
            interval_millis: 500,
            timeout_millis: 500,
            start_millis: 1_500,
            probation_millis: 2_500,
            failures_max: 3,
            baseline: BaselineLimits::default(),
        },
        unpacked_bytes: 1 << 20,
        requires: Requirements::default(),
    };
    manifest.check().unwrap();
    manifest
}

/// A step and the files that it needs.
fn step(major: u64, index: usize, part: Part) -> (Step, Vec<Sha256Digest>) {
    let file = digest(&format!("file of step {index}"), major);
    let package = |name: &str| {
        let version = format!("{major}.0-1");
        let package = Package { file, name: name.into(), version, architecture: "all".into() };
        let conffiles = Conffiles::default();
        Step::Package(PackageSet { format: PackageFormat::Deb, packages: vec![package], conffiles })
    };
    let step = match part {
        Part::Container | Part::Containers(_) => return containers(major, part),
        Part::File => Step::File(FileSet {
            files: vec![FileSpec {
                path: format!("/etc/counter/{index}"),
                content: Some(file),
                mode: None,
                owner: None,
                xattrs: BTreeMap::new(),
            }],
        }),
        Part::Package => package("counter"),
        Part::Agent => package("takt-agent"),
        Part::OsImage => Step::OsImage(OsImage {
            bundle: file,
            compatible: "board-a".into(),
            version: format!("{major}.0"),
            boot_secs: 600,
        }),
        Part::LivePatch => Step::LivePatch(LivePatch {
            module: file,
            name: "mend".into(),
            kernel: "6.1.0-1".into(),
            stands_for: "6.1.0-2".into(),
            transition_secs: 60,
        }),
    };
    (step, vec![file])
}

fn containers(major: u64, part: Part) -> (Step, Vec<Sha256Digest>) {
    let container = |name: Option<&str>, ports: Vec<Port>| {
        let own = name.unwrap_or("counter");
        Container {
            name: name.map(|name| name.parse().unwrap()),
            archive: digest(&format!("archive {own}"), major),
            image_id: digest(&format!("image {own}"), major),
            env: BTreeMap::new(),
            command: vec![],
            volumes: vec![],
            memory_mib: None,
            network: Network::Host,
            ports,
            stop_grace_secs: 1,
        }
    };
    let port = || vec![Port { variable: "web".parse().unwrap(), container_port: None }];
    let (containers, strategies) = match part {
        Part::Containers(Strategy::Replace) => {
            (vec![container(None, port()), container(Some("side"), vec![])], vec![Strategy::Replace])
        }
        Part::Containers(first) => {
            (vec![container(None, port()), container(Some("side"), vec![])], vec![first, Strategy::Replace])
        }
        _ => (vec![container(None, vec![])], vec![Strategy::Preserve, Strategy::Replace]),
    };
    let archives = containers.iter().map(|container| container.archive).collect();
    (Step::Container(ContainerSet { containers, strategies, drain_secs: DRAIN_SECS }), archives)
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
        issued: UnixTime::from_secs(START_SECS),
        not_after: UnixTime::from_secs(DEADLINE_SECS),
        previous_order_digest: None,
        snapshot: SnapshotRef { version: 1, sha256: Sha256Digest::of(b"snapshot") },
        action,
        members,
        mode: Mode::InPlace,
        window: None,
        deadline: UnixTime::from_secs(DEADLINE_SECS),
        policy: OrderPolicy::default(),
        permission: None,
    };
    let digest = Sha256Digest::of(&order.to_bytes());
    Accepted { order, digest, at: UnixTime::from_secs(START_SECS) }
}

pub fn device() -> DeviceId {
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";
    DeviceId::of_key(&SigningKey::from_pem(pem).unwrap().public())
}
