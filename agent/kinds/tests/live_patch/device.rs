//! A device with a played kernel, and a release with one patch of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use takt_agent_core::{ActionFailure, StepState};
use takt_common::Sha256Digest;
use takt_common::release::{LivePatch, Step};
use takt_kinds::{ArtifactFiles as _, Kinds};
use tempfile::TempDir;

use super::kernel::{Nature, PlayedKernel};
use super::module::{self, Says};
use super::settings::{Store, key, settings};

/// The kernel that runs first.
pub(crate) const KERNEL: &str = "6.1.0-1-amd64";
/// The kernel that the patch stands for.
pub(crate) const MENDED: &str = "6.1.0-2-amd64";

/// The device.
pub(crate) struct Device {
    // Before the folder, which it works in.
    pub(crate) kernel: PlayedKernel,
    folder: TempDir,
    pub(crate) kinds: Kinds,
}

impl Device {
    pub(crate) fn start(nature: Nature) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("artifacts")).unwrap();
        fs::write(folder.path().join("module-name"), "mend").unwrap();
        let kernel = PlayedKernel::start(folder.path(), nature);
        let device = Self { kernel, kinds: Kinds::new(settings(folder.path())), folder };
        device.runs(KERNEL);
        device
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// From now on `uname -r` says this.
    pub(crate) fn runs(&self, release: &str) {
        fs::write(self.path().join("osrelease"), format!("{release}\n")).unwrap();
    }

    /// A reboot: nothing that was loaded is there any more.
    pub(crate) fn reboots_into(&self, release: &str) {
        self.kernel.stands_still_while(|| {
            for folder in ["sys/kernel/livepatch/mend", "sys/module/mend"] {
                let folder = self.path().join(folder);
                if folder.exists() {
                    fs::remove_dir_all(folder).unwrap();
                }
            }
        });
        self.runs(release);
    }

    pub(crate) fn store(&self) -> Store {
        Store(self.path().join("artifacts"))
    }

    /// A release's step with a module that says this.
    pub(crate) fn step(&self, says: &Says) -> Step {
        self.step_of(&fs::read(module::make(self.path(), says)).unwrap())
    }

    /// The same with a file that is a module or not.
    pub(crate) fn step_of(&self, bytes: &[u8]) -> Step {
        let module = Sha256Digest::of(bytes);
        fs::write(self.store().file(&module), bytes).unwrap();
        Step::LivePatch(LivePatch {
            module,
            name: "mend".to_owned(),
            kernel: KERNEL.to_owned(),
            stands_for: MENDED.to_owned(),
            transition_secs: 1,
        })
    }

    /// Puts a program `kpatch` on the device: its `load` asks the played kernel as the system call would, then does `then`.
    pub(crate) fn has_kpatch(&self, then: &str) -> PathBuf {
        let (program, calls) = (self.path().join("kpatch"), self.path().join("calls"));
        let script = format!(
            "#!/bin/sh\nset -eu\n[ \"$1\" = load ] && [ \"$(basename \"$2\")\" = mend.ko ]\n\
             echo \"$2\" >'{0}/kpatch-loaded'\nprintf 'load %s' \"$(readlink -f \"$2\")\" >'{0}/ask.new'\n\
             mv '{0}/ask.new' '{0}/ask'\nwhile [ ! -e '{0}/answer' ]; do sleep 0.01; done\nrm '{0}/answer'\n{then}\n",
            calls.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    pub(crate) async fn look(&self, step: &Step) -> StepState {
        self.kinds.look(&key(), step).await
    }

    pub(crate) async fn prepare(&self, step: &Step) -> Result<(), ActionFailure> {
        self.kinds.prepare(&key(), step, &self.store()).await
    }

    pub(crate) async fn apply(&self, step: &Step) -> Result<(), ActionFailure> {
        self.kinds.apply(&key(), step, &self.store()).await
    }

    pub(crate) async fn revert(&self, step: &Step) -> Result<(), ActionFailure> {
        self.kinds.revert(&key(), step).await
    }

    pub(crate) async fn confirm(&self, step: &Step) -> Result<(), ActionFailure> {
        self.kinds.confirm(&key(), step).await
    }

    pub(crate) fn assert_nothing_loaded(&self) {
        for folder in ["sys/kernel/livepatch", "sys/module"] {
            let left = fs::read_dir(self.path().join(folder)).unwrap().count();
            assert_eq!(left, 0, "{folder} is not empty");
        }
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.kernel.calls.lock().unwrap();
        calls.iter().map(|call| call.split(' ').next().unwrap_or_default().to_owned()).collect()
    }
}
