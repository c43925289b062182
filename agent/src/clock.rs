//! The only place of the agent that reads clocks and sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// What the coordinator answered to a nonce of this run, and when that came, since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The time it said.
    pub time: UnixTime,
    /// Since boot.
    pub at: Duration,
}

impl Answer {
    /// The earliest time it can be by this answer, as the machine's own seconds are right even where its date is not.
    pub fn least(&self, uptime: Duration) -> UnixTime {
        self.time + uptime.saturating_sub(self.at)
    }
}

/// The trusted time of a device that has been answered: what has passed since then, and the wall clock only while it is less than a
/// day ahead of that. So a device whose clock stands at 1970 keeps good time from its first contact on.
pub fn answered(floor: UnixTime, answer: Answer, wall: UnixTime, uptime: Duration) -> UnixTime {
    let least = answer.least(uptime).max(floor).max(BUILT);
    if (least..=least + LEAP_MAX).contains(&wall) { wall } else { least }
}

/// The clocks of one agent, shared with whoever judges certificates.
#[derive(Debug, Clone)]
pub struct Clock {
    wall: fn() -> UnixTime,
    /// The time that it is at least, whoever has stolen the coordinator's keys; in seconds.
    sure: Arc<AtomicU64>,
    /// The time that it is at least by what the coordinator says; in seconds.
    told: Arc<AtomicU64>,
    answer: Option<Answer>,
}

impl From<UnixTime> for Clock {
    /// The machine's wall clock, and the time that it is at least.
    fn from(sure: UnixTime) -> Self {
        Self::new(wall, sure)
    }
}

impl Clock {
    /// With a wall clock, and the time that it is at least.
    pub fn new(wall: fn() -> UnixTime, sure: UnixTime) -> Self {
        let at_least = || Arc::new(AtomicU64::new(sure.as_secs()));
        Self { wall, sure: at_least(), told: at_least(), answer: None }
    }

    /// The trusted time above a floor.
    pub fn now(&self, floor: UnixTime, uptime: Duration) -> UnixTime {
        match self.answer {
            Some(answer) => answered(floor, answer, (self.wall)(), uptime),
            None => trusted(floor, (self.wall)(), uptime),
        }
    }

    /// The time by which certificates of servers are judged. The wall clock and the coordinator are two witnesses: where both say that
    /// it is later than what is sure, the wall clock is believed. A thief of the coordinator's keys, who says that it is 2099, gets
    /// nowhere without a wall clock that says so too.
    pub(crate) fn sure(&self, uptime: Duration) -> UnixTime {
        let read = |time: &AtomicU64| UnixTime::from_secs(time.load(Ordering::Relaxed)).max(BUILT);
        let (sure, told, wall) = (read(&self.sure), read(&self.told), (self.wall)());
        if (sure..=told + uptime + LEAP_MAX).contains(&wall) { wall } else { trusted(sure, wall, uptime) }
    }

    /// Whether it is known what time it is.
    pub fn state(&self, floor: UnixTime, uptime: Duration) -> ClockState {
        if self.answer.is_some() { ClockState::Trusted } else { state(floor, (self.wall)(), uptime) }
    }

    /// Notes an answer; one that was kept back on its way says less than an earlier one, and is not needed.
    pub fn answered(&mut self, answer: Answer) {
        if self.answer.is_none_or(|known| answer.least(answer.at) > known.least(answer.at)) {
            self.answer = Some(answer);
        }
    }

    /// What was answered counts no more: the key that signed it has been taken away.
    pub fn forget(&mut self) {
        self.answer = None;
        self.told.store(self.sure.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// It is at least `sure`, by what people have signed as well, and `told` by what the coordinator says.
    pub fn set_floors(&self, sure: UnixTime, told: UnixTime) {
        self.sure.fetch_max(sure.as_secs(), Ordering::Relaxed);
        self.told.fetch_max(told.as_secs(), Ordering::Relaxed);
    }
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

    fn at(secs: u64) -> Answer {
        Answer { time: FLOOR + Duration::from_secs(1_000), at: Duration::from_secs(secs) }
    }

    #[test]
    fn a_device_with_a_dead_clock_keeps_time_from_its_first_answer_on() {
        let secs = Duration::from_secs;
        for wall in [0, 5, 4_000_000_000, FLOOR.as_secs() + 10 * 365 * 86_400] {
            let now = answered(FLOOR, at(60), UnixTime::from_secs(wall), secs(3_660));
            assert_eq!(now, FLOOR + secs(1_000 + 3_600), "{wall}");
        }
        let near = FLOOR + secs(1_000 + 3_600 + 7);
        assert_eq!(
            answered(FLOOR, at(60), near, secs(3_660)),
            near,
            "a clock that is about right is believed"
        );
        let floor = FLOOR + secs(90_000);
        assert_eq!(answered(floor, at(60), UnixTime::default(), secs(61)), floor, "never below the floor");
    }

    #[test]
    fn an_answer_that_was_kept_back_does_not_turn_the_clock_back() {
        let (secs, uptime) = (Duration::from_secs, Duration::from_hours(3));
        let mut clock = Clock::new(UnixTime::default, UnixTime::default());
        assert!(matches!(clock.state(FLOOR, uptime), ClockState::Off { .. }));
        clock.answered(at(60));
        let good = clock.now(FLOOR, uptime);
        assert_eq!(clock.state(FLOOR, uptime), ClockState::Trusted);
        clock.answered(Answer { time: FLOOR + secs(1_001), at: secs(3_000) });
        assert_eq!(clock.now(FLOOR, uptime), good);
        clock.answered(Answer { time: FLOOR + secs(5_000), at: secs(3_000) });
        assert!(clock.now(FLOOR, uptime) > good);
        clock.forget();
        assert_eq!(clock.now(FLOOR, uptime), FLOOR);
    }

    #[test]
    fn certificates_are_judged_by_what_no_coordinator_alone_can_say() {
        let uptime = Duration::from_hours(1);
        let mut clock = Clock::new(UnixTime::default, FLOOR);
        // Its keys say that it is a century later, the people who publish do not.
        let late = FLOOR + Duration::from_hours(100 * 365 * 24);
        clock.answered(Answer { time: late, at: uptime });
        assert_eq!((clock.now(late, uptime), clock.sure(uptime)), (late, FLOOR));
        let shared = clock.clone();
        clock.set_floors(FLOOR + uptime, late);
        assert_eq!(shared.sure(uptime), FLOOR + uptime);
        clock.set_floors(FLOOR, FLOOR);
        assert_eq!(shared.sure(uptime), FLOOR + uptime, "it never falls");
    }

    #[test]
    fn a_wall_clock_that_agrees_with_the_coordinator_is_believed_long_after_the_last_release() {
        const MONTHS: Duration = Duration::from_hours(120 * 24);
        let uptime = Duration::from_hours(1);
        let mut clock = Clock::new(|| FLOOR + MONTHS, FLOOR);
        assert_eq!(clock.sure(uptime), FLOOR, "nobody else says so");
        clock.set_floors(FLOOR, FLOOR + MONTHS);
        assert_eq!(clock.sure(uptime), FLOOR + MONTHS, "a certificate of back then has expired");
        clock.set_floors(FLOOR, FLOOR + 10 * MONTHS);
        assert_eq!(clock.sure(uptime), FLOOR + MONTHS, "a thief cannot make it later than the wall clock");
        clock.forget();
        assert_eq!(clock.sure(uptime), FLOOR);
    }
}
