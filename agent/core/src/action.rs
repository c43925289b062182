//! What the agent can do to the world. Every action may be repeated: doing it twice is the same as doing it once.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use takt_common::Sha256Digest;
use takt_common::release::Container;

use crate::phase::Role;

/// The name of a container of ours: `takt-<device>-<component>-g<generation>`.
///
/// It holds the generation, so the container of one order is never taken for that of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerName(pub String);

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Bring a target of the repository to disk: resume what is there, check the digest while streaming, cut at
    /// `length`, and put it in place only when it is whole and right.
    Fetch {
        /// Its digest.
        sha256: Sha256Digest,
        /// Its length in bytes.
        length: u64,
    },
    /// Load an image archive into the container engine; the engine must then know `image`.
    LoadImage {
        /// The archive.
        archive: Sha256Digest,
        /// The image id it must give.
        image: Sha256Digest,
    },
    /// Create a container, not started, that the engine does not restart by itself.
    Create {
        /// Its name.
        name: ContainerName,
        /// What it serves as; chooses the device variables.
        role: Role,
        /// What to run.
        container: Box<Container>,
    },
    /// Start a created or stopped container afresh.
    Start {
        /// Which.
        name: ContainerName,
    },
    /// Stop a container and let the engine not restart it; kill it after `grace`.
    Stop {
        /// Which.
        name: ContainerName,
        /// How long it may take.
        grace: Duration,
    },
    /// Write the memory of a running container to disk and stop it.
    Checkpoint {
        /// Which.
        name: ContainerName,
        /// The name of the checkpoint.
        checkpoint: String,
    },
    /// Start a stopped container from a checkpoint.
    Restore {
        /// Which.
        name: ContainerName,
        /// The name of the checkpoint.
        checkpoint: String,
    },
    /// Let the engine restart the container when it exits or the machine boots.
    KeepRunning {
        /// Which.
        name: ContainerName,
    },
    /// Remove a container with its checkpoints; named volumes stay.
    Remove {
        /// Which.
        name: ContainerName,
    },
    /// Delete the checkpoint of a container.
    DeleteCheckpoint {
        /// Which.
        name: ContainerName,
        /// The name of the checkpoint.
        checkpoint: String,
    },
    /// Remove every image and artifact of ours but these.
    Prune {
        /// Image ids that stay.
        keep_images: Vec<Sha256Digest>,
        /// Files that stay.
        keep_files: Vec<Sha256Digest>,
    },
}

impl fmt::Display for Action {
    /// Fits after "failed to".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch { sha256, .. } => write!(f, "fetch artifact {sha256}"),
            Self::LoadImage { archive, .. } => write!(f, "load the image from archive {archive}"),
            Self::Create { name, .. } => write!(f, "create container {name}"),
            Self::Start { name } => write!(f, "start container {name}"),
            Self::Stop { name, .. } => write!(f, "stop container {name}"),
            Self::Checkpoint { name, .. } => write!(f, "checkpoint container {name}"),
            Self::Restore { name, .. } => write!(f, "restore container {name} from its checkpoint"),
            Self::KeepRunning { name } => write!(f, "let container {name} restart by itself"),
            Self::Remove { name } => write!(f, "remove container {name}"),
            Self::DeleteCheckpoint { name, .. } => write!(f, "delete the checkpoint of container {name}"),
            Self::Prune { .. } => f.write_str("remove images and artifacts that are no longer needed"),
        }
    }
}

/// Whether it makes sense to try again; decided where the error is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nature {
    /// The link or the engine was away; nothing is known to be wrong with the release.
    Transient,
    /// What came is not what was signed.
    Corrupt,
    /// It will fail again.
    Fatal,
}

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFailure {
    /// Whether to try again.
    pub nature: Nature,
    /// One sentence, lower case, with the whole chain of causes.
    pub text: String,
}

/// The last action of this run of the agent and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub action: Action,
    /// What came of it.
    pub result: Result<(), ActionFailure>,
}
