//! The only place of the agent that reads clocks and sleeps.

use std::time::{Duration, SystemTime};

use takt_agent_core::facts::ClockState;
use takt_common::UnixTime;

/// This version was not yet written before 2026-11-01: no honest clock says less.
const BUILT: UnixTime = UnixTime::from_secs(1_793_491_200);

/// A wall clock this far ahead of what is known to have passed is not believed.
const LEAP_MAX: Duration = Duration::from_hours(24);

/// What the machine's wall clock says; it may be wrong by decades.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub fn wall() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs())
}

/// Sleeps. Everything that waits for a time goes through here.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub async fn sleep(span: Duration) {
    tokio::time::sleep(span).await;
}

/// The device's trusted time (DESIGN: trust, time): never before the build or the signed floor, and the wall clock only
/// while it is within a day of what can have passed since boot.
pub fn trusted(floor: UnixTime, wall: UnixTime, uptime: Duration) -> UnixTime {
    let floor = floor.max(BUILT);
    let believable = floor..=floor + uptime + LEAP_MAX;
    if believable.contains(&wall) { wall } else { floor }
}

/// Whether the wall clock is believed, and by how much it is off otherwise.
pub fn state(floor: UnixTime, wall: UnixTime, uptime: Duration) -> ClockState {
    if trusted(floor, wall, uptime) == wall {
        return ClockState::Trusted;
    }
    let floor = floor.max(BUILT);
    ClockState::Off { by_secs: wall.as_secs().abs_diff(floor.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: UnixTime = UnixTime::from_secs(1_800_000_000);

    #[test]
    fn a_wall_clock_in_1970_or_years_ahead_is_not_believed() {
        let uptime = Duration::from_hours(1);
        assert_eq!(trusted(FLOOR, UnixTime::from_secs(5), uptime), FLOOR);
        assert_eq!(trusted(FLOOR, UnixTime::from_secs(4_000_000_000), uptime), FLOOR);
        let near = UnixTime::from_secs(1_800_050_000);
        assert_eq!(trusted(FLOOR, near, uptime), near);
        assert_eq!(trusted(UnixTime::default(), UnixTime::default(), uptime), BUILT);
    }
}
