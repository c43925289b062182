//! What can go wrong between the agent and the container engine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use takt_agent_core::{ContainerName, Nature};
use takt_common::Sha256Digest;

use super::archive::ArchiveFault;
use super::latch::LatchFileError;
use crate::failure::Natured;
use crate::variables::VariableError;

/// A call to the engine failed, or what it shows is not what was asked for. `call` says what was tried.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No direct ports for it.
    #[error("find ports for container {name}")]
    DirectPorts {
        /// For which.
        name: ContainerName,
        /// Why.
        source: takt_traffic::PortError,
    },
    /// Nobody answers at the socket.
    #[error("reach the container engine at {}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time; what became of the call is not known.
    #[error("{call}: the container engine did not answer within {} s", limit.as_secs())]
    Silent {
        /// What was tried.
        call: String,
        /// How long an answer may take.
        limit: Duration,
    },
    /// The engine said no.
    #[error("{call}: {message}")]
    Refused {
        /// What was tried.
        call: String,
        /// The engine's status code.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// The conversation broke off; what became of the call is not known.
    #[error("{call}")]
    Broken {
        /// What was tried.
        call: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// A raw request broke off; what became of the call is not known.
    #[error("{call}")]
    BrokenRaw {
        /// What was tried.
        call: String,
        /// Why.
        #[source]
        source: super::raw::RawError,
    },
    /// The container is somebody else's.
    #[error("touch container {name}: it was not made by this device's agent")]
    Foreign {
        /// Which.
        name: ContainerName,
    },
    /// No such container.
    #[error("find container {name}")]
    NoContainer {
        /// Which.
        name: ContainerName,
    },
    /// It runs, and is not what was ordered.
    #[error("create container {name}: one of that name runs with other settings")]
    OtherSettings {
        /// Which.
        name: ContainerName,
    },
    /// The image is not loaded.
    #[error("find image sha256:{image}")]
    NoImage {
        /// Which.
        image: Sha256Digest,
    },
    /// The archive holds another image than was signed.
    #[error("load archive {archive}: it should give image sha256:{expected} and gave {found}")]
    OtherImage {
        /// The archive.
        archive: Sha256Digest,
        /// The signed id.
        expected: Sha256Digest,
        /// What came.
        found: String,
    },
    /// The archive on disk cannot be read.
    #[error("read archive {archive}")]
    Archive {
        /// The archive.
        archive: Sha256Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It must not be unpacked.
    #[error("load the image from archive {archive}")]
    BadArchive {
        /// The archive.
        archive: Sha256Digest,
        /// Why.
        #[source]
        why: ArchiveFault,
    },
    /// A text of the release names what the device does not have.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// The release asks for a volume in a form that is not known.
    #[error("use volume '{volume}': {why}")]
    Volume {
        /// As written.
        volume: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Neither the image nor the release says what to run.
    #[error("start image sha256:{image}: neither it nor the release has a command")]
    NoCommand {
        /// The image.
        image: Sha256Digest,
    },
    /// The latch's files.
    #[error("hold container {name} at its latch")]
    Latch {
        /// Which.
        name: ContainerName,
        /// Why.
        #[source]
        source: LatchFileError,
    },
    /// It ended before it should have.
    #[error("start container {name}: it exited with {code}: {said}")]
    Exited {
        /// Which.
        name: ContainerName,
        /// Its exit code.
        code: i64,
        /// Its last words.
        said: String,
    },
    /// It does not do within the limit what it should.
    #[error("{call}: not so within {} s", limit.as_secs())]
    NotInTime {
        /// What was waited for.
        call: String,
        /// How long.
        limit: Duration,
    },
    /// No checkpoint was made and the container runs on.
    #[error("checkpoint container {name}, which runs on: {why}")]
    NoCheckpoint {
        /// Which.
        name: ContainerName,
        /// The engine's own words.
        why: String,
    },
    /// No checkpoint was made and the container does not run.
    #[error("checkpoint container {name}, which no longer runs: {why}")]
    LostInCheckpoint {
        /// Which.
        name: ContainerName,
        /// The engine's own words.
        why: String,
    },
    /// No place for a checkpoint that comes from elsewhere.
    #[error("make the folder {} for a checkpoint", folder.display())]
    CheckpointFolder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The checkpoint cannot be used.
    #[error("restore container {name} from checkpoint {checkpoint}: {why}")]
    NotRestored {
        /// Which.
        name: ContainerName,
        /// The checkpoint.
        checkpoint: String,
        /// The engine's own words, of every try.
        why: String,
    },
}

/// Refusals that pass: time-out, conflict (another call is at work), locked, too early, too many.
const PASSING: [u16; 5] = [408, 409, 423, 425, 429];

impl Natured for EngineError {
    fn nature(&self) -> Nature {
        match self {
            Self::Refused { status, .. } if (400..500).contains(status) && !PASSING.contains(status) => {
                Nature::Fatal
            }
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Refused { .. }
            | Self::Broken { .. }
            | Self::BrokenRaw { .. }
            | Self::NoContainer { .. }
            | Self::NoImage { .. }
            | Self::Latch { .. }
            | Self::DirectPorts { .. }
            | Self::CheckpointFolder { .. }
            | Self::Archive { .. }
            | Self::BadArchive { why: ArchiveFault::Swells { .. }, .. }
            | Self::NotInTime { .. } => Nature::Transient,
            Self::OtherImage { .. } => Nature::Corrupt,
            Self::BadArchive { .. }
            | Self::Foreign { .. }
            | Self::OtherSettings { .. }
            | Self::Variable(_)
            | Self::Volume { .. }
            | Self::NoCommand { .. }
            | Self::Exited { .. }
            | Self::NoCheckpoint { .. }
            | Self::LostInCheckpoint { .. }
            | Self::NotRestored { .. } => Nature::Fatal,
        }
    }
}
