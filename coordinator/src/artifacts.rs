//! The artifact store: files named by their SHA-256. A file is whole, verified and synced, or not there.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use takt_common::Sha256Digest;
use takt_common::digest::Sha256Hasher;
use tokio::fs::File;

use crate::files::{self, FileError, is_storage_full};
use crate::incoming::{Inbox, Incoming};
use crate::registry::blocking;

/// The folder of artifacts.
pub struct ArtifactStore {
    folder: PathBuf,
    bytes_max: u64,
    inbox: Inbox,
}

/// Whether an upload brought something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is here now.
    New,
    /// It was here before; the upload was the same.
    Known,
}

/// An upload is not taken. Nothing of it remains.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// More than is taken.
    #[error("artifact {sha256} has {length} bytes, at most {limit} are taken (artifacts.bytes_max)")]
    TooLarge {
        /// Which.
        sha256: Sha256Digest,
        /// Its stated length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// The connection ended or broke the protocol.
    #[error("the upload of artifact {sha256} ended after {received} of {length} bytes")]
    Interrupted {
        /// Which.
        sha256: Sha256Digest,
        /// What came.
        received: u64,
        /// What was stated.
        length: u64,
    },
    /// Other bytes.
    #[error("the upload has the digest {found}, artifact {sha256} was announced")]
    Digest {
        /// What was announced.
        sha256: Sha256Digest,
        /// What came.
        found: Sha256Digest,
    },
    /// No room.
    #[error("the disk of the artifact store is full: artifact {sha256} of {length} bytes was not stored")]
    Full {
        /// Which.
        sha256: Sha256Digest,
        /// Its length.
        length: u64,
    },
    /// The disk fails otherwise.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ArtifactStore {
    /// Opens the store and removes what interrupted uploads left.
    pub fn open(folder: PathBuf, bytes_max: u64) -> Result<Self, FileError> {
        let inbox = Inbox::open(&folder)?;
        Ok(Self { folder, bytes_max, inbox })
    }

    /// Where an artifact is or would be.
    pub fn path(&self, sha256: &Sha256Digest) -> PathBuf {
        self.folder.join(sha256.to_string())
    }

    /// Whether it is here.
    pub fn holds(&self, sha256: &Sha256Digest) -> bool {
        self.path(sha256).is_file()
    }

    /// Opens an artifact for reading, with its length; `None` when it is not here.
    pub async fn read(&self, sha256: &Sha256Digest) -> Result<Option<(File, u64)>, FileError> {
        let path = self.path(sha256);
        let failed = |error| FileError::of("read artifact", &path)(error);
        let file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let length = file.metadata().await.map_err(failed)?.len();
        Ok(Some((file, length)))
    }

    /// Takes an upload of exactly `length` bytes with exactly this digest.
    pub async fn store<E>(
        &self,
        sha256: Sha256Digest,
        length: u64,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Stored, UploadError> {
        if length > self.bytes_max {
            return Err(UploadError::TooLarge { sha256, length, limit: self.bytes_max });
        }
        let known = self.holds(&sha256);
        let mut incoming = if known { None } else { Some(self.incoming(&sha256, length).await?) };
        let mut hasher = Sha256Hasher::default();
        let mut received = 0;
        while let Some(piece) = body.next().await {
            let cut = |received| UploadError::Interrupted { sha256, received, length };
            let piece = piece.map_err(|_| cut(received))?;
            received += piece.len() as u64;
            if received > length {
                return Err(cut(received));
            }
            hasher.update(&piece);
            if let Some(incoming) = &mut incoming {
                incoming.write(&piece).await.map_err(|error| self.failed(sha256, length, error))?;
            }
        }
        if received != length {
            return Err(UploadError::Interrupted { sha256, received, length });
        }
        let found = hasher.finish();
        if found != sha256 {
            return Err(UploadError::Digest { sha256, found });
        }
        let Some(incoming) = incoming else { return Ok(Stored::Known) };
        incoming.keep(&self.path(&sha256)).await.map_err(|error| self.failed(sha256, length, error))?;
        let folder = self.folder.clone();
        blocking(move || files::sync_folder(&folder)).await?;
        Ok(Stored::New)
    }

    async fn incoming(&self, sha256: &Sha256Digest, length: u64) -> Result<Incoming, UploadError> {
        self.inbox.begin(&sha256.to_string()).await.map_err(|error| self.failed(*sha256, length, error))
    }

    fn failed(&self, sha256: Sha256Digest, length: u64, error: io::Error) -> UploadError {
        if is_storage_full(&error) {
            return UploadError::Full { sha256, length };
        }
        UploadError::File(FileError::of("write artifact", &self.path(&sha256))(error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use futures_util::stream;

    use super::*;

    fn pieces(texts: &[&'static str]) -> impl Stream<Item = Result<Bytes, ()>> + Unpin {
        stream::iter(texts.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect::<Vec<_>>())
    }

    fn remains(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count() - 1 + fs::read_dir(folder.join(".incoming")).unwrap().count()
    }

    #[tokio::test]
    async fn only_the_announced_bytes_are_kept_and_of_others_nothing_remains() {
        let folder = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(folder.path().to_owned(), 10).unwrap();
        let sha256 = Sha256Digest::of(b"abcdef");
        let refused = store.store(sha256, 6, pieces(&["abc"])).await.unwrap_err();
        assert!(matches!(refused, UploadError::Interrupted { received: 3, .. }), "{refused}");
        let refused = store.store(sha256, 6, pieces(&["abc", "defg"])).await.unwrap_err();
        assert!(matches!(refused, UploadError::Interrupted { received: 7, .. }), "{refused}");
        let refused = store.store(sha256, 6, pieces(&["abc", "xyz"])).await.unwrap_err();
        assert!(matches!(refused, UploadError::Digest { .. }), "{refused}");
        let refused = store.store(sha256, 11, pieces(&["abcdefghijk"])).await.unwrap_err();
        assert!(matches!(refused, UploadError::TooLarge { .. }), "{refused}");
        let broken = stream::iter([Ok(Bytes::from_static(b"abc")), Err(())]);
        let refused = store.store(sha256, 6, broken).await.unwrap_err();
        assert!(matches!(refused, UploadError::Interrupted { .. }), "{refused}");
        assert_eq!(remains(folder.path()), 0);
        assert_eq!(store.store(sha256, 6, pieces(&["abc", "def"])).await.unwrap(), Stored::New);
        assert_eq!(store.store(sha256, 6, pieces(&["abcdef"])).await.unwrap(), Stored::Known);
        assert!(store.holds(&sha256));
        assert_eq!(remains(folder.path()), 1);
    }

    #[tokio::test]
    async fn a_start_removes_what_a_killed_upload_left() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".incoming")).unwrap();
        fs::write(folder.path().join(".incoming").join("0-x"), b"half").unwrap();
        ArtifactStore::open(folder.path().to_owned(), 10).unwrap();
        assert_eq!(remains(folder.path()), 0);
    }
}
