//! The device rules: what an order must be before it is taken in (DESIGN: trust). Their order is part of the contract.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use takt_common::envelope::{EnvelopeError, PayloadType, Signers};
use takt_common::order::{Action, ORDER_FORMAT, Order, Position, SnapshotRef};
use takt_common::permission::{Marked, Permission, Use};
use takt_common::release::ReleaseId;
use takt_common::strict_json;
use takt_common::{DeviceId, Envelope, Name, Sha256Digest, UnixTime};

use crate::phase::Accepted;

/// What the device knows when an order comes in.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    /// The device.
    pub me: DeviceId,
    /// Its hardware.
    pub hardware: &'a Name,
    /// Its domain.
    pub domain: &'a Name,
    /// The director root's order keys and threshold.
    pub signers: &'a Signers,
    /// The version of that root.
    pub epoch: u64,
    /// The last accepted order.
    pub last: Position,
    /// The highest release counter that was ever verified here, by component.
    pub highest: &'a BTreeMap<Name, u64>,
    /// Manifests of releases that were verified here: the way back to them is open.
    pub way_back: Vec<Sha256Digest>,
    /// Who may permit what the coordinator may not order by itself.
    pub counter_signers: Option<Signers>,
    /// Nonces of the device's latest reports.
    pub nonces: &'a [String],
    /// The earliest time it can be.
    pub time_floor: UnixTime,
    /// The device's trusted time.
    pub now: UnixTime,
}

/// A target of the package repository as the device has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its length in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// What it is.
    pub content: TargetContent,
}

/// What a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetContent {
    /// The manifest of a release.
    Manifest {
        /// The component.
        component: Name,
        /// The version.
        version: Name,
        /// The release counter.
        counter: u64,
        /// Hardware it fits; empty for any.
        hardware: Vec<Name>,
        /// Domains for which its publishers may publish; empty for any.
        domains: Vec<Name>,
    },
    /// A file of one or more releases.
    Artifact {
        /// The paths of their manifests.
        releases: BTreeSet<String>,
    },
}

/// A verified state of the package repository.
pub trait Targets {
    /// The snapshot it comes from.
    fn snapshot(&self) -> SnapshotRef;
    /// The target at `path`.
    fn target(&self, path: &str) -> Option<Target>;
    /// The lowest release counter of `component` that may still be installed.
    fn floor(&self, component: &Name) -> u64;
}

/// The rule that refused an order, with what it found.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Envelope: size, encoding or signatures.
    #[error("the order's envelope is refused: {}", chain(.0))]
    Envelope(#[from] EnvelopeError),
    /// The payload is not an order.
    #[error("the order is unreadable: {0}")]
    Unreadable(String),
    /// An unknown format.
    #[error("the order has format {found}, this agent reads {ORDER_FORMAT}")]
    Format {
        /// In the order.
        found: u32,
    },
    /// For another device.
    #[error("the order is for device {for_device}, this is {me}")]
    NotForMe {
        /// In the order.
        for_device: DeviceId,
        /// This device.
        me: DeviceId,
    },
    /// From another director root.
    #[error("the order has epoch {found}, the director root has version {expected}")]
    Epoch {
        /// In the order.
        found: u64,
        /// Of the root.
        expected: u64,
    },
    /// Older than, or the same as, one that was accepted.
    #[error("the order's position {found} is not above the last accepted {last}")]
    NeverOlder {
        /// In the order.
        found: Position,
        /// The last accepted.
        last: Position,
        /// Digest of the refused payload.
        digest: Sha256Digest,
    },
    /// It answers a nonce that is not the device's.
    #[error("the order answers a nonce that this device has not sent lately")]
    ForeignNonce,
    /// Too late.
    #[error("the order may be accepted until {not_after}, and it is at least {floor}")]
    Expired {
        /// In the order.
        not_after: UnixTime,
        /// The device's time floor.
        floor: UnixTime,
    },
    /// The repository that the order was made from is not the one that the device verified.
    #[error("the order was made from snapshot {ordered}, the device has verified snapshot {verified}")]
    Snapshot {
        /// Version in the order.
        ordered: u64,
        /// Version verified.
        verified: u64,
    },
    /// A member that its publishers have not signed.
    #[error("'{path}' is not signed by its publishers")]
    UnsignedMember {
        /// Its path.
        path: String,
    },
    /// A member differs from what its publishers signed.
    #[error("'{path}' differs in {field} from what its publishers signed")]
    MemberDiffers {
        /// Its path.
        path: String,
        /// `length`, `digest`, `release` or `hardware`.
        field: &'static str,
    },
    /// For other hardware.
    #[error("'{path}' fits hardware {fits}, this device is '{hardware}'")]
    WrongHardware {
        /// Its path.
        path: String,
        /// What it fits.
        fits: String,
        /// What this is.
        hardware: Name,
    },
    /// Its publishers have nothing to say in this domain.
    #[error("'{path}' is published for domains {fits}, this device belongs to '{domain}'")]
    WrongDomain {
        /// Its path.
        path: String,
        /// For which domains it is.
        fits: String,
        /// The device's domain.
        domain: Name,
    },
    /// Below the floor of its component.
    #[error("release counter {counter} of {component} is below {floor}, the lowest that may be installed")]
    BelowFloor {
        /// The component.
        component: Name,
        /// In the order.
        counter: u64,
        /// The floor.
        floor: u64,
    },
    /// An older release than the device has already verified.
    #[error(
        "release counter {counter} of {component} is below {highest}, which this device has already verified"
    )]
    OlderRelease {
        /// The component.
        component: Name,
        /// In the order.
        counter: u64,
        /// The highest verified here.
        highest: u64,
    },
    /// What the coordinator may not order by itself, and no permission that allows it.
    #[error("the order is a {action} to {release} and needs a permission: {why}")]
    Permission {
        /// What it asks for.
        action: Marked,
        /// The release.
        release: ReleaseId,
        /// What is wrong with the permission.
        why: String,
    },
    /// An order to install without members, or the reverse.
    #[error("an order to {action} cannot have {count} members")]
    Members {
        /// What it orders.
        action: String,
        /// How many it has.
        count: usize,
    },
}

impl Refusal {
    /// The stable name of the rule.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Envelope(EnvelopeError::Threshold { .. }) => "order-signature",
            Self::Envelope(_) => "envelope",
            Self::Unreadable(_) => "unreadable",
            Self::Format { .. } => "format",
            Self::NotForMe { .. } => "for-me",
            Self::Epoch { .. } => "epoch",
            Self::NeverOlder { .. } => "never-older",
            Self::ForeignNonce => "nonce",
            Self::Expired { .. } => "expired",
            Self::Snapshot { .. } => "snapshot",
            Self::UnsignedMember { .. } => "publisher-signature",
            Self::MemberDiffers { .. } => "member",
            Self::WrongHardware { .. } => "hardware",
            Self::WrongDomain { .. } => "domain",
            Self::BelowFloor { .. } => "floor",
            Self::OlderRelease { .. } => "older-release",
            Self::Members { .. } => "members",
            Self::Permission { .. } => "permission",
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// An order whose envelope, addressee, position and time are right. What it installs is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    order: Order,
    digest: Sha256Digest,
}

impl Addressed {
    /// Which state of the package repository the device must have verified for [`Addressed::accept`].
    pub const fn snapshot(&self) -> SnapshotRef {
        self.order.snapshot
    }

    /// Whether it is about a release: one that it installs, here or as a stand-in, or whose memory it wants.
    pub const fn installs(&self) -> bool {
        matches!(self.order.action, Action::Install | Action::TakeOver { .. } | Action::Checkpoint { .. })
    }

    /// Position of the order.
    pub const fn position(&self) -> Position {
        self.order.position()
    }

    /// Checks what the order installs against what the publishers signed.
    pub fn accept(self, targets: &dyn Targets, standing: &Standing) -> Result<Accepted, Refusal> {
        let order = &self.order;
        let count = order.members.len();
        let installs = self.installs();
        if installs != (count > 0) {
            return Err(Refusal::Members { action: order.action.to_string(), count });
        }
        if installs {
            let verified = targets.snapshot();
            let same_but_other =
                verified.version == order.snapshot.version && verified.sha256 != order.snapshot.sha256;
            if verified.version < order.snapshot.version || same_but_other {
                let (ordered, verified) = (order.snapshot.version, verified.version);
                return Err(Refusal::Snapshot { ordered, verified });
            }
        }
        for member in &order.members {
            let path = || member.path.clone();
            let target =
                targets.target(&member.path).ok_or_else(|| Refusal::UnsignedMember { path: path() })?;
            let differs = |field| Refusal::MemberDiffers { path: path(), field };
            if target.length != member.length {
                return Err(differs("length"));
            }
            if target.sha256 != member.sha256 {
                return Err(differs("digest"));
            }
            match target.content {
                TargetContent::Artifact { releases } if releases.contains(&member.release.target_path()) => {}
                TargetContent::Artifact { .. } => return Err(differs("release")),
                TargetContent::Manifest { component, version, counter, hardware, domains } => {
                    if component != member.release.name || version != member.release.version {
                        return Err(differs("release"));
                    }
                    if hardware != member.hw {
                        return Err(differs("hardware"));
                    }
                    if !hardware.is_empty() && !hardware.contains(standing.hardware) {
                        let (fits, hardware) = (joined(&hardware), standing.hardware.clone());
                        return Err(Refusal::WrongHardware { path: path(), fits, hardware });
                    }
                    if !domains.is_empty() && !domains.contains(standing.domain) {
                        let (fits, domain) = (joined(&domains), standing.domain.clone());
                        return Err(Refusal::WrongDomain { path: path(), fits, domain });
                    }
                    let floor = targets.floor(&component);
                    if counter < floor {
                        return Err(Refusal::BelowFloor { component, counter, floor });
                    }
                    // A stand-in runs what the other device runs, which may be older than what runs here.
                    let highest = standing.highest.get(&component).copied().unwrap_or(0);
                    if order.action == Action::Install && counter < highest && !order.policy.downgrade {
                        return Err(Refusal::OlderRelease { component, counter, highest });
                    }
                    let release = &member.release;
                    // Back to what was verified here anyone who may order may bring it: that is how campaigns are undone.
                    let known = standing.way_back.contains(&member.sha256);
                    if order.action == Action::Install && counter < highest && !known {
                        check_permission(order, Marked::Downgrade, release, standing)?;
                    }
                    let back = known && counter < highest;
                    if Marked::goes_ahead(order) && !back && standing.counter_signers.is_some() {
                        check_permission(order, Marked::GoAhead, release, standing)?;
                    }
                }
            }
        }
        Ok(Accepted { order: self.order, digest: self.digest, at: standing.now })
    }
}

fn check_permission(
    order: &Order,
    action: Marked,
    release: &ReleaseId,
    standing: &Standing,
) -> Result<(), Refusal> {
    let refused = |why: String| Refusal::Permission { action, release: release.clone(), why };
    let envelope = order.permission.as_deref().ok_or_else(|| refused("it has none".to_owned()))?;
    let (domain, device) = (standing.domain, Some(standing.me));
    Permission::open(envelope, standing.counter_signers.as_ref())
        .and_then(|permission| permission.check(&Use { action, release, domain, device, now: standing.now }))
        .map_err(|error| refused(chain(&error)))
}

fn joined(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

/// Checks the envelope, the addressee, the position and the time of an order, in the order of DESIGN.
pub fn address(envelope: &[u8], standing: &Standing) -> Result<Addressed, Refusal> {
    let payload = Envelope::from_bytes(envelope)?.open(PayloadType::Order, standing.signers)?;
    let digest = Sha256Digest::of(&payload);
    let order: Order = strict_json::from_slice(&payload, payload.len())
        .map_err(|error| Refusal::Unreadable(error.to_string()))?;
    if let Some(field) = not_understood(&payload, &order) {
        return Err(Refusal::Unreadable(format!("unknown field '{field}'")));
    }
    if order.format != ORDER_FORMAT {
        return Err(Refusal::Format { found: order.format });
    }
    if order.device != standing.me {
        return Err(Refusal::NotForMe { for_device: order.device, me: standing.me });
    }
    if order.epoch != standing.epoch {
        return Err(Refusal::Epoch { found: order.epoch, expected: standing.epoch });
    }
    if order.position() <= standing.last {
        return Err(Refusal::NeverOlder { found: order.position(), last: standing.last, digest });
    }
    match &order.nonce {
        Some(nonce) if !standing.nonces.contains(nonce) => return Err(Refusal::ForeignNonce),
        None if order.not_after <= standing.time_floor => {
            return Err(Refusal::Expired { not_after: order.not_after, floor: standing.time_floor });
        }
        _ => {}
    }
    Ok(Addressed { order, digest })
}

/// A field of the payload that reading it has passed over. `deny_unknown_fields` does not reach into variants without
/// fields: serde takes `{"do":"install","force":true}` for a plain install.
fn not_understood(payload: &[u8], order: &Order) -> Option<String> {
    let sent: Value = serde_json::from_slice(payload).ok()?;
    let understood: Value = serde_json::from_slice(&order.to_bytes()).ok()?;
    extra_field(&sent, &understood)
}

/// The first field of `sent` that `known` does not have. As deep as [`strict_json`] lets documents be.
fn extra_field(sent: &Value, known: &Value) -> Option<String> {
    match (sent, known) {
        (Value::Object(sent), Value::Object(known)) => {
            sent.iter().find_map(|(field, value)| match known.get(field) {
                None => Some(field.clone()),
                Some(known) => extra_field(value, known),
            })
        }
        (Value::Array(sent), Value::Array(known)) => {
            sent.iter().zip(known).find_map(|(sent, known)| extra_field(sent, known))
        }
        _ => None,
    }
}

/// A fixed set of targets, for tests and for planning without a repository.
#[derive(Debug, Clone)]
pub struct FixedTargets {
    /// The snapshot it stands for.
    pub snapshot: SnapshotRef,
    /// Targets by path.
    pub targets: BTreeMap<String, Target>,
    /// Floors by component.
    pub floors: BTreeMap<Name, u64>,
}

impl Targets for FixedTargets {
    fn snapshot(&self) -> SnapshotRef {
        self.snapshot
    }

    fn target(&self, path: &str) -> Option<Target> {
        self.targets.get(path).cloned()
    }

    fn floor(&self, component: &Name) -> u64 {
        self.floors.get(component).copied().unwrap_or(0)
    }
}
