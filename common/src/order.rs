//! Orders: what a coordinator tells one device to do (DESIGN: trust).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::id::{DeviceId, Name};
use crate::release::ReleaseId;
use crate::time::UnixTime;

/// The format this code writes and reads.
pub const ORDER_FORMAT: u32 = 1;

/// A random text of a device that makes an answer fresh: 32 hex digits.
pub type Nonce = String;

/// How a standby takes over (paper 1, rolling upgrade, step 1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    /// The standby starts the containers of the device's current release as a stand-in.
    #[default]
    Launch,
    /// The standby runs what it needs already: its health checks and the hook `takeover` of that release say whether it serves.
    Notify,
    /// As `launch`, and the containers go on from the memory that the device's own have at that moment.
    Restore,
}

impl Takeover {
    /// Whether containers are started.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub const fn is_launch(&self) -> bool {
        matches!(self, Self::Launch)
    }
}

impl fmt::Display for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Launch => "launch",
            Self::Notify => "notify",
            Self::Restore => "restore",
        })
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(lease: &u64) -> bool {
    *lease == 0
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do", deny_unknown_fields)]
pub enum Action {
    /// Bring the device to the release of the members.
    Install,
    /// Serve for `device` with the release of the members until handed back.
    TakeOver {
        /// For whom.
        device: DeviceId,
        /// Its name, for people.
        name: Name,
        /// How.
        #[serde(default, skip_serializing_if = "Takeover::is_launch")]
        how: Takeover,
        /// The fencing token of the takeover: later ones of the domain have higher ones, so that what a hook tells others can be told
        /// from what an earlier one has told them.
        #[serde(default, skip_serializing_if = "is_zero")]
        lease: u64,
    },
    /// Hand the memory of the members' release, which runs on, to `standby`, whose takeover is a `restore`.
    Checkpoint {
        /// To whom.
        standby: DeviceId,
        /// Its name, for people.
        name: Name,
        /// The fencing token of the takeover.
        lease: u64,
    },
    /// `device` serves for itself again: end the takeover.
    HandBack {
        /// For whom the takeover was.
        device: DeviceId,
        /// Its name, for people.
        name: Name,
    },
    /// Give up the order in hand if nothing has been switched yet.
    Withdraw,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install => f.write_str("install"),
            Self::TakeOver { name, .. } => write!(f, "take over for {name}"),
            Self::Checkpoint { name, .. } => write!(f, "hand its memory to {name}"),
            Self::HandBack { name, .. } => write!(f, "hand back to {name}"),
            Self::Withdraw => f.write_str("withdraw"),
        }
    }
}

/// Paper 1, upgrade decision: rolling where a standby serves, in place otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "mode", deny_unknown_fields)]
pub enum Mode {
    /// No standby: the service is away while the device switches.
    InPlace,
    /// A standby serves meanwhile.
    Rolling {
        /// Who.
        standby: DeviceId,
    },
}

/// A target of the package repository that the order installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its path in the repository.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// The release it belongs to.
    pub release: ReleaseId,
    /// The hardware it fits; empty for any.
    pub hw: Vec<Name>,
}

/// Which state of the package repository the coordinator saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRef {
    /// Version of the snapshot document.
    pub version: u64,
    /// Digest of its exact bytes.
    pub sha256: Sha256Digest,
}

/// When the switch may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Not before.
    pub from: UnixTime,
    /// Not at or after.
    pub until: UnixTime,
}

/// What happens when the deadline passes while the device still waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtDeadline {
    /// Report `given-up`; nothing has changed.
    GiveUp,
    /// Switch in spite of soft blockers (load, window); hard ones (disk, memory, trust) still hold.
    GoAhead,
}

/// What the publisher and operator allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// At the deadline.
    pub at_deadline: AtDeadline,
    /// Try a release again that failed here before.
    pub retry: bool,
    /// How many verified releases of the component keep their images beside the running one.
    pub retain: u32,
    /// Install the release although a later one of the component has been verified there; it is never below the publisher's floor, and
    /// one that was never verified there needs a permission.
    #[serde(default, skip_serializing_if = "is_false")]
    pub downgrade: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Default for Policy {
    fn default() -> Self {
        Self { at_deadline: AtDeadline::GiveUp, retry: false, retain: 2, downgrade: false }
    }
}

/// An order to one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// [`ORDER_FORMAT`].
    pub format: u32,
    /// For whom.
    pub device: DeviceId,
    /// Version of the director root whose keys sign this.
    pub epoch: u64,
    /// Grows with every order to this device within an epoch.
    pub generation: u64,
    /// The device's own nonce, when the order answers one.
    pub nonce: Option<Nonce>,
    /// When it was signed.
    pub issued: UnixTime,
    /// Until when it may be accepted.
    pub not_after: UnixTime,
    /// Digest of the previous order's payload to this device, so that a withheld one shows.
    pub previous_order_digest: Option<Sha256Digest>,
    /// The state of the package repository it was made from.
    pub snapshot: SnapshotRef,
    /// What to do.
    pub action: Action,
    /// Every target it installs, manifests and artifacts.
    pub members: Vec<Member>,
    /// Rolling or in place.
    pub mode: Mode,
    /// When to switch; any time if absent.
    pub window: Option<Window>,
    /// How long the device may wait.
    pub deadline: UnixTime,
    /// What is allowed.
    pub policy: Policy,
    /// The envelope of a [`crate::permission::Permission`] for what the coordinator may not order by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

impl Order {
    /// The position of the order in the device's history; only higher ones are acted on.
    pub const fn position(&self) -> Position {
        Position { epoch: self.epoch, generation: self.generation }
    }

    /// The payload that is signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an order has only text keys")
    }
}

/// `(epoch, generation)`, compared in that order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Version of the director root.
    pub epoch: u64,
    /// Per-device counter.
    pub generation: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.generation)
    }
}
