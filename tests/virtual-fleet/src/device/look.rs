//! What the agent sees when it looks at its simulated machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use takt_agent::probe::Watch;
use takt_agent_core::facts::{Baseline, ClockState, LinkCost, Power, StandbyState};
use takt_agent_core::{Facts, Phase, StepKey, StepState, Watching, Wellness, Workload};
use takt_common::Sha256Digest;
use takt_common::release::{Kind, Manifest};

use super::Device;

/// Storage, memory and load of a machine that no release is too large for.
const FREE_DISK_BYTES: u64 = 8 << 30;
const FREE_MEMORY_BYTES: u64 = 1 << 29;
const LOAD_PER_CPU: f64 = 0.1;

/// The release on watch, what its health checks have said, and when they are asked next.
pub(super) struct Watched {
    key: String,
    watch: Watch,
    due: Duration,
}

impl Device {
    pub(super) fn look(&mut self) -> Facts {
        let wellness = self.wellness();
        let record = self.record.clone();
        let staged = self.staged(&record.phase);
        let manifest = self.manifest(&record.phase, &staged);
        let no = |what: &str| Err(format!("a virtual device has no {what}"));
        Facts {
            now: self.now(),
            boot: self.boot_time(),
            started: self.started.clone(),
            steps: self.steps(&record.phase),
            next: record.next,
            installed: record.installed.into_values().collect(),
            stand_in: record.stand_in,
            retained: record.retained,
            failed_here: record.failed_here,
            free_disk_bytes: FREE_DISK_BYTES,
            free_memory_bytes: FREE_MEMORY_BYTES,
            load_per_cpu: LOAD_PER_CPU,
            power: Power::Mains,
            link: LinkCost::Free,
            clock: ClockState::Trusted,
            standby: StandbyState::NotAsked,
            staged,
            partial: BTreeMap::new(),
            manifest,
            images: BTreeMap::new(),
            containers: BTreeMap::new(),
            routes: BTreeMap::new(),
            connections: BTreeMap::new(),
            kept: self.machine.kept.clone(),
            checkpoint_ability: no("container engine"),
            handover_ability: no("published ports"),
            wellness,
            vitals: None,
            baseline: Baseline::None,
            heard: self.heard,
            locks: Vec::new(),
            last: self.last.clone(),
            done: self.done.clone(),
            helpless: self.helpless.clone(),
        }
    }

    /// The digest of the manifest of the order in hand.
    pub(super) fn ordered_manifest(&self) -> Option<Sha256Digest> {
        let members = &self.record.phase.job()?.accepted.order.members;
        members.iter().find(|member| member.path.starts_with("releases/")).map(|member| member.sha256)
    }

    /// How long the next round of health checks is off.
    pub(super) fn until_next_round(&self) -> Duration {
        self.watched.as_ref().map_or(Duration::ZERO, |watched| watched.due.saturating_sub(self.uptime()))
    }

    /// Files of the order in hand that are there.
    fn staged(&self, phase: &Phase) -> BTreeSet<Sha256Digest> {
        let (Phase::Fetching { job, .. } | Phase::Staged { job, .. }) = phase else { return BTreeSet::new() };
        let members = job.accepted.order.members.iter().map(|member| member.sha256);
        members.filter(|sha256| self.machine.files.contains(sha256)).collect()
    }

    fn manifest(&self, phase: &Phase, staged: &BTreeSet<Sha256Digest>) -> Option<Result<Manifest, String>> {
        let fetching = matches!(phase, Phase::Fetching { .. });
        let sha256 = self.ordered_manifest().filter(|sha256| fetching && staged.contains(sha256))?;
        self.site.manifest(&sha256).map(Ok)
    }

    /// Where the steps of the order in hand stand; up to the switch, the live patches of what is installed, which no
    /// reboot undoes here.
    fn steps(&self, phase: &Phase) -> BTreeMap<StepKey, StepState> {
        let mut states = BTreeMap::new();
        if matches!(phase, Phase::Idle | Phase::Fetching { .. } | Phase::Staged { .. }) {
            let installed = self.record.installed.values().flat_map(Workload::steps);
            let patches = installed.filter(|(_, step)| step.kind() == Kind::LivePatch);
            states.extend(patches.map(|(key, _)| (key, StepState::Confirmed)));
        }
        match phase {
            Phase::Staged { swap, .. }
            | Phase::Switching { swap, .. }
            | Phase::Probation { swap, .. }
            | Phase::Confirming { swap, .. }
            | Phase::RollingBack { swap, .. } => {
                let steps = swap.new.steps().filter(|(_, step)| step.kind() != Kind::Container);
                states.extend(steps.map(|(key, _)| (key.clone(), self.machine.look(&key))));
            }
            _ => {}
        }
        states
    }

    /// Asks the release on watch whether it is well, when a round is due. What runs before a switch is not measured.
    fn wellness(&mut self) -> Wellness {
        let on_watch = self.record.phase.on_watch().filter(|on| on.as_what != Watching::Baseline);
        let Some(on_watch) = on_watch else {
            self.watched = None;
            return Wellness::default();
        };
        let health = &on_watch.workload.manifest.health;
        let (failures_max, interval) = (health.failures_max, health.interval());
        let (key, is_new) = (on_watch.key, on_watch.as_what == Watching::New);
        let (now, uptime) = (self.boot_time(), self.uptime());
        let watched = self.watched.take().filter(|watched| watched.key == key);
        let mut watched = watched.unwrap_or_else(|| Watched { key, watch: Watch::new(), due: uptime });
        if watched.due <= uptime {
            let ill = is_new && self.site.is_ill(self.number);
            let answer = if ill { Err("it is one of those that are ill".to_owned()) } else { Ok(()) };
            watched.watch.note(&now, failures_max, answer);
            watched.due = uptime + interval;
        }
        let wellness = watched.watch.wellness(&now);
        self.watched = Some(watched);
        wellness
    }
}
