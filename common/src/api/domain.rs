//! Graph, DRM and schedule of a domain.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::order::Takeover;

/// An edge of the device graph: `source` calls `target`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeSpec {
    /// The device that depends.
    pub source: Name,
    /// The device it depends on.
    pub target: Name,
    /// `target` must be upgraded and verified before `source`.
    #[serde(default)]
    pub requires: bool,
    /// Weight in [0, 1]; absent when not declared.
    #[serde(default)]
    pub weight: Option<f64>,
    /// By how many release counters of one component the two may be apart at any time; absent for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_max: Option<u64>,
}

/// `PUT|GET /api/v1/domains/{domain}/graph`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSpec {
    /// All edges; a PUT replaces the graph.
    pub edges: Vec<EdgeSpec>,
}

/// `GET /api/v1/domains/{domain}/graph/observed`: who calls whom, as agents have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedGraphView {
    /// In so many days up to now.
    pub days: u32,
    /// Between devices of the domain.
    pub edges: Vec<ObservedEdgeView>,
    /// How many devices have told with whom they talk.
    pub devices: u32,
    /// How many addresses of peers are those of no device of the domain.
    pub strangers: u32,
    /// Addresses that several devices said to be theirs at one time, and which: whoever is seen there is not known.
    pub ambiguous: BTreeMap<IpAddr, BTreeSet<Name>>,
    /// Connections that devices did not count, because there were too many.
    pub left_out: u64,
}

/// An edge that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedEdgeView {
    /// The device that calls.
    pub source: Name,
    /// The device that is called.
    pub target: Name,
    /// How often it has called.
    pub connections: u64,
    /// Bytes, both ways, as far as they were counted.
    pub bytes: u64,
    /// Whether it requires the target, if the edge is declared.
    pub requires: Option<bool>,
}

/// A row of the Device Redundancy Matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandbySpec {
    /// The device that may be away.
    pub device: Name,
    /// Who may serve for it; the first that is able is asked.
    pub standbys: Vec<Name>,
    /// How.
    pub takeover: Takeover,
}

/// Devices that do the same work together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeSetSpec {
    /// Its name.
    pub name: Name,
    /// Who belongs to it.
    pub members: Vec<Name>,
    /// How many of them serve at any time: the others may be away for an upgrade.
    pub serve_min: u32,
}

/// `PUT|GET /api/v1/domains/{domain}/drm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrmSpec {
    /// All rows; a PUT replaces the matrix.
    #[serde(default)]
    pub rows: Vec<StandbySpec>,
    /// Sets of which some must serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<ServeSetSpec>,
}

/// How slots are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleMethod {
    /// As paper 1 has it: the device whose least busy slot is the earliest first, then the least dependent.
    Paper,
    /// Least predicted disruption, then soonest done.
    #[default]
    Optimal,
}

/// What a gateway can feed, and whose path to the rest leads through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySpec {
    /// Which; none of its devices is upgraded while it is.
    pub device: Name,
    /// The devices behind it.
    pub members: Vec<Name>,
    /// How many of them may be upgraded in one slot.
    pub max_in_flight: u32,
    /// They agree to be cut off whenever that is. Otherwise the gateway is upgraded after them, but for those that require it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub agreed: bool,
}

/// `PUT|GET|DELETE /api/v1/domains/{domain}/schedule`: when devices of the domain are upgraded. Without one, each begins as soon as
/// order and redundancy let it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// How long a slot is, in seconds.
    #[serde(default = "ScheduleSpec::slot_secs_usual")]
    pub slot_secs: u32,
    /// How many slots ahead are planned.
    #[serde(default = "ScheduleSpec::slots_usual")]
    pub slots: u32,
    /// The most devices in one slot. Without it, as many as can surely be done in one: elements that each take their whole
    /// deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// When devices may begin, such as `mon-fri 22:00-06:00`; always if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<String>,
    /// On whose clocks: an IANA name; UTC without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What gateways can feed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewaySpec>,
    /// How slots are chosen.
    #[serde(default)]
    pub method: ScheduleMethod,
    /// How long the search for a better plan may take, in milliseconds.
    #[serde(default = "ScheduleSpec::time_limit_ms_usual")]
    pub time_limit_ms: u32,
}

impl ScheduleSpec {
    const fn slot_secs_usual() -> u32 {
        3_600
    }

    const fn slots_usual() -> u32 {
        48
    }

    const fn time_limit_ms_usual() -> u32 {
        1_000
    }
}

impl Default for ScheduleSpec {
    fn default() -> Self {
        Self {
            slot_secs: Self::slot_secs_usual(),
            slots: Self::slots_usual(),
            max_in_flight: None,
            windows: Vec::new(),
            time_zone: None,
            gateways: Vec::new(),
            method: ScheduleMethod::default(),
            time_limit_ms: Self::time_limit_ms_usual(),
        }
    }
}
