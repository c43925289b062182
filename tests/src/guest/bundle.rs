//! RAUC bundles for the guest's other slot.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::error::GuestError;
use super::image::{GuestImage, run, script};

/// Bundles of systems that have the agent in them, in a folder of their own.
#[derive(Debug)]
pub struct Bundles {
    folder: TempDir,
}

impl Bundles {
    /// Makes them with the agent's package, some seconds.
    pub fn make(image: &GuestImage, agent: &Path) -> Result<Self, GuestError> {
        let folder =
            tempfile::tempdir().map_err(GuestError::file("make a folder in", std::env::temp_dir()))?;
        let mut command = Command::new(script("bundle.sh"));
        command.arg(image.folder()).arg(agent).arg(folder.path());
        run(command)?;
        Ok(Self { folder })
    }

    /// A system that boots and says this version, `2.0.0` or `3.0.0`, in `/etc/takt-os-version`.
    pub fn system(&self, version: &str) -> PathBuf {
        self.folder.path().join(format!("{version}.raucb"))
    }

    /// A kernel with nothing to start, of version `2.0.0`: it panics and restarts.
    pub fn no_init(&self) -> PathBuf {
        self.folder.path().join("no-init.raucb")
    }
}
