//! sled as it comes: default settings, and `flush()` taken for what its name says.

use std::path::Path;
use std::sync::Mutex;

use takt_store::{Batch, Pair, Store, StoreError};

/// The store that the harness must catch.
#[derive(Debug)]
pub struct StockSled {
    sled: sled::Db,
    writer: Mutex<()>,
    path: std::path::PathBuf,
}

impl StockSled {
    /// Opens it as its own documentation does.
    pub fn open(path: &Path) -> Result<Self, sled::Error> {
        Ok(Self { sled: sled::open(path)?, writer: Mutex::new(()), path: path.to_path_buf() })
    }

    fn failed(&self, source: sled::Error) -> StoreError {
        StoreError::Commit { path: self.path.clone(), source }
    }
}

impl Store for StockSled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.sled.get(key).map_err(|source| self.failed(source))?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        let pairs = self.sled.scan_prefix(prefix).filter(|pair| match (pair, after) {
            (Ok((key, _)), Some(after)) => key.as_ref() > after,
            _ => true,
        });
        pairs
            .take(limit)
            .map(|pair| {
                let (key, value) = pair.map_err(|source| self.failed(source))?;
                Ok((key.to_vec(), value.to_vec()))
            })
            .collect()
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let _one_writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (key, expected) in batch.expected() {
            if self.get(key)?.as_deref() != expected {
                return Err(StoreError::Conflict { key: key.to_vec() });
            }
        }
        let mut writes = sled::Batch::default();
        for (key, value) in batch.writes() {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.sled.apply_batch(writes).map_err(|source| self.failed(source))?;
        self.sled.flush().map_err(|source| self.failed(source))?;
        Ok(())
    }
}
