//! The durable store both sides of Takt share: the agent's journal and outbox, the coordinator's registry.
//!
//! A store is a map of ordered byte keys to byte values, asked three things: [`Store::get`], [`Store::scan`]
//! and [`Store::commit`]. A commit is one atomic [`Batch`] with preconditions, and it returns only when the
//! batch survives a power cut. It blocks (a disk flush takes milliseconds), so asynchronous callers run it on
//! a thread made for blocking; many threads that commit at once share one flush.
//!
//! * [`SledStore`] keeps its promises on `sled`, which alone does not: see `docs/decisions/0001-…`.
//! * [`MemoryStore`] has the same meaning and no disk, for tests of what stands above the store.
//!
//! No clock is read in here: whoever calls [`SledStore::export_if_due`] says what time it is.

mod batch;
mod error;
mod json;
mod memory;
mod sled_store;
mod store;

pub use batch::{BATCH_BYTES_MAX, Batch, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use error::StoreError;
pub use json::StoreJson;
pub use memory::MemoryStore;
pub use sled_store::{
    CACHE_BYTES_DEFAULT, CACHE_BYTES_MAX, EXPORT_EVERY_DEFAULT, Exported, Opened, Options, Origin, SledStore,
};
pub use store::{Pair, Store};
