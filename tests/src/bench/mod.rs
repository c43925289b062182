//! Benchmarks of the real binaries. Each group prints a table and keeps its figures in `bench/results`.

mod agent;
mod campaign;
mod client;
mod docker;
mod error;
mod figure;
mod handover;
mod harm;
mod journal;
mod machine;
mod planner;
mod preserve;
mod process;
mod spread;
mod swap;

pub use agent::AgentGroup;
pub use error::BenchError;
pub use figure::{Figure, Goal, Unit, keep, table};
pub use handover::HandoverGroup;
pub use harm::{HarmError, HarmGroup};
pub use journal::JournalGroup;
pub use machine::machine;
pub use planner::PlannerGroup;
pub use preserve::PreserveGroup;
pub use spread::Spread;
pub use swap::SwapGroup;
