//! What can go wrong with a trial, each with its subject.

use std::io;
use std::path::{Path, PathBuf};

use crate::trial::{Trial, Version};

/// An error of a trial. Nothing was begun, confirmed or withdrawn; all of it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Another trial has to be confirmed or withdrawn first.
    #[error("begin the trial of agent {new}: {found}")]
    Unsettled {
        /// The version to be tried.
        new: Version,
        /// What is in the way.
        found: Trial,
    },
    /// The agent that wants to stay is not the one on trial.
    #[error("confirm agent {running}: {found}")]
    NotOnTrial {
        /// Who wants to stay.
        running: Version,
        /// What is in force.
        found: Trial,
    },
    /// A copy would be no agent.
    #[error("keep a copy of the agent '{}': it has {bytes} bytes, 1 to {bytes_max} expected", .path.display())]
    Size {
        /// The agent.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The agent became shorter while it was copied.
    #[error("keep a copy of the agent '{}': only {copied} of its {bytes} bytes can be read", .path.display())]
    Cut {
        /// The agent.
        path: PathBuf,
        /// What there was.
        copied: u64,
        /// What there should have been.
        bytes: u64,
    },
    /// The folder holds more than a trial can leave there.
    #[error("read the folder '{}': it holds more than {entries_max} entries", .path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The limit.
        entries_max: usize,
    },
    /// A file or folder cannot be made, read, synced, renamed, removed or run.
    #[error("{doing} '{}'", .path.display())]
    File {
        /// The operation, such as `"rename"`.
        doing: &'static str,
        /// Its subject.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl TrialError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }
}
