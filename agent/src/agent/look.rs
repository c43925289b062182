//! Looking: everything a decision may know, asked anew each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use takt_agent_core::facts::{Baseline, ClockState, Routed, StandbyState};
use takt_agent_core::{
    ContainerFacts, ContainerName, Facts, Phase, Presence, StepKey, StepState, Watching, Workload,
    WorkloadName,
};
use takt_common::Sha256Digest;
use takt_common::order::Mode;
use takt_common::release::{ContainerSet, Kind, MANIFEST_LENGTH_MAX, Manifest, Strategy};

use super::Agent;
use crate::host::Room;
use crate::{locks, power};

/// What is remembered between looks because asking again would be a waste.
#[derive(Debug, Default)]
pub(super) struct Looking {
    manifest: Option<(Sha256Digest, Result<Manifest, String>)>,
    checkpoint_ability: Option<Result<(), String>>,
}

impl Looking {
    /// Able to checkpoint, or why not.
    pub(super) fn checkpoint_ability(&self) -> Result<(), String> {
        self.checkpoint_ability.clone().unwrap_or_else(|| Err("not probed yet".to_owned()))
    }
}

/// What the engine says of the containers that matter now, and of their images.
#[derive(Default)]
struct Containers {
    found: BTreeMap<ContainerName, ContainerFacts>,
    images: BTreeMap<Sha256Digest, Presence>,
    routes: BTreeMap<WorkloadName, Routed>,
    connections: BTreeMap<WorkloadName, u32>,
}

impl Agent {
    pub(super) async fn look(&mut self) -> Facts {
        // Asked before it can matter, and never in the gap between two releases.
        let ahead = matches!(self.journal.record().phase, Phase::Idle | Phase::Fetching { .. });
        if ahead && !matches!(self.looking.checkpoint_ability, Some(Ok(()))) {
            self.looking.checkpoint_ability = Some(self.performer.engine.checkpoint_ability().await);
        }
        let seen = self.watch().await;
        let record = self.journal.record().clone();
        let (staged, partial) = self.files(&record.phase);
        let manifest = self.manifest(&record.phase, &staged);
        let containers = self.containers(manifest.as_ref()).await;
        let steps = self.steps().await;
        let standby = self.standby().await;
        // Only asked where it decides something: trying it out touches the kernel's rules.
        let hands_over = manifest.as_ref().and_then(|manifest| manifest.as_ref().ok()?.containers());
        let handover_ability = match hands_over {
            Some(set) if set.strategies.contains(&Strategy::Handover) => self.performer.ports.ability().await,
            _ => Ok(()),
        };
        // A machine that cannot be measured has no room: nothing is switched, and the blocker's zeros say so.
        let room = self.host.room().unwrap_or_else(|error| {
            tracing::warn!(error = %crate::sentence(&error), "the machine cannot be measured");
            Room { free_disk_bytes: 0, free_memory_bytes: 0, load_per_cpu: 0.0 }
        });
        let (wellness, vitals, baseline) = match seen {
            None => (takt_agent_core::Wellness::default(), None, Baseline::None),
            Some(seen) if seen.as_what == Watching::Baseline => {
                (takt_agent_core::Wellness::default(), None, seen.baseline())
            }
            Some(seen) => (seen.wellness, Some(seen.vitals), Baseline::None),
        };
        Facts {
            now: self.now(),
            boot: self.boot_time(),
            started: self.started.clone(),
            next: record.next,
            installed: record.installed.into_values().collect(),
            stand_in: record.stand_in,
            retained: record.retained,
            failed_here: record.failed_here,
            free_disk_bytes: room.free_disk_bytes,
            free_memory_bytes: room.free_memory_bytes,
            load_per_cpu: room.load_per_cpu,
            power: power::power(Path::new(power::SUPPLIES)),
            link: self.performer.budget.cost(self.now()),
            clock: self.clock_state(),
            standby,
            staged,
            partial,
            manifest,
            images: containers.images,
            containers: containers.found,
            routes: containers.routes,
            connections: containers.connections,
            steps,
            kept: self.performer.kinds.kept(),
            checkpoint_ability: self.looking.checkpoint_ability(),
            handover_ability,
            wellness,
            vitals,
            baseline,
            heard: self.heard,
            locks: locks::held(&self.settings.locks_dir),
            last: self.last.clone(),
            done: self.done.clone(),
            helpless: self.helpless.clone(),
        }
    }

    /// At rest, before a switch and at the end it matters what runs; in the middle of a switch only its two releases do.
    async fn containers(&self, manifest: Option<&Result<Manifest, String>>) -> Containers {
        let record = self.journal.record();
        let phase = &record.phase;
        let at_leisure = matches!(
            phase,
            Phase::Idle
                | Phase::Fetching { .. }
                | Phase::Staged { .. }
                | Phase::GivingMemory { .. }
                | Phase::HandingBack { .. }
                | Phase::Ended { .. }
        );
        let mut asked: Vec<&Workload> = Vec::new();
        if at_leisure {
            asked.extend(record.installed.values());
            asked.extend(record.stand_in.iter().map(|stand_in| &stand_in.workload));
        }
        asked.extend(phase.job().and_then(|job| job.old.as_ref()));
        asked.extend(phase.swap().map(|swap| &swap.new));
        let engine = &self.performer.engine;
        let mut all = Containers::default();
        for workload in asked {
            for (name, container) in workload.containers() {
                // Each answer of a slow engine shows that the loop goes on.
                crate::service::alive();
                if !all.found.contains_key(&name) {
                    all.found.insert(name.clone(), engine.container_facts(&name).await);
                }
                self.note_image(&mut all.images, &container.image_id).await;
            }
            let publishes = workload.manifest.containers().is_some_and(ContainerSet::publishes);
            if publishes && !all.routes.contains_key(&workload.name) {
                let ports = &self.performer.ports;
                all.routes.insert(workload.name.clone(), ports.look(engine, workload).await);
                if drains(phase, workload) {
                    let served = ports.connections(engine, workload).await;
                    all.connections.insert(workload.name.clone(), served);
                }
            }
        }
        let coming = manifest.and_then(|manifest| manifest.as_ref().ok()).and_then(Manifest::containers);
        for container in coming.into_iter().flat_map(|set| &set.containers) {
            self.note_image(&mut all.images, &container.image_id).await;
        }
        all
    }

    async fn note_image(&self, images: &mut BTreeMap<Sha256Digest, Presence>, image: &Sha256Digest) {
        if !images.contains_key(image) {
            images.insert(*image, self.performer.engine.image_presence(image).await);
        }
    }

    /// Where the steps of the order in hand stand; up to the switch, the live patches of what is installed.
    async fn steps(&self) -> BTreeMap<StepKey, StepState> {
        let record = self.journal.record();
        let kinds = &self.performer.kinds;
        let mut states = BTreeMap::new();
        if matches!(record.phase, Phase::Idle | Phase::Fetching { .. } | Phase::Staged { .. }) {
            for workload in record.installed.values() {
                for (key, step) in workload.steps().filter(|(_, step)| step.kind() == Kind::LivePatch) {
                    let state = kinds.look_at_rest(&key, step).await;
                    states.insert(key, state);
                }
            }
        }
        match &record.phase {
            Phase::Staged { swap, .. }
            | Phase::Switching { swap, .. }
            | Phase::Probation { swap, .. }
            | Phase::Confirming { swap, .. }
            | Phase::RollingBack { swap, .. } => {
                for (key, step) in swap.new.steps().filter(|(_, step)| step.kind() != Kind::Container) {
                    crate::service::alive();
                    let state = kinds.look(&key, step).await;
                    states.insert(key, state);
                }
            }
            _ => {}
        }
        states
    }

    /// Asks the standby of the order in hand before the switch, if the device has been told how.
    async fn standby(&self) -> StandbyState {
        let Phase::Staged { job, .. } = &self.journal.record().phase else { return StandbyState::NotAsked };
        let (Mode::Rolling { .. }, Some(url)) = (&job.accepted.order.mode, &self.settings.standby_probe)
        else {
            return StandbyState::NotAsked;
        };
        match crate::probe::ask_standby(url).await {
            Ok(()) => StandbyState::Serves,
            Err(error) => StandbyState::Silent(format!("{url}: {}", crate::sentence(&error))),
        }
    }

    fn clock_state(&self) -> ClockState {
        self.clock.state(self.journal.record().time_floor, self.uptime())
    }

    /// Which files of the order in hand are on disk, whole or in part.
    fn files(&self, phase: &Phase) -> (BTreeSet<Sha256Digest>, BTreeMap<Sha256Digest, u64>) {
        let (mut staged, mut partial) = (BTreeSet::new(), BTreeMap::new());
        if let (Phase::Fetching { .. } | Phase::Staged { .. }, Some(job)) = (phase, phase.job()) {
            let artifacts = &self.performer.artifacts;
            for member in &job.accepted.order.members {
                if artifacts.is_staged(&member.sha256, member.length) {
                    staged.insert(member.sha256);
                } else if let Some(bytes) = artifacts.partial(&member.sha256) {
                    partial.insert(member.sha256, bytes);
                }
            }
        }
        (staged, partial)
    }

    fn manifest(
        &mut self,
        phase: &Phase,
        staged: &BTreeSet<Sha256Digest>,
    ) -> Option<Result<Manifest, String>> {
        let Phase::Fetching { job, .. } = phase else { return None };
        let members = &job.accepted.order.members;
        let sha256 = members.iter().find(|member| member.path.starts_with("releases/"))?.sha256;
        if !staged.contains(&sha256) {
            return None;
        }
        if let Some((_, manifest)) = self.looking.manifest.as_ref().filter(|(known, _)| *known == sha256) {
            return Some(manifest.clone());
        }
        let manifest = self
            .performer
            .artifacts
            .read(&sha256, MANIFEST_LENGTH_MAX)
            .map_err(|error| crate::sentence(&error))
            .and_then(|bytes| Manifest::from_bytes(&bytes).map_err(|error| crate::sentence(&error)));
        self.looking.manifest = Some((sha256, manifest.clone()));
        Some(manifest)
    }
}

/// Whether the clients that `workload` still serves are waited for.
fn drains(phase: &Phase, workload: &Workload) -> bool {
    let old = phase.job().and_then(|job| job.old.as_ref());
    matches!(phase, Phase::Switching { swap, .. } if swap.moved.is_some())
        && old.is_some_and(|old| old.name == workload.name)
}
