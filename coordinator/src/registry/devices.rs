//! All devices: held in memory, every change on disk first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use takt_common::{DeviceId, Name};
use takt_store::{Batch, SledStore, Store as _, StoreError};

use super::campaigns::StagedCampaign;
use super::record::DeviceRecord;
use super::{CONFLICT_RETRIES_MAX, Happened, PAGE, Registry, RegistryError, audit, keys};

/// Signed envelopes of reports that are kept of each device; the oldest go first.
pub const REPORTS_KEPT: u64 = 64;

/// The devices in memory. What stands here is on disk.
pub struct DeviceStore {
    held: RwLock<BTreeMap<DeviceId, Arc<Held>>>,
    /// Those of which the engine has not yet taken the present record.
    changed: Mutex<BTreeSet<DeviceId>>,
    /// Grows with each device that is enrolled.
    names: AtomicU64,
}

struct Held {
    record: Arc<DeviceRecord>,
    /// The exact bytes on disk, which a change expects there.
    bytes: Vec<u8>,
}

/// Changed devices and what else belongs into the same batch.
pub struct CommitTogether {
    pub(super) batch: Batch,
    pub(super) campaign: Option<Box<StagedCampaign>>,
    changed: Vec<Arc<Held>>,
    lease: Option<u64>,
    pub(super) happened: Vec<Happened>,
}

impl DeviceStore {
    pub(super) fn load(store: &SledStore) -> Result<Self, RegistryError> {
        let mut held = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.scan(keys::DEVICES.as_bytes(), after.as_deref(), PAGE)?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, bytes) in page {
                let device = decode(&key, bytes)?;
                held.insert(device.record.state.id, Arc::new(device));
            }
            if !full {
                let (held, changed) = (RwLock::new(held), Mutex::default());
                return Ok(Self { held, changed, names: AtomicU64::new(0) });
            }
        }
    }

    /// A device.
    pub fn get(&self, id: DeviceId) -> Option<Arc<DeviceRecord>> {
        self.lock().get(&id).map(|held| held.record.clone())
    }

    /// All devices, by id.
    pub fn all(&self) -> Vec<Arc<DeviceRecord>> {
        self.lock().values().map(|held| held.record.clone()).collect()
    }

    /// Those that have changed since this was last asked; there is one who asks.
    pub fn take_changed(&self) -> BTreeSet<DeviceId> {
        // A set of ids is whole after any panic.
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The ids of a domain's devices, by name. The name of a decommissioned one is its own until another device has it: what was declared
    /// of it stays readable, and is the other's then.
    pub fn names(&self, domain: &Name) -> BTreeMap<Name, DeviceId> {
        let mut names = BTreeMap::new();
        let held = self.lock();
        let states = held.values().map(|held| &held.record.state);
        for state in states.filter(|state| state.domain == *domain) {
            if state.is_decommissioned() {
                names.entry(state.name.clone()).or_insert(state.id);
            } else {
                names.insert(state.name.clone(), state.id);
            }
        }
        names
    }

    /// Another number whenever [`DeviceStore::names`] may say something else: devices keep their names.
    pub fn names_revision(&self) -> u64 {
        self.names.load(Ordering::Acquire)
    }

    fn held(&self, id: DeviceId) -> Option<Arc<Held>> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> RwLockReadGuard<'_, BTreeMap<DeviceId, Arc<Held>>> {
        // Writers only insert whole values, so a panic elsewhere leaves nothing half done.
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is on disk.
    fn refresh(&self, store: &SledStore, id: DeviceId) -> Result<(), RegistryError> {
        let key = keys::device(id);
        if let Some(bytes) = store.get(key.as_bytes())? {
            self.settle(Arc::new(decode(key.as_bytes(), bytes)?));
        }
        Ok(())
    }
}

impl CommitTogether {
    /// With `batch`, whatever else is in it.
    pub const fn new(batch: Batch) -> Self {
        Self { batch, campaign: None, changed: Vec::new(), lease: None, happened: Vec::new() }
    }

    /// Notes the last fencing token that a takeover got, which must be `before` still.
    pub fn with_lease(mut self, before: u64, last: u64) -> Result<Self, RegistryError> {
        let expected = (before > 0).then(|| before.to_string());
        let batch = self.batch.expect(keys::LEASE, expected.as_ref().map(String::as_bytes));
        self.batch = batch.put_json(keys::LEASE, &last)?;
        self.lease = Some(last);
        Ok(self)
    }

    /// How many bytes it has in the one batch in which it takes effect.
    pub fn bytes(&self) -> usize {
        self.batch.bytes() + self.audit_bytes()
    }

    /// Adds to the batch.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Batch) -> Batch) -> Self {
        self.batch = change(self.batch);
        self
    }

    /// Keeps a report's envelope; of the older ones enough go that at most 64 stay, and those of a fork
    /// that has been left go too.
    #[must_use]
    pub fn with_report(self, device: DeviceId, sequence: u64, abandoned: &[u64], envelope: &[u8]) -> Self {
        self.with(|batch| {
            let mut batch = batch.put(keys::report(device, sequence), envelope);
            if let Some(old) = sequence.checked_sub(REPORTS_KEPT) {
                batch = batch.delete(keys::report(device, old));
            }
            abandoned.iter().fold(batch, |batch, old| batch.delete(keys::report(device, *old)))
        })
    }

    /// Sets the envelope of a device's order.
    #[must_use]
    pub fn with_order(self, device: DeviceId, envelope: &[u8]) -> Self {
        self.with(|batch| batch.put(keys::order(device), envelope))
    }
}

impl Registry {
    /// Adds the change of a device, which must be as it was looked at, to `together`.
    pub fn stage(
        &self,
        together: CommitTogether,
        looked_at: &Arc<DeviceRecord>,
        changed: DeviceRecord,
    ) -> Result<CommitTogether, RegistryError> {
        let id = changed.state.id;
        let key = keys::device(id);
        let before = self.devices.held(id).filter(|held| Arc::ptr_eq(&held.record, looked_at));
        let before = before.ok_or_else(|| StoreError::Conflict { key: key.clone().into_bytes() })?;
        Ok(staged(together, key, changed, Some(&before)))
    }

    /// Adds a new device, whose id and name must be free, to `together`.
    pub fn stage_new(&self, together: CommitTogether, device: DeviceRecord) -> CommitTogether {
        let (id, domain, name) = (device.state.id, &device.state.domain, &device.state.name);
        let name = keys::name(domain, name);
        let together =
            together.with(|batch| batch.expect(name.as_str(), None).put(name.as_str(), id.to_string()));
        staged(together, keys::device(id), device, None)
    }

    /// Commits the whole of it, or nothing.
    pub fn commit(&self, mut together: CommitTogether) -> Result<(), RegistryError> {
        let happened = std::mem::take(&mut together.happened);
        if happened.is_empty() {
            return self.commit_changes(together);
        }
        let mut end = self.audit.lock();
        let (batch, after) = audit::chained(together.batch, *end, happened)?;
        together.batch = batch;
        let committed = self.commit_changes(together);
        match &committed {
            Ok(()) => *end = after,
            // Perhaps it is not what stands on disk any more.
            Err(error) if error.is_conflict() => *end = audit::read_end(&self.store)?,
            Err(_) => {}
        }
        committed
    }

    fn commit_changes(&self, together: CommitTogether) -> Result<(), RegistryError> {
        let CommitTogether { batch, campaign, changed, lease, .. } = together;
        let committed = match campaign {
            Some(campaign) => self.commit_campaign(*campaign, batch, changed),
            None => self.commit_devices(batch, changed),
        };
        if let (Ok(()), Some(lease)) = (&committed, lease) {
            self.lease.fetch_max(lease, Ordering::AcqRel);
        }
        committed
    }

    fn commit_campaign(
        &self,
        mut campaign: StagedCampaign,
        batch: Batch,
        changed: Vec<Arc<Held>>,
    ) -> Result<(), RegistryError> {
        let mut open = self.campaigns.lock();
        let ahead = campaign.take_ahead().into_iter().try_for_each(|ahead| self.commit_batch(ahead));
        let committed = ahead.map_err(Into::into).and_then(|()| self.commit_devices(batch, changed));
        match committed {
            Ok(()) => campaign.settle(&mut open),
            // Perhaps it is not what stands on disk any more.
            Err(_) => drop(open.remove(campaign.name())),
        }
        committed
    }

    fn commit_devices(&self, batch: Batch, changed: Vec<Arc<Held>>) -> Result<(), RegistryError> {
        let committed = self.commit_batch(batch);
        match &committed {
            Ok(()) => {
                for after in changed {
                    self.devices.settle(after);
                }
            }
            Err(StoreError::Conflict { .. }) => {
                for after in changed {
                    self.devices.refresh(&self.store, after.record.state.id)?;
                }
            }
            Err(_) => {}
        }
        Ok(committed?)
    }

    /// Changes one device, again when something else changed it meanwhile. `change` gives the changed device with what
    /// belongs into the same batch, or a value at once when nothing is to be changed.
    pub fn change<T>(
        &self,
        id: DeviceId,
        mut change: impl FnMut(&DeviceRecord) -> Result<Change<T>, RegistryError>,
    ) -> Result<Option<T>, RegistryError> {
        for _ in 0..CONFLICT_RETRIES_MAX {
            let Some(record) = self.devices.get(id) else { return Ok(None) };
            let (changed, together, value) = match change(&record)? {
                Change::Nothing(value) => return Ok(Some(value)),
                Change::To(changed, together, value) => (*changed, together, value),
            };
            let done = self.stage(together, &record, changed).and_then(|together| self.commit(together));
            match done {
                Ok(()) => return Ok(Some(value)),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(RegistryError::Contended { what: format!("device {id}") })
    }

    /// Who has this name in the domain, on disk.
    pub fn id_of_name(&self, domain: &Name, name: &Name) -> Result<Option<DeviceId>, RegistryError> {
        let id = self.store.get(keys::name(domain, name).as_bytes())?;
        Ok(id.and_then(|id| String::from_utf8(id).ok()).and_then(|id| id.parse().ok()))
    }

    /// The envelope of the last order issued to a device.
    pub fn order_envelope(&self, id: DeviceId) -> Result<Option<Vec<u8>>, RegistryError> {
        Ok(self.store.get(keys::order(id).as_bytes())?)
    }

    /// The envelope of a kept report.
    pub fn report_envelope(&self, id: DeviceId, sequence: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        Ok(self.store.get(keys::report(id, sequence).as_bytes())?)
    }

    /// The numbers of all kept reports of a device.
    pub fn report_numbers(&self, id: DeviceId) -> Result<Vec<u64>, RegistryError> {
        let prefix = keys::reports(id);
        let limit = usize::try_from(REPORTS_KEPT).unwrap_or(usize::MAX).saturating_mul(4);
        let kept = self.store.scan(prefix.as_bytes(), None, limit)?;
        let number = |key: &[u8]| std::str::from_utf8(key.get(prefix.len()..)?).ok()?.parse().ok();
        Ok(kept.iter().filter_map(|(key, _)| number(key)).collect())
    }
}

/// What [`Registry::change`] is to do.
pub enum Change<T> {
    /// Nothing; here is the answer.
    Nothing(T),
    /// Commit the device as it is here, together with more.
    To(Box<DeviceRecord>, CommitTogether, T),
}

impl DeviceStore {
    /// Takes over a committed change. A later one may have come first: commits end in any order.
    fn settle(&self, after: Arc<Held>) {
        let id = after.record.state.id;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let newer = held.get(&id).is_some_and(|now| now.revision() > after.revision());
        if !newer && held.insert(id, after).is_none() {
            self.names.fetch_add(1, Ordering::Release);
        }
        drop(held);
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }
}

fn staged(
    mut together: CommitTogether,
    key: String,
    mut changed: DeviceRecord,
    before: Option<&Held>,
) -> CommitTogether {
    changed.revision = before.map_or(0, Held::revision) + 1;
    let bytes = serde_json::to_vec(&changed).expect("a device record has only text keys");
    let expected = before.map(|before| before.bytes.as_slice());
    together.batch = together.batch.expect(key.as_str(), expected).put(key, bytes.clone());
    together.changed.push(Arc::new(Held { record: Arc::new(changed), bytes }));
    together
}

impl Held {
    fn revision(&self) -> u64 {
        self.record.revision
    }
}

fn decode(key: &[u8], bytes: Vec<u8>) -> Result<Held, RegistryError> {
    let record = serde_json::from_slice(&bytes).map_err(|source| RegistryError::Unreadable {
        what: format!("device '{}'", key.escape_ascii()),
        source: Box::new(source),
    })?;
    Ok(Held { record: Arc::new(record), bytes })
}
