//! The audit log: every decision of the coordinator and everything that operators do, as a chain of entries of which none can be changed,
//! removed, added or moved without a trace.
//!
//! An [`Entry`] holds its number, counted from 1, and the digest of the exact bytes of the entry before it. A [`Head`] names the number and
//! digest of the last entry at a time and is signed by the coordinator's order key; devices and whoever keeps one can hold a log against it
//! later. [`Walk`] follows a chain from its beginning and says at which entry it breaks. A chain that was cut and written anew is whole in
//! itself, and even its head is signed where the key was at hand: only a head that was kept elsewhere tells.

mod chain;
mod entry;
mod head;
mod what;

pub use chain::{ChainError, Walk};
pub use entry::{AUDIT_FORMAT, ENTRY_LENGTH_MAX, End, Entry, Who};
pub use head::{Head, HeadError, SignedHead};
pub use what::{Control, IssuedOrders, StepInputs, Stepped, TEXT_CHARS_MAX, What, cut};
