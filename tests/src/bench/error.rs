//! Why a benchmark could not be run to its end.

use std::io;
use std::path::PathBuf;

use takt_agent::journal::JournalError;
use takt_load::LoadError;

use super::harm::HarmError;
use crate::fleet::{Fleet, FleetError};
use crate::image::ImageError;

/// A benchmark could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// An image of the peer.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The agent's journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Clients that make load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A simulated fleet.
    #[error(transparent)]
    Harm(#[from] HarmError),
    /// A file.
    #[error("{deed} {}", path.display())]
    File {
        /// What was tried.
        deed: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the kernel says something else than expected.
    #[error("find {what} in {}", path.display())]
    Kernel {
        /// What was looked for.
        what: &'static str,
        /// In which file.
        path: PathBuf,
    },
    /// A shell with commands of the peer cannot be started.
    #[error("start a shell for `{line}`")]
    Shell {
        /// The commands.
        line: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The peer failed.
    #[error("run `{line}`: {said}")]
    Peer {
        /// The commands.
        line: String,
        /// What they said.
        said: String,
    },
    /// A round went another way than the one to be measured.
    #[error("measure {what}: {went}")]
    OtherWay {
        /// What was to be measured.
        what: String,
        /// How it went.
        went: String,
    },
    /// The agent does not run.
    #[error("find the process of the agent of {device}")]
    NoAgent {
        /// Of which device.
        device: String,
    },
}

impl BenchError {
    /// For `map_err`: what was tried with which file.
    pub(super) fn file(deed: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { deed, path, source }
    }
}

/// Shows the ends of the fleet's logs, unless somebody asked for the end.
pub(super) fn with_last_words(fleet: &Fleet, error: BenchError) -> BenchError {
    if !matches!(error, BenchError::Fleet(FleetError::Interrupted)) {
        eprintln!("{}", fleet.last_words());
    }
    error
}
