//! What the agent can do to the world. Every action may be repeated: doing it twice is the same as doing it once.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use takt_common::release::{Container, Hook, HookPoint, Step};
use takt_common::{DeviceId, Name, Sha256Digest};

use crate::phase::{Role, Workload};
use crate::step::StepKey;

/// The name of a workload of ours: `takt-<device>-<component>-g<epoch>-<generation>`.
///
/// It holds the order's position, so what belongs to one order is never taken for that of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkloadName(pub String);

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl WorkloadName {
    /// The name of one of its containers, which may have none of its own.
    pub fn container(&self, own: Option<&Name>) -> ContainerName {
        ContainerName(own.map_or_else(|| self.0.clone(), |own| format!("{}.{own}", self.0)))
    }
}

/// The name of a container of ours: the workload's, and the container's own where it has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerName(pub String);

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restarted {
    /// The whole device.
    Machine,
    /// This agent: its service starts it again, by the launcher.
    Agent,
}

impl fmt::Display for Restarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "the machine",
            Self::Agent => "the agent",
        })
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
    /// Write the memory of the containers of a workload to disk while they run on, hand it to the coordinator for a standby,
    /// and delete it here.
    GiveMemory {
        /// Whose.
        workload: Box<Workload>,
        /// For whom.
        standby: DeviceId,
        /// The fencing token of the takeover.
        lease: u64,
        /// The name of the checkpoint.
        checkpoint: String,
    },
    /// Bring the memory that a device has given, and lay it beside the created containers of a workload as a checkpoint.
    TakeMemory {
        /// For which.
        workload: Box<Workload>,
        /// Whose memory.
        device: DeviceId,
        /// The fencing token of the takeover.
        lease: u64,
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
    /// Let the published ports of a workload lead to its containers, all of them at once. Connections that exist stay
    /// where they are.
    Route {
        /// To which workload.
        to: Box<Workload>,
    },
    /// Keep what a step will replace, and lay ready what it brings; nothing that is in force changes.
    Prepare {
        /// Which step.
        key: StepKey,
        /// What it is.
        step: Box<Step>,
    },
    /// Put a step in force, or complete what was begun.
    Apply {
        /// Which step.
        key: StepKey,
        /// What it is.
        step: Box<Step>,
    },
    /// Bring back what a step has replaced.
    Revert {
        /// Which step.
        key: StepKey,
        /// What it is.
        step: Box<Step>,
    },
    /// Let nothing take a step back by itself any more.
    Confirm {
        /// Which step.
        key: StepKey,
        /// What it is.
        step: Box<Step>,
    },
    /// Forget the way back of a step.
    Settle {
        /// Which step.
        key: StepKey,
    },
    /// Run a hook to its end.
    Hook {
        /// When.
        point: HookPoint,
        /// Which.
        hook: Box<Hook>,
        /// For which release: the new one, by its workload's name.
        workload: WorkloadName,
        /// What ran before it, if anything did.
        old: Option<WorkloadName>,
    },
    /// Reboot the machine, or end this agent so that it is started anew. It returns only when that failed.
    Restart {
        /// Which of them.
        what: Restarted,
        /// Why, after "restart the machine".
        why: String,
    },
    /// Remove every image and artifact of ours but these.
    Prune {
        /// Image ids that stay.
        keep_images: Vec<Sha256Digest>,
        /// Files that stay.
        keep_files: Vec<Sha256Digest>,
    },
}

impl Action {
    /// What keeps in force what runs already: as long as no switch has begun, these are never for the order in hand.
    pub const fn is_upkeep(&self) -> bool {
        matches!(self, Self::Route { .. } | Self::Apply { .. })
    }
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
            Self::GiveMemory { workload, .. } => write!(f, "hand over the memory of {}", workload.name),
            Self::TakeMemory { workload, .. } => write!(f, "take over the memory for {}", workload.name),
            Self::KeepRunning { name } => write!(f, "let container {name} restart by itself"),
            Self::Remove { name } => write!(f, "remove container {name}"),
            Self::DeleteCheckpoint { name, .. } => write!(f, "delete the checkpoint of container {name}"),
            Self::Route { to } => write!(f, "publish the ports of {}", to.name),
            Self::Prepare { key, step } => write!(f, "prepare {} step {key}", step.kind()),
            Self::Apply { key, step } => write!(f, "apply {} step {key}", step.kind()),
            Self::Revert { key, step } => write!(f, "revert {} step {key}", step.kind()),
            Self::Confirm { key, step } => write!(f, "confirm {} step {key}", step.kind()),
            Self::Settle { key } => write!(f, "forget the way back of step {key}"),
            Self::Hook { point, .. } => write!(f, "run the hook {point}"),
            Self::Restart { what, why } => write!(f, "restart {what} {why}"),
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
    /// Nothing is wrong: it was asked to wait.
    NotNow,
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
    /// What came of it: what it wrote (hooks only), or why it failed.
    pub result: Result<String, ActionFailure>,
}
