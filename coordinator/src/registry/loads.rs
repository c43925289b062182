//! How busy devices were, a day of a device under each key.

use serde::{Deserialize, Serialize};
use takt_common::{DeviceId, UnixTime};
use takt_store::{Batch, Store as _, StoreJson as _};

use super::{Registry, RegistryError, keys};
use crate::load::LoadSample;

/// Days of samples that are kept of each device: four weeks.
pub const LOAD_DAYS_KEPT: u64 = 28;

pub(super) const DAY_SECS: u64 = 86_400;
/// The most that a day takes, with a sample each minute.
const DAY_BYTES_MAX: usize = 48 * 1024;

/// A sample in its day: the second at which it begins, compute, memory, availability, storage and response time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry(u32, u16, u16, u16, u16, #[serde(default)] Option<u32>);

impl Registry {
    /// Keeps samples, at most one of each device, in as many batches as they need. One replaces one of the same moment, and those that
    /// lie ahead of `now` are none.
    pub fn keep_loads(&self, samples: &[(DeviceId, LoadSample)], now: UnixTime) -> Result<(), RegistryError> {
        let mut batch = Batch::new();
        for (device, sample) in samples.iter().filter(|(_, sample)| sample.at <= now) {
            if batch.bytes() + DAY_BYTES_MAX > self.store().batch_bytes_max() {
                self.commit_batch(std::mem::take(&mut batch))?;
            }
            batch = self.with_load(batch, *device, sample)?;
        }
        if batch.is_empty() { Ok(()) } else { Ok(self.commit_batch(batch)?) }
    }

    fn with_load(&self, batch: Batch, device: DeviceId, sample: &LoadSample) -> Result<Batch, RegistryError> {
        let (day, second) = (sample.at.as_secs() / DAY_SECS, sample.at.as_secs() % DAY_SECS);
        let key = keys::load(device, day);
        let known: Option<Vec<Entry>> = self.store().get_json(key.as_bytes())?;
        let begins = known.is_none();
        let second = u32::try_from(second).unwrap_or(0);
        let mut entries = known.unwrap_or_default();
        entries.retain(|entry| entry.0 != second);
        let LoadSample { at: _, compute, memory, availability, storage, response_ms } = *sample;
        entries.push(Entry(second, compute, memory, availability, storage, response_ms));
        entries.sort_unstable();
        let mut batch = batch.put_json(key, &entries)?;
        if begins {
            for old in self.days(&keys::loads(device))?.into_iter().filter(|old| old + LOAD_DAYS_KEPT <= day)
            {
                batch = batch.delete(keys::load(device, old));
            }
        }
        Ok(batch)
    }

    /// What is kept of a device, the oldest first.
    pub fn loads(&self, device: DeviceId) -> Result<Vec<LoadSample>, RegistryError> {
        let prefix = keys::loads(device);
        let mut samples = Vec::new();
        for (key, entries) in self.store().scan_json::<Vec<Entry>>(prefix.as_bytes(), None, days_max())? {
            let Some(day) = day_of(&key, prefix.len()) else { continue };
            samples.extend(entries.into_iter().map(|entry| {
                let Entry(second, compute, memory, availability, storage, response_ms) = entry;
                let at = UnixTime::from_secs(day * DAY_SECS + u64::from(second));
                LoadSample { at, compute, memory, availability, storage, response_ms }
            }));
        }
        Ok(samples)
    }

    /// The days under a prefix.
    pub(super) fn days(&self, prefix: &str) -> Result<Vec<u64>, RegistryError> {
        let pairs = self.store().scan(prefix.as_bytes(), None, days_max())?;
        Ok(pairs.iter().filter_map(|(key, _)| day_of(key, prefix.len())).collect())
    }
}

/// All that can be there: those kept, and the one that begins.
fn days_max() -> usize {
    usize::try_from(LOAD_DAYS_KEPT).unwrap_or(usize::MAX).saturating_add(1)
}

fn day_of(key: &[u8], prefix: usize) -> Option<u64> {
    std::str::from_utf8(key.get(prefix..)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use takt_store::{Options, SledStore};

    use super::*;

    #[test]
    fn four_weeks_are_kept_and_nothing_of_a_clock_that_was_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path().join("store"), &Options::default()).unwrap().store;
        let registry = Registry::open(store.into()).unwrap();
        let device: DeviceId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let at = |day: u64| UnixTime::from_secs((20_000 + day) * DAY_SECS);
        let sample = |day, compute| LoadSample {
            at: at(day),
            compute,
            memory: 1,
            availability: 2,
            storage: 3,
            response_ms: Some(compute.into()),
        };
        let keep =
            |day, compute, now| registry.keep_loads(&[(device, sample(day, compute))], at(now)).unwrap();
        keep(5, 50, 4);
        assert_eq!(registry.loads(device).unwrap(), []);
        keep(0, 10, 0);
        keep(0, 20, 0);
        keep(1, 30, 1);
        assert_eq!(registry.loads(device).unwrap(), [sample(0, 20), sample(1, 30)]);
        keep(LOAD_DAYS_KEPT, 40, LOAD_DAYS_KEPT);
        assert_eq!(registry.loads(device).unwrap(), [sample(1, 30), sample(LOAD_DAYS_KEPT, 40)]);
    }

    #[test]
    fn samples_without_response_times_are_read_as_well() {
        let entries: Vec<Entry> = serde_json::from_str("[[60,1,2,3,4],[120,1,2,3,4,5]]").unwrap();
        assert_eq!(entries, [Entry(60, 1, 2, 3, 4, None), Entry(120, 1, 2, 3, 4, Some(5))]);
    }
}
