//! Memory on its way from a device to its standby (takeover `restore`): one file a device, for as long as a standby is to
//! take over. The coordinator neither reads nor vouches for it: the device has signed it, and the standby judges.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use takt_common::DeviceId;
use takt_common::order::{Action, Takeover};
use tokio::fs::File;

use crate::coordinator::Coordinator;
use crate::files::{FileError, is_storage_full};
use crate::incoming::Inbox;
use crate::sentence::sentence;

/// How long an upload may take: so long, and a second for so many bytes.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);
const BYTES_PER_SEC_MIN: u64 = 16 * 1024;
/// It is all memory of somebody, keys included.
const FOLDER_MODE: u32 = 0o700;

/// The folder of memory on its way.
pub struct CheckpointStore {
    folder: PathBuf,
    bytes_max: u64,
    inbox: Inbox,
    /// Who gives memory now: a device has one checkpoint, and room for one.
    giving: Mutex<BTreeSet<DeviceId>>,
}

/// A device gives memory for as long as this is there.
struct Giving<'a>(&'a CheckpointStore, DeviceId);

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        self.0.giving().remove(&self.1);
    }
}

/// Memory is not taken. Nothing of it remains.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// More than is taken.
    #[error("the memory of {device} has {length} bytes, at most {limit} are taken (artifacts.bytes_max)")]
    TooLarge {
        /// Whose.
        device: DeviceId,
        /// Its stated length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// Another upload of it has not ended.
    #[error("the memory of {device} is being stored already")]
    Twice {
        /// Whose.
        device: DeviceId,
    },
    /// It comes too slowly.
    #[error("the memory of {device}, {length} bytes, has not come within {secs} s")]
    Slow {
        /// Whose.
        device: DeviceId,
        /// Its length.
        length: u64,
        /// How long it might have taken.
        secs: u64,
    },
    /// The connection ended or broke the protocol.
    #[error("the memory of {device} ended after {received} of {length} bytes")]
    Interrupted {
        /// Whose.
        device: DeviceId,
        /// What came.
        received: u64,
        /// What was stated.
        length: u64,
    },
    /// No room.
    #[error("the disk is full: the memory of {device}, {length} bytes, was not stored")]
    Full {
        /// Whose.
        device: DeviceId,
        /// Its length.
        length: u64,
    },
    /// The disk fails otherwise.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CheckpointStore {
    /// Opens the store and removes what interrupted uploads left.
    pub fn open(folder: PathBuf, bytes_max: u64) -> Result<Self, FileError> {
        let inbox = Inbox::open(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(FOLDER_MODE))
            .map_err(FileError::of("protect folder", &folder))?;
        Ok(Self { folder, bytes_max, inbox, giving: Mutex::default() })
    }

    fn path(&self, device: DeviceId) -> PathBuf {
        self.folder.join(device.to_string())
    }

    fn giving(&self) -> MutexGuard<'_, BTreeSet<DeviceId>> {
        // Whoever panicked while holding it had at most not taken an id out, and is not asked for memory again.
        self.giving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes memory of exactly `length` bytes, in the place of what the device has given before.
    pub async fn store<E>(
        &self,
        device: DeviceId,
        length: u64,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), CarryError> {
        if length > self.bytes_max {
            return Err(CarryError::TooLarge { device, length, limit: self.bytes_max });
        }
        if !self.giving().insert(device) {
            return Err(CarryError::Twice { device });
        }
        let _giving = Giving(self, device);
        let limit = BEGIN_LIMIT + Duration::from_secs(length / BYTES_PER_SEC_MIN);
        let slow = |_elapsed| CarryError::Slow { device, length, secs: limit.as_secs() };
        tokio::time::timeout(limit, self.receive(device, length, body)).await.map_err(slow)?
    }

    async fn receive<E>(
        &self,
        device: DeviceId,
        length: u64,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), CarryError> {
        let failed = |error: io::Error| {
            if is_storage_full(&error) {
                CarryError::Full { device, length }
            } else {
                CarryError::File(FileError::of("write memory", &self.path(device))(error))
            }
        };
        let mut incoming = self.inbox.begin(&device.to_string()).await.map_err(failed)?;
        let mut received = 0;
        let cut = |received| CarryError::Interrupted { device, received, length };
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| cut(received))?;
            received += piece.len() as u64;
            if received > length {
                return Err(cut(received));
            }
            incoming.write(&piece).await.map_err(failed)?;
        }
        if received != length {
            return Err(cut(received));
        }
        incoming.keep(&self.path(device)).await.map_err(failed)
    }

    /// Opens the memory of a device for reading, with its length; `None` when it is not here.
    pub async fn read(&self, device: DeviceId) -> Result<Option<(File, u64)>, FileError> {
        let path = self.path(device);
        let failed = |error| FileError::of("read memory", &path)(error);
        let file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let length = file.metadata().await.map_err(failed)?.len();
        Ok(Some((file, length)))
    }

    /// Removes the memory of all devices but these.
    fn keep_only(&self, wanted: impl FnOnce() -> BTreeSet<DeviceId>) -> Result<(), FileError> {
        let failed = |error| FileError::of("list folder", &self.folder)(error);
        let entries = fs::read_dir(&self.folder).map_err(failed)?.flatten();
        let held: Vec<DeviceId> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        if held.is_empty() {
            return Ok(());
        }
        let wanted = wanted();
        for device in held.into_iter().filter(|device| !wanted.contains(device)) {
            let path = self.path(device);
            fs::remove_file(&path).map_err(FileError::of("remove memory", &path))?;
        }
        Ok(())
    }
}

impl Coordinator {
    /// Memory goes as soon as no standby is to take it over any more.
    pub fn drop_unwanted_memory(&self) {
        let wanted = || {
            let records = self.registry.devices().all();
            let orders = records.iter().filter_map(|record| record.state.order.as_ref());
            let taken = orders.filter_map(|order| match order.action {
                Action::TakeOver { device, how: Takeover::Restore, .. } => Some(device),
                _ => None,
            });
            taken.collect()
        };
        if let Err(error) = self.checkpoints.keep_only(wanted) {
            tracing::error!(error = sentence(&error), "memory that no standby wants was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn pieces(texts: &[&'static str]) -> impl Stream<Item = Result<Bytes, ()>> + Unpin {
        stream::iter(texts.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn memory_is_whole_or_not_there_and_goes_when_nobody_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("checkpoints");
        let store = CheckpointStore::open(at.clone(), 10).unwrap();
        assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o700);
        let device: DeviceId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let other: DeviceId = "ffeeddccbbaa99887766554433221100".parse().unwrap();
        for (length, texts) in [(6, &["abc"][..]), (6, &["abc", "defg"]), (11, &["abcdefghijk"])] {
            store.store(device, length, pieces(texts)).await.unwrap_err();
            assert!(store.read(device).await.unwrap().is_none());
        }
        let broken = stream::iter([Ok(Bytes::from_static(b"abc")), Err(())]);
        assert!(matches!(store.store(device, 6, broken).await, Err(CarryError::Interrupted { .. })));
        assert_eq!(fs::read_dir(at.join(".incoming")).unwrap().count(), 0);
        store.store(device, 6, pieces(&["abc", "def"])).await.unwrap();
        store.store(device, 3, pieces(&["xyz"])).await.unwrap();
        store.store(other, 3, pieces(&["uvw"])).await.unwrap();
        assert_eq!(store.read(device).await.unwrap().unwrap().1, 3);
        // A device that is at it gives nothing beside; once that has broken off it may again.
        let mut slow = Box::pin(store.store(device, 6, stream::pending::<Result<Bytes, ()>>()));
        assert!(futures_util::poll!(slow.as_mut()).is_pending());
        let twice = store.store(device, 3, pieces(&["abc"])).await.unwrap_err();
        assert!(matches!(twice, CarryError::Twice { .. }), "{twice}");
        drop(slow);
        store.store(device, 3, pieces(&["abc"])).await.unwrap();
        // A start keeps it: the standby may be about to ask.
        let store = CheckpointStore::open(at, 10).unwrap();
        store.keep_only(|| BTreeSet::from([device])).unwrap();
        assert!(store.read(device).await.unwrap().is_some());
        assert!(store.read(other).await.unwrap().is_none());
    }
}
