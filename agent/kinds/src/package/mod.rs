//! Kind `package`: a set of packages that changes as one, by the device's own package manager, with exactly the files of
//! the release. Nothing is fetched.
//!
//! | call | does |
//! |---|---|
//! | `prepare` | holds the files against the manifest and the device, keeps the previous packages and all configuration files |
//! | `apply` | keeps the configuration files once more, notes that it begins, and installs all packages in one run |
//! | `revert` | removes what was not there, installs the previous packages, brings the configuration files back |
//!
//! ```text
//! <way back>/<step>/0.deb, 1.rpm ...       the previous packages
//!                   config-0.kept ...      configuration files
//!                   record.json            all the rest; written last, so what has one is whole
//!                   began                  a package may have changed
//!                   done                   (rpm) all is installed and synced
//!                   confirmed              nothing takes it back by itself
//!                   as-found               taken back, but it was installed before its order: nothing was kept
//! <way back>/packages/                     which files Takt has installed (`memory`)
//! ```
//!
//! Failpoints, each with `:before` and `:after`: `folder.make`, `folder.remove`, `package.keep`, `package.repack`,
//! `kept.write`, `folder.write`, `folder.rename` (prepare); `kept.write`, `folder.write`, `folder.rename`, `mark.make`,
//! `package.configure`, `package.install`, `place.write`, `place.rename`, `place.remove`, `package.sync` (apply);
//! `package.remove`, `package.install`, `package.configure`, `place.write`, `place.rename`, `place.remove`,
//! `package.status`, `package.sync`, `mark.remove` (revert); `mark.make` (confirm); `package.trial` where the agent's own
//! package is in the set.

mod config;
mod deb;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod lock;
mod memory;
mod own;
mod record;
mod rpm;
mod tool;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use takt_agent_core::failure::{failure, sentence};
use takt_agent_core::{ActionFailure, Nature, StepState};
use takt_common::Sha256Digest;
use takt_common::release::{PackageFormat, PackageSet};

use crate::ArtifactFiles;
use crate::disk::mark;
use crate::kept::Digests;
use crate::way_back::StepFolder;

pub use takt_launcher::ALIVE_AFTER;

use deb::Debs;
use error::PackageError;
use memory::Memory;
use rpm::Rpms;
use work::{CONFIRMED, Work};

/// What the device allows.
#[derive(Debug, Clone)]
pub struct PackageSettings {
    /// The folder that the packages are installed in; absent for the device itself.
    pub root: Option<PathBuf>,
    /// The program that runs, whatever lies at its path by now.
    pub running: PathBuf,
    /// The folder of the launcher's trial.
    pub launcher: PathBuf,
    /// The agent's program as its package installs it.
    pub agent: PathBuf,
    /// Words before the call of dpkg or rpm, such as those of a program that runs it away from the agent's service.
    pub wrapper: Vec<String>,
    /// How long the lock of somebody else's dpkg or rpm is waited for.
    pub lock_wait: Duration,
    /// How long one run of dpkg or rpm may take: as long as `Manifest::settle` gives a set of packages.
    pub run_max: Duration,
}

impl Default for PackageSettings {
    fn default() -> Self {
        Self {
            root: None,
            running: PathBuf::from("/proc/self/exe"),
            launcher: PathBuf::from("/var/lib/takt-agent/launcher"),
            agent: PathBuf::from("/usr/bin/takt-agent"),
            wrapper: Vec::new(),
            lock_wait: Duration::from_mins(1),
            run_max: Duration::from_mins(15),
        }
    }
}

/// The kind.
#[derive(Debug)]
pub struct Packages(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: PackageSettings,
    memory: Memory,
    digests: Digests,
    /// A call that is no longer waited for may still be at work: the next one waits for its end.
    one: Mutex<()>,
}

impl Packages {
    /// The kind, with ways back in `way_back`. Nothing is touched.
    pub fn new(settings: PackageSettings, way_back: &Path) -> Self {
        let memory = Memory::new(way_back);
        Self(Arc::new(Inner { settings, memory, digests: Digests::default(), one: Mutex::new(()) }))
    }

    pub(crate) async fn look(&self, folder: &StepFolder, set: &PackageSet) -> StepState {
        let (inner, folder, set) = (Arc::clone(&self.0), folder.path().to_owned(), set.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let guard = inner.one.try_lock();
            if matches!(guard, Err(TryLockError::WouldBlock)) {
                return StepState::Unknown("the packages are being changed".to_owned());
            }
            let artifacts = BTreeMap::new();
            let work = inner.work(&folder, &set, &artifacts);
            let state = match set.format {
                PackageFormat::Deb => Debs::new(&work).look(),
                PackageFormat::Rpm => Rpms::new(&work).look(),
            };
            state.unwrap_or_else(|error| StepState::Unknown(sentence(&error)))
        });
        looked.await.unwrap_or_else(|error| StepState::Unknown(error.to_string()))
    }

    pub(crate) async fn prepare(
        &self,
        folder: &StepFolder,
        set: &PackageSet,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        let artifacts = self.paths(set, artifacts);
        self.with(folder, set, artifacts, |work| match work.set.format {
            PackageFormat::Deb => Debs::new(work).prepare(),
            PackageFormat::Rpm => Rpms::new(work).prepare(),
        })
        .await
    }

    pub(crate) async fn apply(
        &self,
        folder: &StepFolder,
        set: &PackageSet,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        let artifacts = self.paths(set, artifacts);
        self.with(folder, set, artifacts, |work| match work.set.format {
            PackageFormat::Deb => Debs::new(work).apply(),
            PackageFormat::Rpm => Rpms::new(work).apply(),
        })
        .await
    }

    pub(crate) async fn revert(&self, folder: &StepFolder, set: &PackageSet) -> Result<(), ActionFailure> {
        self.with(folder, set, BTreeMap::new(), |work| match work.set.format {
            PackageFormat::Deb => Debs::new(work).revert(),
            PackageFormat::Rpm => Rpms::new(work).revert(),
        })
        .await
    }

    pub(crate) async fn confirm(&self, folder: &StepFolder, set: &PackageSet) -> Result<(), ActionFailure> {
        self.with(folder, set, BTreeMap::new(), |work| {
            work.confirm_trial()?;
            work.adopt()?;
            Ok(mark(work.folder, CONFIRMED)?)
        })
        .await
    }

    /// The agent that runs has been in good health for [`ALIVE_AFTER`].
    pub(crate) async fn agent_is_alive(&self) -> Result<(), ActionFailure> {
        let inner = Arc::clone(&self.0);
        let told = tokio::task::spawn_blocking(move || {
            own::alive(&inner.settings, &inner.digests).map_err(|error| failure(&error))
        });
        told.await.unwrap_or_else(|error| {
            Err(ActionFailure { nature: Nature::Transient, text: format!("forgive the starts: {error}") })
        })
    }

    /// Where the artifacts lie that a set may need: its own, and those of the versions that Takt installed before.
    fn paths(&self, set: &PackageSet, artifacts: &dyn ArtifactFiles) -> BTreeMap<Sha256Digest, PathBuf> {
        let own = set.packages.iter().map(|package| package.file);
        let before = set.packages.iter().flat_map(|package| self.0.memory.all(set.format, &package.name));
        own.chain(before).map(|sha256| (sha256, artifacts.file(&sha256))).collect()
    }

    /// Does one thing away from the loop, when nothing else of the kind is at work.
    async fn with(
        &self,
        folder: &StepFolder,
        set: &PackageSet,
        artifacts: BTreeMap<Sha256Digest, PathBuf>,
        deed: impl FnOnce(&Work) -> Result<(), PackageError> + Send + 'static,
    ) -> Result<(), ActionFailure> {
        let (inner, folder, set) = (Arc::clone(&self.0), folder.path().to_owned(), set.clone());
        let done = tokio::task::spawn_blocking(move || {
            let _one = inner.one.lock().unwrap_or_else(PoisonError::into_inner);
            deed(&inner.work(&folder, &set, &artifacts)).map_err(|error| failure(&error))
        });
        done.await.unwrap_or_else(|error| {
            Err(ActionFailure { nature: Nature::Transient, text: format!("change packages: {error}") })
        })
    }
}

impl Inner {
    const fn work<'a>(
        &'a self,
        folder: &'a Path,
        set: &'a PackageSet,
        artifacts: &'a BTreeMap<Sha256Digest, PathBuf>,
    ) -> Work<'a> {
        let (settings, digests, memory) = (&self.settings, &self.digests, &self.memory);
        Work { settings, digests, memory, folder, set, artifacts }
    }
}
