//! The slots of a plan.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Slots of equal length that follow each other, some of them open.
#[derive(Debug, Clone, PartialEq)]
pub struct Slots {
    /// When the first one begins: seconds since 1970, UTC.
    pub start: i64,
    /// How long each is.
    pub seconds: i64,
    /// In which devices may be upgraded.
    pub open: Vec<bool>,
    /// On whose clocks people read it.
    pub zone: TimeZone,
}

/// What a gateway can feed, and whose path to the rest leads through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Which; none of its devices is upgraded while it is.
    pub device: u32,
    /// The devices behind it.
    pub members: Vec<u32>,
    /// How many of them may be upgraded at once.
    pub max_in_flight: usize,
    /// They agree to be cut off whenever that is. Otherwise it is upgraded in a later slot than all of them, but for those that
    /// require it: they want it upgraded first.
    pub agreed: bool,
}

impl Slots {
    /// When a slot begins: seconds since 1970, UTC.
    pub fn at(&self, slot: usize) -> i64 {
        self.start + self.seconds * i64::try_from(slot).unwrap_or(i64::MAX / self.seconds.max(1))
    }

    /// When a slot begins, by RFC 3339 on the clocks of the zone.
    pub fn rfc3339(&self, slot: usize) -> String {
        let Ok(at) = Timestamp::from_second(self.at(slot)) else { return self.at(slot).to_string() };
        let offset = self.zone.to_offset(at);
        at.display_with_offset(offset).to_string()
    }

    /// Hours and minutes at which a slot begins, on the clocks of the zone; seconds too, where slots do not begin with a minute.
    pub fn clock(&self, slot: usize) -> String {
        let form = if self.start % 60 == 0 && self.seconds % 60 == 0 { "%H:%M" } else { "%H:%M:%S" };
        Timestamp::from_second(self.at(slot))
            .map_or_else(|_| slot.to_string(), |at| self.zone.to_datetime(at).strftime(form).to_string())
    }
}
