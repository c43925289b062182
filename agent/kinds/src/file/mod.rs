//! Kind `file`: a set of files that changes as one.
//!
//! | call | does |
//! |---|---|
//! | `prepare` | checks every path, keeps a copy of every file with all its attributes, and last of all writes the record |
//! | `apply` | writes every new file beside its place, notes that it begins, then renames one after the other |
//! | `revert` | brings back the kept copies in the reverse order, and removes what was not there |
//!
//! What is not stated of a file is kept from the one that it replaces. The way back:
//!
//! ```text
//! <way back>/<step>/0.kept, 1.kept ...   contents
//!                   record.json          all the rest; written last, so what has one is whole
//!                   began                the first file may have been replaced
//!                   confirmed            nothing takes it back by itself
//!                   as-found             taken back, but it was in force before its order: nothing was kept
//! ```
//!
//! Beside its place a new file is called `.takt-<16 hex digits of the step>-<its number>` until it is in force.
//!
//! Where it stands is told from the files: all as stated is `Applied`, all as kept is `Prepared`, anything else is `Half`
//! once `began` is noted, and before that somebody else's change, so that the copies are kept anew.
//!
//! Failpoints, each with `:before` and `:after`: `folder.make`, `folder.remove`, `kept.write`, `folder.write`,
//! `folder.rename` (prepare); `file.mkdir`, `place.write`, `mark.make`, `place.rename`, `place.remove` (apply);
//! `place.write`, `place.rename`, `place.remove`, `place.rmdir`, `mark.remove` (revert); `mark.make` (confirm).

mod allowed;
mod change;
mod error;
mod prepare;
mod record;
mod wanted;
mod work;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};

use takt_agent_core::failure::{Natured, failure};
use takt_agent_core::{ActionFailure, Nature, StepState};
use takt_common::release::FileSet;

use crate::ArtifactFiles;
use crate::disk::mark;
use crate::kept::Digests;
use crate::way_back::StepFolder;

use allowed::Allowed;
use work::{CONFIRMED, Work};

/// Where files may change when the device does not say.
pub const ROOTS_DEFAULT: [&str; 4] = ["/etc", "/opt", "/srv", "/usr/local"];

/// What the device allows.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// Files may change below these folders.
    pub roots: Vec<PathBuf>,
    /// But never in these, nor may they be replaced: the agent's own folders. That of ways back is always among them.
    pub never: Vec<PathBuf>,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self { roots: ROOTS_DEFAULT.map(PathBuf::from).to_vec(), never: Vec::new() }
    }
}

/// The kind.
#[derive(Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    allowed: Allowed,
    digests: Digests,
    /// A call that is no longer waited for may still be at work: the next one waits for its end.
    one: Mutex<()>,
}

impl Files {
    /// The kind, with ways back in `way_back`. Nothing is touched.
    pub fn new(settings: FileSettings, way_back: &Path) -> Self {
        let mut never = settings.never;
        never.push(way_back.to_owned());
        let allowed = Allowed { roots: settings.roots, never };
        Self(Arc::new(Inner { allowed, digests: Digests::default(), one: Mutex::new(()) }))
    }

    pub(crate) async fn look(&self, folder: &StepFolder, set: &FileSet) -> StepState {
        let (inner, folder, set) = (Arc::clone(&self.0), folder.path().to_owned(), set.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let guard = inner.one.try_lock();
            if matches!(guard, Err(TryLockError::WouldBlock)) {
                return StepState::Unknown("the files are being changed".to_owned());
            }
            inner.work(&folder, &set).look()
        });
        looked.await.unwrap_or_else(|error| StepState::Unknown(error.to_string()))
    }

    pub(crate) async fn prepare(
        &self,
        folder: &StepFolder,
        set: &FileSet,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        let artifacts = paths(set, artifacts);
        self.with(folder, set, move |work| work.prepare(&artifacts)).await
    }

    pub(crate) async fn apply(
        &self,
        folder: &StepFolder,
        set: &FileSet,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        let artifacts = paths(set, artifacts);
        self.with(folder, set, move |work| work.apply(&artifacts)).await
    }

    pub(crate) async fn revert(&self, folder: &StepFolder, set: &FileSet) -> Result<(), ActionFailure> {
        // The method itself is not general enough: it names one lifetime.
        #[allow(clippy::redundant_closure_for_method_calls)]
        self.with(folder, set, |work| work.revert()).await
    }

    pub(crate) async fn confirm(&self, folder: &StepFolder, set: &FileSet) -> Result<(), ActionFailure> {
        self.with(folder, set, |work| mark(work.folder, CONFIRMED)).await
    }

    /// Does one thing away from the loop, when nothing else of the kind is at work.
    async fn with<E: Natured + Send + 'static>(
        &self,
        folder: &StepFolder,
        set: &FileSet,
        deed: impl FnOnce(&Work) -> Result<(), E> + Send + 'static,
    ) -> Result<(), ActionFailure> {
        let (inner, folder, set) = (Arc::clone(&self.0), folder.path().to_owned(), set.clone());
        let done = tokio::task::spawn_blocking(move || {
            let _one = inner.one.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            deed(&inner.work(&folder, &set)).map_err(|error| failure(&error))
        });
        done.await.unwrap_or_else(|error| {
            Err(ActionFailure { nature: Nature::Transient, text: format!("change files: {error}") })
        })
    }
}

impl Inner {
    const fn work<'a>(&'a self, folder: &'a Path, set: &'a FileSet) -> Work<'a> {
        Work { allowed: &self.allowed, digests: &self.digests, folder, set }
    }
}

/// The files of the new contents, in the order of the set.
fn paths(set: &FileSet, artifacts: &dyn ArtifactFiles) -> Vec<Option<PathBuf>> {
    set.files.iter().map(|spec| spec.content.map(|sha256| artifacts.file(&sha256))).collect()
}
