//! Update locks: files under `/run/takt/locks` that somebody holds with `flock`. A dead holder holds nothing.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

/// More locks than any device has; bounds the work of one look.
const LOCKS_MAX: usize = 1024;

/// The names of the locks in `folder` that are held now. A folder that is missing holds none; what nobody can look at
/// counts as held, for it may be.
pub fn held(folder: &Path) -> Vec<String> {
    let mut entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![format!("{}: {error}", folder.display())],
    };
    let mut names: Vec<String> = entries
        .by_ref()
        .take(LOCKS_MAX)
        .flatten()
        .filter(|entry| is_held(&entry.path()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if entries.next().is_some() {
        names.push(format!("{}: more than {LOCKS_MAX} files", folder.display()));
    }
    names.sort();
    names
}

/// Trying to share the lock for a moment disturbs no holder, and no one else who only looks.
fn is_held(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_counts_only_while_its_holder_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("surgery");
        std::fs::write(&path, "").unwrap();
        assert!(held(folder.path()).is_empty());
        let holder = File::open(&path).unwrap();
        holder.lock().unwrap();
        assert_eq!(held(folder.path()), ["surgery"]);
        drop(holder);
        assert!(held(folder.path()).is_empty());
        assert!(held(&folder.path().join("missing")).is_empty());
    }

    #[test]
    fn files_that_nobody_holds_hide_none_that_is_held() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..LOCKS_MAX {
            std::fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert!(held(folder.path()).is_empty());
        std::fs::write(folder.path().join("one more"), "").unwrap();
        assert_eq!(held(folder.path()), [format!("{}: more than 1024 files", folder.path().display())]);
    }
}
