//! The running kernel: its release, and what it says of a module and of its patch.
//!
//! Kernels from 5.1 on take a patch that was disabled out of `/sys/kernel/livepatch` and leave its module loaded; older
//! ones leave both. Neither can be enabled again without being loaded anew, so both are [`Found::Idle`].

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::LivePatchError;

/// How often a patch that goes while it is read is read again.
const READS_MAX: u32 = 5;

/// What the kernel has under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// A module that is being loaded or unloaded.
    Moving,
    /// A module without a patch in force.
    Idle,
    /// Tasks are coming to the patched code.
    Coming,
    /// In force.
    InForce,
    /// Tasks are leaving the patched code.
    Leaving,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "it is not loaded",
            Self::Moving => "its module is being loaded or unloaded",
            Self::Idle => "its module is loaded, and the patch is not in force",
            Self::Coming => "not all tasks have come to the patched code",
            Self::InForce => "it is in force",
            Self::Leaving => "not all tasks have left the patched code",
        })
    }
}

/// Where the kernel shows what it has.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// Its sysfs.
    pub sys: PathBuf,
    /// The file of its release.
    pub release: PathBuf,
}

impl Kernel {
    /// What `uname -r` says.
    pub(super) fn release(&self) -> Result<String, LivePatchError> {
        read(&self.release).map(|text| text.trim().to_owned())
    }

    /// Where patches are.
    pub(super) fn patches(&self) -> PathBuf {
        self.sys.join("kernel/livepatch")
    }

    fn patch(&self, name: &str) -> PathBuf {
        self.patches().join(name)
    }

    fn module(&self, name: &str) -> PathBuf {
        self.sys.join("module").join(name)
    }

    /// What it has under `name`.
    pub(super) fn find(&self, name: &str) -> Result<Found, LivePatchError> {
        let mut tries = 1;
        loop {
            match self.find_once(name) {
                Err(LivePatchError::Read { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && tries < READS_MAX =>
                {
                    tries += 1;
                }
                found => return found,
            }
        }
    }

    fn find_once(&self, name: &str) -> Result<Found, LivePatchError> {
        let module = self.module(name);
        if !module.exists() {
            return Ok(Found::Absent);
        }
        let patch = self.patch(name);
        if patch.exists() {
            let enabled = flag(&patch.join("enabled"))?;
            let transition = flag(&patch.join("transition"))?;
            return Ok(match (enabled, transition) {
                (true, true) => Found::Coming,
                (true, false) => Found::InForce,
                (false, true) => Found::Leaving,
                (false, false) => Found::Idle,
            });
        }
        // Built in, a module has no state; no patch is.
        let state = read(&module.join("initstate"))?;
        Ok(if state.trim() == "live" { Found::Idle } else { Found::Moving })
    }

    /// The note with the build id of the module that is loaded under `name`.
    pub(super) fn build_id(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.module(name).join("notes/.note.gnu.build-id")).ok()
    }

    /// Lets all tasks leave the patched code, also when not all have come to it.
    pub(super) fn disable(&self, name: &str) -> Result<(), LivePatchError> {
        let path = self.patch(name).join("enabled");
        match fs::write(&path, "0") {
            // It is gone, or on its way already: whoever asks looks again.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                Ok(())
            }
            done => done.map_err(|source| LivePatchError::Disable { path, source }),
        }
    }
}

fn read(path: &Path) -> Result<String, LivePatchError> {
    fs::read_to_string(path).map_err(|source| LivePatchError::Read { path: path.to_owned(), source })
}

fn flag(path: &Path) -> Result<bool, LivePatchError> {
    read(path).map(|text| text.trim() == "1")
}
