//! Where the agent is in an order. Phases are journalled; nothing else decides what happens after a restart.
//!
//! ```text
//!            Idle ──accept──> Fetching ──> Staged ──> Checkpointing ──> Switching ──> Probation ──> Confirming
//!             ^                  │            │        (preserve)           │             │             │
//!             │                  v            v                             v             v             v
//!             └──── Ended <── failed, given up, withdrawn              RollingBack <── ill        verified,
//!                     ^                                                     │                      serving
//!                     └─────────── rolled back, stranded <─────────────────┘                         │
//!                     └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Two kinds of order take a shorter way: `Idle → GivingMemory → Ended`, and `Idle → HandingBack → Ended`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use takt_common::order::{Action as OrderAction, Order};
use takt_common::release::{Container, HookPoint, Manifest, Step, Strategy};
use takt_common::report::{OrderRef, Outcome, PhaseName, Timing};
use takt_common::{DeviceId, Name, Sha256Digest, UnixTime};

use crate::action::{ContainerName, WorkloadName};
use crate::facts::{BootTime, Vitals};
use crate::step::StepKey;

/// What a container serves as; it chooses which device variables fill its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The device's own workload.
    Own,
    /// Standing in for another device.
    StandIn,
}

/// An order that passed every device rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The order.
    pub order: Order,
    /// Digest of its payload.
    pub digest: Sha256Digest,
    /// When it was accepted.
    pub at: UnixTime,
}

impl Accepted {
    /// How a report names it.
    pub const fn order_ref(&self) -> OrderRef {
        OrderRef { position: self.order.position(), digest: self.digest }
    }
}

/// A release as it runs, or ran, on this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its manifest.
    pub manifest: Manifest,
    /// Digest of the manifest's exact bytes.
    pub manifest_sha256: Sha256Digest,
    /// Its name on this device.
    pub name: WorkloadName,
}

impl Workload {
    /// Its containers with their names, in the order of starting; none if it has no such step.
    pub fn containers(&self) -> impl Iterator<Item = (ContainerName, &Container)> {
        let set = self.manifest.containers().into_iter().flat_map(|set| &set.containers);
        set.map(|container| (self.name.container(container.name.as_ref()), container))
    }

    /// True when it has containers.
    pub fn has_containers(&self) -> bool {
        self.manifest.containers().is_some()
    }

    /// Its steps with their keys, in the order of applying.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = (StepKey, &Step)> + ExactSizeIterator {
        self.manifest.steps.iter().enumerate().map(|(index, step)| (self.key(index), step))
    }

    /// The key of its step `index`.
    pub fn key(&self, index: usize) -> StepKey {
        StepKey { workload: self.name.clone(), index }
    }
}

/// A takeover in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// For whom.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// What serves for it.
    pub workload: Workload,
    /// The fencing token of the takeover.
    #[serde(default)]
    pub lease: u64,
}

/// The order in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The order.
    pub accepted: Accepted,
    /// What ran before it; an install replaces it.
    pub old: Option<Workload>,
}

impl Job {
    /// Own workload or stand-in.
    pub const fn role(&self) -> Role {
        match self.accepted.order.action {
            OrderAction::TakeOver { .. } => Role::StandIn,
            _ => Role::Own,
        }
    }
}

/// How often the action of a phase has failed, and why last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// How often.
    pub count: u32,
    /// Why last.
    pub why: Option<String>,
    /// Not again before this instant of this boot.
    pub not_before: Option<BootTime>,
    /// Nothing failed the last time: a hook asked to wait.
    #[serde(default)]
    pub held: bool,
}

/// The switch in hand, known once the manifest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// What comes.
    pub new: Workload,
    /// How its containers switch, if it has some.
    pub strategy: Option<Strategy>,
    /// The checkpoint of the old container, once it has been taken.
    pub checkpoint: Option<String>,
    /// A checkpoint that failed: some or all of it may be on disk, and it must go.
    #[serde(default)]
    pub left_over: Option<String>,
    /// Takeover `restore`: what became of the device's memory, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<TakenMemory>,
    /// What people should know.
    pub warnings: Vec<String>,
    /// When the old one was told to stop.
    pub began: Option<BootTime>,
    /// Later boots that the switch has seen, by boot id; a device that reboots again and again turns back.
    #[serde(default)]
    pub reboots: Vec<String>,
    /// Strategy `handover`: when all new containers were first seen to run in this boot.
    #[serde(default)]
    pub up: Option<BootTime>,
    /// Strategy `handover`: when the published ports were first seen to lead to them.
    #[serde(default)]
    pub moved: Option<BootTime>,
    /// Steps that could not be taken back, by their place, with what failed.
    #[serde(default, with = "by_place")]
    pub stuck: BTreeMap<usize, String>,
    /// Hooks that have run to their end, with what they wrote.
    #[serde(default)]
    pub hooks: BTreeMap<HookPoint, String>,
    /// How the old one fared before the switch.
    #[serde(default)]
    pub baseline: Option<Vitals>,
    /// Measured times.
    pub timing: Timing,
    /// What is counted so that nothing of this goes on for ever.
    #[serde(default, skip_serializing_if = "Bounds::is_empty")]
    pub bounds: Bounds,
}

/// What is counted of a switch, and anew of its way back, so that both have an end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// How often the agent was started since.
    pub starts: u32,
    /// The run of the agent that was noted last, by its begin.
    pub run: Option<BootTime>,
    /// What cannot be looked at, and since when it is waited for.
    pub unseen: Option<(Unseen, BootTime)>,
    /// Failed tries of taking a step back, by its place.
    #[serde(with = "by_place")]
    pub back: BTreeMap<usize, Tries>,
    /// Steps that were passed over on the way back and get no further chance, by their place.
    pub again: BTreeSet<usize>,
}

/// Maps by the place of a step: JSON has texts for keys, and of those within a tagged enum serde makes no numbers again.
mod by_place {
    use std::collections::BTreeMap;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<usize, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(place, value)| (place.to_string(), value)))
    }

    pub(super) fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<usize, V>, D::Error> {
        let map = BTreeMap::<String, V>::deserialize(deserializer)?;
        map.into_iter().map(|(place, value)| Ok((place.parse().map_err(D::Error::custom)?, value))).collect()
    }
}

impl Bounds {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    /// The container engine.
    Engine,
    /// The published ports.
    Ports,
    /// A step, by its place.
    Step(usize),
}

/// What became of the memory with which a stand-in is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakenMemory {
    /// It is here: the containers start from it.
    Here,
    /// They have started from it and are sick: stop them, then start them afresh.
    Sick,
    /// It could not be had or not be used: they start afresh.
    Lost,
}

/// How the previous release is brought back. It is journalled before the effect, so that a report never says "with
/// its memory" of a container that was started afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// It may still be running: nothing has been started yet.
    AsIs,
    /// From its checkpoint.
    Restore,
    /// It came back from its checkpoint, but sick: stop it, then start it afresh.
    Restart,
    /// Afresh, its memory is lost.
    Cold,
}

/// Where the agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// No order in hand.
    #[default]
    Idle,
    /// Bringing the release to disk.
    Fetching {
        /// The order.
        job: Box<Job>,
        /// What the hook `pre-fetch` wrote, once it has run to its end.
        #[serde(default)]
        hook: Option<String>,
        /// Failed tries.
        tries: Tries,
    },
    /// On disk and verified; waiting for blockers, then loading and creating ahead.
    Staged {
        /// The order.
        job: Box<Job>,
        /// The switch.
        swap: Box<Swap>,
        /// Failed tries.
        tries: Tries,
    },
    /// Taking the checkpoint that also stops the old one.
    Checkpointing {
        /// The order.
        job: Box<Job>,
        /// The switch.
        swap: Box<Swap>,
    },
    /// Stopping the old one, starting the new one.
    Switching {
        /// The order.
        job: Box<Job>,
        /// The switch.
        swap: Box<Swap>,
        /// Failed tries.
        tries: Tries,
    },
    /// Watching the new one.
    Probation {
        /// The order.
        job: Box<Job>,
        /// The switch.
        swap: Box<Swap>,
        /// When it had started.
        since: BootTime,
    },
    /// It is well; what could still fall back by itself is made to stay.
    Confirming {
        /// The order.
        job: Box<Job>,
        /// The switch.
        swap: Box<Swap>,
        /// Since when.
        since: BootTime,
        /// Failed tries.
        tries: Tries,
    },
    /// Bringing back what ran before.
    RollingBack {
        /// The order.
        job: Box<Job>,
        /// The switch.
        swap: Box<Swap>,
        /// Why.
        cause: String,
        /// When this way was taken.
        since: BootTime,
        /// By which way.
        way: Way,
        /// It has been seen running by this way: if it no longer does, it has died.
        #[serde(default)]
        ran: bool,
        /// Failed tries.
        tries: Tries,
    },
    /// Handing the memory of what runs to a standby.
    GivingMemory {
        /// The order.
        job: Box<Job>,
        /// Failed tries.
        tries: Tries,
    },
    /// Ending a takeover.
    HandingBack {
        /// The order.
        job: Box<Job>,
        /// Failed tries.
        tries: Tries,
    },
    /// The order has ended and its report is in the outbox; clearing up.
    Ended {
        /// The order.
        job: Box<Job>,
        /// The switch, if it came so far.
        swap: Option<Box<Swap>>,
        /// How it ended.
        outcome: Outcome,
        /// Failed tries of clearing up.
        tries: Tries,
    },
}

impl Phase {
    /// The name under which it is told to others.
    pub const fn name(&self) -> PhaseName {
        match self {
            Self::Idle => PhaseName::Idle,
            Self::Fetching { .. } => PhaseName::Fetching,
            Self::Staged { .. } => PhaseName::Staged,
            Self::Checkpointing { .. } | Self::GivingMemory { .. } => PhaseName::Checkpointing,
            Self::Switching { .. } | Self::HandingBack { .. } => PhaseName::Switching,
            Self::Probation { .. } => PhaseName::Probation,
            Self::Confirming { .. } => PhaseName::Confirming,
            Self::RollingBack { .. } => PhaseName::RollingBack,
            Self::Ended { .. } => PhaseName::Ended,
        }
    }

    /// The order in hand.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Idle => None,
            Self::Fetching { job, .. }
            | Self::Staged { job, .. }
            | Self::Checkpointing { job, .. }
            | Self::Switching { job, .. }
            | Self::Probation { job, .. }
            | Self::Confirming { job, .. }
            | Self::RollingBack { job, .. }
            | Self::GivingMemory { job, .. }
            | Self::HandingBack { job, .. }
            | Self::Ended { job, .. } => Some(job),
        }
    }

    /// The switch in hand.
    pub fn swap(&self) -> Option<&Swap> {
        match self {
            Self::Idle | Self::Fetching { .. } | Self::GivingMemory { .. } | Self::HandingBack { .. } => None,
            Self::Staged { swap, .. }
            | Self::Checkpointing { swap, .. }
            | Self::Switching { swap, .. }
            | Self::Probation { swap, .. }
            | Self::Confirming { swap, .. }
            | Self::RollingBack { swap, .. } => Some(swap),
            Self::Ended { swap, .. } => swap.as_deref(),
        }
    }

    /// How the order ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Ended { outcome, .. } => Some(outcome),
            _ => None,
        }
    }
}
