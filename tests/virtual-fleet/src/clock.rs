//! The clock adapter of virtual agents: the only place that reads clocks. They sleep as the real agent does.

use std::time::{Duration, Instant, SystemTime};

pub(crate) use takt_agent::clock::sleep;

/// How long each machine says it has been up when the fleet begins.
const UP_BEFORE: Duration = Duration::from_secs(20);

/// The wall clock in milliseconds since 1970.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub(crate) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The monotonic clock of all simulated machines, which boot together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uptime(Instant);

impl Uptime {
    /// They have just come up.
    #[allow(clippy::disallowed_methods)] // This is the clock adapter.
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Since their boot.
    pub(crate) fn now(&self) -> Duration {
        UP_BEFORE + self.0.elapsed()
    }
}
