//! The gate's clock: monotonic, for deadlines and pauses only.

use std::time::Duration;

use tokio::time::Instant;

/// Now.
#[allow(clippy::disallowed_methods, reason = "this is the clock adapter of the gate")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits where there is nothing to wait for: a queue of the router or of the system is full.
#[allow(clippy::disallowed_methods, reason = "this is the clock adapter of the gate")]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
