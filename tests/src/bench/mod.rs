//! Benchmarks of the real binaries. Each group prints a table and keeps its figures in `bench/results`.

mod agent;
mod client;
mod docker;
mod error;
mod figure;
mod machine;
mod process;
mod spread;
mod swap;

pub use agent::AgentGroup;
pub use error::BenchError;
pub use figure::{Figure, Goal, Unit, keep, table};
pub use machine::machine;
pub use swap::SwapGroup;
