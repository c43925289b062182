//! Update locks: files under `/run/takt/locks` that somebody holds with `flock`. A dead holder holds nothing.

use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// More locks than any device has; bounds the work of one look.
const LOCKS_MAX: usize = 64;

/// The names of the locks in `folder` that are held now. A folder that is missing holds none.
pub fn held(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .take(LOCKS_MAX)
        .flatten()
        .filter(|entry| File::open(entry.path()).is_ok_and(is_held))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Trying to share the lock for a moment disturbs no holder, and no one else who only looks.
fn is_held(file: File) -> bool {
    matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
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
        let holder = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        assert_eq!(held(folder.path()), ["surgery"]);
        drop(holder);
        assert!(held(folder.path()).is_empty());
        assert!(held(&folder.path().join("missing")).is_empty());
    }
}
