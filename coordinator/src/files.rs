//! Small files that must be whole or absent: written beside, synced, renamed, folder synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The owner only: keys and tokens.
    Owner,
    /// Everybody: certificates and settings.
    Everybody,
}

/// A file or folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{doing} '{}'", .path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    /// For `map_err`: `doing` as in "read file".
    pub fn of(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { doing, path, source }
    }

    /// True when the disk or the quota is full.
    pub fn is_storage_full(&self) -> bool {
        is_storage_full(&self.source)
    }
}

/// True when `error` says that the disk, the quota or the allowed file size is exhausted.
pub fn is_storage_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Makes `path` hold exactly `bytes`, durably: after a power cut it holds the old content or the new.
pub fn write_atomic(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let beside = beside(path);
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everybody => 0o644,
    };
    // A leftover of an earlier attempt may have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(FileError::of("remove file", &beside)(error));
        }
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // The write has failed already; what is left beside is of no further use to anybody.
        let _ = fs::remove_file(&beside);
        return Err(FileError::of("write file", path)(error));
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Reads a text file of at most `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let length = fs::metadata(path).map_err(FileError::of("read file", path))?.len();
    if length > limit {
        let error =
            io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes, at most {limit} expected"));
        return Err(FileError::of("read file", path)(error));
    }
    fs::read_to_string(path).map_err(FileError::of("read file", path))
}

/// Makes a folder and its parents.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::of("make folder", path))
}

/// Makes the entries of a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), FileError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|folder| folder.sync_all()).map_err(FileError::of("sync folder", path))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order.key");
        fs::write(folder.path().join("order.key.new"), b"leftover").unwrap();
        write_atomic(&path, b"one", Access::Owner).unwrap();
        write_atomic(&path, b"two", Access::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_what_was_done_to_which_file() {
        let error = write_atomic(Path::new("/nowhere/at/all"), b"", Access::Owner).unwrap_err();
        assert_eq!(error.to_string(), "write file '/nowhere/at/all'");
        assert!(read_text(Path::new("/proc/self/nothing"), 10).is_err());
    }
}
