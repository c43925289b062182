//! The planner alone: no engine, no devices.

mod chain;
mod forecast;
mod peer;
mod schedule;

use std::num::NonZeroUsize;

use super::error::BenchError;
use super::figure::Figure;
use super::machine::machine;
use crate::fleet::{FleetError, Stopwatch, interrupted};

/// The group `planner`.
#[derive(Debug, Clone, Copy)]
pub struct PlannerGroup {
    /// How many times what has a peer is measured.
    pub rounds: u32,
}

impl PlannerGroup {
    /// Measures everything, and tells of it through `say`.
    pub fn run(self, say: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
        let machine = machine(None);
        let mut figures = Vec::new();
        figures.extend(chain::measure(self.rounds, &machine, say)?);
        figures.extend(forecast::measure(self.rounds, &machine, say)?);
        figures.extend(schedule::measure(&machine, say)?);
        Ok(figures)
    }
}

/// As many threads as this machine runs at once.
fn threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Does something; gives what came of it, and how long it took in milliseconds. Not if somebody asked for the end.
fn timed<T>(deed: impl FnOnce() -> T) -> Result<(T, f64), BenchError> {
    if interrupted() {
        return Err(FleetError::Interrupted.into());
    }
    let begun = Stopwatch::start();
    let done = deed();
    Ok((done, begun.elapsed().as_secs_f64() * 1_000.0))
}
