//! Kind `live-patch`: a patch of the running kernel.
//!
//! * **prepare** holds the patch against the kernel and its module file against the release, and notes that the patch is
//!   this step's to take back.
//! * **apply** loads the module, by `kpatch load` where the device has it and by `finit_module` elsewhere, and waits until
//!   all tasks run the patched code. When they do not before the release's deadline, the patch is taken back: never is a
//!   transition left half done, and never is it forced.
//! * **confirm** only notes it: a live patch does not fall back by itself.
//! * **revert** disables the patch, waits for all tasks, and unloads the module. A patch that was in force before the step
//!   stays: whoever brought it still wants it.
//!
//! A live patch is gone after a reboot. Up to the next switch the core has it applied again, with nothing but the module file, until the
//! kernel runs that the patch **stands for**: there nothing is needed, nothing is loaded, and the step stands as confirmed.
//! On any other kernel both prepare and apply say which one runs; at rest nothing is done there.
//!
//! Where a step stands is told from `/sys/module` and `/sys/kernel/livepatch` (`kernel.rs`). A loaded module is known by its
//! name; where the module file is at hand, also by its build id.
//!
//! Points at which tests let the agent die, each `:before` and `:after` an effect:
//!
//! | point | effect |
//! |---|---|
//! | `live-patch.prepare` | the way back is noted |
//! | `live-patch.load` | the module is loaded; `:after` its first function has run, or kpatch has ended |
//! | `live-patch.disable` | the patch is told to leave |
//! | `live-patch.unload` | the module is unloaded |
//! | `live-patch.confirm` | the confirmation is noted |
//! | `live-patch.reverted` | the end of the way back is noted |

mod error;
mod kept;
mod kernel;
mod load;
mod module;
#[doc(hidden)]
pub use module::parse_for_fuzzing;
mod moves;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use takt_agent_core::failure::{failure, sentence};
use takt_agent_core::{ActionFailure, StepState};
use takt_common::release::LivePatch;
use takt_failpoint::at;

use crate::ArtifactFiles;
use crate::way_back::StepFolder;
pub use error::LivePatchError;
use kept::{Kept, stand};
use kernel::{Found, Kernel};
use load::Loader;
pub use load::{KernelModules, Modules};
use module::Module;
pub use module::ModuleError;
use moves::Moves;

/// What the device allows and where its parts are.
#[derive(Debug, Clone)]
pub struct LivePatchSettings {
    /// The kernel's sysfs.
    pub sys: PathBuf,
    /// The file of the kernel's release, as `uname -r` says it.
    pub release: PathBuf,
    /// The program `kpatch`: used where it is there.
    pub kpatch: PathBuf,
    /// A folder of the agent's own that need not outlive a boot.
    pub run: PathBuf,
    /// How modules come into the kernel and out of it without kpatch.
    pub modules: Arc<dyn Modules>,
    /// The least time that a patch gets to leave; the release's own deadline if that is longer.
    pub leave_min: Duration,
}

impl Default for LivePatchSettings {
    fn default() -> Self {
        Self {
            sys: PathBuf::from("/sys"),
            release: PathBuf::from("/proc/sys/kernel/osrelease"),
            kpatch: PathBuf::from("/usr/sbin/kpatch"),
            run: PathBuf::from("/run/takt-agent/live-patch"),
            modules: Arc::new(KernelModules),
            // The kernel reminds tasks that stay every 15 s.
            leave_min: Duration::from_mins(1),
        }
    }
}

/// The kind.
#[derive(Debug)]
pub struct LivePatches {
    kernel: Kernel,
    loader: Loader,
    leave_min: Duration,
}

/// Which kernel runs, to a patch.
enum Runs {
    /// The one that it is for.
    Patchable,
    /// The one that it stands for: nothing is needed.
    Mended,
}

impl LivePatches {
    /// Nothing is touched.
    pub fn new(settings: LivePatchSettings) -> Self {
        let LivePatchSettings { sys, release, kpatch, run, modules, leave_min } = settings;
        Self { kernel: Kernel { sys, release }, loader: Loader { kpatch, run, modules }, leave_min }
    }

    pub(crate) fn look(&self, folder: &StepFolder, patch: &LivePatch) -> StepState {
        let looked = || {
            let kept = Kept::read(folder)?;
            let runs = self.kernel.release()?;
            Ok(stand(patch, kept.as_ref(), &runs, self.kernel.find(&patch.name)?))
        };
        looked().unwrap_or_else(|error: LivePatchError| StepState::Unknown(sentence(&error)))
    }

    /// The same without an order in hand: on a kernel that the patch has nothing to do with, nothing is to be done.
    pub(crate) fn look_at_rest(&self, folder: &StepFolder, patch: &LivePatch) -> StepState {
        match self.kernel.release() {
            Ok(runs) if runs != patch.kernel && runs != patch.stands_for => StepState::Confirmed,
            _ => self.look(folder, patch),
        }
    }

    pub(crate) async fn prepare(
        &self,
        folder: &StepFolder,
        patch: &LivePatch,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        self.keep(folder, patch, &artifacts.file(&patch.module)).await.map_err(|error| failure(&error))
    }

    pub(crate) async fn apply(
        &self,
        _: &StepFolder,
        patch: &LivePatch,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        self.put_in_force(patch, &artifacts.file(&patch.module)).await.map_err(|error| failure(&error))
    }

    pub(crate) async fn revert(&self, folder: &StepFolder, patch: &LivePatch) -> Result<(), ActionFailure> {
        self.take_back(folder, patch).await.map_err(|error| failure(&error))
    }

    pub(crate) fn confirm(folder: &StepFolder) -> Result<(), ActionFailure> {
        let confirmed = || {
            let kept = Kept::read(folder)?.unwrap_or_default();
            at("live-patch.confirm:before");
            Kept { confirmed: true, ..kept }.write(folder)?;
            at("live-patch.confirm:after");
            Ok(())
        };
        confirmed().map_err(|error: LivePatchError| failure(&error))
    }

    fn moves<'a>(&'a self, patch: &'a LivePatch) -> Moves<'a> {
        Moves { kernel: &self.kernel, loader: &self.loader, name: &patch.name }
    }

    fn leave_max(&self, patch: &LivePatch) -> Duration {
        self.leave_min.max(Duration::from_secs(patch.transition_secs.into()))
    }

    /// Refuses a kernel that the patch has nothing to do with.
    fn runs(&self, patch: &LivePatch) -> Result<Runs, LivePatchError> {
        let runs = self.kernel.release()?;
        if runs == patch.stands_for {
            return Ok(Runs::Mended);
        }
        if runs != patch.kernel {
            return Err(LivePatchError::OtherKernel {
                name: patch.name.clone(),
                kernel: patch.kernel.clone(),
                stands_for: patch.stands_for.clone(),
                runs,
            });
        }
        let path = self.kernel.patches();
        if path.is_dir() { Ok(Runs::Patchable) } else { Err(LivePatchError::NoLivePatching { runs, path }) }
    }

    /// Refuses a module file that is not the release's, and a module of the same name that is another one.
    fn check_module(&self, patch: &LivePatch, file: &Path) -> Result<(), LivePatchError> {
        let module = Module::of(patch, file)?;
        match (self.kernel.build_id(&patch.name), module.build_id) {
            (Some(loaded), Some(own)) if loaded != own => {
                Err(LivePatchError::OtherModule { name: patch.name.clone() })
            }
            _ => Ok(()),
        }
    }

    async fn keep(&self, folder: &StepFolder, patch: &LivePatch, file: &Path) -> Result<(), LivePatchError> {
        if let Runs::Mended = self.runs(patch)? {
            return Ok(());
        }
        self.check_module(patch, file)?;
        // What others have left half done would not be ours to take back.
        let moves = self.moves(patch);
        let found = moves.until_still(self.leave_max(patch)).await?;
        if !matches!(found, Found::Absent | Found::InForce) {
            moves.take_out(self.leave_max(patch)).await?;
        }
        let was_ours = Kept::read(folder)?.is_some_and(|kept| kept.ours);
        let kept = Kept { ours: was_ours || found != Found::InForce, ..Kept::default() };
        at("live-patch.prepare:before");
        kept.write(folder)?;
        at("live-patch.prepare:after");
        Ok(())
    }

    async fn put_in_force(&self, patch: &LivePatch, file: &Path) -> Result<(), LivePatchError> {
        if let Runs::Mended = self.runs(patch)? {
            return Ok(());
        }
        self.check_module(patch, file)?;
        let limit = Duration::from_secs(patch.transition_secs.into());
        self.moves(patch).bring_in(file, limit, self.leave_max(patch)).await?;
        tracing::info!(patch = patch.name, "put a live patch in force");
        Ok(())
    }

    async fn take_back(&self, folder: &StepFolder, patch: &LivePatch) -> Result<(), LivePatchError> {
        let kept = Kept::read(folder)?.unwrap_or_default();
        let others = !kept.ours && self.kernel.find(&patch.name)? == Found::InForce;
        if !others {
            self.moves(patch).take_out(self.leave_max(patch)).await?;
        }
        at("live-patch.reverted:before");
        Kept { reverted: true, confirmed: false, ..kept }.write(folder)?;
        at("live-patch.reverted:after");
        Ok(())
    }
}
