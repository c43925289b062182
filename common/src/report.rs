//! Reports: what a device states, signed with its own key and chained by digest.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::id::DeviceId;
use crate::order::{Nonce, Position};
use crate::release::{HookPoint, ReleaseId, Strategy};
use crate::time::UnixTime;

/// The format this code writes.
pub const REPORT_FORMAT: u32 = 1;

/// A release that a device runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Which.
    pub release: ReleaseId,
    /// Its release counter.
    pub counter: u64,
    /// Digest of its manifest.
    pub manifest: Sha256Digest,
}

/// Where an agent is in an order, as told to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    /// No order in hand.
    Idle,
    /// Downloading artifacts.
    Fetching,
    /// Everything is on disk and verified; waiting for blockers or preparing.
    Staged,
    /// A checkpoint of the old container is being taken.
    Checkpointing,
    /// The old one stops, the new one starts.
    Switching,
    /// The new one runs and is watched.
    Probation,
    /// It is well; what could still fall back by itself is made to stay.
    Confirming,
    /// The previous release is being brought back.
    RollingBack,
    /// The order has ended; what is no longer needed is being removed.
    Ended,
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Fetching => "fetching",
            Self::Staged => "staged",
            Self::Checkpointing => "checkpointing",
            Self::Switching => "switching",
            Self::Probation => "probation",
            Self::Confirming => "confirming",
            Self::RollingBack => "rolling-back",
            Self::Ended => "ended",
        })
    }
}

/// How the memory of a rolled back workload fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Restored from its checkpoint.
    Kept,
    /// Started afresh.
    Lost,
    /// It had never stopped.
    Untouched,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Outcome {
    /// The new release runs and passed its probation: the only success.
    Verified {
        /// How its containers were switched; absent when none were, because it has none or they ran already.
        strategy: Option<Strategy>,
    },
    /// The previous release runs again.
    RolledBack {
        /// Why.
        cause: String,
        /// What became of its memory.
        memory: Memory,
    },
    /// Nothing was switched; the device runs what it ran.
    Failed {
        /// Why.
        cause: String,
    },
    /// The deadline passed while waiting; nothing was switched.
    GivenUp {
        /// On what.
        cause: String,
    },
    /// The coordinator took the order back in time.
    Withdrawn,
    /// The standby serves (its own health checks say so).
    Serving,
    /// The memory has been handed over for a takeover; what runs, runs on.
    Checkpointed,
    /// The takeover has ended.
    HandedBack,
    /// Neither the new nor the previous release could be brought to run.
    Stranded {
        /// What was tried and how it failed.
        cause: String,
    },
}

impl Outcome {
    /// True when the order did what it was meant to do.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Verified { .. } | Self::Serving | Self::Checkpointed | Self::HandedBack)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified { strategy: Some(strategy) } => write!(f, "verified ({strategy})"),
            Self::Verified { strategy: None } => f.write_str("verified"),
            Self::RolledBack { cause, memory } => {
                let memory = match memory {
                    Memory::Kept => "with its memory",
                    Memory::Lost => "without its memory",
                    Memory::Untouched => "it had never stopped",
                };
                write!(f, "rolled back ({memory}): {cause}")
            }
            Self::Failed { cause } => write!(f, "failed before the switch: {cause}"),
            Self::GivenUp { cause } => write!(f, "given up: {cause}"),
            Self::Withdrawn => f.write_str("withdrawn"),
            Self::Serving => f.write_str("serving as standby"),
            Self::Checkpointed => f.write_str("its memory has been handed over"),
            Self::HandedBack => f.write_str("handed back"),
            Self::Stranded { cause } => write!(f, "stranded: {cause}"),
        }
    }
}

/// An order that a device did not accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Digest of the refused envelope.
    pub envelope: Sha256Digest,
    /// The rule that refused it, a stable kebab-case name.
    pub rule: String,
    /// One sentence for people.
    pub why: String,
}

/// Milliseconds that a switch took, measured by the device's monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// From the moment the old one was told to stop until the new one had started.
    pub switch_millis: u64,
    /// The same for bringing the previous one back, if that happened.
    pub rollback_millis: Option<u64>,
}

/// The order a report speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRef {
    /// Its position.
    pub position: Position,
    /// Digest of its payload.
    pub digest: Sha256Digest,
}

/// An order was accepted that follows one which the device does not know: somebody has withheld that one, or lost it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Position of the order that was accepted.
    pub position: Position,
    /// Digest of the order before it, as it says.
    pub follows: Option<Sha256Digest>,
    /// Digest of the order that was accepted last before it.
    pub accepted: Option<Sha256Digest>,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |digest: &Option<Sha256Digest>| digest.map_or_else(|| "none".to_owned(), |of| of.to_string());
        let (follows, accepted) = (name(&self.follows), name(&self.accepted));
        write!(
            f,
            "order {} follows order {follows}, which never arrived; the last one accepted before it is {accepted}",
            self.position
        )
    }
}

/// A device's statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// Who speaks.
    pub device: DeviceId,
    /// Grows by one with every report.
    pub sequence: u64,
    /// Digest of the previous report's payload.
    pub previous_report_digest: Option<Sha256Digest>,
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// For a fresh answer.
    pub nonce: Nonce,
    /// What runs.
    pub installed: Vec<Installed>,
    /// For whom the device stands in.
    pub standing_in_for: Option<DeviceId>,
    /// The last accepted order.
    pub order: Option<OrderRef>,
    /// Where the agent is in it.
    pub phase: PhaseName,
    /// How it ended, in the report that ends it.
    pub outcome: Option<Outcome>,
    /// What people should know although it did not stop the order.
    pub warnings: Vec<String>,
    /// What the agent waits on, when it waits.
    pub waiting_on: Option<String>,
    /// An order that was not accepted.
    pub refused: Option<Refused>,
    /// Measured times of the switch.
    pub timing: Option<Timing>,
    /// What the hooks of the order have written, cut to a bounded length.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<HookPoint, String>,
    /// When it was made, by the device's trusted time.
    pub made: UnixTime,
    /// The earliest time it can be, as far as the device has signed evidence.
    pub time_floor: UnixTime,
    /// An order that did not follow from the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

impl Report {
    /// The payload that is signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a report has only text keys")
    }

    /// Why no agent can be where this report says, if it cannot: then nothing that it says of an order counts.
    pub fn impossible(&self) -> Option<String> {
        match (&self.order, &self.outcome) {
            (None, Some(_)) => Some("it tells the end of no order".to_owned()),
            (None, None) if self.phase != PhaseName::Idle => {
                Some(format!("phase {} without an order", self.phase))
            }
            (Some(_), Some(_)) if self.phase != PhaseName::Ended => {
                Some(format!("an order that is in phase {} has no end", self.phase))
            }
            _ => None,
        }
    }
}

/// The coordinator's signed statement that reports are durable, which is also a statement of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// To whom.
    pub device: DeviceId,
    /// Reports up to and with this sequence number need not be kept.
    pub sequence: u64,
    /// The nonce of the last of them.
    pub nonce: Nonce,
    /// The coordinator's time.
    pub time: UnixTime,
}
