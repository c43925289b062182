//! A store without a disk, with the same meaning, for tests of what stands above the store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::batch::check_key;
use crate::store::scan_start;
use crate::{Batch, Pair, Store, StoreError};

/// Keeps everything in memory and nothing for longer than it lives.
#[derive(Debug, Default)]
pub struct MemoryStore {
    pairs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn pairs(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        // A panic elsewhere cannot leave the map half changed: every change below is checked before it begins.
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        check_key(key)?;
        Ok(self.pairs().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        let pairs = self.pairs();
        Ok(pairs
            .range(scan_start(prefix, after)..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check(self.batch_bytes_max())?;
        let mut pairs = self.pairs();
        for (key, value) in batch.expected {
            if pairs.get(&key) != value.as_ref() {
                return Err(StoreError::Conflict { key });
            }
        }
        for (key, value) in batch.writes {
            match value {
                Some(value) => pairs.insert(key, value),
                None => pairs.remove(&key),
            };
        }
        Ok(())
    }
}
