//! What the agent sees when it looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use takt_common::release::{ContainerSet, Manifest};
use takt_common::{Sha256Digest, UnixTime};

use crate::action::{Action, Attempt, ContainerName, WorkloadName};
use crate::helpless::Helpless;
use crate::phase::{Accepted, StandIn, Workload};
use crate::step::{StepKey, StepState};

/// An instant by the monotonic clock of one boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTime {
    /// The kernel's random id of the boot.
    pub boot_id: String,
    /// Milliseconds since that boot, sleep included.
    pub millis: u64,
}

impl BootTime {
    /// How long `self` is after `earlier`; `None` when a boot lies between them.
    pub fn since(&self, earlier: &Self) -> Option<Duration> {
        (self.boot_id == earlier.boot_id)
            .then(|| Duration::from_millis(self.millis.saturating_sub(earlier.millis)))
    }

    /// The instant `span` later in the same boot.
    #[must_use]
    pub fn plus(&self, span: Duration) -> Self {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self { boot_id: self.boot_id.clone(), millis: self.millis.saturating_add(millis) }
    }
}

/// What the engine says of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// The engine did not answer.
    Unknown,
    /// No such container.
    Absent,
    /// Created, never started.
    Created,
    /// Running.
    Running,
    /// Stopped, with its exit code.
    Exited(i64),
}

/// Whether the engine has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The engine did not answer.
    Unknown,
    /// It has not.
    Absent,
    /// It has.
    Present,
}

/// What the engine says of a container and of its restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its state.
    pub state: ContainerState,
    /// Whether the engine restarts it.
    pub kept_running: bool,
}

impl ContainerFacts {
    /// Nobody asked, or nobody answered.
    pub const UNKNOWN: Self = Self { state: ContainerState::Unknown, kept_running: true };
}

/// Whether the published ports of a workload lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// It cannot be told; why.
    Unknown(String),
    /// Not all of them do.
    No,
    /// All of them do.
    Yes,
}

/// How a workload fares, for the comparison of a release with the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// Thousandths of one processor.
    pub cpu_permille: Option<u32>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Median response time of a round of health checks, in milliseconds.
    pub response_millis: Option<u64>,
    /// Restarts while it was measured.
    pub restarts: u32,
}

/// The measurement of what runs before a switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Baseline {
    /// There is nothing to measure, or it is not asked for yet.
    #[default]
    None,
    /// It takes so long still.
    Measuring {
        /// At most so many milliseconds.
        left_millis: u64,
    },
    /// It is done.
    Measured(Vitals),
}

/// How the device is powered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Power {
    /// Mains, or a device that says nothing of its power.
    #[default]
    Mains,
    /// A battery.
    Battery {
        /// Its charge in percent.
        percent: u8,
    },
}

/// What bytes cost on the device's link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkCost {
    /// Nothing.
    #[default]
    Free,
    /// They are paid for.
    Metered {
        /// Bytes that may still be fetched in this budget's period; `None` where there is no budget.
        left_bytes: Option<u64>,
    },
}

/// Whether the device knows what time it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClockState {
    /// The wall clock agrees with what has been signed.
    #[default]
    Trusted,
    /// It is before or far after the last signed time, by so many seconds.
    Off {
        /// The difference.
        by_secs: u64,
    },
}

/// Whether the standby serves, as this device sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StandbyState {
    /// The order needs none, or this device has no means to ask: the coordinator has checked it.
    #[default]
    NotAsked,
    /// It does.
    Serves,
    /// It does not; what it answered.
    Silent(String),
}

/// What the health checks of the watched release have said since the agent began to watch it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wellness {
    /// Rounds in which a probe failed, in a row up to now.
    pub failures_in_a_row: u32,
    /// True once a round was good.
    pub ever_well: bool,
    /// How long ago the first good round was, if the release's limit of failed rounds has not been reached since.
    pub well_for: Option<Duration>,
    /// What the last failed probe said.
    pub last_failure: Option<String>,
}

/// Everything [`crate::decide()`] may know.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The device's trusted time.
    pub now: UnixTime,
    /// The monotonic clock.
    pub boot: BootTime,
    /// When this run of the agent began: what tells it from every other run.
    pub started: BootTime,
    /// The accepted order that waits for its turn (journal).
    pub next: Option<Accepted>,
    /// What should be running at rest (journal), by component.
    pub installed: Vec<Workload>,
    /// For whom this device stands in (journal).
    pub stand_in: Option<StandIn>,
    /// Earlier verified releases that are kept (journal), newest first.
    pub retained: Vec<Workload>,
    /// Causes of failure on this device by manifest digest (journal).
    pub failed_here: BTreeMap<Sha256Digest, String>,
    /// Free bytes where artifacts and images go.
    pub free_disk_bytes: u64,
    /// Bytes of memory that new work can have.
    pub free_memory_bytes: u64,
    /// Load average of one minute per processor.
    pub load_per_cpu: f64,
    /// How the device is powered.
    pub power: Power,
    /// What bytes cost.
    pub link: LinkCost,
    /// Whether the wall clock is to be believed.
    pub clock: ClockState,
    /// The standby of the order in hand.
    pub standby: StandbyState,
    /// Whole and verified files on disk, of those that the order in hand names.
    pub staged: BTreeSet<Sha256Digest>,
    /// Bytes on disk of files that are not whole yet, by digest.
    pub partial: BTreeMap<Sha256Digest, u64>,
    /// The manifest of the order in hand, once it is on disk: read and checked.
    pub manifest: Option<Result<Manifest, String>>,
    /// Images of what runs and of the order in hand.
    pub images: BTreeMap<Sha256Digest, Presence>,
    /// Containers of what runs and of the order in hand: the new ones and those that they replace.
    pub containers: BTreeMap<ContainerName, ContainerFacts>,
    /// Of workloads that publish ports: whether these lead to them.
    pub routes: BTreeMap<WorkloadName, Routed>,
    /// Established connections of clients to published ports, by the workload that serves them.
    pub connections: BTreeMap<WorkloadName, u32>,
    /// Steps of the order in hand that are no containers; up to the switch, live patches of what is installed.
    pub steps: BTreeMap<StepKey, StepState>,
    /// Steps of which a way back is kept.
    pub kept: BTreeSet<StepKey>,
    /// Able to checkpoint, or why not.
    pub checkpoint_ability: Result<(), String>,
    /// Able to move published ports, or why not.
    pub handover_ability: Result<(), String>,
    /// Of the release on watch.
    pub wellness: Wellness,
    /// How the release on watch fares, once that has been measured.
    pub vitals: Option<Vitals>,
    /// What runs before the switch.
    pub baseline: Baseline,
    /// True once the coordinator has acknowledged a report that was made by this run of the agent.
    pub heard: bool,
    /// Update locks that somebody holds, by name.
    pub locks: Vec<String>,
    /// The last action, until a phase has been remembered after it.
    pub last: Option<Attempt>,
    /// Every action that has succeeded since a phase was remembered or the agent rested: none of them is due again.
    pub done: Vec<Action>,
    /// At rest: what has failed in this run of the agent.
    pub helpless: Helpless,
}

impl Facts {
    /// What the engine says of `name`; a container nobody asked about is unknown.
    pub fn container(&self, name: &ContainerName) -> ContainerFacts {
        self.containers.get(name).copied().unwrap_or(ContainerFacts::UNKNOWN)
    }

    /// The containers of `workload` in the order of starting, with their states.
    pub fn states(&self, workload: &Workload) -> Vec<(ContainerName, ContainerState)> {
        workload.containers().map(|(name, _)| (name.clone(), self.container(&name).state)).collect()
    }

    /// Whether the engine has all images of `workload`: unknown if that is so of one, else absent if one is.
    pub fn image(&self, manifest: &Manifest) -> Presence {
        let found = manifest
            .containers()
            .into_iter()
            .flat_map(|set| &set.containers)
            .map(|container| self.images.get(&container.image_id).copied().unwrap_or(Presence::Unknown));
        found.fold(Presence::Present, |all, one| match (all, one) {
            (Presence::Unknown, _) | (_, Presence::Unknown) => Presence::Unknown,
            (Presence::Absent, _) | (_, Presence::Absent) => Presence::Absent,
            _ => Presence::Present,
        })
    }

    /// Where a step stands; one nobody asked about is unknown.
    pub fn step(&self, key: &StepKey) -> StepState {
        self.steps.get(key).cloned().unwrap_or_else(|| StepState::Unknown("nobody has looked yet".to_owned()))
    }

    /// Whether the published ports of `workload` lead to it; true of one that has none.
    pub fn routed(&self, workload: &Workload) -> Routed {
        if !workload.manifest.containers().is_some_and(ContainerSet::publishes) {
            return Routed::Yes;
        }
        let unseen = || Routed::Unknown("nobody has looked yet".to_owned());
        self.routes.get(&workload.name).cloned().unwrap_or_else(unseen)
    }
}
