//! Changes of the agent's own folders that last through a power cut, and the error of anything done to a disk.
//!
//! Failpoints: `folder.make`, `folder.write`, `folder.rename`, `folder.remove`, `mark.make`, `mark.remove`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;

use crate::effect::effect;

/// Kept copies may hold secrets: only the agent's own user looks into them.
const FOLDER_MODE: u32 = 0o700;

/// The same for files.
const FILE_MODE: u32 = 0o600;

/// What was tried with a file or folder failed.
#[derive(Debug, thiserror::Error)]
#[error("{deed} '{}'{}", path.display(), hint(source))]
pub(crate) struct DiskError {
    /// What was tried, before the path.
    pub(crate) deed: &'static str,
    /// With what.
    pub(crate) path: PathBuf,
    /// Why it failed.
    pub(crate) source: io::Error,
}

/// What some errors of the system mean for whoever reads them.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) => " (it or its folder is marked immutable or append-only)",
        Some(Errno::TXTBSY) => " (it is in use as a program or as swap space)",
        Some(Errno::XDEV) => " (it lies on another file system than its folder)",
        Some(Errno::BUSY) => " (something is mounted on it)",
        _ => "",
    }
}

/// An error of this deed with this path.
pub(crate) fn failed<E: Into<io::Error>>(deed: &'static str, path: &Path) -> impl FnOnce(E) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError { deed, path, source: source.into() }
}

impl DiskError {
    /// True when there was no room.
    pub(crate) fn is_full(&self) -> bool {
        let errno = self.source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::NOSPC | Errno::DQUOT))
    }
}

impl Natured for DiskError {
    fn nature(&self) -> Nature {
        match self.source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::PERM | Errno::ACCESS | Errno::ROFS | Errno::XDEV | Errno::OPNOTSUPP) => Nature::Fatal,
            _ => Nature::Transient,
        }
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), DiskError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync folder", folder))
}

/// Makes a folder, and those that it lies in.
pub(crate) fn make_folder(folder: &Path) -> Result<(), DiskError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.is_dir()).collect();
    for path in missing.into_iter().rev() {
        let made = effect!("folder.make", DirBuilder::new().mode(FOLDER_MODE).create(path));
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make folder", path)(error));
            }
            _ => sync_folder(parent(path))?,
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file of the agent's own.
pub(crate) fn create(path: &Path) -> Result<File, DiskError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    options.open(path).map_err(failed("create", path))
}

/// Writes a whole file, or changes nothing; its folder must be there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let part = path.with_extension("part");
    let written = effect!("folder.write", {
        create(&part).and_then(|mut file| {
            file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", &part))
        })
    });
    let renamed = written
        .and_then(|()| effect!("folder.rename", fs::rename(&part, path)).map_err(failed("write", path)));
    if renamed.is_err() {
        // The first error tells more than one of this removal would.
        let _ = fs::remove_file(&part);
    }
    renamed?;
    sync_folder(parent(path))
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), DiskError> {
    match effect!("folder.remove", fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => sync_folder(parent(path)),
    }
}

/// Removes a folder with all that lies in it, if it is there, so that a cut leaves no half of it that looks whole:
/// `first` goes first.
pub(crate) fn remove_folder(folder: &Path, first: &str) -> Result<(), DiskError> {
    if !folder.exists() {
        return Ok(());
    }
    remove(&folder.join(first))?;
    effect!("folder.remove", fs::remove_dir_all(folder)).map_err(failed("remove folder", folder))?;
    sync_folder(parent(folder))
}

/// A fact that is noted in a folder: an empty file of this name.
pub(crate) fn marked(folder: &Path, mark: &str) -> bool {
    folder.join(mark).exists()
}

/// Notes it, durably. The folder is made where there is none.
pub(crate) fn mark(folder: &Path, mark: &str) -> Result<(), DiskError> {
    make_folder(folder)?;
    let path = folder.join(mark);
    let file = effect!("mark.make", create(&path))?;
    file.sync_all().map_err(failed("write", &path))?;
    sync_folder(folder)
}

/// Notes that it is so no more, durably.
pub(crate) fn unmark(folder: &Path, mark: &str) -> Result<(), DiskError> {
    let path = folder.join(mark);
    match effect!("mark.remove", fs::remove_file(&path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
        Err(_) => Ok(()),
        Ok(()) => sync_folder(folder),
    }
}

/// The bytes that may still be written where `path` lies; for `path` it must be there.
pub(crate) fn free_bytes(path: &Path) -> Result<u64, DiskError> {
    let stat = rustix::fs::statvfs(path).map_err(failed("ask for the room at", path))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_and_marks_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        write(&deep.join("record"), b"one").unwrap();
        write(&deep.join("record"), b"two").unwrap();
        assert_eq!(fs::read(deep.join("record")).unwrap(), b"two");
        assert!(!marked(&deep, "began"));
        mark(&deep, "began").unwrap();
        assert!(marked(&deep, "began"));
        unmark(&deep, "began").unwrap();
        unmark(&deep, "began").unwrap();
        assert!(!marked(&deep, "began"));
        remove_folder(&deep, "record").unwrap();
        assert!(!deep.exists());
    }

    #[test]
    fn an_error_names_the_path_and_what_it_means() {
        let error = failed::<Errno>("remove", Path::new("/etc/x"))(Errno::PERM);
        let text = takt_agent_core::failure::sentence(&error);
        assert!(text.starts_with("remove '/etc/x' (it or its folder is marked immutable"), "{text}");
        assert_eq!(error.nature(), Nature::Fatal);
        let full = failed::<Errno>("write", Path::new("/etc/x"))(Errno::NOSPC);
        assert!(full.is_full());
        assert_eq!(full.nature(), Nature::Transient);
    }
}
