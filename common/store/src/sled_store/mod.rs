//! sled 0.34, made to keep its promises.
//!
//! What it does alone, and what is done about it here:
//!
//! | sled | here |
//! |---|---|
//! | `flush()` starts the write but is no fsync: a power cut loses what was acknowledged | `fdatasync` on its `db` file after every flush (`database`) |
//! | its files' names are never synced | a new database is built aside, synced and renamed (`recover`); the folder is synced after every open |
//! | a kill during start leaves `snap.*.generating`, which the next start takes for corruption | removed before every open |
//! | large pages go to files of their own, which are never synced | values are cut into chunks that never make a large page (`database`) |
//! | its corruption checks return errors or panic, and a torn tail is dropped without a word | everything is read at open, panics are caught, commits are numbered, and an hourly export is there to restore from (`export`) |
//! | after a failed write its memory and its file differ | no commit is taken until the store is opened again (`group`) |

mod database;
mod export;
mod folder;
mod group;
mod recover;

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use database::Database;
pub use export::Exported;
use folder::Folder;
use group::Group;

use crate::batch::check_key;
use crate::{BATCH_BYTES_MAX, Batch, Pair, Store, StoreError};

/// Page cache of a small device's store.
pub const CACHE_BYTES_DEFAULT: u64 = 2 * 1024 * 1024;
/// Above this a page cache brings nothing to stores of our size.
pub const CACHE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Segments of sled's log may have 16 MiB, and a batch half of one.
const BATCH_BYTES_LIMIT: usize = 8 * 1024 * 1024;
/// How much a damaged database may lose at most, when exports are asked for in time.
pub const EXPORT_EVERY_DEFAULT: Duration = Duration::from_hours(1);

/// Settings of a [`SledStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Size of the page cache; more than [`CACHE_BYTES_MAX`] counts as that.
    pub cache_bytes: u64,
    /// The shortest time between two exports.
    pub export_every: Duration,
    /// The largest batch of a database that is made, in bytes: a power of two from [`BATCH_BYTES_MAX`] to 8 MiB; what lies between
    /// counts as the next one. A database that is there keeps what it was made with.
    pub batch_bytes_max: usize,
}

impl Options {
    fn made_for(&self) -> Sizes {
        Sizes {
            cache_bytes: self.cache_bytes.min(CACHE_BYTES_MAX),
            batch_bytes: self.batch_bytes_max.clamp(BATCH_BYTES_MAX, BATCH_BYTES_LIMIT).next_power_of_two(),
        }
    }
}

/// How large the parts of a database are.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    cache_bytes: u64,
    /// Of the largest batch.
    batch_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES_DEFAULT,
            export_every: EXPORT_EVERY_DEFAULT,
            batch_bytes_max: BATCH_BYTES_MAX,
        }
    }
}

/// An open store and where its contents came from.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: SledStore,
    /// New, found, or restored. Anything restored is worth an alarm: tell people its text.
    pub origin: Origin,
}

/// Where the contents of a store came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// There was none: it is new and empty.
    Created,
    /// It was there and sound.
    Found,
    /// It was damaged or gone, and was restored from its last sound export: later commits are lost.
    Restored {
        /// What was wrong, as text.
        reason: String,
        /// How many pairs the export held.
        pairs: u64,
        /// The number of the last commit that the export holds.
        commit: u64,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => write!(f, "the store is new and empty"),
            Self::Found => write!(f, "the store was found and is sound"),
            Self::Restored { reason, pairs, commit } => write!(
                f,
                "the store was restored from its export of commit {commit} with {pairs} keys; what was committed \
                 after that is lost ({reason}); the damaged database is kept beside it as 'sled.damaged'"
            ),
        }
    }
}

/// A durable store in a folder of its own. Holds the folder's lock while it lives.
pub struct SledStore {
    folder: Folder,
    database: Database,
    group: Group,
    exports: Mutex<Exports>,
}

/// What is known about exports: the commit the last one holds, and when (on the caller's clock) it was made.
#[derive(Debug)]
struct Exports {
    every: Duration,
    last_commit: Option<u64>,
    last_made: Option<Duration>,
}

impl SledStore {
    /// Opens the store in the folder `path`, makes a new one, or restores a damaged one from its export.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Opened, StoreError> {
        let folder = Folder::take(path.as_ref())?;
        let recover::Recovered { database, origin, exported_commit } =
            recover::open_or_recover(&folder, options.made_for())?;
        tracing::info!(path = %folder.path().display(), commit = database.commit_number(), %origin, "store opened");
        let exports = Exports { every: options.export_every, last_commit: exported_commit, last_made: None };
        let store = Self { folder, database, group: Group::default(), exports: Mutex::new(exports) };
        Ok(Opened { store, origin })
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// How many flushes made commits durable since the store was created. Many commits may share one.
    pub fn commit_number(&self) -> u64 {
        self.database.commit_number()
    }

    /// Writes an export beside the database if something changed since the last one and it is time.
    ///
    /// `now` is a reading of any clock that only goes forward; the store reads none. The first call after an
    /// open is always in time, so that a device that never runs for an hour has exports too. Commits wait
    /// while an export is written, reads do not.
    pub fn export_if_due(&self, now: Duration) -> Result<Option<Exported>, StoreError> {
        let mut exports = self.exports.lock().unwrap_or_else(PoisonError::into_inner);
        let in_time = exports.last_made.is_none_or(|made| now.saturating_sub(made) >= exports.every);
        if !in_time {
            return Ok(None);
        }
        let changed = |commit| exports.last_commit != Some(commit);
        let exported = self.group.while_still(&self.folder, || {
            changed(self.database.commit_number())
                .then(|| export::write(&self.folder, &self.database))
                .transpose()
        })?;
        if let Some(exported) = &exported {
            exports.last_commit = Some(exported.commit);
            exports.last_made = Some(now);
            tracing::debug!(path = %self.folder.path().display(), pairs = exported.pairs, "store exported");
        }
        Ok(exported)
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        check_key(key)?;
        self.group.reading(|| self.database.get(key))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.group.reading(|| self.database.scan(prefix, after).take(limit).collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check(self.batch_bytes_max())?;
        self.group.commit(&self.folder, &self.database, batch)
    }

    fn batch_bytes_max(&self) -> usize {
        self.database.batch_bytes_max()
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").field("path", &self.folder.path()).finish_non_exhaustive()
    }
}
