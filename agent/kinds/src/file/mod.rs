//! Kind `file`.

use takt_agent_core::{ActionFailure, Nature, StepState};
use takt_common::release::FileSet;

use crate::ArtifactFiles;
use crate::way_back::StepFolder;

/// What the device allows.
#[derive(Debug, Clone, Default)]
pub struct FileSettings {}

/// The kind.
#[derive(Debug)]
pub struct Files {}

impl Files {
    /// Nothing is touched.
    pub const fn new(_settings: FileSettings) -> Self {
        Self {}
    }

    pub(crate) async fn look(&self, _: &StepFolder, _: &FileSet) -> StepState {
        StepState::Unknown("not built yet".to_owned())
    }

    pub(crate) async fn prepare(
        &self,
        _: &StepFolder,
        _: &FileSet,
        _: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: "not built yet".to_owned() })
    }

    pub(crate) async fn apply(
        &self,
        _: &StepFolder,
        _: &FileSet,
        _: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: "not built yet".to_owned() })
    }

    pub(crate) async fn revert(&self, _: &StepFolder, _: &FileSet) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: "not built yet".to_owned() })
    }

    pub(crate) async fn confirm(&self, _: &StepFolder, _: &FileSet) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: "not built yet".to_owned() })
    }
}
