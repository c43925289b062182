//! Checkpoints: a container's memory on disk, by CRIU. A container restores into the same image only.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bollard::container::{CreateCheckpointOptions, DeleteCheckpointOptions, ListCheckpointsOptions};
use takt_agent_core::ContainerName;
use tokio::process::Command;
use tokio::time::timeout;
use tracing::warn;

use super::Engine;
use super::error::EngineError;
use super::look::LOOK_LIMIT;
use super::raw;

/// How long a dump may take; the container stands still meanwhile.
const CHECKPOINT_LIMIT: Duration = Duration::from_mins(2);
/// How long a restore may take.
const RESTORE_LIMIT: Duration = Duration::from_mins(2);
/// How long `criu check` may take; it takes 0.1 s here.
const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// Restores fail now and then with "content sha256… already exists" (moby#42900), up to three times in a row under
/// load; with a pack that is made unique before each try none of 60 failed.
const RESTORE_TRIES_MAX: u32 = 2;
/// Makes a checkpoint's pack unique.
const UNIQUE_FILE: &str = "takt-unique";
/// From this version on the engine cannot restore (moby#50750).
const ENGINE_WITHOUT_RESTORE: u32 = 28;
/// Where CRIU is sought beside `PATH`: services often have a short one.
const PROGRAM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// A checkpoint holds all memory, keys included.
const CHECKPOINT_MODE: u32 = 0o700;

impl Engine {
    /// Able to checkpoint, or why not, in one sentence.
    pub async fn checkpoint_ability(&self) -> Result<(), String> {
        let facts = self.info().await.map_err(|error| crate::failure::sentence(&error))?;
        if !facts.experimental {
            return Err("the container engine was not started with --experimental".to_owned());
        }
        let version = facts.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if version.is_none_or(|major| major >= ENGINE_WITHOUT_RESTORE) {
            return Err(format!("container engine {} cannot restore checkpoints", facts.version));
        }
        let criu = find_program("criu").ok_or("criu is not installed")?;
        let mut check = Command::new(&criu);
        check.arg("check").stdin(Stdio::null()).kill_on_drop(true);
        for name in crate::service::VARIABLES {
            check.env_remove(name);
        }
        match timeout(CHECK_LIMIT, check.output()).await {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("criu check failed: {}", said.lines().next().unwrap_or("it said nothing").trim()))
            }
            Ok(Err(error)) => Err(format!("{} could not be run: {error}", criu.display())),
            Err(_elapsed) => Err(format!("criu check did not end within {} s", CHECK_LIMIT.as_secs())),
        }
    }

    /// Writes the memory of a running container to disk and stops it. When this fails, the container is looked at:
    /// the error says whether it runs on.
    pub async fn checkpoint(&self, name: &ContainerName, checkpoint: &str) -> Result<(), EngineError> {
        let seen = self.ours_present(name).await?;
        let there = self.has_checkpoint(name, checkpoint).await?;
        if !seen.runs() && there {
            return Ok(());
        }
        if !seen.runs() {
            return Err(EngineError::LostInCheckpoint {
                name: name.clone(),
                why: "it had stopped before".to_owned(),
            });
        }
        if there {
            // Of an interrupted try, perhaps half written.
            self.delete_checkpoint(name, checkpoint).await?;
        }
        // Its end is wanted: the engine must not bring it back.
        if seen.kept_running {
            self.set_restart_policy(name, false).await?;
        }
        if let Err(error) = self.dump(name, checkpoint, true).await {
            return Err(self.not_checkpointed(name, seen.kept_running, error).await);
        }
        // The engine notices the end of the process a little later than the end of the dump.
        self.note_ended(name);
        self.settle(name).await?;
        self.protect(&seen.id, checkpoint).await;
        Ok(())
    }

    /// Writes the memory of a running container to disk while it runs on; it stands still for as long as that takes. Gives
    /// the folder, which must be visible from here.
    pub async fn checkpoint_running(
        &self,
        name: &ContainerName,
        checkpoint: &str,
    ) -> Result<PathBuf, EngineError> {
        let seen = self.ours_present(name).await?;
        self.delete_checkpoint(name, checkpoint).await?;
        self.renew(name).await;
        if let Err(error) = self.dump(name, checkpoint, false).await {
            return Err(self.not_checkpointed(name, false, error).await);
        }
        self.protect(&seen.id, checkpoint).await;
        self.checkpoint_folder(&seen.id, checkpoint).await
    }

    /// An empty folder for a checkpoint that comes from elsewhere, for a container of the same image.
    pub async fn checkpoint_to_come(
        &self,
        name: &ContainerName,
        checkpoint: &str,
    ) -> Result<PathBuf, EngineError> {
        let seen = self.ours_present(name).await?;
        self.delete_checkpoint(name, checkpoint).await?;
        let folder = self.checkpoint_folder(&seen.id, checkpoint).await?;
        let made = fs::DirBuilder::new().recursive(true).mode(CHECKPOINT_MODE).create(&folder);
        made.map_err(|source| EngineError::CheckpointFolder { folder: folder.clone(), source })?;
        Ok(folder)
    }

    async fn dump(&self, name: &ContainerName, checkpoint: &str, exit: bool) -> Result<(), EngineError> {
        let options =
            CreateCheckpointOptions { checkpoint_id: checkpoint.to_owned(), checkpoint_dir: None, exit };
        self.connection
            .call(format!("checkpoint container {name}"), CHECKPOINT_LIMIT, |docker| async move {
                docker.create_checkpoint(&name.0, options).await
            })
            .await
            .map(drop)
    }

    async fn not_checkpointed(&self, name: &ContainerName, keep: bool, error: EngineError) -> EngineError {
        let EngineError::Refused { message: why, .. } = error else { return error };
        match self.ours_present(name).await {
            Ok(seen) if seen.runs() => {
                if keep && let Err(error) = self.set_restart_policy(name, true).await {
                    warn!(%name, error = crate::failure::sentence(&error), "could not let a container restart again");
                }
                EngineError::NoCheckpoint { name: name.clone(), why }
            }
            Ok(_) => EngineError::LostInCheckpoint { name: name.clone(), why },
            Err(error) => error,
        }
    }

    async fn checkpoint_folder(&self, container_id: &str, checkpoint: &str) -> Result<PathBuf, EngineError> {
        let root = PathBuf::from(self.info().await?.root);
        Ok(root.join("containers").join(container_id).join("checkpoints").join(checkpoint))
    }

    /// Makes the pack of a checkpoint differ from every other one: the engine refuses a restore while its content
    /// store still holds an identical pack. CRIU passes over files that it does not know.
    async fn make_unique(&self, container_id: &str, checkpoint: &str) {
        let Ok(folder) = self.checkpoint_folder(container_id, checkpoint).await else { return };
        let now = crate::host::uptime().unwrap_or_default();
        let text = format!("{} {}", std::process::id(), now.as_nanos());
        if let Err(error) = fs::write(folder.join(UNIQUE_FILE), text) {
            warn!(folder = %folder.display(), %error, "could not make a checkpoint unique");
        }
    }

    /// Lets nobody else read a checkpoint. Where its folder is not visible from here the engine's own modes count.
    async fn protect(&self, container_id: &str, checkpoint: &str) {
        let Ok(folder) = self.checkpoint_folder(container_id, checkpoint).await else { return };
        if let Err(error) = fs::set_permissions(&folder, fs::Permissions::from_mode(CHECKPOINT_MODE)) {
            warn!(folder = %folder.display(), %error, "could not protect a checkpoint");
        }
    }

    /// Starts a container from a checkpoint: one that has stopped, or one that has never passed its latch.
    pub async fn restore(&self, name: &ContainerName, checkpoint: &str) -> Result<(), EngineError> {
        if let Some(latch) = self.latch(name).filter(super::latch::Latch::is_closed) {
            // What waits there has done nothing yet, and what comes in its place does not pass it.
            self.stop(name, Duration::ZERO).await?;
            latch.open().map_err(|source| EngineError::Latch { name: name.clone(), source })?;
            self.forget_held(name);
        }
        self.settle(name).await?;
        let seen = self.ours_present(name).await?;
        if seen.runs() {
            return Ok(());
        }
        let path = format!("/containers/{name}/start?checkpoint={checkpoint}");
        let call = || format!("restore container {name}");
        let mut refusals = Vec::new();
        self.renew(name).await;
        for _try in 0..RESTORE_TRIES_MAX {
            self.make_unique(&seen.id, checkpoint).await;
            let asked = timeout(RESTORE_LIMIT, raw::post(self.connection.socket(), &path)).await;
            let answer =
                asked.map_err(|_elapsed| EngineError::Silent { call: call(), limit: RESTORE_LIMIT })?;
            let (status, said) = answer.map_err(|source| EngineError::BrokenRaw { call: call(), source })?;
            if self.ours_present(name).await?.runs() {
                return Ok(());
            }
            self.clear_leftover(&seen.id, &said, false).await;
            let refusal = if status.is_success() { "it exited at once".to_owned() } else { said };
            if !refusals.contains(&refusal) {
                refusals.push(refusal);
            }
        }
        let why = refusals.join("; then: ");
        Err(EngineError::NotRestored { name: name.clone(), checkpoint: checkpoint.to_owned(), why })
    }

    /// Deletes a checkpoint; one that is not there is deleted.
    pub async fn delete_checkpoint(&self, name: &ContainerName, checkpoint: &str) -> Result<(), EngineError> {
        if self.ours(name).await?.is_none() || !self.has_checkpoint(name, checkpoint).await? {
            return Ok(());
        }
        let call = format!("delete checkpoint {checkpoint} of container {name}");
        self.connection
            .find(call, LOOK_LIMIT, |docker| async move {
                docker.delete_checkpoint(&name.0, checkpoint, None::<DeleteCheckpointOptions>).await
            })
            .await
            .map(drop)
    }

    async fn has_checkpoint(&self, name: &ContainerName, checkpoint: &str) -> Result<bool, EngineError> {
        let list = self
            .connection
            .find(format!("list the checkpoints of container {name}"), LOOK_LIMIT, |docker| async move {
                docker.list_checkpoints(&name.0, None::<ListCheckpointsOptions>).await
            })
            .await?;
        Ok(list.unwrap_or_default().iter().any(|found| found.name == checkpoint))
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PROGRAM_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
