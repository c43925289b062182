//! The clock adapter: the only place that reads the time or waits.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use takt_common::UnixTime;

/// The wall clock; 1970 when it stands before that.
#[allow(clippy::disallowed_methods)]
pub fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs())
}

/// Waits between two looks at something that changes elsewhere.
#[allow(clippy::disallowed_methods)]
pub async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Whether a span has passed since this call, for work that stops when it has.
#[allow(clippy::disallowed_methods)]
pub fn timer(span: Duration) -> impl Fn() -> bool {
    let started = Instant::now();
    move || started.elapsed() >= span
}
