//! What can go wrong with a set of packages, each with its subject.

use std::path::PathBuf;

use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;
use takt_launcher::{TrialError, VersionError};

use super::tool::ToolError;
use crate::disk::DiskError;
use crate::kept::KeptError;

/// A set of packages cannot be kept, put in force or taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    /// A file says something else of itself than the manifest.
    #[error("use package '{name}': the manifest says {field} {stated}, its file says {said}")]
    Lies {
        /// Which.
        name: String,
        /// What of it.
        field: &'static str,
        /// In the manifest.
        stated: String,
        /// In the file.
        said: String,
    },
    /// Its control data, unpacked, would fill the disk.
    #[error("use package '{name}': its control data unpacks to more than {limit_mib} MiB")]
    Swells {
        /// Which.
        name: String,
        /// The limit.
        limit_mib: u64,
    },
    /// A configuration file that lies outside of everything.
    #[error("use package '{name}': its list of configuration files names '{path}', with '..' in it")]
    LeadsOut {
        /// Which.
        name: String,
        /// Where to.
        path: String,
    },
    /// The file is not in the artifact store.
    #[error("use package '{name}': its file '{}' is not on disk", path.display())]
    NoFile {
        /// Which.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// It needs what neither the device nor the set has, or the device has what does not go with it.
    #[error("install the packages: {what}")]
    Unmet {
        /// What is missing or in the way, in the package manager's words.
        what: String,
    },
    /// It was broken before the order came.
    #[error(
        "keep package '{name}': it is {state} since before this order, and cannot be mended; install it anew first"
    )]
    Broken {
        /// Which.
        name: String,
        /// How.
        state: String,
    },
    /// There is nothing to come back to.
    #[error(
        "keep package '{name}': version {version} was not installed by Takt, and rpm cannot make its file anew; \
         install a release with that version first"
    )]
    NoWayBackFor {
        /// Which.
        name: String,
        /// The version that is installed.
        version: String,
    },
    /// Several versions of one package are installed at once.
    #[error("keep package '{name}': {count} versions of it are installed at once: {versions}")]
    Several {
        /// Which.
        name: String,
        /// How many.
        count: usize,
        /// Them.
        versions: String,
    },
    /// The package holds what an archive of ours cannot.
    #[error("keep package '{name}': '{}' is {what}, which cannot be kept", path.display())]
    Unkeepable {
        /// Which.
        name: String,
        /// What of it.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Somebody else is at work with packages.
    #[error("lock the package database: {holder} has held '{}' for more than {waited_secs} s", lock.display())]
    Busy {
        /// Who.
        holder: String,
        /// The lock's file.
        lock: PathBuf,
        /// How long it was waited for.
        waited_secs: u64,
    },
    /// The database says something that is not understood.
    #[error("read the package database: {what}")]
    Database {
        /// What.
        what: String,
    },
    /// The tool said that all went well, and it did not.
    #[error("{deed}: {what}; the package manager said: {said}")]
    NotDone {
        /// What was to be done.
        deed: &'static str,
        /// What is not as it should be.
        what: String,
        /// The end of its output.
        said: String,
    },
    /// It changed since its way back was kept.
    #[error("install package '{name}': another version has been installed since its way back was kept")]
    Changed {
        /// Which.
        name: String,
    },
    /// It must be prepared first.
    #[error("install the packages: no way back has been kept")]
    NoWayBack,
    /// It has begun: the way back of before must stay.
    #[error("keep the way back: the new packages are partly installed already")]
    Begun,
    /// The record of the way back cannot be used.
    #[error("use the way back '{}': {what}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The agent does not come from a package of this package manager.
    #[error("keep package 'takt-agent': it is not installed, so taking it back would take the agent away")]
    NotFromPackage,
    /// The agent that runs is neither the installed one nor what the launcher kept of it.
    #[error("keep package 'takt-agent': the agent that runs is not the one that this package has installed")]
    FromElsewhere,
    /// The agent's package is as it was, and that is not what ran.
    #[error("give up the kept agent: '{}' is not the agent that ran before the order", path.display())]
    OwnNotBack {
        /// The installed one.
        path: PathBuf,
    },
    /// The new agent is installed, and another one runs.
    #[error("let agent {version} stay: it does not run")]
    OwnNotRunning {
        /// The new one.
        version: String,
    },
    /// The version of an agent cannot be one.
    #[error("try another agent")]
    OwnVersion(#[source] VersionError),
    /// The launcher's trial.
    #[error("try another agent")]
    Trial(#[from] TrialError),
    /// No room, seen ahead.
    #[error("keep the way back in '{}': {needed} bytes are needed there and {free} are free", path.display())]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// For the previous packages.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// A program.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Natured for PackageError {
    fn nature(&self) -> Nature {
        match self {
            Self::Lies { .. }
            | Self::Swells { .. }
            | Self::LeadsOut { .. }
            | Self::Unmet { .. }
            | Self::Broken { .. }
            | Self::NoWayBackFor { .. }
            | Self::Several { .. }
            | Self::Unkeepable { .. }
            | Self::NotDone { .. }
            | Self::Begun
            | Self::NotFromPackage
            | Self::FromElsewhere
            | Self::OwnVersion(_)
            | Self::Trial(TrialError::Unsettled { .. } | TrialError::NotOnTrial { .. })
            | Self::Record { .. } => Nature::Fatal,
            Self::NoFile { .. }
            | Self::Busy { .. }
            | Self::Database { .. }
            | Self::Changed { .. }
            | Self::NoWayBack
            | Self::OwnNotRunning { .. }
            | Self::OwnNotBack { .. }
            | Self::Trial(_)
            | Self::NoRoom { .. } => Nature::Transient,
            Self::Tool(error) => error.nature(),
            Self::Kept(error) => error.nature(),
            Self::Disk(error) => error.nature(),
        }
    }
}
