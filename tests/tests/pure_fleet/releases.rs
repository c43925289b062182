//! The two releases of the fleet's workload, as their publishers signed them, and what may be the matter with one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use takt_agent_core::rules::{FixedTargets, Target, TargetContent};
use takt_common::order::{Member, SnapshotRef};
use takt_common::release::{
    Artifact, BaselineLimits, Container, ContainerSet, Health, MANIFEST_FORMAT, Manifest, Network, Probe,
    ReleaseId, Requirements, Severity, Step, Strategy,
};
use takt_common::{Name, Sha256Digest};

/// How the new release behaves on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nature {
    Good,
    WillNotStart,
    /// Answers every probe with an error.
    Sick,
    DiesInProbation,
    WillNotFetch,
    /// Runs, and never answers a probe.
    Mute,
}

/// A release with all that orders and devices need of it.
pub(crate) struct Release {
    pub(crate) manifest: Manifest,
    pub(crate) digest: Sha256Digest,
    pub(crate) image: Sha256Digest,
    pub(crate) members: Vec<Member>,
}

pub(crate) static OLD: LazyLock<Release> = LazyLock::new(|| made("1.0", 1));
pub(crate) static NEW: LazyLock<Release> = LazyLock::new(|| made("2.0", 2));
pub(crate) static TARGETS: LazyLock<FixedTargets> = LazyLock::new(targets);

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn component() -> Name {
    name("counter")
}

/// The release with this id.
pub(crate) fn release(id: &ReleaseId) -> &'static Release {
    if *id == NEW.manifest.release { &NEW } else { &OLD }
}

/// The release whose manifest has this digest.
pub(crate) fn release_of_manifest(digest: &Sha256Digest) -> &'static Release {
    if *digest == NEW.digest { &NEW } else { &OLD }
}

fn made(version: &str, counter: u64) -> Release {
    let archive = Sha256Digest::of(format!("archive {version}").as_bytes());
    let image = Sha256Digest::of(format!("image {version}").as_bytes());
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        release: ReleaseId { name: component(), version: name(version) },
        counter,
        severity: Severity::Minor,
        hardware: vec![],
        artifacts: vec![Artifact { sha256: archive, length: 1 << 20 }],
        steps: vec![Step::Container(ContainerSet::of_one(
            Container {
                name: None,
                archive,
                image_id: image,
                env: BTreeMap::new(),
                command: vec![],
                volumes: vec![],
                memory_mib: None,
                network: Network::Host,
                ports: vec![],
                stop_grace_secs: 1,
            },
            vec![Strategy::Preserve, Strategy::Replace],
        ))],
        hooks: [].into(),
        health: Health {
            probes: vec![Probe::Tcp("127.0.0.1:1".into())],
            interval_millis: 500,
            timeout_millis: 500,
            start_millis: 2_000,
            probation_millis: 2_000,
            failures_max: 2,
            baseline: BaselineLimits::default(),
        },
        unpacked_bytes: 1 << 20,
        requires: Requirements::default(),
    };
    let bytes = manifest.to_bytes();
    let digest = Sha256Digest::of(&bytes);
    let member =
        |path, length, sha256| Member { path, length, sha256, release: manifest.release.clone(), hw: vec![] };
    let mut members = vec![member(manifest.release.target_path(), bytes.len() as u64, digest)];
    members
        .extend(manifest.artifacts.iter().map(|file| member(file.target_path(), file.length, file.sha256)));
    Release { manifest, digest, image, members }
}

pub(crate) fn snapshot() -> SnapshotRef {
    SnapshotRef { version: 1, sha256: Sha256Digest::of(b"snapshot") }
}

fn targets() -> FixedTargets {
    let mut targets = BTreeMap::new();
    for release in [&OLD, &NEW] {
        let manifest = &release.manifest;
        for member in &release.members {
            let content = if member.sha256 == release.digest {
                TargetContent::Manifest {
                    component: component(),
                    version: manifest.release.version.clone(),
                    counter: manifest.counter,
                    hardware: vec![],
                    domains: vec![],
                }
            } else {
                TargetContent::Artifact { releases: BTreeSet::from([manifest.release.target_path()]) }
            };
            let target = Target { length: member.length, sha256: member.sha256, content };
            targets.insert(member.path.clone(), target);
        }
    }
    FixedTargets { snapshot: snapshot(), targets, floors: BTreeMap::new() }
}
