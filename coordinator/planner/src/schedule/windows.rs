//! When upgrades are allowed at all: parts of days, on local clocks.

use std::str::FromStr;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::slots::Slots;

/// The parts of the week in which devices may be upgraded; always if there are none.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Each of them will do.
    pub windows: Vec<Window>,
    /// On whose clocks.
    pub zone: TimeZone,
}

/// Part of each day, or of some days of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// From Monday; all of them without any.
    days: [bool; 7],
    /// Minutes since midnight.
    from: u32,
    /// No later than `from` for a window that goes on after midnight, which belongs to the day on which it began.
    until: u32,
}

/// No window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a window like 22:00-06:00, mon-fri 22:00-06:00 or sat,sun 00:00-24:00")]
pub struct WindowError(String);

/// No time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time zone like Europe/Berlin")]
pub struct TimeZoneError(String);

/// The time zone with this IANA name.
pub fn time_zone(name: &str) -> Result<TimeZone, TimeZoneError> {
    TimeZone::get(name).map_err(|_| TimeZoneError(name.to_owned()))
}

impl Windows {
    /// `count` slots of `seconds` each from `start` (seconds since 1970, UTC). One is open if all of it lies in one window and it
    /// ends by `deadline`.
    pub fn slots(&self, start: i64, seconds: i64, count: usize, deadline: Option<i64>) -> Slots {
        let is_open = |slot: usize| {
            let from = start + seconds * i64::try_from(slot).unwrap_or(0);
            let in_time = deadline.is_none_or(|deadline| from + seconds <= deadline);
            let mut windows = self.windows.iter();
            in_time
                && (self.windows.is_empty()
                    || windows.any(|window| window.holds(from, from + seconds, &self.zone)))
        };
        Slots { start, seconds, open: (0..count).map(is_open).collect(), zone: self.zone.clone() }
    }
}

impl FromStr for Window {
    type Err = WindowError;

    /// `22:00-06:00`, or of some days only: `mon-fri 22:00-06:00`, `sat,sun 00:00-24:00`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).ok_or_else(|| WindowError(text.to_owned()))
    }
}

impl Window {
    fn read(text: &str) -> Option<Self> {
        let (days, times) = match text.trim().rsplit_once(' ') {
            Some((days, times)) => (days_of_week(days)?, times),
            None => ([true; 7], text.trim()),
        };
        let (from, until) = times.split_once('-')?;
        let (from, until) = (minutes(from)?, minutes(until)?);
        (from < 24 * 60 && from != until).then_some(Self { days, from, until })
    }

    /// Whether all from one moment to another lies in it, on the clocks of `zone`.
    fn holds(&self, from: i64, until: i64, zone: &TimeZone) -> bool {
        let (Ok(first), Ok(last)) = (Timestamp::from_second(from), Timestamp::from_second(until - 1)) else {
            return false;
        };
        // Where clocks are changed meanwhile, what they show just before and after that counts as well.
        let changes =
            zone.following(first).map(|change| change.timestamp()).take_while(|change| *change <= last);
        let around = changes.flat_map(|change| [change - Span::new().seconds(1), change]);
        let shown: Vec<DateTime> =
            [first, last].into_iter().chain(around).map(|moment| zone.to_datetime(moment)).collect();
        let first = shown[0];
        // The opening that `first` lies in began on its day, or on the day before.
        [first.date(), first.date().yesterday().unwrap_or(first.date())].into_iter().any(|day| {
            let began = self.days[weekday(day.weekday())];
            let at = |minutes: u32| {
                let later = Span::new().minutes(i64::from(minutes));
                day.to_datetime(Time::midnight()).checked_add(later)
            };
            let (Ok(from), Ok(end)) = (at(self.from), at(self.from + self.minutes())) else { return false };
            began && shown.iter().all(|moment| (from..end).contains(moment))
        })
    }

    /// How long it is open each time.
    pub(crate) const fn minutes(&self) -> u32 {
        if self.until > self.from { self.until - self.from } else { self.until + 24 * 60 - self.from }
    }
}

fn days_of_week(text: &str) -> Option<[bool; 7]> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let find = |name: &str| NAMES.iter().position(|known| known.eq_ignore_ascii_case(name.trim()));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (find(first)?, find(last)?),
            None => (find(part)?, find(part)?),
        };
        let mut day = first;
        days[day] = true;
        while day != last {
            day = (day + 1) % 7;
            days[day] = true;
        }
    }
    Some(days)
}

fn weekday(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

/// Minutes of `hour:minute`, up to 24:00.
pub(crate) fn minutes(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    if hour.is_empty() || hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_clocks_go_back_a_window_is_as_long_as_they_show() {
        let windows = Windows {
            windows: vec!["00:00-02:30".parse().unwrap()],
            zone: time_zone("Europe/Berlin").unwrap(),
        };
        // 2026-10-25T00:00Z is 02:00 in summer time; an hour later clocks go back to 02:00.
        let slots = windows.slots(1_792_886_400, 1_800, 4, None);
        assert_eq!(slots.rfc3339(0), "2026-10-25T02:00:00+02:00");
        assert_eq!(slots.open, [true, false, true, false]);
        assert_eq!(windows.slots(1_792_886_400, 5_400, 1, None).open, [false]);
    }
}
