//! When devices of a domain may be upgraded, as its operator says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use takt_common::api::{ScheduleMethod, ScheduleSpec};
use takt_common::{DeviceId, Name, UnixTime};

use crate::schedule::{Method, Slots, TimeZoneError, WindowError, Windows, time_zone};

const SLOT_SECS_MAX: u32 = 86_400;
/// Two weeks of hours: no forecast is worth much beyond.
const SLOTS_MAX: u32 = 14 * 24;
/// Other campaigns wait as long.
const TIME_LIMIT_MS_MAX: u32 = 10_000;

/// The checked schedule of one domain.
#[derive(Debug, Clone)]
pub struct DomainSchedule {
    /// How slots are chosen.
    pub method: Method,
    /// How long a slot is, in seconds.
    pub slot_secs: u32,
    /// The most devices in one slot.
    pub max_in_flight: Option<usize>,
    /// What gateways can feed.
    pub gateways: Vec<DomainGateway>,
    /// How long the search for a better plan may take.
    pub time_limit: Duration,
    slots: usize,
    windows: Windows,
}

/// What a gateway can feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainGateway {
    /// Which.
    pub device: DeviceId,
    /// The devices behind it.
    pub members: BTreeSet<DeviceId>,
    /// How many of them may be upgraded in one slot.
    pub max_in_flight: usize,
    /// They agree to be cut off whenever that is.
    pub agreed: bool,
}

/// A schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A number that is too small or too large.
    #[error("field '{field}': {value} is not between 1 and {most}")]
    Number {
        /// Of what.
        field: &'static str,
        /// The number.
        value: u32,
        /// The largest.
        most: u32,
    },
    /// No window.
    #[error("field 'windows': {0}")]
    Window(#[from] WindowError),
    /// No time zone.
    #[error("field 'time_zone': {0}")]
    TimeZone(#[from] TimeZoneError),
    /// A slot lies in a window only if all of it does.
    #[error(
        "field 'windows': none of them holds a whole slot of {slot_secs} seconds, so nothing could ever be upgraded"
    )]
    NeverOpen {
        /// How long a slot is.
        slot_secs: u32,
    },
    /// A gateway or what is behind it is not in the domain.
    #[error("field 'gateways', {gateway}: the domain has no device '{unknown}'")]
    UnknownDevice {
        /// The gateway.
        gateway: Name,
        /// The name that is not known.
        unknown: Name,
    },
}

impl DomainSchedule {
    /// Checks `spec` against the devices of the domain.
    pub fn new(spec: &ScheduleSpec, devices: &BTreeMap<Name, DeviceId>) -> Result<Self, ScheduleError> {
        let number = |field, value: u32, most| {
            let within = (1..=most).contains(&value);
            within.then_some(value).ok_or(ScheduleError::Number { field, value, most })
        };
        let count = |field, value| {
            number(field, value, u32::MAX).map(|value| usize::try_from(value).unwrap_or(usize::MAX))
        };
        let slot_secs = number("slot_secs", spec.slot_secs, SLOT_SECS_MAX)?;
        let slots = number("slots", spec.slots, SLOTS_MAX)?;
        let time_limit = number("time_limit_ms", spec.time_limit_ms, TIME_LIMIT_MS_MAX)?;
        let zone = spec.time_zone.as_deref().map_or(Ok(TimeZone::UTC), time_zone)?;
        let windows = spec.windows.iter().map(|window| window.parse()).collect::<Result<_, _>>()?;
        let windows = Windows { windows, zone };
        let longest = windows.windows.iter().map(|window| window.minutes() * 60).max();
        if longest.is_some_and(|longest| longest < slot_secs) {
            return Err(ScheduleError::NeverOpen { slot_secs });
        }
        let gateways = spec.gateways.iter().map(|gateway| {
            let find = |name: &Name| {
                let (gateway, unknown) = (gateway.device.clone(), name.clone());
                devices.get(name).copied().ok_or(ScheduleError::UnknownDevice { gateway, unknown })
            };
            Ok(DomainGateway {
                device: find(&gateway.device)?,
                members: gateway.members.iter().map(find).collect::<Result<_, _>>()?,
                max_in_flight: count("max_in_flight", gateway.max_in_flight)?,
                agreed: gateway.agreed,
            })
        });
        Ok(Self {
            method: match spec.method {
                ScheduleMethod::Paper => Method::Paper,
                ScheduleMethod::Optimal => Method::Optimal,
            },
            slot_secs,
            max_in_flight: spec.max_in_flight.map(|most| count("max_in_flight", most)).transpose()?,
            gateways: gateways.collect::<Result<_, ScheduleError>>()?,
            time_limit: Duration::from_millis(u64::from(time_limit)),
            slots: usize::try_from(slots).unwrap_or(usize::MAX),
            windows,
        })
    }

    /// The slots from the one that `now` lies in. Slots begin with multiples of their length since 1970, UTC.
    pub fn slots(&self, now: UnixTime) -> Slots {
        let seconds = i64::from(self.slot_secs);
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX / 2);
        self.windows.slots(now - now.rem_euclid(seconds), seconds, self.slots, None)
    }
}

#[cfg(test)]
mod tests {
    use takt_common::api::GatewaySpec;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn schedule(spec: &ScheduleSpec) -> Result<DomainSchedule, ScheduleError> {
        let devices = ["a", "b"]
            .iter()
            .zip(1..)
            .map(|(text, number)| (name(text), format!("{number:032x}").parse().unwrap()));
        DomainSchedule::new(spec, &devices.collect())
    }

    #[test]
    fn slots_begin_with_the_one_of_now_and_are_open_in_windows_on_local_clocks() {
        let spec = ScheduleSpec {
            slots: 5,
            windows: vec!["22:00-24:00".to_owned()],
            time_zone: Some("Europe/Berlin".to_owned()),
            ..ScheduleSpec::default()
        };
        // 2026-11-21 19:20 UTC is 20:20 in Berlin.
        let slots = schedule(&spec).unwrap().slots(UnixTime::from_secs(1_795_288_800 + 1_200));
        assert_eq!(slots.rfc3339(0), "2026-11-21T20:00:00+01:00");
        assert_eq!(slots.open, [false, false, true, true, false]);
    }

    #[test]
    fn schedules_that_cannot_be_kept_are_refused_by_field() {
        let usual = ScheduleSpec::default;
        let gateway = |device, member| {
            vec![GatewaySpec {
                device: name(device),
                members: vec![name(member)],
                max_in_flight: 1,
                agreed: false,
            }]
        };
        let cases = [
            (ScheduleSpec { slot_secs: 0, ..usual() }, "field 'slot_secs': 0 is not between 1 and 86400"),
            (ScheduleSpec { slots: 337, ..usual() }, "field 'slots': 337 is not between 1 and 336"),
            (
                ScheduleSpec { time_limit_ms: 10_001, ..usual() },
                "field 'time_limit_ms': 10001 is not between 1 and 10000",
            ),
            (
                ScheduleSpec { windows: vec!["soon".to_owned()], ..usual() },
                "field 'windows': 'soon' is not a window like 22:00-06:00, mon-fri 22:00-06:00 or sat,sun 00:00-24:00",
            ),
            (
                ScheduleSpec { time_zone: Some("Mars".to_owned()), ..usual() },
                "field 'time_zone': 'Mars' is not a time zone like Europe/Berlin",
            ),
            (
                ScheduleSpec { windows: vec!["22:15-23:14".to_owned()], ..usual() },
                "field 'windows': none of them holds a whole slot of 3600 seconds, so nothing could ever be upgraded",
            ),
            (
                ScheduleSpec { gateways: gateway("a", "x"), ..usual() },
                "field 'gateways', a: the domain has no device 'x'",
            ),
            (
                ScheduleSpec { max_in_flight: Some(0), ..usual() },
                "field 'max_in_flight': 0 is not between 1 and 4294967295",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(schedule(&spec).unwrap_err().to_string(), expected);
        }
        assert_eq!(
            schedule(&ScheduleSpec { gateways: gateway("a", "b"), ..usual() }).unwrap().gateways.len(),
            1
        );
    }
}
