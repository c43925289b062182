//! The audit log: what its entries tell of steps and publications, and its signed heads on their way to devices.
//!
//! Entries themselves are kept by the registry, in the batches of the changes that they tell of.

mod heads;
mod told;

pub use heads::{HEAD_EVERY, publish_heads};
pub use told::{OrderTally, published, started, stepped};
