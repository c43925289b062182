//! Kind `package`.

use std::path::PathBuf;
use std::time::Duration;

use takt_agent_core::{ActionFailure, Nature, StepState};
use takt_common::release::PackageSet;

use crate::ArtifactFiles;
use crate::way_back::StepFolder;

/// What the device allows.
#[derive(Debug, Clone)]
pub struct PackageSettings {
    /// The folder that the packages are installed in; absent for the device itself.
    pub root: Option<PathBuf>,
    /// The running agent's version, as its package calls it.
    pub running_version: String,
    /// The folder of the launcher's trial.
    pub launcher: PathBuf,
    /// The agent's program as its package installs it.
    pub agent: PathBuf,
    /// Words before the call of dpkg or rpm, such as those of a program that runs it away from the agent's service.
    pub wrapper: Vec<String>,
    /// How long the lock of somebody else's dpkg or rpm is waited for.
    pub lock_wait: Duration,
    /// How long one run of dpkg or rpm may take.
    pub run_max: Duration,
}

impl Default for PackageSettings {
    fn default() -> Self {
        Self {
            root: None,
            running_version: String::new(),
            launcher: PathBuf::from("/var/lib/takt-agent/launcher"),
            agent: PathBuf::from("/usr/bin/takt-agent"),
            wrapper: Vec::new(),
            lock_wait: Duration::from_secs(60),
            run_max: Duration::from_mins(30),
        }
    }
}

/// The kind.
#[derive(Debug)]
pub struct Packages {}

impl Packages {
    /// Nothing is touched.
    pub fn new(_settings: PackageSettings) -> Self {
        Self {}
    }

    pub(crate) async fn look(&self, _: &StepFolder, _: &PackageSet) -> StepState {
        StepState::Unknown("not built yet".to_owned())
    }

    pub(crate) async fn prepare(
        &self,
        _: &StepFolder,
        _: &PackageSet,
        _: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: "not built yet".to_owned() })
    }

    pub(crate) async fn apply(
        &self,
        _: &StepFolder,
        _: &PackageSet,
        _: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: "not built yet".to_owned() })
    }

    pub(crate) async fn revert(&self, _: &StepFolder, _: &PackageSet) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: "not built yet".to_owned() })
    }

    pub(crate) async fn confirm(&self, _: &StepFolder, _: &PackageSet) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: "not built yet".to_owned() })
    }
}
