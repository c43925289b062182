//! Devices: what is known of them, and what holds them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::health::HealthSample;
use crate::id::{DeviceId, Name};
use crate::order::{Action, Position};
use crate::release::{HookPoint, ReleaseId};
use crate::report::{Installed, Outcome, PhaseName, Refused, Timing};
use crate::time::UnixTime;

/// An order that a device has not ended yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOrder {
    /// Its position.
    pub position: Position,
    /// What it asks.
    pub action: Action,
    /// The release it brings.
    pub release: Option<ReleaseId>,
    /// When it was signed.
    pub issued: UnixTime,
    /// True once a signed report has shown it.
    pub accepted: bool,
}

/// The right of a standby to serve for a device, from the order to take over until it has handed back or never served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// For whom.
    pub device: DeviceId,
    /// The fencing token: later leases have higher ones, so that what acts on an earlier one can be refused.
    pub token: u64,
    /// Since when.
    pub since: UnixTime,
}

/// Why a device is asked to begin nothing: what it says cannot be relied on, or an operator has said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Since when.
    pub since: UnixTime,
    /// Why.
    pub why: String,
}

/// `PUT /api/v1/devices/{name or id}/quarantine`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineRequest {
    /// Why; people will read it.
    pub why: String,
}

/// Why a device is not let in: its session is cut, and neither gate nor API take its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Since when.
    pub since: UnixTime,
    /// Why.
    pub why: String,
    /// It is decommissioned: nothing ends that, and its name may be another device's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_ever: bool,
}

impl fmt::Display for Revocation {
    /// As it goes on after the device's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.for_ever { "decommissioned" } else { "revoked" };
        write!(f, "is {what} since {}: {}", self.since, self.why)
    }
}

/// `PUT /api/v1/devices/{name or id}/revocation`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// Why; people will read it.
    pub why: String,
}

/// `GET /api/v1/devices/{name or id}`, and each element of `GET /api/v1/devices`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: Name,
    /// Its domain.
    pub domain: Name,
    /// Its hardware.
    pub hardware: Name,
    /// When it was enrolled.
    pub enrolled: UnixTime,
    /// Whether it has a session at the gate now.
    pub online: bool,
    /// When it was last heard of.
    pub last_seen: Option<UnixTime>,
    /// Why it is asked to begin nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// Why it is not let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// Since when it waits for an operator's approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unapproved: Option<UnixTime>,
    /// What it said it runs.
    pub installed: Vec<Installed>,
    /// For whom it stands in.
    pub standing_in_for: Option<DeviceId>,
    /// By which right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Where its agent is.
    pub phase: Option<PhaseName>,
    /// What its agent waits on.
    pub waiting_on: Option<String>,
    /// The order it has not ended yet.
    pub order: Option<OpenOrder>,
    /// How its last order ended.
    pub last_outcome: Option<Outcome>,
    /// Times measured in its last switch.
    pub timing: Option<Timing>,
    /// Its last warnings.
    pub warnings: Vec<String>,
    /// What the hooks of its last order that ran any have written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<HookPoint, String>,
    /// Its last refusal.
    pub refused: Option<Refused>,
    /// Its last health sample.
    pub health: Option<HealthSample>,
}

/// How wrong forecasts were on days that they had not seen: mean absolute errors in percent points.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BacktestView {
    /// Of the model that is used.
    pub mae: f64,
    /// Of the load that stays what it is.
    pub persistence_mae: f64,
    /// Of the device's usual day or week.
    pub profile_mae: f64,
}

/// The load of a device in a slot, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SlotForecast {
    /// When the slot begins.
    pub start: UnixTime,
    /// Expected.
    pub load: f64,
    /// From here
    pub low: f64,
    /// to here in nine of ten cases.
    pub high: f64,
}

/// `GET /api/v1/devices/{name or id}/forecast`: how busy a device will be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForecastView {
    /// The device.
    pub device: Name,
    /// How many samples it stands on.
    pub samples: u32,
    /// How long a slot is, in seconds.
    pub slot_secs: u32,
    /// `persistence`, `daily-profile`, `weekly-profile` or `regression`.
    pub model: String,
    /// Nothing with less than three days of history.
    pub backtest: Option<BacktestView>,
    /// The next day.
    pub slots: Vec<SlotForecast>,
    /// When the slot with the lowest load begins.
    pub best: UnixTime,
}

/// `GET /api/v1/devices/{name or id}/why`: why is this device waiting?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// The device.
    pub device: Name,
    /// True when something holds it.
    pub waiting: bool,
    /// What holds it, the nearest cause first, and where it stands; one sentence each.
    pub reasons: Vec<String>,
    /// What holds it, the nearest cause first: rule, since when, and what would release it.
    #[serde(default)]
    pub holds: Vec<Hold>,
}

/// Something that holds a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Which loop or rule.
    pub by: HeldBy,
    /// The campaign, where it is one that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Name>,
    /// Since when, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixTime>,
    /// What would release it, in words.
    pub released_by: String,
}

/// What holds a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBy {
    /// Its own agent: a blocker, a lock, a hook, or a wait of the order in hand.
    Agent,
    /// An order that it has not accepted, has refused or cannot report on.
    Order,
    /// It is in quarantine.
    Quarantine,
    /// It is revoked.
    Revocation,
    /// No operator has approved its enrolment yet.
    Enrolment,
    /// Target identification: it does not fit now.
    Target,
    /// A campaign that must be approved.
    Approval,
    /// A campaign that is paused.
    Pause,
    /// A campaign that stops.
    Brake,
    /// Speed regulation: its element has not begun.
    Element,
    /// The schedule: its slot is not now.
    Slot,
    /// What it requires is not verified.
    Requires,
    /// What must not be away together with it is: a standby, a serve set, a gateway, a neighbour.
    Lease,
    /// A standby that has not taken over or not handed back.
    Standby,
    /// A more urgent campaign.
    Severity,
    /// It is cut off together with others.
    Outage,
    /// The way back after an abort.
    Rollback,
}
