//! The folder of a trial: its names, and making changes durable.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::error::TrialError;
use crate::trial::{NAME_BEGINNING, Trial};

/// A folder with more in it is not ours: all names that one trial can go through are about half of it.
const ENTRIES_MAX: usize = 256;

/// Only the agent's own user has business here.
const FOLDER_MODE: u32 = 0o700;

/// The folder in which a trial is kept. It need not be there until one begins.
#[derive(Debug, Clone)]
pub struct TrialFolder {
    path: PathBuf,
}

impl TrialFolder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The agent to come back to, as long as there is a trial.
    pub fn previous_agent(&self) -> PathBuf {
        self.previous().join("takt-agent")
    }

    pub(crate) fn previous(&self) -> PathBuf {
        self.path.join("previous")
    }

    /// What is in force. A folder that cannot be read is a damaged trial.
    pub fn look(&self) -> Trial {
        match self.names() {
            Ok(names) => Trial::of_names(&names),
            Err(error) => Trial::Damaged { what: sentence(&error) },
        }
    }

    /// All names in it that have to do with a trial.
    pub(crate) fn names(&self) -> Result<Vec<String>, TrialError> {
        let failed = |error| TrialError::file("read the folder", &self.path)(error);
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for (index, entry) in entries.enumerate() {
            if index >= ENTRIES_MAX {
                return Err(TrialError::TooMany { path: self.path.clone(), entries_max: ENTRIES_MAX });
            }
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name.starts_with(NAME_BEGINNING) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Makes `to` of the trial `from`, durably: one rename, which needs no space.
    pub(crate) fn advance(&self, from: &Trial, to: &Trial) -> Result<(), TrialError> {
        let (Some(from), Some(to)) = (from.file_name(), to.file_name()) else { return Ok(()) };
        let from = self.path.join(from);
        fs::rename(&from, self.path.join(to)).map_err(TrialError::file("rename", &from))?;
        sync(&self.path)
    }
}

/// Makes one file's contents, or one folder's names, durable.
pub(crate) fn sync(path: &Path) -> Result<(), TrialError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(TrialError::file("sync", path))
}

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder, durably. The one that holds it must be there.
pub(crate) fn make(path: &Path) -> Result<(), TrialError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(TrialError::file("make folder", path)(error))
        }
        // Also when it was there: its name may not be durable yet.
        _ => sync(parent(path)),
    }
}

/// Renames within one folder; durable only after a [`sync`] of it.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), TrialError> {
    fs::rename(from, to).map_err(TrialError::file("rename", from))
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), TrialError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TrialError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The kernel would run this file: it has the mode, and its file system is not mounted `noexec`.
pub(crate) fn may_run(path: &Path) -> Result<(), TrialError> {
    access(path, AccessFlags::X_OK).map_err(|errno| TrialError::file("run", path)(errno.into()))
}

/// An error and its causes in one line.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
