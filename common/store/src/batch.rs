//! What one commit changes, and under which preconditions.

use std::collections::BTreeMap;

use crate::StoreError;

/// The longest key. Inner nodes of the tree hold up to 256 keys and must stay well below the size at which
/// sled moves a node to a file of its own, which it never syncs.
pub const KEY_BYTES_MAX: usize = 256;

/// The largest value: twice the 64 KiB to which every signed document is capped.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;

/// The largest batch that every store takes, keys and values together; see [`Store::batch_bytes_max`](crate::Store::batch_bytes_max).
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// First byte of the keys the store keeps for itself.
pub(crate) const RESERVED: u8 = 0;

/// Changes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a batch changes nothing until it is committed"]
pub struct Batch {
    pub(crate) expected: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that `key` holds exactly `value` (or, for `None`, is absent) before the batch is applied.
    pub fn expect(mut self, key: impl Into<Vec<u8>>, value: Option<&[u8]>) -> Self {
        self.expected.push((key.into(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Sets `key` to `value`. The last word about a key wins.
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.insert(key.into(), Some(value.into()));
        self
    }

    /// Removes `key`; removing what is absent is no error.
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.writes.insert(key.into(), None);
        self
    }

    /// Whether the batch changes nothing (it may still demand something).
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Keys and values to be written, in bytes.
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// What the batch demands, for those who write a store: keys and the values they must hold.
    pub fn expected(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.expected.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// What the batch changes, for those who write a store: keys in order, and `None` for a deletion.
    pub fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Refuses keys and sizes that no store takes, and batches of more than `bytes_max` bytes. Every store asks this first.
    pub fn check(&self, bytes_max: usize) -> Result<(), StoreError> {
        for key in self.expected.iter().map(|(key, _)| key).chain(self.writes.keys()) {
            check_key(key)?;
        }
        for (key, value) in &self.writes {
            let bytes = value.as_ref().map_or(0, Vec::len);
            if bytes > VALUE_BYTES_MAX {
                return Err(StoreError::ValueTooLarge {
                    key: key.clone(),
                    bytes,
                    bytes_max: VALUE_BYTES_MAX,
                });
            }
        }
        let bytes = self.bytes();
        if bytes > bytes_max {
            return Err(StoreError::BatchTooLarge { bytes, bytes_max });
        }
        Ok(())
    }
}

/// Refuses keys that are empty, too long or reserved.
pub(crate) fn check_key(key: &[u8]) -> Result<(), StoreError> {
    let why = match key.first() {
        None => "it is empty",
        Some(&RESERVED) => "keys that begin with a zero byte belong to the store itself",
        Some(_) if key.len() > KEY_BYTES_MAX => "it is longer than 256 bytes",
        Some(_) => return Ok(()),
    };
    Err(StoreError::KeyRefused { key: key.to_vec(), why })
}
