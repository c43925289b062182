//! The update kinds beside containers: files, packages, operating system images and live patches.
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
pub mod live_patch;
mod note;
pub mod os_image;
pub mod package;
mod patience;
pub mod way_back;

use std::collections::BTreeSet;
use std::path::PathBuf;

use takt_agent_core::{ActionFailure, Nature, StepKey, StepState};
use takt_common::Sha256Digest;
use takt_common::release::Step;

use file::Files;
use live_patch::LivePatches;
use os_image::OsImages;
use package::Packages;
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
    /// Kind `package`.
    pub package: package::PackageSettings,
    /// Kind `os-image`.
    pub os_image: os_image::OsImageSettings,
    /// Kind `live-patch`.
    pub live_patch: live_patch::LivePatchSettings,
}

/// All kinds.
pub struct Kinds {
    way_back: WayBack,
    files: Files,
    packages: Packages,
    os_images: OsImages,
    live_patches: LivePatches,
}

impl Kinds {
    /// The kinds of a device. Nothing is touched.
    pub fn new(settings: KindSettings) -> Self {
        Self {
            files: Files::new(settings.file, &settings.way_back),
            packages: Packages::new(settings.package, &settings.way_back),
            os_images: OsImages::new(settings.os_image, &settings.way_back),
            live_patches: LivePatches::new(settings.live_patch),
            way_back: WayBack::new(settings.way_back),
        }
    }

    /// Where a step stands.
    pub async fn look(&self, key: &StepKey, step: &Step) -> StepState {
        let way_back = self.way_back.of(key);
        match step {
            Step::File(set) => self.files.look(&way_back, set).await,
            Step::Package(set) => self.packages.look(&way_back, set).await,
            Step::OsImage(image) => self.os_images.look(&way_back, image).await,
            Step::LivePatch(patch) => self.live_patches.look(&way_back, patch),
            Step::Container(_) => StepState::Unknown("containers are the engine's".to_owned()),
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
            Step::Package(set) => self.packages.prepare(&way_back, set, artifacts).await,
            Step::OsImage(image) => self.os_images.prepare(&way_back, image, artifacts).await,
            Step::LivePatch(patch) => self.live_patches.prepare(&way_back, patch, artifacts).await,
            Step::Container(_) => Err(not_here()),
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
            Step::Package(set) => self.packages.apply(&way_back, set, artifacts).await,
            Step::OsImage(image) => self.os_images.apply(&way_back, image, artifacts).await,
            Step::LivePatch(patch) => self.live_patches.apply(&way_back, patch, artifacts).await,
            Step::Container(_) => Err(not_here()),
        }
    }

    /// Brings back what a step has replaced, also when it is only half in force.
    pub async fn revert(&self, key: &StepKey, step: &Step) -> Result<(), ActionFailure> {
        let way_back = self.way_back.of(key);
        match step {
            Step::File(set) => self.files.revert(&way_back, set).await,
            Step::Package(set) => self.packages.revert(&way_back, set).await,
            Step::OsImage(image) => self.os_images.revert(&way_back, image).await,
            Step::LivePatch(patch) => self.live_patches.revert(&way_back, patch).await,
            Step::Container(_) => Err(not_here()),
        }
    }

    /// Lets nothing take a step back by itself any more: only then it is *verified*.
    pub async fn confirm(&self, key: &StepKey, step: &Step) -> Result<(), ActionFailure> {
        let way_back = self.way_back.of(key);
        match step {
            Step::File(set) => self.files.confirm(&way_back, set).await,
            Step::Package(set) => self.packages.confirm(&way_back, set).await,
            Step::OsImage(image) => self.os_images.confirm(&way_back, image).await,
            Step::LivePatch(_) => LivePatches::confirm(&way_back),
            Step::Container(_) => Err(not_here()),
        }
    }

    /// Forgets the way back of a step; its order has ended. What is in force stays.
    pub fn settle(&self, key: &StepKey) -> Result<(), ActionFailure> {
        self.way_back.of(key).forget()
    }

    /// Where a step of what is installed stands on a device whose order, if it has one, has not begun its switch. An operating system image is
    /// `Confirmed` when it is what runs and `FellBack` when it is not; a live patch is `Confirmed` too on a kernel that it
    /// has nothing to do with, as nothing could be done for it there.
    pub async fn look_at_rest(&self, key: &StepKey, step: &Step) -> StepState {
        match step {
            Step::OsImage(image) => self.os_images.look_at_rest(image).await,
            Step::LivePatch(patch) => self.live_patches.look_at_rest(&self.way_back.of(key), patch),
            _ => self.look(key, step).await,
        }
    }

    /// What a device without an order in hand must do once after each boot: the slot that runs is marked good, so that a
    /// boot loader that counts boots does not leave it. Nothing is done on a device without RAUC, nor to a new system that
    /// was never confirmed and whose way back is still kept. Takes two minutes at the most.
    pub async fn at_rest(&self) -> Result<(), ActionFailure> {
        let kept: Vec<_> = self.kept().iter().map(|key| self.way_back.of(key)).collect();
        self.os_images.at_rest(&kept).await
    }

    /// The agent that runs has been in good health for [`package::ALIVE_AFTER`]. While it is on trial, its starts so far are
    /// forgiven, so that a device that is switched off now and then does not go back to the previous agent for that.
    pub async fn agent_is_alive(&self) -> Result<(), ActionFailure> {
        self.packages.agent_is_alive().await
    }

    /// The steps of which a way back is kept.
    pub fn kept(&self) -> BTreeSet<StepKey> {
        self.way_back.kept()
    }
}

fn not_here() -> ActionFailure {
    ActionFailure { nature: Nature::Fatal, text: "containers are the engine's".to_owned() }
}
