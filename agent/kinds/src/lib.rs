//! The update kinds beside containers. Files are here; packages, operating system images and live patches are not yet: a
//! release that has one is refused before anything changes.
//!
//! Each kind answers one question, *where does this step stand?* ([`Kinds::look`]), by looking at the device and not at
//! what was tried before; and does five things, each of which may be repeated and may be cut off at any moment:
//! `prepare`, `apply`, `revert`, `confirm` and `settle`. `takt_agent_core::StepState` draws how they follow each other.
//!
//! What a step needs for its way back lies in a folder of its own, `<way back>/<step key>/` ([`way_back`]).

mod disk;
mod effect;
pub mod file;
mod kept;
pub mod way_back;

use std::collections::BTreeSet;
use std::path::PathBuf;

use takt_agent_core::{ActionFailure, Nature, StepKey, StepState};
use takt_common::Sha256Digest;
use takt_common::release::Step;

use file::Files;
use way_back::WayBack;

/// Where the verified artifacts of the order in hand lie.
pub trait ArtifactFiles: Send + Sync {
    /// The file with this digest; it is whole and verified.
    fn file(&self, sha256: &Sha256Digest) -> PathBuf;
}

/// What the device allows and where its parts are.
#[derive(Debug, Clone)]
pub struct KindSettings {
    /// The folder of ways back, of the agent's own.
    pub way_back: PathBuf,
    /// Kind `file`.
    pub file: file::FileSettings,
}

/// All kinds.
pub struct Kinds {
    way_back: WayBack,
    files: Files,
}

impl Kinds {
    /// The kinds of a device. Nothing is touched.
    pub fn new(settings: KindSettings) -> Self {
        Self {
            files: Files::new(settings.file, &settings.way_back),
            way_back: WayBack::new(settings.way_back),
        }
    }

    /// Where a step stands.
    pub async fn look(&self, key: &StepKey, step: &Step) -> StepState {
        let way_back = self.way_back.of(key);
        match step {
            Step::File(set) => self.files.look(&way_back, set).await,
            Step::Container(_) => StepState::Unknown("containers are the engine's".to_owned()),
            // Nothing of it can be here.
            Step::Package(_) | Step::OsImage(_) | Step::LivePatch(_) => StepState::Untouched,
        }
    }

    /// Keeps what a step will replace, and lays ready what it brings. Nothing that is in force changes.
    pub async fn prepare(
        &self,
        key: &StepKey,
        step: &Step,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        let way_back = self.way_back.of(key);
        match step {
            Step::File(set) => self.files.prepare(&way_back, set, artifacts).await,
            other => Err(not_here(other)),
        }
    }

    /// Puts a step in force, or completes what was begun.
    pub async fn apply(
        &self,
        key: &StepKey,
        step: &Step,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        let way_back = self.way_back.of(key);
        match step {
            Step::File(set) => self.files.apply(&way_back, set, artifacts).await,
            other => Err(not_here(other)),
        }
    }

    /// Brings back what a step has replaced, also when it is only half in force.
    pub async fn revert(&self, key: &StepKey, step: &Step) -> Result<(), ActionFailure> {
        let way_back = self.way_back.of(key);
        match step {
            Step::File(set) => self.files.revert(&way_back, set).await,
            other => Err(not_here(other)),
        }
    }

    /// Lets nothing take a step back by itself any more: only then it is *verified*.
    pub async fn confirm(&self, key: &StepKey, step: &Step) -> Result<(), ActionFailure> {
        let way_back = self.way_back.of(key);
        match step {
            Step::File(set) => self.files.confirm(&way_back, set).await,
            other => Err(not_here(other)),
        }
    }

    /// Forgets the way back of a step; its order has ended. What is in force stays.
    pub fn settle(&self, key: &StepKey) -> Result<(), ActionFailure> {
        self.way_back.of(key).forget()
    }

    /// The steps of which a way back is kept.
    pub fn kept(&self) -> BTreeSet<StepKey> {
        self.way_back.kept()
    }
}

fn not_here(step: &Step) -> ActionFailure {
    let text = match step {
        Step::Container(_) => "containers are the engine's".to_owned(),
        other => format!("this agent cannot install releases of kind {} yet", other.kind()),
    };
    ActionFailure { nature: Nature::Fatal, text }
}
