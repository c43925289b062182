//! Looking: everything a decision may know, asked anew each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use takt_agent_core::phase::Way;
use takt_agent_core::{
    BootTime, ContainerName, ContainerState, Facts, Phase, Presence, Wellness, Workload, WorkloadState,
};
use takt_common::Sha256Digest;
use takt_common::release::{MANIFEST_LENGTH_MAX, Manifest};

use super::Agent;
use crate::host::Room;
use crate::locks;
use crate::probe::{self, Watch};

/// What is remembered between looks because asking again would be a waste.
#[derive(Debug, Default)]
pub(super) struct Looking {
    manifest: Option<(Sha256Digest, Result<Manifest, String>)>,
    checkpoint_ability: Option<Result<(), String>>,
}

/// Nobody asked.
const UNSEEN: WorkloadState =
    WorkloadState { container: ContainerState::Unknown, kept_running: true, image: Presence::Unknown };

/// The release on watch, what its probes have said, and when they are asked next.
pub(super) struct Watched {
    key: String,
    watch: Watch,
    due: BootTime,
}

impl Looking {
    /// Able to checkpoint, or why not.
    pub(super) fn checkpoint_ability(&self) -> Result<(), String> {
        self.checkpoint_ability.clone().unwrap_or_else(|| Err("not probed yet".to_owned()))
    }
}

impl Agent {
    pub(super) async fn look(&mut self) -> Facts {
        // Asked before it can matter, and never in the gap between two releases.
        let ahead = matches!(self.journal.record().phase, Phase::Idle | Phase::Fetching { .. });
        if ahead && !matches!(self.looking.checkpoint_ability, Some(Ok(()))) {
            self.looking.checkpoint_ability = Some(self.performer.engine.checkpoint_ability().await);
        }
        let wellness = self.wellness().await;
        let record = self.journal.record().clone();
        let (staged, partial) = self.files(&record.phase);
        let manifest = self.manifest(&record.phase, &staged);
        let image = match record
            .phase
            .swap()
            .map(|swap| &swap.new.manifest)
            .or(manifest.as_ref().and_then(|m| m.as_ref().ok()))
        {
            Some(manifest) => self.image_of(manifest).await,
            None => Presence::Unknown,
        };
        let mut containers = BTreeMap::new();
        let old = record.phase.job().and_then(|job| job.old.as_ref());
        let new = record.phase.swap().map(|swap| &swap.new);
        for workload in old.into_iter().chain(new) {
            // Each answer of a slow engine shows that the loop goes on.
            crate::service::alive();
            containers
                .insert(workload.container.clone(), self.performer.engine.state(&workload.container).await);
        }
        let mut installed = Vec::new();
        for workload in record.installed.values() {
            crate::service::alive();
            let state = self.workload_state(&record.phase, workload).await;
            installed.push((workload.clone(), state));
        }
        let stand_in = match &record.stand_in {
            Some(stand_in) => {
                let state = self.workload_state(&record.phase, &stand_in.workload).await;
                Some((stand_in.clone(), state))
            }
            None => None,
        };
        // A machine that cannot be measured has no room: nothing is switched, and the blocker's zeros say so.
        let room = self.host.room().unwrap_or_else(|error| {
            tracing::warn!(error = %crate::sentence(&error), "the machine cannot be measured");
            Room { free_disk_bytes: 0, free_memory_bytes: 0, load_per_cpu: 0.0 }
        });
        Facts {
            now: self.now(),
            boot: self.boot_time(),
            next: record.next,
            installed,
            stand_in,
            retained: record.retained,
            failed_here: record.failed_here,
            free_disk_bytes: room.free_disk_bytes,
            free_memory_bytes: room.free_memory_bytes,
            load_per_cpu: room.load_per_cpu,
            staged,
            partial,
            manifest,
            image,
            containers,
            checkpoint_ability: self.looking.checkpoint_ability(),
            wellness,
            locks: locks::held(&self.settings.locks_dir),
            last: self.last.clone(),
        }
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

    async fn image_of(&self, manifest: &Manifest) -> Presence {
        match &manifest.container {
            Some(container) => self.performer.engine.image_presence(&container.image_id).await,
            None => Presence::Absent,
        }
    }

    /// At rest, while fetching and at the end it matters what runs; in the middle of a switch only its two containers do.
    async fn workload_state(&self, phase: &Phase, workload: &Workload) -> WorkloadState {
        match phase {
            Phase::Idle | Phase::Fetching { .. } | Phase::HandingBack { .. } | Phase::Ended { .. } => {
                match &workload.manifest.container {
                    Some(container) => {
                        self.performer.engine.workload_state(&workload.container, &container.image_id).await
                    }
                    None => UNSEEN,
                }
            }
            _ => UNSEEN,
        }
    }

    /// Probes the release that is being watched, when a round is due.
    async fn wellness(&mut self) -> Wellness {
        let record = self.journal.record();
        let watched = match &record.phase {
            Phase::Probation { job, swap, .. } => Some((swap.new.clone(), job.role())),
            Phase::RollingBack { job, way: Way::Restore | Way::Cold, .. } => {
                job.old.clone().map(|old| (old, job.role()))
            }
            _ => None,
        };
        let Some((workload, role)) = watched else {
            self.watched = None;
            return Wellness::default();
        };
        let key = watch_key(&record.phase, &workload.container);
        let now = self.boot_time();
        let mut watched = match self.watched.take() {
            Some(watched) if watched.key == key => watched,
            _ => Watched { key, watch: Watch::new(), due: now.clone() },
        };
        let health = &workload.manifest.health;
        let engine = &self.performer.engine;
        let due = watched.due.boot_id != now.boot_id || now.millis >= watched.due.millis;
        if due && engine.state(&workload.container).await == ContainerState::Running {
            let answer = probe::round(engine, &workload.container, role, health).await;
            let answered = self.boot_time();
            watched.watch.note(&answered, health.failures_max, answer);
            watched.due = answered.plus(health.interval());
        }
        let wellness = watched.watch.wellness(&self.boot_time());
        self.watched = Some(watched);
        wellness
    }

    /// How long until the next round of probes.
    pub(super) fn until_next_round(&self) -> Duration {
        let left = self.watched.as_ref().and_then(|watched| watched.due.since(&self.boot_time()));
        left.unwrap_or_default().min(super::REST_WAITING)
    }
}

/// A restart of the previous release by another way is watched from the beginning.
fn watch_key(phase: &Phase, container: &ContainerName) -> String {
    match phase {
        Phase::RollingBack { way, .. } => format!("{container} {way:?}"),
        _ => container.to_string(),
    }
}
