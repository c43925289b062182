//! The audit log: an entry is committed in the batch of the change that it tells of, so neither is there without the other.
//!
//! Entries are chained, so those who commit some wait for each other; whoever commits none does not.

use std::sync::{Mutex, MutexGuard, PoisonError};

use takt_common::UnixTime;
use takt_common::audit::{End, Entry, What, Who};
use takt_store::{Batch, SledStore, Store as _, StoreJson as _};

use super::{CommitTogether, PAGE, Registry, RegistryError, keys};

/// The end of the log as it is on disk.
pub(super) struct AuditLog(Mutex<End>);

/// What an entry is to tell.
#[derive(Debug, Clone)]
pub struct Happened {
    time: UnixTime,
    who: Who,
    what: What,
}

impl Happened {
    /// `who` did `what` at `time`.
    pub const fn new(time: UnixTime, who: Who, what: What) -> Self {
        Self { time, who, what }
    }

    /// The bytes that it takes in a batch, whatever its number will be: at most, and nearly so.
    fn bytes_max(&self) -> usize {
        let longest = End { number: u64::MAX - 1, ..End::start() };
        let entry = Entry::after(longest, self.time, self.who.clone(), self.what.clone());
        entry.to_bytes().len() + keys::audit_entry(u64::MAX).len()
    }
}

impl AuditLog {
    pub(super) fn load(store: &SledStore) -> Result<Self, RegistryError> {
        Ok(Self(Mutex::new(read_end(store)?)))
    }

    /// Held from the look at the end until the entries behind it are on disk.
    pub(super) fn lock(&self) -> MutexGuard<'_, End> {
        // The end is one value, and is read again where it may not be what is on disk.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommitTogether {
    /// Adds an entry of the audit log that tells of this change.
    #[must_use]
    pub fn with_entry(mut self, happened: Happened) -> Self {
        self.happened.push(happened);
        self
    }

    /// The bytes of its entries in the batch.
    pub(super) fn audit_bytes(&self) -> usize {
        let end = if self.happened.is_empty() { 0 } else { keys::AUDIT_END.len() + END_BYTES_MAX };
        end + self.happened.iter().map(Happened::bytes_max).sum::<usize>()
    }
}

/// The stored end: a number of up to 20 digits and a digest of 64, with their names.
const END_BYTES_MAX: usize = 128;

/// Adds entries behind `end` to a batch; gives where the log ends then.
pub(super) fn chained(
    mut batch: Batch,
    end: End,
    happened: Vec<Happened>,
) -> Result<(Batch, End), RegistryError> {
    let mut after = end;
    for Happened { time, who, what } in happened {
        let entry = Entry::after(after, time, who, what);
        let bytes = entry.to_bytes();
        after = End::at(entry.number, &bytes);
        let key = keys::audit_entry(entry.number);
        batch = batch.expect(key.as_str(), None).put(key, bytes);
    }
    let before = serde_json::to_vec(&end).expect("an end has only text keys");
    let expected = (end.number > 0).then_some(before.as_slice());
    Ok((batch.expect(keys::AUDIT_END, expected).put_json(keys::AUDIT_END, &after)?, after))
}

/// The end that is on disk.
pub(super) fn read_end(store: &SledStore) -> Result<End, RegistryError> {
    Ok(store.get_json(keys::AUDIT_END.as_bytes())?.unwrap_or_else(End::start))
}

impl Registry {
    /// Where the audit log ends.
    pub fn audit_end(&self) -> End {
        *self.audit.lock()
    }

    /// The exact bytes of at most `limit` entries behind the one with the number `after`, and of no more than `bytes_max` bytes unless
    /// the first alone is longer.
    pub fn audit_entries(
        &self,
        after: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, RegistryError> {
        let (mut entries, mut bytes, mut after) = (Vec::new(), 0, keys::audit_entry(after).into_bytes());
        while entries.len() < limit {
            let wanted = PAGE.min(limit - entries.len());
            let page = self.store().scan(keys::AUDIT_ENTRIES.as_bytes(), Some(&after), wanted)?;
            let full = page.len() == wanted;
            for (key, entry) in page {
                bytes += entry.len();
                if bytes > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
                after = key;
            }
            if !full {
                break;
            }
        }
        Ok(entries)
    }

    /// Writes entries that tell of something that is not in the store.
    pub fn note(&self, happened: Vec<Happened>) -> Result<(), RegistryError> {
        if happened.is_empty() {
            return Ok(());
        }
        let together = CommitTogether::new(Batch::new());
        self.commit(happened.into_iter().fold(together, CommitTogether::with_entry))
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
