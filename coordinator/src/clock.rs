//! The wall clock, and waiting. Nothing else in this crate does either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use takt_common::UnixTime;

/// Now, as this machine's clock has it; a clock before 1970 counts as 1970.
pub fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs())
}

/// Waits.
pub async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}
