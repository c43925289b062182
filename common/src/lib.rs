//! What both sides of Takt share: ids, digests, keys, topics, signed envelopes and the documents in them.
//!
//! Nothing here does I/O, reads a clock or starts a thread. Randomness and time are arguments.

pub mod api;
pub mod audit;
pub mod checkpoint;
pub mod digest;
pub mod envelope;
pub mod health;
pub mod id;
pub mod key;
pub mod order;
pub mod permission;
pub mod regulation;
pub mod release;
pub mod report;
pub mod strict_json;
pub mod time;
pub mod topic;

pub use digest::Sha256Digest;
pub use envelope::Envelope;
pub use id::{DeviceId, Name};
pub use key::{PublicKey, SigningKey};
pub use time::UnixTime;
