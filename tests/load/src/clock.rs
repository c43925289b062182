//! The clock adapter of the load: the only place that reads the clock and sleeps.

use std::time::{Duration, Instant};

/// The monotonic clock.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub fn now() -> Instant {
    Instant::now()
}

/// Rests until the next connection is due.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub(crate) fn rest(span: Duration) {
    std::thread::sleep(span);
}
