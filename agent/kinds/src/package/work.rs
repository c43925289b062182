//! One set of packages at work: what every verb of the kind has in hand.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use takt_agent_core::StepState;
use takt_common::Sha256Digest;
use takt_common::release::{Package, PackageSet};

use super::PackageSettings;
use super::error::PackageError;
use super::memory::Memory;
use super::record::{Before, Record};
use crate::disk::{self, DiskError, failed, marked};
use crate::effect::effect;
use crate::kept::Digests;

/// Noted before the first package changes, and no longer once all are back.
pub(super) const BEGAN: &str = "began";

/// Noted when nothing takes the set back by itself any more.
pub(super) const CONFIRMED: &str = "confirmed";

/// Noted when a set was taken back that had been installed before its order: there was nothing to bring back.
pub(super) const AS_FOUND: &str = "as-found";

/// One set, its way back, and what the device allows.
pub(super) struct Work<'a> {
    pub(super) settings: &'a PackageSettings,
    pub(super) digests: &'a Digests,
    pub(super) memory: &'a Memory,
    pub(super) folder: &'a Path,
    pub(super) set: &'a PackageSet,
    /// Where artifacts lie: those of the set, and those with which Takt installed earlier versions.
    pub(super) artifacts: &'a BTreeMap<Sha256Digest, PathBuf>,
}

impl Work<'_> {
    /// The file of a package of the set.
    pub(super) fn file(&self, package: &Package) -> PathBuf {
        self.artifacts.get(&package.file).cloned().unwrap_or_else(|| PathBuf::from(package.file.to_string()))
    }

    /// The file with which Takt installed this, if it is still there and whole.
    pub(super) fn remembered(&self, name: &str, version: &str, architecture: &str) -> Option<PathBuf> {
        let sha256 = self.memory.find(self.set.format, name, version, architecture)?;
        let path = self.artifacts.get(&sha256)?;
        let whole = self.digests.of(&mut File::open(path).ok()?).ok()? == sha256;
        whole.then(|| path.clone())
    }

    /// What is in force although Takt did not install it is known by its file from now on: the next release can go back to it.
    pub(super) fn adopt(&self) -> Result<(), PackageError> {
        for package in &self.set.packages {
            let Package { name, version, architecture, .. } = package;
            if self.memory.find(self.set.format, name, version, architecture).is_none() {
                self.memory.remember(self.set.format, package, None)?;
            }
        }
        Ok(())
    }

    /// The set is installed.
    pub(super) fn remember(&self, package: &Package, before: &Before) -> Result<(), PackageError> {
        let before = match before {
            Before::Installed { version, architecture, .. } => {
                Some((version.as_str(), architecture.as_str()))
            }
            Before::Absent | Before::Removed { .. } => None,
        };
        Ok(self.memory.remember(self.set.format, package, before)?)
    }

    /// All packages of the set are installed.
    pub(super) fn in_force(&self) -> Result<StepState, PackageError> {
        let waits = self.own().map_or(Ok(None), |own| self.not_running_yet(own))?;
        Ok(match waits {
            Some(state) => state,
            None if marked(self.folder, CONFIRMED) => StepState::Confirmed,
            None => StepState::Applied,
        })
    }

    /// The previous packages are installed. A new agent that has been taken back may still run.
    pub(super) fn old(&self, record: &Record) -> Result<StepState, PackageError> {
        Ok(if self.still_running(record)? { StepState::OldAfterReboot } else { StepState::Prepared })
    }

    /// All packages are as they were before, after the step had begun.
    pub(super) fn back(&self, record: &Record) -> Result<StepState, PackageError> {
        match self.trial_left(record) {
            Some(what) => Ok(StepState::Half(what)),
            None => self.old(record),
        }
    }
}

/// Keeps a file that never changes: by another name of it where that is possible, which takes no room.
pub(super) fn link_or_copy(from: &Path, to: &Path) -> Result<(), DiskError> {
    disk::remove(to)?;
    effect!("package.keep", fs::hard_link(from, to).or_else(|_on_another_disk| copy(from, to)))
        .map_err(failed("write", to))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    std::io::copy(&mut from, &mut to)?;
    to.sync_all()
}
