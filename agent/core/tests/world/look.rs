//! What the agent sees of the world.

use std::collections::BTreeMap;

use takt_agent_core::facts::{ClockState, LinkCost, Power, Routed, StandbyState};
use takt_agent_core::{ContainerFacts, ContainerName, Facts, Phase, Presence, StepKey, StepState, Workload};
use takt_common::UnixTime;
use takt_common::release::{Kind, Step};

use super::natures::{Criu, Nature};
use super::slots::Of;
use super::{OLD_NAME, World, releases};

/// From when on the agent of this run has heard from the coordinator.
const HEARD_MILLIS: u64 = 1_500;

impl World {
    pub(super) fn look(&mut self) -> Facts {
        let wellness = self.probe();
        let baseline = self.baseline();
        let record = &self.record;
        let job = record.phase.job();
        let member = job.and_then(|job| job.accepted.order.members.first());
        let fetched = member.filter(|member| self.files.contains(&member.sha256));
        let manifest = fetched.filter(|_| matches!(record.phase, Phase::Fetching { .. })).map(|member| {
            let is_old = member.sha256 == self.releases.old.sha256;
            let release = if is_old { &self.releases.old } else { &self.releases.new };
            Ok(release.manifest.clone())
        });
        let standing_in = record.stand_in.iter().map(|stand_in| &stand_in.workload);
        let old = job.and_then(|job| job.old.as_ref());
        let new = record.phase.swap().map(|swap| &swap.new);
        let known: Vec<&Workload> =
            record.installed.values().chain(standing_in).chain(old).chain(new).collect();
        let containers = known.iter().flat_map(|workload| workload.containers());
        let away = self.engine_is_away();
        let seen =
            |name: &ContainerName| if away { ContainerFacts::UNKNOWN } else { self.engine.facts(name) };
        let containers = containers.map(|(name, _)| (name.clone(), seen(&name))).collect();
        let coming = manifest.iter().flatten().flat_map(|manifest: &takt_common::release::Manifest| {
            manifest.containers().into_iter().flat_map(|set| &set.containers)
        });
        let images = known.iter().flat_map(|workload| workload.containers().map(|(_, container)| container));
        let images = images
            .chain(coming)
            .map(|container| container.image_id)
            .map(|image| (image, if away { Presence::Unknown } else { self.engine.presence(&image) }))
            .collect();
        let (mut routes, mut connections) = (BTreeMap::new(), BTreeMap::new());
        if self.publishes() {
            let they_stay = self.nature == Nature::ClientsStay;
            let unseen =
                self.nature == Nature::PortsUnseenWithNew && new.is_some_and(|new| self.engine.any_runs(new));
            for workload in &known {
                let routed = self.ports.routed(&workload.name);
                let routed = if unseen { Routed::Unknown("nft does not answer".into()) } else { routed };
                routes.insert(workload.name.clone(), routed);
                let count = self.ports.connections(&workload.name, self.millis, they_stay);
                connections.insert(workload.name.clone(), count);
            }
        }
        let ability = |able: bool, why: &str| if able { Ok(()) } else { Err(why.to_owned()) };
        Facts {
            now: UnixTime::from_secs(self.secs),
            boot: self.boot(),
            started: self.started.clone(),
            next: record.next.clone(),
            installed: record.installed.values().cloned().collect(),
            stand_in: record.stand_in.clone(),
            retained: record.retained.clone(),
            failed_here: record.failed_here.clone(),
            free_disk_bytes: if self.nature == Nature::DiskFull { 1 << 20 } else { 1 << 34 },
            free_memory_bytes: 1 << 30,
            load_per_cpu: 0.1,
            power: Power::Mains,
            link: LinkCost::Free,
            clock: ClockState::Trusted,
            standby: StandbyState::NotAsked,
            staged: self.files.clone(),
            partial: BTreeMap::new(),
            manifest,
            images,
            containers,
            routes,
            connections,
            steps: self.step_states(new),
            kept: self.slots.kept.clone(),
            checkpoint_ability: ability(self.criu != Criu::Missing, "no criu"),
            handover_ability: ability(self.publishes(), "no ports"),
            wellness,
            vitals: self.vitals(),
            baseline,
            heard: self.nature != Nature::NeverHeard && self.millis - self.started.millis >= HEARD_MILLIS,
            locks: if self.locked() { vec!["calibration".into()] } else { vec![] },
            last: self.last.clone(),
            done: self.done.clone(),
            helpless: takt_agent_core::Helpless::default(),
        }
    }

    pub(super) fn locked(&self) -> bool {
        self.nature == Nature::LockedForAWhile && self.secs < releases::START_SECS + 100
    }

    /// The steps of the order in hand, and the live patches of what is installed.
    fn step_states(&self, new: Option<&Workload>) -> BTreeMap<StepKey, StepState> {
        let patches = self.record.installed.values().flat_map(|workload| {
            workload.steps().filter(|(_, step)| step.kind() == Kind::LivePatch).collect::<Vec<_>>()
        });
        let coming = new.into_iter().flat_map(|new| {
            new.steps().filter(|(_, step)| step.kind() != Kind::Container).collect::<Vec<_>>()
        });
        patches.chain(coming).map(|(key, step)| (key.clone(), self.step_state(&key, step))).collect()
    }

    pub(super) fn step_state(&self, key: &StepKey, step: &Step) -> StepState {
        if key.workload.0 == OLD_NAME {
            return if self.slots.old_patch { StepState::Confirmed } else { StepState::Untouched };
        }
        let kind = step.kind();
        if self.nature == Nature::UnseenWhenNew(kind) && self.slots.in_force(key.index, step) != Of::Old {
            return StepState::Unknown("the bus does not answer".to_owned());
        }
        self.slots.look(key, step)
    }

    fn engine_is_away(&self) -> bool {
        let Nature::EngineFailsWith(kind) = self.nature else { return false };
        let steps = self.releases.new.manifest.steps.iter().enumerate();
        let mut bad = steps.filter(|(_, step)| step.kind() == kind);
        bad.any(|(index, step)| self.slots.in_force(index, step) != Of::Old)
    }
}
