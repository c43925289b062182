//! The questions the rest of Takt asks a store.

use crate::{BATCH_BYTES_MAX, Batch, StoreError};

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Ordered byte keys with atomic, durable, conditional batches. Small enough that PostgreSQL can answer it too.
pub trait Store: Send + Sync {
    /// The value of `key`, or `None`. Only what is durable is seen, until a commit fails: from then on a read may
    /// see what that commit wrote, or fail where the store can no longer read its disk.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` pairs whose keys start with `prefix`, in key order, beginning behind the key `after`.
    ///
    /// For the next page pass the last key of this one; fewer than `limit` pairs means there is no next page.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError>;

    /// Applies the whole batch or, when a precondition does not hold or on any error, promises nothing of it.
    ///
    /// Returns when the batch is durable. After [`StoreError::Conflict`], and after an error about the batch
    /// itself (a key or size that is refused), nothing has changed. After any other error the outcome is unknown
    /// until the store is opened again: every later commit fails with [`StoreError::Poisoned`].
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// The largest batch that this store takes, keys and values together, in bytes.
    fn batch_bytes_max(&self) -> usize {
        BATCH_BYTES_MAX
    }
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        (**self).scan(prefix, after, limit)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        (**self).commit(batch)
    }

    fn batch_bytes_max(&self) -> usize {
        (**self).batch_bytes_max()
    }
}

/// The smallest key a scan may return: below `prefix` and up to and including `after` there is nothing to see.
pub(crate) fn scan_start(prefix: &[u8], after: Option<&[u8]>) -> Vec<u8> {
    match after {
        Some(after) if after >= prefix => {
            let mut start = after.to_vec();
            start.push(0);
            start
        }
        _ => prefix.to_vec(),
    }
}
