//! Campaigns at rest, cut into sheets: a step of a large campaign writes only what has changed, and takes effect with one small record.
//!
//! A sheet is written under the revision that has made it and counts once the record of its campaign names that revision. So a change
//! of any size happens at once or not at all, although batches of the store have a limit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use takt_common::api::CampaignView;
use takt_common::{DeviceId, Name};
use takt_coordinator_core::{Campaign, CampaignFormatError};
use takt_store::{Batch, Store as _};

use super::{CommitTogether, PAGE, Registry, RegistryError, keys};

/// The most devices of a campaign: its record names a sheet for every 64 of them, and is rewritten with each step.
pub const CAMPAIGN_DEVICES_MAX: usize = 50_000;

/// Larger changes are written before the batch in which they take effect, so many bytes at a time.
const AHEAD_BYTES: usize = 64 * 1024;

/// A campaign as it was looked at.
#[derive(Debug)]
pub struct StoredCampaign {
    /// The campaign.
    pub campaign: Campaign,
    index: Index,
    /// The exact bytes of its record.
    record: Vec<u8>,
}

/// Campaigns that go on, in memory. What stands here is on disk.
#[derive(Debug, Default)]
pub(super) struct OpenCampaigns(Mutex<BTreeMap<Name, Arc<StoredCampaign>>>);

/// A campaign that is to be committed.
#[derive(Debug)]
pub(super) struct StagedCampaign {
    after: StoredCampaign,
    ahead: Vec<Batch>,
}

/// The first line of a campaign's record; its head is the second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Index {
    /// Grows with every change.
    revision: u64,
    settled: bool,
    devices: usize,
    done: usize,
    /// Under which revision each sheet was written.
    sheets: BTreeMap<String, u64>,
}

impl Registry {
    /// Of the campaigns that have settled, the last one with this device.
    pub fn last_settled(&self, device: DeviceId) -> Result<Option<StoredCampaign>, RegistryError> {
        let mut settled = Vec::new();
        for (name, record) in self.records()? {
            let (index, head) = split(&name, &record)?;
            if index.settled {
                let ended = Campaign::from_head(head).map_err(unreadable(&name))?.ended();
                settled.push((ended, name, record));
            }
        }
        settled.sort_by_key(|(ended, ..)| Reverse(*ended));
        for (_, name, record) in settled {
            // Most are not read further than to see that nothing in them names the device.
            if self.mentions(&name, &record, device)? {
                let stored = self.whole(&name, record)?;
                if stored.campaign.has_device(device) {
                    return Ok(Some(stored));
                }
            }
        }
        Ok(None)
    }

    /// Whether a sheet of the campaign holds the id of the device.
    fn mentions(&self, name: &Name, record: &[u8], device: DeviceId) -> Result<bool, RegistryError> {
        let (index, _) = split(name, record)?;
        let id = device.to_string();
        for key in index.keys(name) {
            let sheet = self.store().get(key.as_bytes())?.unwrap_or_default();
            if String::from_utf8_lossy(&sheet).contains(&id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How all campaigns stand, without their devices and events.
    pub fn campaign_views(&self) -> Result<Vec<CampaignView>, RegistryError> {
        let view = |(name, record): (Name, Vec<u8>)| {
            let (index, head) = split(&name, &record)?;
            let campaign = Campaign::from_head(head).map_err(unreadable(&name))?;
            Ok(CampaignView { total: index.devices, done: index.done, ..campaign.view() })
        };
        self.records()?.into_iter().map(view).collect()
    }

    /// The names of the campaigns that have not settled.
    pub fn unsettled(&self) -> Result<BTreeSet<Name>, RegistryError> {
        let mut names = BTreeSet::new();
        for (name, record) in self.records()? {
            if !split(&name, &record)?.0.settled {
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// Whether there is a campaign of that name.
    pub fn has_campaign(&self, name: &Name) -> Result<bool, RegistryError> {
        Ok(self.store().get(keys::campaign(name).as_bytes())?.is_some())
    }

    /// A campaign.
    pub fn campaign(&self, name: &Name) -> Result<Option<Arc<StoredCampaign>>, RegistryError> {
        let mut open = self.campaigns.lock();
        if let Some(stored) = open.get(name) {
            return Ok(Some(stored.clone()));
        }
        let Some(record) = self.store().get(keys::campaign(name).as_bytes())? else { return Ok(None) };
        let stored = Arc::new(self.whole(name, record)?);
        if !stored.index.settled {
            open.insert(name.clone(), stored.clone());
        }
        Ok(Some(stored))
    }

    /// Removes sheets of a change that never took effect.
    pub fn tidy_campaign(&self, name: &Name) -> Result<(), RegistryError> {
        let Some(stored) = self.campaign(name)? else { return Ok(()) };
        let (prefix, mut after) = (keys::campaign_sheets(name), None::<Vec<u8>>);
        let named: BTreeSet<String> = stored.index.keys(name).collect();
        loop {
            let page = self.store().scan(prefix.as_bytes(), after.as_deref(), PAGE)?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            let stray = page.iter().filter(|(key, _)| !named.contains(&*String::from_utf8_lossy(key)));
            let batch = stray.fold(Batch::new(), |batch, (key, _)| batch.delete(key.clone()));
            if !batch.is_empty() {
                self.commit_batch(batch)?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn records(&self) -> Result<Vec<(Name, Vec<u8>)>, RegistryError> {
        let (mut records, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let page = self.store().scan(keys::CAMPAIGNS.as_bytes(), after.as_deref(), PAGE)?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, record) in page {
                let name = String::from_utf8_lossy(&key[keys::CAMPAIGNS.len()..]).into_owned();
                let name = name.parse().map_err(|source| unreadable_text(&name, source))?;
                records.push((name, record));
            }
            if !full {
                return Ok(records);
            }
        }
    }

    fn whole(&self, name: &Name, record: Vec<u8>) -> Result<StoredCampaign, RegistryError> {
        let (index, head) = split(name, &record)?;
        let sheet = |sheet: &str| -> Result<Option<Vec<u8>>, SheetError> {
            let Some(revision) = index.sheets.get(sheet) else { return Ok(None) };
            Ok(self.store().get(keys::campaign_sheet(name, sheet, *revision).as_bytes())?)
        };
        let campaign = Campaign::from_sheets(head, sheet);
        let campaign = campaign.map_err(|error| match error {
            SheetError::Store(error) => error.into(),
            SheetError::Format(error) => unreadable(name)(error),
        })?;
        Ok(StoredCampaign { campaign, index, record })
    }
}

#[derive(Debug)]
enum SheetError {
    Store(takt_store::StoreError),
    Format(CampaignFormatError),
}

impl From<takt_store::StoreError> for SheetError {
    fn from(error: takt_store::StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CampaignFormatError> for SheetError {
    fn from(error: CampaignFormatError) -> Self {
        Self::Format(error)
    }
}

impl OpenCampaigns {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<StoredCampaign>>> {
        // Every change is one insertion or removal of a whole value, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StagedCampaign {
    pub(super) const fn name(&self) -> &Name {
        self.after.campaign.name()
    }

    /// What is to be written before the batch in which it takes effect.
    pub(super) fn take_ahead(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.ahead)
    }

    /// It is on disk.
    pub(super) fn settle(self, open: &mut BTreeMap<Name, Arc<StoredCampaign>>) {
        let name = self.name().clone();
        if self.after.index.settled {
            open.remove(&name);
        } else {
            open.insert(name, Arc::new(self.after));
        }
    }
}

impl CommitTogether {
    /// Adds a new campaign or the change of one, which must be as it was looked at.
    #[must_use]
    pub fn with_campaign(mut self, looked_at: Option<&StoredCampaign>, changed: &Campaign) -> Self {
        let name = changed.name();
        let sheets = changed.sheets(looked_at.map(|stored| &stored.campaign));
        let before = looked_at.map(|stored| &stored.index);
        let revision = before.map_or(0, |before| before.revision) + 1;
        let mut index = Index {
            revision,
            settled: changed.is_settled(),
            devices: changed.devices(),
            done: changed.done(),
            sheets: before.map(|before| before.sheets.clone()).unwrap_or_default(),
        };
        let mut ahead = vec![Batch::new()];
        for (sheet, bytes) in sheets.changed {
            if ahead.last().is_none_or(|batch| batch.bytes() + bytes.len() > AHEAD_BYTES) {
                ahead.push(Batch::new());
            }
            let batch = ahead.pop().unwrap_or_default();
            ahead.push(batch.put(keys::campaign_sheet(name, &sheet, revision), bytes));
            index.sheets.insert(sheet, revision);
        }
        index.sheets.retain(|sheet, _| sheets.names.contains(sheet));
        let record = [index.to_line(), sheets.head].concat();
        let kept: BTreeSet<String> = index.keys(name).collect();
        let gone = before.into_iter().flat_map(|before| before.keys(name)).filter(|key| !kept.contains(key));
        let key = keys::campaign(name);
        let expected = looked_at.map(|stored| stored.record.as_slice());
        self.batch =
            gone.fold(self.batch.expect(key.as_str(), expected), Batch::delete).put(key, record.clone());
        // What is small takes effect and is written at once.
        if let [small] = ahead.as_slice() {
            self.batch = small.writes().fold(self.batch, |batch, (key, value)| match value {
                Some(value) => batch.put(key, value),
                None => batch,
            });
            ahead.clear();
        }
        let after = StoredCampaign { campaign: changed.clone(), index, record };
        self.campaign = Some(Box::new(StagedCampaign { after, ahead }));
        self
    }
}

impl Index {
    fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an index has only text keys");
        line.push(b'\n');
        line
    }

    fn keys<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = String> + 'a {
        self.sheets.iter().map(|(sheet, revision)| keys::campaign_sheet(name, sheet, *revision))
    }
}

fn split<'a>(name: &Name, record: &'a [u8]) -> Result<(Index, &'a [u8]), RegistryError> {
    let end = record.iter().position(|byte| *byte == b'\n').unwrap_or(record.len());
    let (line, head) = record.split_at(end);
    Ok((serde_json::from_slice(line).map_err(unreadable(name))?, head))
}

fn unreadable<E: std::error::Error + Send + Sync + 'static>(name: &Name) -> impl FnOnce(E) -> RegistryError {
    let name = name.clone();
    move |source| unreadable_text(name.as_str(), source)
}

fn unreadable_text<E: std::error::Error + Send + Sync + 'static>(name: &str, source: E) -> RegistryError {
    RegistryError::Unreadable { what: format!("campaign {name}"), source: Box::new(source) }
}
