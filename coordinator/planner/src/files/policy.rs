//! `policy.toml`: `slot_minutes, slots, start, max_in_flight, windows, time_zone, deadline, time_limit_ms` and `[[gateway]]`.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::Spanned;

use super::InputError;
use super::toml_file::TomlFile;
use crate::network::Network;
use crate::schedule::{Gateway, Problem, Slots, Window, Windows, time_zone};
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
            kept: None,
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
    #[serde(default)]
    agreed: bool,
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
        Some(name) => time_zone(name.as_ref())
            .map_err(|error| toml.error_at(&name.span(), "time_zone", error.to_string()))?,
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
        let window = text.as_ref().parse::<Window>();
        windows.push(window.map_err(|error| toml.error_at(&text.span(), "windows", error.to_string()))?);
    }
    let slots = Windows { windows, zone }.slots(start, i64::from(slot_minutes) * 60, count, deadline);
    if !slots.open.contains(&true) {
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
            agreed: entry.agreed,
        });
    }
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
