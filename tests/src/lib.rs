//! What the tests across crates, the benchmarks and the demo share.

pub mod bench;
pub mod demo;
pub mod engine;
pub mod fleet;
pub mod guest;
pub mod image;
