//! The device leaves its fleet: its keys and certificates are wiped. What runs on it runs on.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::journal;

/// The device cannot be decommissioned; what was wiped before is gone.
#[derive(Debug, thiserror::Error)]
pub enum DecommissionError {
    /// It would go on with the keys that it has in memory.
    #[error("decommission this device: its agent runs (it holds '{}'); stop it first", lock.display())]
    Running {
        /// The file that it holds.
        lock: PathBuf,
    },
    /// A file cannot be wiped.
    #[error("{doing} '{}'", path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Wipes what makes the machine a member of a fleet from `state_dir`: key, certificate and trust documents are overwritten and removed, and
/// with them the journal, whose orders were another device's for the one that it may become. It may be called again after it broke off;
/// true when there was something to wipe.
///
/// Overwriting is what a program can do: a flash chip may keep old blocks for as long as it likes.
pub fn decommission(state_dir: &Path) -> Result<bool, DecommissionError> {
    let journal = state_dir.join(journal::FOLDER);
    let _held = take(&journal.join("lock"))?;
    let wiped = wipe_folder(&state_dir.join("identity"))?;
    let removed = found(fs::remove_dir_all(&journal)).map_err(failed("remove the journal", &journal))?;
    if wiped || removed {
        sync(state_dir)?;
    }
    Ok(wiped || removed)
}

/// Takes the lock of the journal, if there is one, so that no agent runs meanwhile.
fn take(lock: &Path) -> Result<Option<File>, DecommissionError> {
    let file = match File::options().write(true).open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("open", lock)(source)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(DecommissionError::Running { lock: lock.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", lock)(source)),
    }
}

/// Wipes all files of a folder and removes it; false when it is not there.
fn wipe_folder(folder: &Path) -> Result<bool, DecommissionError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(failed("read the folder", folder)(source)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(failed("read the folder", folder))?;
    // The key first: without it the rest is of no use to anybody.
    paths.sort_by_key(|path| path.extension().is_none_or(|extension| extension != "key"));
    for path in &paths {
        wipe(path)?;
    }
    sync(folder)?;
    fs::remove_dir(folder).map_err(failed("remove the folder", folder))?;
    Ok(true)
}

/// Overwrites a file with zeros, makes that durable, and removes it.
fn wipe(path: &Path) -> Result<(), DecommissionError> {
    let about = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    // What a link leads to is not the agent's.
    if about.is_file() {
        let overwrite = || -> io::Result<()> {
            let mut file = File::options().write(true).open(path)?;
            io::copy(&mut io::repeat(0).take(about.len()), &mut file)?;
            file.sync_all()
        };
        overwrite().map_err(failed("overwrite", path))?;
    }
    fs::remove_file(path).map_err(failed("remove", path))
}

fn sync(folder: &Path) -> Result<(), DecommissionError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("make durable", folder))
}

/// Whether there was something to remove.
fn found(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DecommissionError {
    let path = path.to_owned();
    move |source| DecommissionError::File { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentityFolder;
    use crate::journal::Journal;

    #[test]
    fn keys_and_certificates_are_overwritten_and_removed_and_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        IdentityFolder::open(state).unwrap().key_or_new().unwrap();
        fs::write(state.join("identity/membership.json"), vec![b'm'; 10_007]).unwrap();
        let elsewhere = state.join("elsewhere");
        fs::write(&elsewhere, "kept").unwrap();
        std::os::unix::fs::symlink(&elsewhere, state.join("identity/link")).unwrap();
        fs::create_dir(state.join("artifacts")).unwrap();
        fs::write(state.join("artifacts/image"), "image").unwrap();
        // Another name of the key shows what became of its content.
        let key = state.join("key-seen");
        fs::hard_link(state.join("identity/device.key"), &key).unwrap();
        let length = fs::metadata(&key).unwrap().len();
        assert!(length > 0);

        assert!(decommission(state).unwrap());
        assert!(!state.join("identity").exists());
        assert_eq!(fs::read(&key).unwrap(), vec![0; usize::try_from(length).unwrap()]);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
        assert_eq!(fs::read_to_string(state.join("artifacts/image")).unwrap(), "image");
        assert!(!decommission(state).unwrap(), "again, there is nothing left to wipe");
        assert!(!decommission(&state.join("no-such-folder")).unwrap());
    }

    #[tokio::test]
    async fn nothing_is_wiped_while_the_agent_runs() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let key = IdentityFolder::open(state).unwrap().key_or_new().unwrap();
        let (journal, _) = Journal::open(&state.join(journal::FOLDER)).unwrap();
        let refused = decommission(state).unwrap_err();
        assert!(matches!(refused, DecommissionError::Running { .. }), "{refused}");
        assert_eq!(IdentityFolder::open(state).unwrap().key().unwrap().public(), key.public());
        drop(journal);
        // The journal's writer lets go of the lock in its own time.
        let mut wiped = decommission(state);
        for _ in 0..500 {
            if !matches!(wiped, Err(DecommissionError::Running { .. })) {
                break;
            }
            crate::clock::sleep(std::time::Duration::from_millis(10)).await;
            wiped = decommission(state);
        }
        assert!(wiped.unwrap());
        assert!(!state.join(journal::FOLDER).exists());
    }
}
