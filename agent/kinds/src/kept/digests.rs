//! Digests of files, remembered for as long as the kernel says that a file has not been touched: a step is looked at
//! often while its order runs.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};
use takt_common::Sha256Digest;
use takt_common::digest::Sha256Hasher;

/// More files than one set has; then all are forgotten.
const REMEMBERED_MAX: usize = 4096;

/// A file that changed so lately may change again within the same tick of the kernel's clock, which nobody would see.
const SETTLED_SECS: i64 = 2;

/// How much is read at a time.
pub(super) const PIECE_LENGTH: usize = 128 * 1024;

/// Everything that changes when a file's content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    number: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_settled(&self) -> bool {
        let now = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
        self.changed.0.saturating_add(SETTLED_SECS) < now
    }
}

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<HashMap<Identity, Sha256Digest>>);

impl Digests {
    /// The digest of an open file's content.
    pub(crate) fn of(&self, file: &mut File) -> io::Result<Sha256Digest> {
        let identity = Identity::of(&file.metadata()?);
        let remembered = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = remembered().get(&identity) {
            return Ok(*found);
        }
        let digest = digest(file)?;
        if identity.is_settled() {
            let mut all = remembered();
            if all.len() >= REMEMBERED_MAX {
                all.clear();
            }
            all.insert(identity, digest);
        }
        Ok(digest)
    }
}

fn digest(file: &mut File) -> io::Result<Sha256Digest> {
    let (mut hasher, mut piece) = (Sha256Hasher::default(), vec![0; PIECE_LENGTH]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_file_that_just_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let digests = Digests::default();
        for content in ["one", "two", "three"] {
            std::fs::write(&path, content).unwrap();
            // A program may set this time back; the other one it cannot.
            let file = File::options().write(true).open(&path).unwrap();
            file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)).unwrap();
            let found = digests.of(&mut File::open(&path).unwrap()).unwrap();
            assert_eq!(found, Sha256Digest::of(content.as_bytes()));
        }
    }
}
