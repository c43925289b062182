//! Campaigns at rest, cut into parts because the store takes no large values.

use takt_common::Name;
use takt_coordinator_core::Campaign;
use takt_store::{Batch, Store as _};

use super::{CommitTogether, PAGE, Registry, RegistryError, keys};

/// Size of a part. A step of a campaign changes few of them, and only those are written.
const PART_BYTES: usize = 16 * 1024;

/// The largest campaign: with the orders of an element it must fit one batch of the store, which takes 256 KiB.
pub const CAMPAIGN_BYTES_MAX: usize = 160 * 1024;

/// A campaign as it was looked at, with its exact bytes.
#[derive(Debug, Clone)]
pub struct StoredCampaign {
    /// The campaign.
    pub campaign: Campaign,
    bytes: Vec<u8>,
}

impl Registry {
    /// All campaigns, by name.
    pub fn campaigns(&self) -> Result<Vec<StoredCampaign>, RegistryError> {
        let mut campaigns = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store().scan(keys::CAMPAIGNS.as_bytes(), after.as_deref(), PAGE)?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, first) in page {
                let name = String::from_utf8_lossy(&key[keys::CAMPAIGNS.len()..]).into_owned();
                campaigns.push(self.whole(&name.parse().map_err(unreadable(&name))?, first)?);
            }
            if !full {
                return Ok(campaigns);
            }
        }
    }

    /// A campaign.
    pub fn campaign(&self, name: &Name) -> Result<Option<StoredCampaign>, RegistryError> {
        let first = self.store().get(keys::campaign(name).as_bytes())?;
        first.map(|first| self.whole(name, first)).transpose()
    }

    fn whole(&self, name: &Name, first: Vec<u8>) -> Result<StoredCampaign, RegistryError> {
        let mut bytes = first;
        for part in 1..parts(CAMPAIGN_BYTES_MAX) {
            // A part that is shorter than it could be is the last one.
            if bytes.len() < part * PART_BYTES {
                break;
            }
            match self.store().get(keys::campaign_part(name, part).as_bytes())? {
                Some(more) => bytes.extend(more),
                None => break,
            }
        }
        let campaign = Campaign::from_bytes(&bytes).map_err(unreadable(name.as_str()))?;
        Ok(StoredCampaign { campaign, bytes })
    }
}

impl CommitTogether {
    /// Adds a new campaign or the change of one. `None` when it has become too large to be stored.
    #[must_use]
    pub fn with_campaign(self, looked_at: Option<&StoredCampaign>, changed: &Campaign) -> Option<Self> {
        let after = changed.to_bytes();
        if after.len() > CAMPAIGN_BYTES_MAX {
            return None;
        }
        let before = looked_at.map_or(&[][..], |stored| &stored.bytes);
        let key = |part| match part {
            0 => keys::campaign(changed.name()),
            part => keys::campaign_part(changed.name(), part),
        };
        Some(self.with(|batch| {
            (0..parts(before.len().max(after.len()))).fold(batch, |batch, part| {
                let (old, new) = (piece(before, part), piece(&after, part));
                put_changed(batch.expect(key(part), old), &key(part), old, new)
            })
        }))
    }
}

fn put_changed(batch: Batch, key: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> Batch {
    match new {
        _ if old == new => batch,
        Some(new) => batch.put(key, new),
        None => batch.delete(key),
    }
}

fn piece(bytes: &[u8], part: usize) -> Option<&[u8]> {
    bytes.chunks(PART_BYTES).nth(part)
}

const fn parts(bytes: usize) -> usize {
    bytes.div_ceil(PART_BYTES)
}

fn unreadable<E: std::error::Error + Send + Sync + 'static>(name: &str) -> impl FnOnce(E) -> RegistryError {
    let what = format!("campaign {name}");
    move |source| RegistryError::Unreadable { what, source: Box::new(source) }
}
