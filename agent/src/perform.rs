//! Doing: one action of the decision, by the adapter it belongs to.

use takt_agent_core::{Action, ActionFailure};
use takt_trust::Need;

use crate::artifacts::ArtifactStore;
use crate::engine::Engine;
use crate::failure::{failure, sentence};
use crate::fetch::Client;

/// The adapters that actions need.
pub struct Performer {
    /// The container engine.
    pub engine: Engine,
    /// Files on disk.
    pub artifacts: ArtifactStore,
    /// The way to the coordinator.
    pub client: Client,
}

impl Performer {
    /// Takes one action. It may be taken again, whatever became of it the last time; dying at any await here leaves
    /// what the next look at the world shows.
    pub async fn perform(&self, action: &Action) -> Result<(), ActionFailure> {
        let engine = &self.engine;
        match action {
            Action::Fetch { sha256, length } => {
                return self
                    .artifacts
                    .fetch(&self.client, sha256, *length)
                    .await
                    .map_err(|error| failure(&error));
            }
            Action::LoadImage { archive, image } => {
                engine.load_image(&self.artifacts.path(archive), archive, image).await
            }
            Action::Create { name, role, container } => engine.create(name, *role, container).await,
            Action::Start { name } => engine.start(name).await,
            Action::Stop { name, grace } => engine.stop(name, *grace).await,
            Action::Checkpoint { name, checkpoint } => engine.checkpoint(name, checkpoint).await,
            Action::Restore { name, checkpoint } => engine.restore(name, checkpoint).await,
            Action::KeepRunning { name } => engine.keep_running(name).await,
            Action::Remove { name } => engine.remove(name).await,
            Action::DeleteCheckpoint { name, checkpoint } => engine.delete_checkpoint(name, checkpoint).await,
            Action::Prune { keep_images, keep_files } => {
                self.artifacts.prune(keep_files).map_err(|error| failure(&error))?;
                engine.prune_images(keep_images).await
            }
        }
        .map_err(|error| failure(&error))
    }

    /// A document of the package repository; `None` when the coordinator says that there is none.
    pub async fn document(&self, need: &Need) -> Result<Option<Vec<u8>>, String> {
        let path = format!("/api/v1/repository/{}", need.name);
        self.client.get_small(&path, need.length_max).await.map_err(|error| sentence(&error))
    }
}
