//! The wall clock, and waiting. Nothing else in this crate does either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use takt_common::UnixTime;
use tokio::time::Instant;

/// Now, as this machine's clock has it; a clock before 1970 counts as 1970.
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs())
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Whether a span has passed since this call, for work that stops when it has.
pub fn timer(span: Duration) -> impl Fn() -> bool {
    let started = instant();
    move || started.elapsed() >= span
}

/// Now, by the clock that never steps, for measuring spans.
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub fn instant() -> Instant {
    Instant::now()
}
