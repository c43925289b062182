//! What a device sees when it looks, and what it says of itself.

use std::collections::{BTreeMap, BTreeSet};

use takt_agent::probe::Watch;
use takt_agent_core::facts::{Baseline, ClockState, LinkCost, Power, StandbyState};
use takt_agent_core::{
    BootTime, ContainerFacts, ContainerName, ContainerState, Facts, Helpless, Phase, Presence, Record,
    Watching, Wellness, Workload,
};
use takt_common::Sha256Digest;
use takt_common::release::Manifest;
use takt_common::report::{Outcome, Report};

use crate::device::{Device, time};
use crate::plan::Criu;
use crate::releases::release_of_manifest;

/// How long the machine takes from its boot to the agent's start, in milliseconds.
const BOOT_MILLIS: u64 = 20_000;

impl Device {
    pub(crate) fn look(&mut self, now: u64) -> Facts {
        let wellness = self.wellness(now);
        let record = &self.record;
        let job = record.phase.job();
        let mut staged = BTreeSet::new();
        if let (Phase::Fetching { .. } | Phase::Staged { .. }, Some(job)) = (&record.phase, job) {
            let members = job.accepted.order.members.iter().map(|member| member.sha256);
            staged.extend(members.filter(|sha256| self.machine.files.contains(sha256)));
        }
        let ordered = job.and_then(|job| job.accepted.order.members.first()).map(|member| member.sha256);
        let manifest = ordered
            .filter(|sha256| matches!(record.phase, Phase::Fetching { .. }) && staged.contains(sha256))
            .map(|sha256| Ok(release_of_manifest(&sha256).manifest.clone()));
        let containers = self.containers(manifest.as_ref());
        Facts {
            now: time(now),
            boot: self.boot_time(now),
            started: self.started.clone(),
            next: record.next.clone(),
            installed: record.installed.values().cloned().collect(),
            stand_in: record.stand_in.clone(),
            retained: record.retained.clone(),
            failed_here: record.failed_here.clone(),
            free_disk_bytes: 1 << 34,
            free_memory_bytes: 1 << 30,
            load_per_cpu: 0.1,
            power: Power::Mains,
            link: LinkCost::Free,
            clock: ClockState::Trusted,
            standby: StandbyState::NotAsked,
            staged,
            partial: BTreeMap::new(),
            manifest,
            images: containers.1,
            containers: containers.0,
            routes: BTreeMap::new(),
            connections: BTreeMap::new(),
            steps: BTreeMap::new(),
            kept: BTreeSet::new(),
            checkpoint_ability: if self.temper.criu == Criu::Missing {
                Err("no criu".into())
            } else {
                Ok(())
            },
            handover_ability: Err("no published ports".into()),
            wellness,
            vitals: None,
            baseline: Baseline::None,
            heard: false,
            locks: vec![],
            last: self.last.clone(),
            done: self.done.clone(),
            helpless: Helpless::default(),
        }
    }

    pub(super) fn boot_time(&self, now: u64) -> BootTime {
        BootTime { boot_id: format!("boot-{}", self.boots), millis: BOOT_MILLIS + now - self.booted_at }
    }

    /// At rest, while fetching and at the end it matters what runs; in the middle of a switch only its containers do.
    fn containers(
        &self,
        manifest: Option<&Result<Manifest, String>>,
    ) -> (BTreeMap<ContainerName, ContainerFacts>, BTreeMap<Sha256Digest, Presence>) {
        let record = &self.record;
        let mut asked: Vec<&Workload> = Vec::new();
        if matches!(
            record.phase,
            Phase::Idle
                | Phase::Fetching { .. }
                | Phase::GivingMemory { .. }
                | Phase::HandingBack { .. }
                | Phase::Ended { .. }
        ) {
            asked.extend(record.installed.values());
            asked.extend(record.stand_in.iter().map(|stand_in| &stand_in.workload));
        }
        asked.extend(record.phase.job().and_then(|job| job.old.as_ref()));
        asked.extend(record.phase.swap().map(|swap| &swap.new));
        let facts = |name: &ContainerName| ContainerFacts {
            state: self.machine.state(name),
            kept_running: self.machine.is_kept(name),
        };
        let found = asked.iter().flat_map(|workload| workload.containers());
        let found = found.map(|(name, _)| (name.clone(), facts(&name))).collect();
        let coming = manifest.and_then(|manifest| manifest.as_ref().ok());
        let manifests = asked.iter().map(|workload| &workload.manifest).chain(coming);
        let containers = manifests.flat_map(|manifest| &manifest.containers().unwrap().containers);
        let images = containers.map(|one| (one.image_id, self.machine.presence(&one.image_id))).collect();
        (found, images)
    }

    /// Probes the release that is being watched, when a round is due.
    fn wellness(&mut self, now: u64) -> Wellness {
        let on_watch = self.record.phase.on_watch().filter(|on| on.as_what != Watching::Baseline);
        let Some((workload, key)) = on_watch.map(|on| (on.workload.clone(), on.key)) else {
            self.watch = None;
            return Wellness::default();
        };
        let container = workload.name.container(None);
        let at = self.boot_time(now);
        let (_, mut watch, mut due) = self
            .watch
            .take()
            .filter(|(of, ..)| *of == key)
            .unwrap_or_else(|| (key.clone(), Watch::new(), now));
        let health = &workload.manifest.health;
        if due <= now && self.machine.state(&container) == ContainerState::Running {
            watch.note(&at, health.failures_max, self.machine.probe(&container));
            due = now + u64::from(health.interval_millis);
        }
        let wellness = watch.wellness(&at);
        self.watch = Some((key, watch, due));
        wellness
    }

    /// A report of `record` as it will be once committed, as the agent makes it.
    pub(crate) fn report_of(&self, record: &Record, outcome: Option<Outcome>, now: u64) -> Report {
        record.report(self.id, self.boot_time(now).boot_id, time(now), outcome)
    }
}
