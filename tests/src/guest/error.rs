//! What can go wrong with a guest, each in one sentence.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::fleet::FleetError;

/// A guest cannot be made, or does not do in time what it should.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A script of `tests/guest` failed.
    #[error("run {}: {said}", script.display())]
    Script {
        /// The script.
        script: PathBuf,
        /// The end of what it said.
        said: String,
    },
    /// A program or script cannot be started.
    #[error("start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file or folder.
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
    /// The guest's machine, or the time it took.
    #[error("keep up with the guest; the end of its console:{console}")]
    Machine {
        /// What failed.
        #[source]
        source: FleetError,
        /// The last lines of the console.
        console: Console,
    },
    /// The machine is off.
    #[error("{deed}: the guest is switched off")]
    Off {
        /// What was tried.
        deed: String,
    },
    /// The guest agent does not understand us, or the connection broke.
    #[error("speak to the guest; the end of its console:{console}")]
    Channel {
        /// What happened.
        #[source]
        source: io::Error,
        /// The last lines of the console.
        console: Console,
    },
    /// A command failed in the guest.
    #[error("run `{command}` in the guest: exit code {code}: {said}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit code; 128 and more for a signal.
        code: i32,
        /// What it said.
        said: String,
    },
    /// The guest told something that is not understood.
    #[error("understand {what} of the guest: '{text}'")]
    Answer {
        /// What it is about.
        what: &'static str,
        /// What it told.
        text: String,
    },
}

/// The last lines of a guest's console, to be read as they are: also in the debug form, which is what a failed test shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Console(pub(super) String);

impl fmt::Display for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lines().try_for_each(|line| write!(f, "\n    | {line}"))
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl GuestError {
    /// For `map_err`: what was tried with which file.
    pub(super) fn file(deed: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { deed, path, source }
    }
}
