//! The clock adapter of the harness: the only place that reads clocks and sleeps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use takt_common::UnixTime;

use super::error::FleetError;
use super::interrupt::interrupted;

/// From one look at a condition to the next.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
        pause(LOOK_EVERY);
    }
}
