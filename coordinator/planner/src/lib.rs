//! What the coordinator knows about a domain beside its devices, and the order that follows from it (paper 1).
//!
//! Pure and synchronous: the same input gives the same plan on every run.

mod chain;
mod graph;
mod order;
mod redundancy;

pub use chain::{DEVICES_SCORED_MAX, Score};
pub use graph::{DomainGraph, GraphError};
pub use redundancy::{RedundancyError, RedundancyMatrix};
