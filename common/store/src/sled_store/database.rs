//! One sled database: opened with care, read whole, written in chunks, synced.
//!
//! sled keeps up to 16 pairs in a page and moves a page above a quarter of its segment (128 KiB or more) to a file of
//! its own, which it never syncs. So a value is cut into chunks of 6 KiB: the first stands under its own key
//! behind a chunk count, the others under reserved keys. No page comes near that size.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::{BATCH_BYTES_LIMIT, Sizes, folder};
use crate::batch::RESERVED;
use crate::store::scan_start;
use crate::{BATCH_BYTES_MAX, Pair, StoreError};

/// 16 chunks, their keys and a page's own lists stay below 128 KiB.
const CHUNK_BYTES: usize = 6 * 1024;
/// A sled that was just closed holds its file's lock until its last background task is gone.
const UNLOCK_TRIES_MAX: u32 = 200;
const UNLOCK_PAUSE: Duration = Duration::from_millis(10);
/// Number of the last commit.
const COMMIT_KEY: &[u8] = &[RESERVED, b'm'];
const CHUNK_MARK: u8 = b'c';
/// Above every reserved key, below every other.
const FIRST_KEY: &[u8] = &[RESERVED + 1];

/// What a commit writes.
pub(super) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Why a database did not open.
#[derive(Debug)]
pub(super) enum OpenFailure {
    /// It is damaged: an export may help.
    Damaged(String),
    /// Something else: an export would not help.
    Other(StoreError),
}

/// An open sled database.
pub(super) struct Database {
    path: PathBuf,
    /// `None` only while it is dropped.
    sled: Option<sled::Db>,
    /// sled's log, opened once more: `fdatasync` on it covers what sled wrote.
    log: File,
    commit: AtomicU64,
    batch_bytes_max: usize,
}

impl Database {
    /// Opens (or makes) the sled database in the folder `path`, reads it all, and makes its files durable.
    pub(super) fn open(path: &Path, sizes: Sizes) -> Result<Self, OpenFailure> {
        remove_unfinished_snapshots(path).map_err(OpenFailure::Other)?;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let database = Self::open_unchecked(path, sizes)?;
            let commit = database.read_whole()?;
            database.commit.store(commit, Ordering::Release);
            Ok(database)
        }));
        let opened = caught.unwrap_or_else(|panic| Err(OpenFailure::Damaged(panic_text(panic.as_ref()))));
        let database = match opened {
            // A full or failing disk must not pass for damage: a restore would throw sound data away.
            Err(OpenFailure::Damaged(reason)) => {
                folder::prove_disk_works(path).map_err(OpenFailure::Other)?;
                return Err(OpenFailure::Damaged(reason));
            }
            opened => opened?,
        };
        // sled's start has written a snapshot and cut torn ends: durable before the first commit builds on it.
        database.sync_log().map_err(OpenFailure::Other)?;
        folder::sync(path).map_err(OpenFailure::Other)?;
        Ok(database)
    }

    fn open_unchecked(path: &Path, sizes: Sizes) -> Result<Self, OpenFailure> {
        let log_path = path.join("db");
        wait_for_unlocked(&log_path);
        let batch_bytes_max = noted_size(path).unwrap_or(sizes.batch_bytes);
        let config =
            sled::Config::default().path(path).cache_capacity(sizes.cache_bytes).flush_every_ms(None);
        let config = config.segment_size(segment_bytes(batch_bytes_max));
        let sled = config.open().map_err(|source| classify(path, source))?;
        let log = File::open(&log_path)
            .map_err(|error| OpenFailure::Other(StoreError::file("open", &log_path)(error)))?;
        Ok(Self {
            path: path.to_path_buf(),
            sled: Some(sled),
            log,
            commit: AtomicU64::new(0),
            batch_bytes_max,
        })
    }

    fn sled(&self) -> &sled::Db {
        self.sled.as_ref().expect("it is taken only by drop")
    }

    /// The largest batch.
    pub(super) const fn batch_bytes_max(&self) -> usize {
        self.batch_bytes_max
    }

    /// The number of the last durable commit.
    pub(super) fn commit_number(&self) -> u64 {
        self.commit.load(Ordering::Acquire)
    }

    /// Reads every pair, so that damage is found while it can be mended, and returns the commit number.
    fn read_whole(&self) -> Result<u64, OpenFailure> {
        for pair in self.scan(&[], None) {
            match pair {
                Ok(_) => {}
                Err(StoreError::Read { source, .. }) => return Err(classify(&self.path, source)),
                Err(error) => return Err(OpenFailure::Damaged(error.to_string())),
            }
        }
        let stored = self.sled().get(COMMIT_KEY).map_err(|source| classify(&self.path, source))?;
        match stored {
            None => Ok(0),
            Some(bytes) => <[u8; 8]>::try_from(bytes.as_ref())
                .map(u64::from_be_bytes)
                .map_err(|_| OpenFailure::Damaged("its commit number is no number".to_owned())),
        }
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.guarded(|| match self.read(key)? {
            None => Ok(None),
            Some(head) => self.assemble(key, &head).map(Some),
        })
    }

    /// Every pair behind `after` whose key starts with `prefix`, in key order.
    pub(super) fn scan<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + 'a {
        let start = scan_start(prefix, after).max(FIRST_KEY.to_vec());
        let mut pairs = self.sled().range(start..);
        std::iter::from_fn(move || {
            let step = self.guarded(|| match pairs.next() {
                None => Ok(None),
                Some(Err(source)) => Err(StoreError::Read { path: self.path.clone(), source }),
                Some(Ok((key, _))) if !key.starts_with(prefix) => Ok(None),
                Some(Ok((key, head))) => Ok(Some((key.to_vec(), self.assemble(&key, &head)?))),
            });
            step.transpose()
        })
    }

    /// Applies `writes` as one atomic batch and returns when they are durable.
    pub(super) fn apply(&self, writes: &Writes) -> Result<(), StoreError> {
        let commit = self.commit_number() + 1;
        self.apply_as(writes, commit)
    }

    /// [`Database::apply`] with a commit number of the caller's, for what comes from an export.
    pub(super) fn apply_as(&self, writes: &Writes, commit: u64) -> Result<(), StoreError> {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let batch = self.cut(writes, commit)?;
            let failed = |source| StoreError::Commit { path: self.path.clone(), source };
            self.sled().apply_batch(batch).map_err(failed)?;
            self.sled().flush().map_err(failed)?;
            self.sync_log()
        }));
        caught.unwrap_or_else(|panic| Err(self.panicked("commit to", panic.as_ref())))?;
        self.commit.store(commit, Ordering::Release);
        Ok(())
    }

    fn sync_log(&self) -> Result<(), StoreError> {
        self.log.sync_data().map_err(StoreError::file("sync", self.path.join("db")))
    }

    /// The sled batch for `writes`: heads, further chunks, and the removal of chunks no longer needed.
    fn cut(&self, writes: &Writes, commit: u64) -> Result<sled::Batch, StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            let chunks_before = match self.read(key)? {
                None => 0,
                Some(head) => self.split_head(key, &head)?.0,
            };
            let chunks = match value {
                None => {
                    batch.remove(key.as_slice());
                    0
                }
                Some(value) => {
                    let (first, rest) = value.split_at(value.len().min(CHUNK_BYTES));
                    let rest = rest.chunks(CHUNK_BYTES);
                    let chunks = u16::try_from(1 + rest.len()).expect("VALUE_BYTES_MAX is a few chunks");
                    batch.insert(key.as_slice(), [&chunks.to_be_bytes(), first].concat());
                    for (index, chunk) in (1..chunks).zip(rest) {
                        batch.insert(chunk_key(key, index), chunk);
                    }
                    chunks
                }
            };
            for index in chunks.max(1)..chunks_before {
                batch.remove(chunk_key(key, index));
            }
        }
        batch.insert(COMMIT_KEY, &commit.to_be_bytes());
        Ok(batch)
    }

    /// A whole value from its head and its further chunks.
    fn assemble(&self, key: &[u8], head: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (chunks, first) = self.split_head(key, head)?;
        let mut value = first.to_vec();
        for index in 1..chunks {
            let chunk = self.read(&chunk_key(key, index))?;
            value.extend_from_slice(&chunk.ok_or_else(|| self.unfit(key, "a part of it is missing"))?);
        }
        Ok(value)
    }

    fn split_head<'a>(&self, key: &[u8], head: &'a [u8]) -> Result<(u16, &'a [u8]), StoreError> {
        match head.split_first_chunk::<2>() {
            Some((chunks, first)) if *chunks != [0, 0] => Ok((u16::from_be_bytes(*chunks), first)),
            _ => Err(self.unfit(key, "it does not begin with its number of parts")),
        }
    }

    fn unfit(&self, key: &[u8], reason: &'static str) -> StoreError {
        StoreError::Value { path: self.path.clone(), key: key.to_vec(), reason }
    }

    fn read(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.sled().get(key).map_err(|source| StoreError::Read { path: self.path.clone(), source })
    }

    /// Runs a read; a panic of sled becomes an error.
    fn guarded<T>(&self, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|panic| Err(self.panicked("read from", panic.as_ref())))
    }

    fn panicked(&self, doing: &'static str, panic: &(dyn std::any::Any + Send)) -> StoreError {
        StoreError::Panicked { doing, path: self.path.clone(), text: panic_text(panic) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sled = self.sled.take();
        // sled unwraps a last fsync when it closes, which fails on a failing disk. All that was promised is
        // durable already, so there is nothing to tell.
        drop(catch_unwind(AssertUnwindSafe(move || drop(sled))));
    }
}

/// A batch is at most half a segment of sled's log, so that no segment can be freed and written again between two flushes.
const fn segment_bytes(batch_bytes_max: usize) -> usize {
    2 * batch_bytes_max
}

/// For which size of batches the database that is there was made. sled notes that of its segments in a file, and opens no database with
/// another one.
fn noted_size(path: &Path) -> Option<usize> {
    let noted = fs::read(path.join("conf")).ok()?;
    let sizes = iter::successors(Some(BATCH_BYTES_MAX), |size| Some(2 * size));
    sizes.take_while(|size| *size <= BATCH_BYTES_LIMIT).find(|size| {
        let line = format!("segment_size: {}", segment_bytes(*size));
        noted.split(|byte| *byte == b'\n').any(|noted| noted == line.as_bytes())
    })
}

/// Where part `index` (from 1) of a long value stands. The length keeps keys apart that begin alike.
fn chunk_key(key: &[u8], index: u16) -> Vec<u8> {
    let length = u16::try_from(key.len()).expect("KEY_BYTES_MAX fits");
    [&[RESERVED, CHUNK_MARK], &length.to_be_bytes()[..], key, &index.to_be_bytes()].concat()
}

/// A kill during sled's start leaves these, and its next start would read one as its newest snapshot.
fn remove_unfinished_snapshots(path: &Path) -> Result<(), StoreError> {
    if !path.is_dir() {
        return Ok(());
    }
    for entry in folder::entries(path)? {
        if entry.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&entry).map_err(StoreError::file("remove", &entry))?;
        }
    }
    Ok(())
}

/// Waits, within limits, until nobody holds sled's own lock. The folder's lock is ours, so only a database
/// that this process just closed can; if it stays locked, sled's open says so.
fn wait_for_unlocked(log_path: &Path) {
    let (_never, pause) = mpsc::channel::<()>();
    for _ in 0..UNLOCK_TRIES_MAX {
        let free = File::open(log_path).is_ok_and(|log| log.try_lock().is_ok());
        if free || !log_path.exists() {
            return;
        }
        // The sender lives, so this ends by time.
        let _ = pause.recv_timeout(UNLOCK_PAUSE);
    }
}

/// Whether an error of sled means damage.
fn classify(path: &Path, source: sled::Error) -> OpenFailure {
    match &source {
        sled::Error::Io(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
            ) =>
        {
            OpenFailure::Other(StoreError::Open { path: path.to_path_buf(), source })
        }
        _ => OpenFailure::Damaged(source.to_string()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without text".to_owned())
}
