//! The folder of a device's update locks: one file a lock, held with `flock`, so that a holder that dies holds nothing.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest name of a lock.
const NAME_LENGTH_MAX: usize = 64;
/// Somebody else may remove the file of a lock between its opening and its locking: that often it is opened again.
const OPENINGS_MAX: usize = 100;

/// The name of a lock, and of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockName(String);

/// Not the name of a lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no name of a lock: 1 to {NAME_LENGTH_MAX} letters, digits, '-', '_' and '.' expected, the first one no '.'"
)]
pub struct LockNameError(String);

impl FromStr for LockName {
    type Err = LockNameError;

    fn from_str(text: &str) -> Result<Self, LockNameError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let usable =
            (1..=NAME_LENGTH_MAX).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(fits);
        if usable { Ok(Self(text.to_owned())) } else { Err(LockNameError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A process that has a lock's file open.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its command line, arguments parted by spaces; empty when it cannot be read.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// A lock cannot be taken, looked at or given back.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// The folder.
    #[error("use the folder of update locks '{}'", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file.
    #[error("use the update lock '{}'", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody holds it.
    #[error("take the update lock '{name}': it is held{}", by(holders))]
    Held {
        /// Which.
        name: LockName,
        /// By whom, as far as that can be seen.
        holders: Vec<Holder>,
    },
}

/// `, by process 7 (backup)`, or nothing.
pub(super) fn by(holders: &[Holder]) -> String {
    let all: Vec<_> = holders.iter().map(ToString::to_string).collect();
    if all.is_empty() { String::new() } else { format!(", by {}", all.join(" and ")) }
}

/// The folder.
#[derive(Debug, Clone)]
pub struct LockFolder(PathBuf);

impl LockFolder {
    /// Nothing is touched.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn path(&self, name: &LockName) -> PathBuf {
        self.0.join(&name.0)
    }

    /// Takes a lock for as long as the file that is returned is open, here or in a process that it is handed to.
    pub fn take(&self, name: &LockName) -> Result<File, LockFileError> {
        fs::create_dir_all(&self.0)
            .map_err(|source| LockFileError::Folder { path: self.0.clone(), source })?;
        let path = self.path(name);
        let failed = |source| LockFileError::File { path: path.clone(), source };
        for _ in 0..OPENINGS_MAX {
            let file =
                OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path).map_err(failed)? => return Ok(file),
                // It was removed in between: a lock on a file without a name holds nobody back.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(LockFileError::Held { name: name.clone(), holders: holders(&path) });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Err(failed(io::Error::other("its file is removed again and again")))
    }

    /// Whether somebody holds it, and who has its file open.
    pub fn look(&self, name: &LockName) -> Result<Option<Vec<Holder>>, LockFileError> {
        let path = self.path(name);
        match is_held(&path) {
            Ok(true) => Ok(Some(holders(&path))),
            Ok(false) => Ok(None),
            Err(source) => Err(LockFileError::File { path, source }),
        }
    }

    /// All locks that are held, by name.
    pub fn held(&self) -> Result<Vec<(String, Vec<Holder>)>, LockFileError> {
        let failed = |source| LockFileError::Folder { path: self.0.clone(), source };
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if is_held(&path).map_err(|source| LockFileError::File { path: path.clone(), source })? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.push((name, holders(&path)));
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// Removes the file of a lock that nobody holds.
    pub fn remove(&self, name: &LockName) -> Result<(), LockFileError> {
        // Held while it goes, so that it is nobody else's.
        let held = self.take(name)?;
        let path = self.path(name);
        fs::remove_file(&path).map_err(|source| LockFileError::File { path, source })?;
        drop(held);
        Ok(())
    }
}

/// Whether the name still leads to this file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Trying to share a lock for a moment disturbs no holder, and no one else who only looks.
fn is_held(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The processes that have the file open, other than this one; only those that this user may look at.
fn holders(path: &Path) -> Vec<Holder> {
    let Ok(wanted) = fs::metadata(path) else { return Vec::new() };
    let has_it_open = |process: &Path| {
        fs::read_dir(process.join("fd")).is_ok_and(|open| {
            open.flatten().any(|one| {
                fs::metadata(one.path())
                    .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
            })
        })
    };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<Holder> = processes
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let there = pid != std::process::id() && has_it_open(&process.path());
            there.then(|| Holder { pid, command: command(&process.path()) })
        })
        .collect();
    found.sort_by_key(|holder| holder.pid);
    found
}

fn command(process: &Path) -> String {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line).replace('\0', " ");
    text.trim().replace(char::is_control, " ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> LockName {
        text.parse().unwrap()
    }

    #[test]
    fn a_lock_is_held_by_one_until_it_is_dropped_and_a_removed_file_holds_nobody_back() {
        let folder = tempfile::tempdir().unwrap();
        let locks = LockFolder::new(folder.path().join("locks"));
        let surgery = name("surgery");
        assert_eq!(locks.look(&surgery).unwrap(), None);
        let held = locks.take(&surgery).unwrap();
        assert!(matches!(locks.take(&surgery), Err(LockFileError::Held { .. })));
        assert!(matches!(locks.remove(&surgery), Err(LockFileError::Held { .. })));
        assert_eq!(locks.held().unwrap().len(), 1);
        fs::remove_file(folder.path().join("locks/surgery")).unwrap();
        let again = locks.take(&surgery).unwrap();
        drop(held);
        assert!(locks.look(&surgery).unwrap().is_some());
        drop(again);
        locks.remove(&surgery).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("locks")).unwrap().count(), 0);
    }

    #[test]
    fn names_that_leave_the_folder_or_hide_are_refused() {
        for text in ["", ".", "..", ".hidden", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(text.parse::<LockName>().is_err(), "{text}");
        }
    }
}
