//! Bodies of the HTTPS API (`/api/v1`), shared by the coordinator, the agent's enrolment and the CLI.
//!
//! Errors are problem documents (RFC 9457), see [`Problem`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::health::HealthSample;
use crate::id::{DeviceId, Name};
use crate::key::PublicKey;
pub use crate::order::Takeover;
use crate::order::{Action, Mode, Policy, Position};
use crate::regulation::{ElementView, Regulation, Stage};
use crate::release::{HookPoint, ReleaseId};
use crate::report::{Installed, Outcome, PhaseName, Refused, Timing};
use crate::time::UnixTime;

/// What a refused request gets (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable kebab-case name of the kind of problem, as `urn:takt:problem:<name>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence that names the field, file or device.
    pub detail: String,
}

/// `POST /api/v1/tokens` (operator): asks for an enrolment token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Devices that enrol with it belong here.
    pub domain: Name,
    /// How many devices may use it.
    pub uses: u32,
    /// Seconds until it is void.
    pub valid_secs: u64,
}

/// The answer: `takt1.<secret>.<SHA-256 of the fleet CA's certificate in DER>`. It is shown once and kept hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The token.
    pub token: String,
    /// Until when it may be used.
    pub not_after: UnixTime,
}

/// `POST /api/v1/enrol` (no client certificate): a device asks for its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The secret part of the token.
    pub secret: String,
    /// The device's name.
    pub name: Name,
    /// Its hardware, as releases name it.
    pub hardware: Name,
    /// Its public key, whose digest is its id.
    pub public_key: PublicKey,
    /// Base64 of the key's signature over [`EnrolRequest::proof_message`]: it holds the private half.
    pub proof: String,
}

impl EnrolRequest {
    /// What the device signs to prove that it holds its key.
    pub fn proof_message(secret: &str, name: &Name, hardware: &Name, key: &PublicKey) -> Vec<u8> {
        format!("takt enrolment 1\n{}\n{name}\n{hardware}\n{key}\n", Sha256Digest::of(secret.as_bytes()))
            .into_bytes()
    }
}

/// What an enrolled device gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolResponse {
    /// Its id.
    pub device: DeviceId,
    /// Its domain.
    pub domain: Name,
    /// Its certificate: subject CN = device id, OU = domain.
    pub certificate_pem: String,
    /// The fleet CA.
    pub ca_pem: String,
    /// The TUF root to begin from, exact bytes as text.
    pub package_root: String,
    /// The director root to begin from, exact bytes as text.
    pub director_root: String,
    /// `host:port` of the MQTT gate.
    pub broker: String,
}

/// `GET /api/v1/keys`: the coordinator's online keys, for the ceremony that makes the roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorKeys {
    /// Signs orders and acknowledgements.
    pub order: PublicKey,
    /// Signs the TUF timestamp.
    pub timestamp: PublicKey,
}

/// `PUT /api/v1/repository` (operator): publishes signed metadata. File name to exact text, for example
/// `1.root.json`, `2.targets.json`, `2.snapshot.json`, `1.director.root.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryUpload {
    /// The documents.
    pub documents: BTreeMap<String, String>,
}

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

/// `POST /api/v1/campaigns` (operator).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignRequest {
    /// The campaign's name; must be new.
    pub name: Name,
    /// Which release.
    pub release: ReleaseId,
    /// Whose devices.
    pub domain: Name,
    /// Only these devices; all of the domain if empty.
    #[serde(default)]
    pub devices: Vec<Name>,
    /// How many devices an element has at the most, whatever regulation would allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_size: Option<u32>,
    /// Seconds that a device may take for its order, waiting included.
    pub deadline_secs: u64,
    /// What orders allow.
    #[serde(default)]
    pub policy: Policy,
    /// How fast it goes, and when it stops.
    #[serde(default)]
    pub regulation: Regulation,
    /// Only devices that this query means (docs/campaigns.md).
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How often a device is tried again that failed before anything was switched.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Seconds after which no further device begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_secs: Option<u64>,
    /// Seconds after which its devices begin outside their slots as well: it is to be done by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_by_secs: Option<u64>,
    /// Its share of what the coordinator can do at a time, beside that of other campaigns.
    #[serde(default = "CampaignRequest::weight_usual")]
    pub weight: u32,
    /// It goes on for devices that become targets later, until it expires or is closed.
    #[serde(default)]
    pub stays_open: bool,
    /// It begins once a second operator has approved it.
    #[serde(default)]
    pub approval: bool,
}

impl CampaignRequest {
    /// A campaign with everything as usual.
    pub fn new(name: Name, release: ReleaseId, domain: Name) -> Self {
        Self {
            name,
            release,
            domain,
            devices: Vec::new(),
            element_size: None,
            deadline_secs: Self::DEADLINE_SECS_USUAL,
            policy: Policy::default(),
            regulation: Regulation::default(),
            query: None,
            retry: RetryPolicy::default(),
            expires_secs: None,
            complete_by_secs: None,
            weight: Self::weight_usual(),
            stays_open: false,
            approval: false,
        }
    }

    /// How long a device may take for its order where nothing else is asked for.
    pub const DEADLINE_SECS_USUAL: u64 = 600;

    const fn weight_usual() -> u32 {
        1
    }
}

/// How often a device is tried again that failed before anything was switched there (paper 2, "Operation Decomposition").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Orders for one device, the first one included.
    pub attempts: u32,
    /// Seconds before the second attempt, twice as many before each other one, half of them more or less by chance.
    pub backoff_secs: u64,
    /// Bytes that a device may be sent at the most, all attempts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 1, backoff_secs: 60, bytes: None }
    }
}

/// `PUT|GET /api/v1/domains/{domain}/follow/{component}` (operator): campaigns that begin by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowSpec {
    /// Whether they begin or are proposed.
    pub mode: FollowMode,
    /// How they are to be. Its name is the beginning of theirs, which end in the version; its domain is that of the path, and of its
    /// release only the component counts, which is that of the path as well.
    pub campaign: CampaignRequest,
}

/// What happens when a release of a followed component is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FollowMode {
    /// A campaign begins.
    Start,
    /// A campaign waits until an operator approves it.
    Propose,
}

/// A device of the domain that is no target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedDevice {
    /// Its id.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// Why, as it goes on after its name.
    pub reason: String,
    /// A less urgent campaign has it in work: it joins when that is done with it, and until then the campaign does not end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joins: bool,
}

/// The state of a campaign (DESIGN: words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CampaignState {
    /// Not begun.
    Pending,
    /// Running.
    Ongoing,
    /// Held by an operator.
    Paused,
    /// Stopped by failures or an operator; its devices are being brought back to what they ran before.
    RollingBack,
    /// Stopped by failures or an operator.
    Aborted,
    /// All devices have ended, and no more than are tolerated have failed.
    Finished,
}

/// Where a device is in a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum DeviceStep {
    /// Not its turn yet.
    Pending,
    /// Its standby has been ordered to take over.
    TakingOver {
        /// Who.
        standby: DeviceId,
        /// The standby's order.
        order: Position,
        /// Since when.
        since: UnixTime,
    },
    /// It has its order.
    Upgrading {
        /// Its order.
        order: Position,
        /// Rolling or in place.
        mode: Mode,
        /// Since when.
        since: UnixTime,
    },
    /// It has ended; its standby has been ordered to hand back.
    HandingBack {
        /// Who.
        standby: DeviceId,
        /// The standby's order.
        order: Position,
        /// How the device's own order ended.
        outcome: Outcome,
        /// Since when.
        since: UnixTime,
    },
    /// It has ended.
    Done {
        /// How.
        outcome: Outcome,
        /// When.
        at: UnixTime,
    },
}

/// When a device of a campaign is to begin, and why then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedSlot {
    /// It does not begin before.
    pub start: UnixTime,
    /// It does not begin from here on: without having begun, it gets another slot.
    pub end: UnixTime,
    /// Its place among all that have a slot, from 1.
    pub sequence: u32,
    /// Who is to serve meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<DeviceId>,
    /// How busy it will be, in percent; nothing where nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_load: Option<f64>,
    /// Why this slot, in words.
    pub reason: String,
}

/// How good the slots of a campaign's devices are together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    /// When it was made.
    pub made: UnixTime,
    /// How.
    pub method: ScheduleMethod,
    /// The predicted loads of all planned devices in their slots together, in percent points.
    pub objective: f64,
    /// No plan has less.
    pub lower_bound: f64,
    /// How much better a plan could be at the most, as a part of `objective`.
    pub gap: f64,
    /// How many slots pass until all is done.
    pub makespan_slots: u32,
}

/// A device in a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignDevice {
    /// Which.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// The element it belongs to, from 0, once its turn has come.
    pub element: Option<u32>,
    /// Where it is.
    pub step: DeviceStep,
    /// When it is or was to begin, where the domain has a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<PlannedSlot>,
    /// What it warned of when its order ended: *verified with warning* is a good end that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What went wrong beside or after the end of its order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The release that it is, or has been, brought back to after an abort; its step speaks of that then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<ReleaseId>,
}

/// A decision of a campaign with its reason, for the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignEvent {
    /// When.
    pub at: UnixTime,
    /// Of which device, if of one.
    pub device: Option<Name>,
    /// One sentence.
    pub text: String,
}

/// `GET /api/v1/campaigns/{name}`, and each element of `GET /api/v1/campaigns`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignView {
    /// What was asked for.
    pub request: CampaignRequest,
    /// Its state.
    pub state: CampaignState,
    /// Why it is in that state, in one sentence.
    pub reason: String,
    /// When it was started.
    pub started: UnixTime,
    /// When it ended.
    pub ended: Option<UnixTime>,
    /// How far it is.
    #[serde(default)]
    pub stage: Stage,
    /// Its elements that have ended and what was decided after each, oldest first; bounded.
    #[serde(default)]
    pub elements: Vec<ElementView>,
    /// How good the slots of its devices are, where the domain has a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanView>,
    /// How many devices it has.
    #[serde(default)]
    pub total: usize,
    /// How many of them have ended.
    #[serde(default)]
    pub done: usize,
    /// Its devices in upgrade order.
    pub devices: Vec<CampaignDevice>,
    /// Devices that were asked for and are no targets now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<ExcludedDevice>,
    /// Releases that devices are brought to first, where the release needs a later one than they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<ReleaseId>,
    /// The last decisions, oldest first; bounded.
    pub events: Vec<CampaignEvent>,
}

/// `POST /api/v1/campaigns/plan` (operator): what a campaign would do if all went well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignPreview {
    /// Its devices, in the order in which they would begin.
    pub devices: Vec<PreviewDevice>,
    /// Its elements.
    pub elements: Vec<ElementView>,
    /// When it would end; absent if it would not.
    pub ends: Option<UnixTime>,
    /// Why it would not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// So many devices nobody serves for while they switch.
    pub in_place: usize,
    /// For so many a standby serves.
    pub rolling: usize,
    /// Seconds for which devices are away that nobody serves for, all together and at the least.
    pub away_secs: u64,
    /// The load that is predicted for the slots of its devices, in percent points, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_load: Option<f64>,
    /// Devices that were asked for and are no targets now.
    pub excluded: Vec<ExcludedDevice>,
    /// Releases that devices are brought to first, where the release needs a later one than they run.
    pub path: Vec<ReleaseId>,
}

/// A device of a campaign that would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewDevice {
    /// Which.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// In which element, from 0.
    pub element: Option<u32>,
    /// When it would begin; absent if it runs the release already, or would never begin.
    pub begins: Option<UnixTime>,
    /// When it would have ended.
    pub ends: Option<UnixTime>,
    /// Who would serve for it.
    pub standby: Option<DeviceId>,
    /// The load that is predicted for its slot, in percent.
    pub predicted_load: Option<f64>,
    /// It is offline now; the preview takes it to come back.
    pub offline: bool,
}

/// `POST /api/v1/operators` (the first operator): another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorRequest {
    /// Its name; must be new.
    pub name: Name,
}

/// A new operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorResponse {
    /// Its name.
    pub name: Name,
    /// Its token; only its digest is kept.
    pub token: String,
}

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
    /// What it said it runs.
    pub installed: Vec<Installed>,
    /// For whom it stands in.
    pub standing_in_for: Option<DeviceId>,
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
