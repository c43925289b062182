//! Bodies of the HTTPS API (`/api/v1`), shared by the coordinator, the agent's enrolment and the CLI.
//!
//! Errors are problem documents (RFC 9457), see [`Problem`].

mod campaign;
mod device;
mod domain;
mod renewal;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::id::{DeviceId, Name};
use crate::key::PublicKey;
use crate::time::UnixTime;

pub use crate::order::Takeover;
pub use campaign::{
    CampaignDevice, CampaignEvent, CampaignPreview, CampaignRequest, CampaignState, CampaignView, DeviceStep,
    ExcludedDevice, FollowMode, FollowSpec, PlanView, PlannedSlot, PreviewDevice, ResponseTimes, RetryPolicy,
    StepLimits,
};
pub use device::{
    BacktestView, DeviceView, ForecastView, HeldBy, Hold, Lease, OpenOrder, Quarantine, QuarantineRequest,
    Revocation, RevocationRequest, SlotForecast, WhyView,
};
pub use domain::{
    DrmSpec, EdgeSpec, GatewaySpec, GraphSpec, ObservedEdgeView, ObservedGraphView, ScheduleMethod,
    ScheduleSpec, ServeSetSpec, StandbySpec,
};
pub use renewal::{RenewalChallenge, RenewalRequest, RenewalResponse};

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
    /// Devices that enrol with it get no orders until an operator has approved them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
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
