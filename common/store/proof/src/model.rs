//! What a store must hold after so many batches, to the last byte.
//!
//! Writers work in lanes that share nothing but the store. Batch `n` of a lane follows from the lane's number and
//! `n` alone, so the whole contents after it do too: whoever reads the number of a lane's last batch out of the
//! store can tell whether every batch up to it is there, whole, and nothing of the next one.

use std::collections::BTreeMap;
use std::ops::Range;

use takt_store::{Batch, Pair, Store, StoreError, VALUE_BYTES_MAX};

use crate::random::Random;

/// Lanes, and so threads, of one writer.
pub const LANES: u64 = 3;
/// Slots that are overwritten in turn, so that the store's log is cleaned and its segments used again.
const RING: u64 = 40;
/// Keys in one slot.
const SLOT_KEYS: u64 = 3;
/// Log entries kept: the tree grows and shrinks at its ends.
const LOG: u64 = 300;
/// The longest values there can be: more than sled would keep in its synced log.
const LONGEST: Range<u64> = VALUE_BYTES_MAX as u64..VALUE_BYTES_MAX as u64 + 1;

/// How large batches become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// As every store takes them.
    Usual,
    /// Some are larger than that.
    Large,
}

/// The batch number `number` (from 1) of `lane`.
pub fn batch(lane: u64, number: u64, load: Load) -> Batch {
    let last = number.checked_sub(1).filter(|last| *last > 0).map(u64::to_be_bytes);
    let mut batch = Batch::new()
        .expect(last_key(lane), last.as_ref().map(|last| &last[..]))
        .put(last_key(lane), number.to_be_bytes())
        .put(format!("{lane}/log/{number:012}"), value(lane, number, SLOT_KEYS, 20..40));
    if let Some(old) = number.checked_sub(LOG) {
        batch = batch.delete(format!("{lane}/log/{old:012}"));
    }
    for index in 0..SLOT_KEYS {
        let key = format!("{lane}/ring/{:02}/{index}", number % RING);
        batch = match (number, index) {
            _ if load == Load::Large && number.is_multiple_of(32) => {
                batch.put(key, value(lane, number, index, LONGEST))
            }
            (_, 1) if number.is_multiple_of(5) => batch.delete(key),
            (_, 2) if number.is_multiple_of(32) => batch.put(key, value(lane, number, index, LONGEST)),
            (_, 2) if number.is_multiple_of(8) => batch.put(key, value(lane, number, index, 10_000..20_000)),
            _ => batch.put(key, value(lane, number, index, 200..400)),
        };
    }
    batch
}

/// All pairs of `lane` after batch `number`.
fn pairs(lane: u64, number: u64, load: Load) -> Vec<Pair> {
    let mut pairs = BTreeMap::new();
    for number in number.saturating_sub(LOG).max(1)..=number {
        for (key, value) in batch(lane, number, load).writes() {
            match value {
                Some(value) => pairs.insert(key.to_vec(), value.to_vec()),
                None => pairs.remove(key),
            };
        }
    }
    pairs.into_iter().collect()
}

/// Reads the number of the last batch of `lane` and compares all of the lane with what must be there.
pub fn examine(store: &dyn Store, lane: u64, load: Load) -> Result<u64, Broken> {
    let last = match store.get(&last_key(lane))? {
        None => 0,
        Some(bytes) => u64::from_be_bytes(bytes.try_into().map_err(|_| Broken::NoNumber { lane })?),
    };
    let found = store.scan(format!("{lane}/").as_bytes(), None, usize::MAX)?;
    let expected = pairs(lane, last, load);
    match found.iter().zip(&expected).find(|(found, expected)| found != expected) {
        None if found.len() == expected.len() => Ok(last),
        None => Err(Broken::Count { lane, last, found: found.len(), expected: expected.len() }),
        Some((found, expected)) => {
            let key = found.0.clone().min(expected.0.clone());
            Err(Broken::Pair { lane, last, key: key.escape_ascii().to_string() })
        }
    }
}

/// Contents that no sequence of whole batches leads to.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The number of the last batch is none.
    #[error("lane {lane}: the number of its last batch is no number")]
    NoNumber {
        /// The lane.
        lane: u64,
    },
    /// Pairs are missing or left over at the end.
    #[error("lane {lane} after batch {last}: {found} pairs instead of {expected}")]
    Count {
        /// The lane.
        lane: u64,
        /// Its last batch.
        last: u64,
        /// Pairs found.
        found: usize,
        /// Pairs that must be there.
        expected: usize,
    },
    /// A pair is missing, left over or different.
    #[error("lane {lane} after batch {last}: key '{key}' is missing, left over or different")]
    Pair {
        /// The lane.
        lane: u64,
        /// Its last batch.
        last: u64,
        /// The first key in question.
        key: String,
    },
}

fn last_key(lane: u64) -> Vec<u8> {
    format!("{lane}/last").into_bytes()
}

/// Bytes that differ for every lane, batch and index, as many as `lengths` has room for.
fn value(lane: u64, number: u64, index: u64, lengths: Range<u64>) -> Vec<u8> {
    let mut random = Random::of(lane << 32 | index, number);
    let length =
        usize::try_from(random.between(lengths.start, lengths.end)).expect("a value fits into memory");
    let word = random.next().to_be_bytes();
    word.into_iter().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use takt_store::MemoryStore;

    use super::*;

    #[test]
    fn whole_batches_pass_and_everything_else_is_broken() {
        let store = MemoryStore::new();
        for number in 1..=700 {
            store.commit(batch(1, number, Load::Usual)).unwrap();
            if number % 50 < 2 {
                assert_eq!(examine(&store, 1, Load::Usual).unwrap(), number);
            }
        }
        for (key, value) in batch(1, 701, Load::Usual).writes() {
            let half = MemoryStore::new();
            half.commit(Batch::new()).unwrap();
            for (key, value) in store.scan(b"", None, usize::MAX).unwrap() {
                half.commit(Batch::new().put(key, value)).unwrap();
            }
            let part = match value {
                Some(value) => Batch::new().put(key, value),
                None => Batch::new().delete(key),
            };
            half.commit(part).unwrap();
            assert!(examine(&half, 1, Load::Usual).is_err(), "one part of a batch: {}", key.escape_ascii());
        }
    }
}
