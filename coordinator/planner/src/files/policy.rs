//! `policy.toml`: `slot_minutes, slots, start, max_in_flight, windows, time_zone, deadline, time_limit_ms` and `[[gateway]]`.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::Spanned;

use super::InputError;
use super::time::minutes;
use super::toml_file::TomlFile;
use crate::network::Network;
use crate::schedule::{Gateway, Problem, Slots};
use crate::standby::Drm;

const SLOT_MINUTES_USUAL: u32 = 60;
const SLOT_MINUTES_MAX: u32 = 24 * 60;
/// A year of hours.
const SLOTS_MAX: usize = 366 * 24;
const TIME_LIMIT_USUAL: Duration = Duration::from_secs(10);
/// Nobody waits longer for a plan.
const TIME_LIMIT_MS_MAX: u64 = 3_600_000;

/// How upgrades may be spread over time.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePolicy {
    /// The slots, and which are open.
    pub slots: Slots,
    /// The most devices in one slot.
    pub max_in_flight: Option<usize>,
    /// What gateways can feed at once.
    pub gateways: Vec<Gateway>,
    /// How long the search for a better plan may take.
    pub time_limit: Duration,
}

impl SchedulePolicy {
    /// What is to be planned by it. `loads` tells how busy each device is in each slot, in percent: device by device.
    pub const fn problem<'p>(&'p self, network: &'p Network, drm: &'p Drm, loads: &'p [f64]) -> Problem<'p> {
        let Self { slots, max_in_flight, .. } = self;
        Problem {
            network,
            drm,
            slots,
            max_in_flight: *max_in_flight,
            gateways: self.gateways.as_slice(),
            loads,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    slots: Spanned<usize>,
    start: Spanned<String>,
    slot_minutes: Option<Spanned<u32>>,
    max_in_flight: Option<Spanned<usize>>,
    #[serde(default)]
    windows: Vec<Spanned<String>>,
    time_zone: Option<Spanned<String>>,
    deadline: Option<Spanned<String>>,
    time_limit_ms: Option<Spanned<u64>>,
    #[serde(default)]
    gateway: Vec<GatewayEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayEntry {
    device: Spanned<String>,
    members: Vec<Spanned<String>>,
    max_in_flight: Spanned<usize>,
}

/// Part of each day, or of some days of the week, on local clocks.
struct Window {
    /// From Monday; all of them without any.
    days: [bool; 7],
    /// Minutes since midnight.
    from: u32,
    /// No later than `from` for a window that goes on after midnight, which belongs to the day on which it began.
    until: u32,
}

/// Reads a policy for the devices of `network`. Only `slots` and `start` are required: an hour for each slot, always open, no limits,
/// ten seconds for the search. `start` and `deadline` are RFC 3339, or without offset on the clocks of `time_zone` (an IANA name,
/// UTC if absent). A window is `22:00-06:00`, or of some days only: `mon-fri 22:00-06:00`, `sat,sun 00:00-24:00`. A slot is open
/// if all of it lies in one window and it ends by the deadline.
pub fn read_policy(file: &str, text: &[u8], network: &Network) -> Result<SchedulePolicy, InputError> {
    let toml = TomlFile::new(file, text)?;
    let content: File = toml.read()?;
    let zone = match &content.time_zone {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name.as_ref()).map_err(|_| {
            let what = format!("'{}' is not a time zone like Europe/Berlin", name.as_ref());
            toml.error_at(&name.span(), "time_zone", what)
        })?,
    };
    let moment = |text: &Spanned<String>, field| {
        moment(text.as_ref(), &zone).ok_or_else(|| {
            let what = format!("'{}' is not a time like 2026-03-01T00:00:00Z (RFC 3339)", text.as_ref());
            toml.error_at(&text.span(), field, what)
        })
    };
    let whole = |value: &Spanned<usize>, field, most: usize| {
        let number = *value.as_ref();
        if (1..=most).contains(&number) {
            return Ok(number);
        }
        Err(toml.error_at(&value.span(), field, format!("{number} is not between 1 and {most}")))
    };
    let count = whole(&content.slots, "slots", SLOTS_MAX)?;
    let slot_minutes = content.slot_minutes.as_ref().map_or(SLOT_MINUTES_USUAL, |minutes| *minutes.as_ref());
    if !(1..=SLOT_MINUTES_MAX).contains(&slot_minutes) {
        let span = content.slot_minutes.as_ref().map(Spanned::span).unwrap_or_default();
        let what = format!("{slot_minutes} is not between 1 and {SLOT_MINUTES_MAX}");
        return Err(toml.error_at(&span, "slot_minutes", what));
    }
    let start = moment(&content.start, "start")?;
    let deadline = content.deadline.as_ref().map(|deadline| moment(deadline, "deadline")).transpose()?;
    let mut windows = Vec::new();
    for text in &content.windows {
        windows.push(window(text.as_ref()).ok_or_else(|| {
            let what = format!(
                "'{}' is not a window like 22:00-06:00, mon-fri 22:00-06:00 or sat,sun 00:00-24:00",
                text.as_ref()
            );
            toml.error_at(&text.span(), "windows", what)
        })?);
    }
    let seconds = i64::from(slot_minutes) * 60;
    let open: Vec<bool> = (0..count)
        .map(|slot| {
            let from = start + seconds * i64::try_from(slot).unwrap_or(0);
            let in_time = deadline.is_none_or(|deadline| from + seconds <= deadline);
            in_time
                && (windows.is_empty()
                    || windows.iter().any(|window| window.holds(from, from + seconds, &zone)))
        })
        .collect();
    if !open.contains(&true) {
        let span = content.deadline.as_ref().map_or_else(|| content.slots.span(), Spanned::span);
        let field = if content.deadline.is_some() { "deadline" } else { "windows" };
        let what = format!(
            "none of the {count} slots lies in a window and ends in time, so nothing can be upgraded"
        );
        return Err(toml.error_at(&span, field, what));
    }
    let max_in_flight =
        content.max_in_flight.as_ref().map(|most| whole(most, "max_in_flight", usize::MAX)).transpose()?;
    let limit = content.time_limit_ms.as_ref().map_or(Ok(TIME_LIMIT_USUAL), |limit| {
        let millis = *limit.as_ref();
        if (1..=TIME_LIMIT_MS_MAX).contains(&millis) {
            return Ok(Duration::from_millis(millis));
        }
        let what = format!("{millis} is not between 1 and {TIME_LIMIT_MS_MAX}");
        Err(toml.error_at(&limit.span(), "time_limit_ms", what))
    })?;
    let find = |name: &Spanned<String>, field| {
        network.find(name.as_ref()).ok_or_else(|| {
            toml.error_at(&name.span(), field, format!("no edge names a device '{}'", name.as_ref()))
        })
    };
    let mut gateways = Vec::new();
    for entry in &content.gateway {
        gateways.push(Gateway {
            device: find(&entry.device, "device")?,
            members: entry.members.iter().map(|name| find(name, "members")).collect::<Result<_, _>>()?,
            max_in_flight: whole(&entry.max_in_flight, "max_in_flight", usize::MAX)?,
        });
    }
    let slots = Slots { start, seconds, open, zone };
    Ok(SchedulePolicy { slots, max_in_flight, gateways, time_limit: limit })
}

/// Seconds since 1970, UTC.
fn moment(text: &str, zone: &TimeZone) -> Option<i64> {
    let pieces = Pieces::parse(text).ok()?;
    let local = DateTime::from_parts(pieces.date(), pieces.time()?);
    match pieces.to_numeric_offset() {
        Some(offset) => Some(offset.to_timestamp(local).ok()?.as_second()),
        None => Some(zone.to_timestamp(local).ok()?.as_second()),
    }
}

fn window(text: &str) -> Option<Window> {
    let (days, times) = match text.trim().rsplit_once(' ') {
        Some((days, times)) => (days_of_week(days)?, times),
        None => ([true; 7], text.trim()),
    };
    let (from, until) = times.split_once('-')?;
    let (from, until) = (minutes(from)?, minutes(until)?);
    (from < 24 * 60 && from != until).then_some(Window { days, from, until })
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

impl Window {
    /// Whether all from one moment to another lies in it, on the clocks of `zone`.
    fn holds(&self, from: i64, until: i64, zone: &TimeZone) -> bool {
        let (Ok(first), Ok(last)) = (Timestamp::from_second(from), Timestamp::from_second(until - 1)) else {
            return false;
        };
        let (first, last) = (zone.to_datetime(first), zone.to_datetime(last));
        // The opening that `first` lies in began on its day, or on the day before.
        [first.date(), first.date().yesterday().unwrap_or(first.date())].into_iter().any(|day| {
            let began = self.days[weekday(day.weekday())];
            let at = |minutes: u32| {
                let later = jiff::Span::new().minutes(i64::from(minutes));
                day.to_datetime(jiff::civil::Time::midnight()).checked_add(later)
            };
            let end = if self.until > self.from { self.until } else { self.until + 24 * 60 };
            began && at(self.from).is_ok_and(|from| from <= first) && at(end).is_ok_and(|end| last < end)
        })
    }
}

fn weekday(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}
