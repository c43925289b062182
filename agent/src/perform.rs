//! Doing: one action of the decision, by the adapter it belongs to.

use std::path::PathBuf;

use takt_agent_core::{Action, ActionFailure, Workload, WorkloadName};
use takt_common::release::{Hook, HookPoint};
use takt_common::{Sha256Digest, UnixTime};
use takt_kinds::{ArtifactFiles, Kinds};
use takt_trust::Need;

use crate::artifacts::ArtifactStore;
use crate::budget::Budget;
use crate::engine::Engine;
use crate::failure::{failure, sentence};
use crate::fetch::Client;
use crate::hooks::{Hooks, Run};
use crate::ports::Ports;
use crate::restart::Restarter;
use crate::takeover::{Gift, MemoryTravel, Wish};

/// The adapters that actions need.
pub struct Performer {
    /// The container engine.
    pub engine: Engine,
    /// Files on disk.
    pub artifacts: ArtifactStore,
    /// The way to the coordinator.
    pub client: Client,
    /// What bytes cost on it.
    pub budget: Budget,
    /// Kinds that are no containers.
    pub kinds: Kinds,
    /// Published ports.
    pub ports: Ports,
    /// Programs of releases.
    pub hooks: Hooks,
    /// Memory that goes to standbys and comes from devices.
    pub memory: MemoryTravel,
    /// Reboots, and restarts of this agent.
    pub restarter: Restarter,
}

/// An action, with what the adapters need to know beside it.
pub struct Wanted {
    /// It.
    pub action: Action,
    /// The device's trusted time.
    pub now: UnixTime,
    /// What should be running at rest.
    pub serving: Vec<Workload>,
}

impl ArtifactFiles for ArtifactStore {
    fn file(&self, sha256: &Sha256Digest) -> PathBuf {
        self.path(sha256)
    }
}

impl Performer {
    /// Takes one action; gives what a hook wrote, else nothing. It may be taken again, whatever became of it the last
    /// time; dying at any await here leaves what the next look at the world shows.
    pub async fn perform(&self, deed: &Wanted) -> Result<String, ActionFailure> {
        if let Action::Hook { point, hook, workload, old } = &deed.action {
            return self.hook(*point, hook, workload, old.as_ref()).await;
        }
        self.act(deed).await.map(|()| String::new())
    }

    async fn act(&self, deed: &Wanted) -> Result<(), ActionFailure> {
        let (engine, action) = (&self.engine, &deed.action);
        match action {
            Action::Fetch { sha256, length } => return self.fetch(sha256, *length, deed.now).await,
            Action::LoadImage { archive, image } => {
                engine.load_image(&self.artifacts.path(archive), archive, image).await
            }
            Action::Create { name, role, container } => engine.create(name, *role, container).await,
            Action::Start { name } => engine.start(name).await,
            Action::Stop { name, grace } => engine.stop(name, *grace).await,
            Action::Checkpoint { name, checkpoint } => engine.checkpoint(name, checkpoint).await,
            Action::Restore { name, checkpoint } => engine.restore(name, checkpoint).await,
            Action::GiveMemory { workload, standby, lease, checkpoint } => {
                let gift = Gift { workload, standby: *standby, lease: *lease, checkpoint, now: deed.now };
                return self.memory.give(engine, &self.client, &gift).await.map_err(|error| failure(&error));
            }
            Action::TakeMemory { workload, device, lease, checkpoint } => {
                let wish = Wish { workload, device: *device, lease: *lease, checkpoint, now: deed.now };
                return self.memory.take(engine, &self.client, &wish).await.map_err(|error| failure(&error));
            }
            Action::KeepRunning { name } => engine.keep_running(name).await,
            Action::Remove { name } => engine.remove(name).await,
            Action::DeleteCheckpoint { name, checkpoint } => engine.delete_checkpoint(name, checkpoint).await,
            Action::Route { to } => return self.ports.route(engine, to).await,
            Action::Prepare { key, step } => return self.kinds.prepare(key, step, &self.artifacts).await,
            Action::Apply { key, step } => return self.kinds.apply(key, step, &self.artifacts).await,
            Action::Revert { key, step } => return self.kinds.revert(key, step).await,
            Action::Confirm { key, step } => return self.kinds.confirm(key, step).await,
            Action::Settle { key } => return self.kinds.settle(key),
            Action::Restart { what, why } => return self.restarter.restart(*what, why).await,
            Action::Hook { point, hook, workload, old } => {
                return self.hook(*point, hook, workload, old.as_ref()).await.map(drop);
            }
            Action::Prune { keep_images, keep_files } => {
                self.hooks.forget();
                if let Err(error) = self.ports.tidy(engine, &deed.serving).await {
                    tracing::debug!(error = %sentence(&error), "published ports were not tidied");
                }
                self.artifacts.prune(keep_files).map_err(|error| failure(&error))?;
                engine.prune_images(keep_images).await
            }
        }
        .map_err(|error| failure(&error))
    }

    async fn fetch(&self, sha256: &Sha256Digest, length: u64, now: UnixTime) -> Result<(), ActionFailure> {
        let before = self.artifacts.partial(sha256).unwrap_or(0);
        let fetched = self.artifacts.fetch(&self.client, sha256, length).await;
        let there = if fetched.is_ok() { length } else { self.artifacts.partial(sha256).unwrap_or(before) };
        self.budget.spend(there.saturating_sub(before), now);
        fetched.map_err(|error| failure(&error))
    }

    /// Runs a hook of a release.
    pub async fn hook(
        &self,
        point: HookPoint,
        hook: &Hook,
        workload: &WorkloadName,
        old: Option<&WorkloadName>,
    ) -> Result<String, ActionFailure> {
        let program = self.artifacts.path(&hook.program);
        self.hooks.run(Run { point, hook, program: &program, workload, old }).await
    }

    /// A document of the package repository; `None` when the coordinator says that there is none.
    pub async fn document(&self, need: &Need) -> Result<Option<Vec<u8>>, String> {
        let path = format!("/api/v1/repository/{}", need.name);
        self.client.get_small(&path, need.length_max).await.map_err(|error| sentence(&error))
    }
}
