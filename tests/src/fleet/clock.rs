//! The clock adapter of the harness: the only place that reads clocks and sleeps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use takt_common::UnixTime;

use super::error::FleetError;
use super::interrupt::interrupted;

/// From one look at a condition to the next, at least.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A look that takes long, because it runs a command, is taken again only after so many times as long: those who wait
/// must not keep the machine from what they wait for.
const REST_PER_LOOK: u32 = 4;
/// From one look at a condition to the next, at most.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(400);

/// The wall clock.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub fn now() -> UnixTime {
    UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// Rests between two looks.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Time since a beginning; copies share it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[allow(clippy::disallowed_methods)] // This is the clock adapter.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Looks again and again until there is something; `what` names it where it does not come within `limit`.
///
/// A look gives what is there, or how things stand while it is not.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>, FleetError>,
) -> Result<T, FleetError> {
    let begun = Stopwatch::start();
    loop {
        let looked = Stopwatch::start();
        let state = match look()? {
            Ok(found) => return Ok(found),
            Err(state) => state,
        };
        if interrupted() {
            return Err(FleetError::Interrupted);
        }
        if begun.elapsed() >= limit {
            let state = if state.is_empty() { state } else { format!(": {state}") };
            return Err(FleetError::NotInTime { what: what.to_owned(), limit, state });
        }
        pause((looked.elapsed() * REST_PER_LOOK).clamp(LOOK_EVERY, LOOK_EVERY_MAX));
    }
}
