//! What the agent sees when it looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use takt_common::release::Manifest;
use takt_common::{Sha256Digest, UnixTime};

use crate::action::{Attempt, ContainerName};
use crate::phase::{Accepted, StandIn, Workload};

/// An instant by the monotonic clock of one boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// A container that should be running at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadState {
    /// Its container.
    pub container: ContainerState,
    /// Whether the engine restarts it.
    pub kept_running: bool,
    /// Whether its image is there.
    pub image: Presence,
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
    /// The accepted order that waits for its turn (journal).
    pub next: Option<Accepted>,
    /// What should be running at rest (journal), by component, with what the engine says of it.
    pub installed: Vec<(Workload, WorkloadState)>,
    /// For whom this device stands in (journal).
    pub stand_in: Option<(StandIn, WorkloadState)>,
    /// Images of earlier verified releases that are kept (journal), newest first.
    pub retained: Vec<Workload>,
    /// Causes of failure on this device by manifest digest (journal).
    pub failed_here: BTreeMap<Sha256Digest, String>,
    /// Free bytes where artifacts and images go.
    pub free_disk_bytes: u64,
    /// Bytes of memory that new work can have.
    pub free_memory_bytes: u64,
    /// Load average of one minute per processor.
    pub load_per_cpu: f64,
    /// Whole and verified files on disk, of those that the order in hand names.
    pub staged: BTreeSet<Sha256Digest>,
    /// Bytes on disk of files that are not whole yet, by digest.
    pub partial: BTreeMap<Sha256Digest, u64>,
    /// The manifest of the order in hand, once it is on disk: read and checked.
    pub manifest: Option<Result<Manifest, String>>,
    /// The image of the order in hand.
    pub image: Presence,
    /// Containers of the order in hand: the new one and the one it replaces.
    pub containers: BTreeMap<ContainerName, ContainerState>,
    /// Able to checkpoint, or why not.
    pub checkpoint_ability: Result<(), String>,
    /// Of the release on probation.
    pub wellness: Wellness,
    /// Update locks that somebody holds, by name.
    pub locks: Vec<String>,
    /// The last action, until a phase has been remembered after it.
    pub last: Option<Attempt>,
}

impl Facts {
    /// What the engine says of `name`; a container nobody asked about is unknown.
    pub fn container(&self, name: &ContainerName) -> ContainerState {
        self.containers.get(name).copied().unwrap_or(ContainerState::Unknown)
    }
}
