//! The folder of a store: its files, its lock, and making names durable.
//!
//! ```text
//! <path>/lock             held with flock while the store is open
//! <path>/sled/            the database (its log is `db`)
//! <path>/sled.new/        a database being built; removed when found
//! <path>/sled.damaged/    the last damaged database, kept for people
//! <path>/export           the newest export, and the one before it
//! <path>/export.previous
//! <path>/export.new       an export being written
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::StoreError;

/// A locked store folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing and locks it.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        create_durably(path)?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(StoreError::file("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_path_buf() }),
            Err(TryLockError::Error(source)) => {
                Err(StoreError::File { doing: "lock", path: lock_path, source: Arc::new(source) })
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join("sled")
    }

    pub(super) fn new_database(&self) -> PathBuf {
        self.path.join("sled.new")
    }

    pub(super) fn damaged_database(&self) -> PathBuf {
        self.path.join("sled.damaged")
    }

    pub(super) fn export(&self) -> PathBuf {
        self.path.join("export")
    }

    pub(super) fn previous_export(&self) -> PathBuf {
        self.path.join("export.previous")
    }

    pub(super) fn new_export(&self) -> PathBuf {
        self.path.join("export.new")
    }

    /// Makes the names in the folder durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        sync(&self.path)
    }
}

/// Makes a folder, and every folder above it that is missing, so that their names survive a power cut.
fn create_durably(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::file("create folder", path)(error))
        }
        _ => sync(parent),
    }
}

/// Syncs one file or one folder's names.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::file("sync", path))
}

/// Syncs a folder, all in it, and their names.
pub(super) fn sync_tree(path: &Path) -> Result<(), StoreError> {
    for entry in entries(path)? {
        if entry.is_dir() {
            sync_tree(&entry)?;
        } else {
            sync(&entry)?;
        }
    }
    sync(path)
}

/// Room that a start of the database may need: a segment of its log and a snapshot.
const PROBE_BYTES: usize = 1024 * 1024;

/// Reads and syncs all files of a folder and writes one: an error here is the disk's, not the contents'.
pub(super) fn prove_disk_works(path: &Path) -> Result<(), StoreError> {
    for entry in entries(path)? {
        if entry.is_file() {
            let mut file = File::open(&entry).map_err(StoreError::file("open", &entry))?;
            io::copy(&mut file, &mut io::sink()).map_err(StoreError::file("read", &entry))?;
            file.sync_all().map_err(StoreError::file("sync", &entry))?;
        }
    }
    // The name makes the next start remove it, should this one end here.
    let probe = path.join("probe.generating");
    fs::write(&probe, vec![0; PROBE_BYTES])
        .and_then(|()| File::open(&probe)?.sync_all())
        .map_err(StoreError::file("write", &probe))?;
    fs::remove_file(&probe).map_err(StoreError::file("remove", &probe))
}

/// What stands in a folder.
pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(StoreError::file("list folder", path))
}

/// Removes a folder and all in it, if it is there.
pub(super) fn remove_tree(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::file("remove folder", path)(error))
        }
        _ => Ok(()),
    }
}

/// Renames; a source that is missing is no error.
pub(super) fn rename_if_there(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("rename", from)(error)),
        _ => Ok(()),
    }
}
