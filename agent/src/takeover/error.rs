//! Why memory did not come from one device to another.

use std::io;
use std::path::{Path, PathBuf};

use takt_agent_core::{ContainerName, Nature};
use takt_common::DeviceId;
use takt_common::checkpoint::CheckpointError;

use crate::engine::EngineError;
use crate::failure::Natured;
use crate::fetch::FetchError;

/// Memory was not given or not taken. Nothing of it remains.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The container engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The coordinator, or the way to it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The coordinator does not carry it.
    #[error("hand the memory to the coordinator: it answered {status}: {said}")]
    NotCarried {
        /// Its status.
        status: u16,
        /// Its words.
        said: String,
    },
    /// The disk.
    #[error("{deed} {}", path.display())]
    Disk {
        /// What was tried.
        deed: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It would not leave enough room.
    #[error("find room for {bytes} bytes of memory in {}: {free} are free, and {reserve} stay free", folder.display())]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// How much is needed.
        bytes: u64,
        /// How much is free.
        free: u64,
        /// How much is to stay free.
        reserve: u64,
    },
    /// A checkpoint that cannot be read from here.
    #[error("read the checkpoint of container {name} in {}", folder.display())]
    Unseen {
        /// Of which.
        name: ContainerName,
        /// Its folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The owner of this device has not allowed it.
    #[error(
        "take the memory of device {device}: takeover.restore_from in this device's settings does not name it"
    )]
    NotAllowed {
        /// Whose.
        device: DeviceId,
    },
    /// It has not come yet.
    #[error("wait for the memory of device {device}: it has not come within {secs} s")]
    NotYet {
        /// Whose.
        device: DeviceId,
        /// How long.
        secs: u64,
    },
    /// It does not come.
    #[error("wait for the memory of device {device}: {why}")]
    Never {
        /// Whose.
        device: DeviceId,
        /// In the coordinator's words.
        why: String,
    },
    /// It is not what was ordered.
    #[error("take the memory of device {device}")]
    Foreign {
        /// Whose.
        device: DeviceId,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// What came is not what was stated.
    #[error("take the memory of device {device}: {why}")]
    Broken {
        /// Whose.
        device: DeviceId,
        /// Why.
        why: String,
    },
    /// The archive holds what has no place.
    #[error("unpack the memory of a device: it has '{entry}'")]
    Entry {
        /// What.
        entry: String,
    },
}

impl Natured for MemoryError {
    fn nature(&self) -> Nature {
        match self {
            Self::Engine(error) => error.nature(),
            Self::Fetch(error) => error.nature(),
            Self::NotCarried { status, .. } if *status < 500 => Nature::Fatal,
            Self::NotCarried { .. }
            | Self::Disk { .. }
            | Self::NoRoom { .. }
            | Self::NotYet { .. }
            | Self::Broken { .. } => Nature::Transient,
            Self::Unseen { .. }
            | Self::NotAllowed { .. }
            | Self::Never { .. }
            | Self::Foreign { .. }
            | Self::Entry { .. } => Nature::Fatal,
        }
    }
}

pub(super) fn disk(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MemoryError {
    let path = path.to_owned();
    move |source| MemoryError::Disk { deed, path, source }
}
