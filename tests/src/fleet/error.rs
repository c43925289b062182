//! What can go wrong with a fleet, each in one sentence.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::EngineError;
use crate::image::ImageError;

/// A fleet cannot be put together, or does not do in time what it should.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A program has not been built.
    #[error("find the program {}: `make tried` builds those that are tested, `make device` those that are shipped", path.display())]
    MissingBinary {
        /// Where it should be.
        path: PathBuf,
    },
    /// A script that builds a program failed.
    #[error("build a program with {}: {said}", script.display())]
    Build {
        /// The script.
        script: PathBuf,
        /// What it said.
        said: String,
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
    /// A program cannot be started.
    #[error("start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A process ended although it should run.
    #[error("keep {name} running: it ended with {status}; its last words: {last_words}")]
    Ended {
        /// Its name.
        name: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        last_words: String,
    },
    /// A command failed.
    #[error("run `{line}`: exit code {code}: {said}")]
    Command {
        /// The command line.
        line: String,
        /// Its exit code; -1 when it was killed.
        code: i32,
        /// What it said.
        said: String,
    },
    /// A command said something that is not understood.
    #[error("understand what `{line}` said")]
    Answer {
        /// The command line.
        line: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A condition did not come about.
    #[error("see {what} within {:.1} s{state}", limit.as_secs_f64())]
    NotInTime {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// `: ` and how it was last, if known.
        state: String,
    },
    /// No port is free.
    #[error("find a free port between {first} and {last}")]
    NoPort {
        /// The first that was tried.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The coordinator's certificate authority cannot be used.
    #[error("use the certificates in {}: {why}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The operator's profile is not as it should be.
    #[error("read the profile {}: {why}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The coordinator's API does not answer.
    #[error("get {path} from the coordinator")]
    Unreachable {
        /// What was asked for.
        path: String,
        /// Why not.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The coordinator's API says no.
    #[error("get {path} from the coordinator: {said}")]
    Refused {
        /// What was asked for.
        path: String,
        /// Its status and words.
        said: String,
    },
    /// Somebody ended the run.
    #[error("go on: a signal asked for the end")]
    Interrupted,
    /// The container engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl FleetError {
    /// For `map_err`: what was tried with which file.
    pub fn file(deed: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { deed, path, source }
    }
}
