//! How long something may take. The only place of the kinds that reads a clock and sleeps.

use std::time::Duration;

use tokio::time::Instant;

/// A span of time that runs out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    since: Instant,
    limit: Duration,
}

impl Patience {
    /// From now on, for `limit`.
    pub(crate) fn of(limit: Duration) -> Self {
        Self { since: now(), limit }
    }

    /// Begins again.
    pub(crate) fn renew(&mut self) {
        self.since = now();
    }

    /// How much of it is left.
    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }

    /// It has run out.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Its limit in seconds, for people.
    pub(crate) const fn secs(&self) -> u64 {
        self.limit.as_secs()
    }
}

#[allow(clippy::disallowed_methods)] // This is the clock adapter.
fn now() -> Instant {
    Instant::now()
}

/// Sleeps, between two looks at what is waited for.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub(crate) async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}
