//! Creating and removing containers.

use std::time::Duration;

use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions, StartContainerOptions};
use takt_agent_core::ContainerName;
use takt_agent_core::phase::Role;
use takt_common::release::Container;
use takt_latch::{MOUNT, PROGRAM};

use super::Engine;
use super::error::EngineError;
use super::latch::Latch;
use super::process::Process;
use super::spec::{Spec, image_command};

/// How long creating may take: the engine copies what an image has in the place of a volume.
const CREATE_LIMIT: Duration = Duration::from_mins(1);
/// How long starting may take.
pub(super) const START_LIMIT: Duration = Duration::from_secs(30);
/// How long removing may take: the engine deletes everything that the container wrote.
const REMOVE_LIMIT: Duration = Duration::from_mins(1);
/// How long a started container may take to come to its latch.
const LATCH_LIMIT: Duration = Duration::from_secs(10);
/// How often the engine is asked in that time.
const LATCH_LOOKS_MAX: u32 = 100;

impl Engine {
    /// Creates a container that the engine does not restart by itself, and holds it at its latch: everything that
    /// could keep it from starting, short of its own command, is found out here.
    ///
    /// One that is there already and was made from the same is taken as it is.
    pub async fn create(
        &self,
        name: &ContainerName,
        role: Role,
        container: &Container,
    ) -> Result<(), EngineError> {
        let latch = self.latch(name);
        let found = self.ours(name).await?;
        let direct = match &found {
            Some(seen) => seen.direct.clone(),
            None => self.allocate(name, container).await?,
        };
        let variables = self.settings.variables.of(role);
        let spec = Spec::new(container, role, &self.settings.name, variables, direct)?;
        if let Some(seen) = found {
            let same = seen.spec == Some(spec.digest().to_string())
                && seen.image == format!("sha256:{}", spec.image);
            let held = latch.as_ref().is_some_and(Latch::is_closed);
            match (same, held) {
                // It has been started, or is to be started without a latch.
                (true, false) => return Ok(()),
                (true, true) if seen.runs() => return self.await_at_latch(name).await,
                (false, false) if seen.runs() => {
                    return Err(EngineError::OtherSettings { name: name.clone() });
                }
                // Left over from an interrupted try; it has never served.
                _ => self.remove(name).await?,
            }
        }
        let image = self
            .inspect_image(&format!("sha256:{}", spec.image))
            .await?
            .ok_or(EngineError::NoImage { image: spec.image })?;
        let bind = match (&latch, &self.settings.latch) {
            (Some(latch), Some(settings)) => {
                latch
                    .prepare(&settings.program)
                    .map_err(|source| EngineError::Latch { name: name.clone(), source })?;
                Some((latch.bind(), format!("{MOUNT}/{PROGRAM}")))
            }
            _ => None,
        };
        let body = spec.body(&self.settings.device, image_command(image.config), bind)?;
        let options = CreateContainerOptions { name: Some(name.0.clone()), platform: String::new() };
        self.connection
            .call(format!("create container {name}"), CREATE_LIMIT, |docker| async move {
                docker.create_container(Some(options), body).await
            })
            .await?;
        if latch.is_some() {
            self.start_engine_side(name).await?;
            self.await_at_latch(name).await?;
        }
        Ok(())
    }

    /// Lets the engine start a container, whatever its first program does then.
    pub(super) async fn start_engine_side(&self, name: &ContainerName) -> Result<(), EngineError> {
        self.connection
            .call(format!("start container {name}"), START_LIMIT, |docker| async move {
                docker.start_container(&name.0, None::<StartContainerOptions>).await
            })
            .await
    }

    /// Waits until the container stands at its closed latch.
    async fn await_at_latch(&self, name: &ContainerName) -> Result<(), EngineError> {
        let latch = self.latch(name).expect("only called for containers with a latch");
        let seen = self.ours_present(name).await?;
        let Some(process) = seen.process() else {
            return self.await_by_engine(name, &latch).await;
        };
        // Each look lets the waiter go once around: a second one, right after the first, may miss it.
        let mut waits = false;
        Process::until(LATCH_LIMIT, || {
            waits = latch.has_waiter();
            waits || process.has_ended()
        })
        .await;
        if waits {
            self.note_held(name, process);
            return Ok(());
        }
        if process.has_ended() {
            self.note_ended(name);
            return Err(self.exited(name).await);
        }
        Err(EngineError::NotInTime { call: format!("see container {name} at its latch"), limit: LATCH_LIMIT })
    }

    /// The same for a container whose process is out of sight: it may have ended between two looks, or the engine may
    /// be in another PID namespace. The engine knows.
    async fn await_by_engine(&self, name: &ContainerName, latch: &Latch) -> Result<(), EngineError> {
        for _look in 0..LATCH_LOOKS_MAX {
            if latch.has_waiter() {
                return Ok(());
            }
            if !self.ours_present(name).await?.runs() {
                return Err(self.exited(name).await);
            }
            crate::clock::sleep(LATCH_LIMIT / LATCH_LOOKS_MAX).await;
        }
        Err(EngineError::NotInTime { call: format!("see container {name} at its latch"), limit: LATCH_LIMIT })
    }

    /// The error for a container that ended by itself.
    pub(super) async fn exited(&self, name: &ContainerName) -> EngineError {
        if let Err(error) = self.settle(name).await {
            return error;
        }
        match self.ours_present(name).await {
            Ok(seen) if seen.error.is_empty() => EngineError::Exited {
                name: name.clone(),
                code: seen.exit_code,
                said: self.last_words(name).await,
            },
            Ok(seen) => EngineError::Exited { name: name.clone(), code: seen.exit_code, said: seen.error },
            Err(error) => error,
        }
    }

    /// Removes a container with its checkpoints, its latch and its nameless volumes; named volumes stay.
    pub async fn remove(&self, name: &ContainerName) -> Result<(), EngineError> {
        if self.ours(name).await?.is_some() {
            let options = RemoveContainerOptions { v: true, force: true, link: false };
            self.connection
                .find(format!("remove container {name}"), REMOVE_LIMIT, |docker| async move {
                    docker.remove_container(&name.0, Some(options)).await
                })
                .await?;
        }
        self.forget(name);
        match self.latch(name) {
            Some(latch) => latch.remove().map_err(|source| EngineError::Latch { name: name.clone(), source }),
            None => Ok(()),
        }
    }
}
