//! What the coordinator knows and must not forget, over the durable store.
//!
//! Everything here blocks (a commit waits for the disk); asynchronous callers use [`blocking`].

mod audit;
mod campaigns;
mod decommission;
mod devices;
mod domains;
mod follow;
mod keys;
mod loads;
mod operators;
mod peers;
mod record;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use takt_common::UnixTime;
use takt_store::{Batch, SledStore, Store as _, StoreError, StoreJson as _};

use audit::AuditLog;
use campaigns::OpenCampaigns;
use domains::KnownRules;

pub use audit::Happened;
pub use campaigns::{CAMPAIGN_DEVICES_MAX, StoredCampaign};
pub use devices::{Change, CommitTogether, DeviceStore, REPORTS_KEPT};
pub use domains::{DomainError, DomainRules};
pub use loads::LOAD_DAYS_KEPT;
pub use peers::{PEER_DAYS_KEPT, day_of};
pub use record::{DeviceRecord, IssuedOrder, ReportHead, WARNINGS_KEPT};
pub use tokens::{StoredToken, TokenRefusal};

/// How often a change is tried again when something else was changed in between.
pub const CONFLICT_RETRIES_MAX: usize = 8;

/// How many pairs are read from the store at a time.
const PAGE: usize = 256;

/// The registry cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored value is from another version or damaged.
    #[error("read the stored {what}")]
    Unreadable {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something else changed the same thing again and again.
    #[error("change {what}: it was changed by others {CONFLICT_RETRIES_MAX} times meanwhile")]
    Contended {
        /// What.
        what: String,
    },
}

impl RegistryError {
    /// True when nothing was changed because something else had changed before.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict { .. }))
    }
}

/// The registry: devices and campaigns that go on in memory and on disk, the rest on disk.
pub struct Registry {
    store: Arc<SledStore>,
    devices: DeviceStore,
    campaigns: OpenCampaigns,
    rules: KnownRules,
    /// The last fencing token that a takeover got.
    lease: AtomicU64,
    audit: AuditLog,
    failed: AtomicBool,
}

impl Registry {
    /// Reads all devices.
    pub fn open(store: Arc<SledStore>) -> Result<Self, RegistryError> {
        let devices = DeviceStore::load(&store)?;
        let (campaigns, rules) = (OpenCampaigns::default(), KnownRules::default());
        let lease = AtomicU64::new(store.get_json(keys::LEASE.as_bytes())?.unwrap_or_default());
        let audit = AuditLog::load(&store)?;
        Ok(Self { store, devices, campaigns, rules, lease, audit, failed: AtomicBool::new(false) })
    }

    /// The devices.
    pub const fn devices(&self) -> &DeviceStore {
        &self.devices
    }

    /// The store beneath, for reading.
    pub fn store(&self) -> &SledStore {
        &self.store
    }

    /// The last fencing token that a takeover got; 0 before the first.
    pub fn lease(&self) -> u64 {
        self.lease.load(Ordering::Acquire)
    }

    /// When the coordinator was there last, as far as it is noted.
    pub fn last_there(&self) -> Result<Option<UnixTime>, RegistryError> {
        Ok(self.store.get_json(keys::THERE.as_bytes())?)
    }

    /// Notes that the coordinator is there.
    pub fn note_there(&self, now: UnixTime) -> Result<(), RegistryError> {
        Ok(self.commit_batch(Batch::new().put_json(keys::THERE, &now)?)?)
    }

    /// True when a commit has failed, so that what is on disk is unknown until the store is opened again.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Commits a batch, or nothing.
    fn commit_batch(&self, batch: Batch) -> Result<(), StoreError> {
        let committed = self.store.commit(batch);
        if let Err(StoreError::Commit { .. } | StoreError::Panicked { .. } | StoreError::Poisoned { .. }) =
            &committed
        {
            self.failed.store(true, Ordering::Relaxed);
        }
        committed
    }
}

/// Runs `work` on a thread that may block.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        // It cannot have been cancelled: a blocking task that began runs to its end.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
