//! Typed values: JSON in, JSON out.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Batch, Store, StoreError};

/// Reads JSON values out of any store.
pub trait StoreJson: Store {
    /// The value of `key` as a `T`.
    fn get_json<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(key)?.map(|value| decode(key, &value)).transpose()
    }

    /// One page of [`Store::scan`] with every value as a `T`.
    fn scan_json<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let page = self.scan(prefix, after, limit)?;
        page.into_iter()
            .map(|(key, value)| {
                let value = decode(&key, &value)?;
                Ok((key, value))
            })
            .collect()
    }
}

impl<S: Store + ?Sized> StoreJson for S {}

impl Batch {
    /// Sets `key` to `value` as JSON.
    pub fn put_json<T: Serialize + ?Sized>(
        self,
        key: impl Into<Vec<u8>>,
        value: &T,
    ) -> Result<Self, StoreError> {
        let key = key.into();
        match serde_json::to_vec(value) {
            Ok(bytes) => Ok(self.put(key, bytes)),
            Err(source) => Err(StoreError::Json { key, source: Arc::new(source) }),
        }
    }
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value)
        .map_err(|source| StoreError::Json { key: key.to_vec(), source: Arc::new(source) })
}
