//! Bodies of the HTTPS API (`/api/v1`), shared by the coordinator, the agent's enrolment and the CLI.
//!
//! Errors are problem documents (RFC 9457), see [`Problem`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::health::HealthSample;
use crate::id::{DeviceId, Name};
use crate::key::PublicKey;
use crate::order::{Action, Mode, Policy, Position};
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
}

/// `PUT|GET /api/v1/domains/{domain}/graph`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSpec {
    /// All edges; a PUT replaces the graph.
    pub edges: Vec<EdgeSpec>,
}

/// How a standby takes over (paper 1, rolling upgrade, step 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    /// The standby starts the device's current release as a stand-in.
    Launch,
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

/// `PUT|GET /api/v1/domains/{domain}/drm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrmSpec {
    /// All rows; a PUT replaces the matrix.
    pub rows: Vec<StandbySpec>,
}

/// `POST /api/v1/campaigns` (operator).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How many devices an element has at the most.
    pub element_size: u32,
    /// Seconds that a device may take for its order, waiting included.
    pub deadline_secs: u64,
    /// What orders allow.
    #[serde(default)]
    pub policy: Policy,
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
    /// Stopped by a failure or an operator.
    Aborted,
    /// All devices have ended well.
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

/// A device in a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignDevice {
    /// Which.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// The element it belongs to, from 0, once its turn has come.
    pub element: Option<u32>,
    /// Where it is.
    pub step: DeviceStep,
    /// What it warned of when its order ended: *verified with warning* is a good end that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its devices in upgrade order.
    pub devices: Vec<CampaignDevice>,
    /// The last decisions, oldest first; bounded.
    pub events: Vec<CampaignEvent>,
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

/// `GET /api/v1/devices/{name or id}/why`: why is this device waiting?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// The device.
    pub device: Name,
    /// True when something holds it.
    pub waiting: bool,
    /// What holds it, the nearest cause first: rule, since when, and what would release it; one sentence each.
    pub reasons: Vec<String>,
}
