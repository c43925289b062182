//! Steps of a release as the device sees them: where each of those stands that are no containers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::WorkloadName;

/// One step of one order's release: the workload's name holds the order's position, so that the way back of one order
/// is never taken for that of another. As text, `<workload>.<index>`, it is a safe file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// Of which workload.
    pub workload: WorkloadName,
    /// Which of its steps, from 0.
    pub index: usize,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.workload, self.index)
    }
}

impl StepKey {
    /// The key with this text; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (workload, index) = text.rsplit_once('.')?;
        Some(Self { workload: WorkloadName(workload.to_owned()), index: index.parse().ok()? })
    }
}

/// Where a step stands, by looking at the device and at nothing that was remembered of what was tried.
///
/// ```text
///  Untouched ──prepare──> Prepared ──apply──> Applied ──confirm──> Confirmed
///      ^                                 └──> NewAfterReboot ──reboot──> Applied, or FellBack
///      └── revert ── Half, Applied, NewAfterReboot, Confirmed, FellBack
///      └── reboot ── OldAfterReboot <──┘
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// It cannot be told; why.
    Unknown(String),
    /// The previous state is in force, and no way back has been kept.
    Untouched,
    /// The previous state is in force; its way back is kept and what comes lies ready.
    Prepared,
    /// Something of it has been changed and something has not; what.
    Half(String),
    /// In force from the next boot on.
    NewAfterReboot,
    /// In force.
    Applied,
    /// In force, and nothing takes it back by itself any more.
    Confirmed,
    /// The previous state will be in force again from the next boot on.
    OldAfterReboot,
    /// It was to be in force after a reboot, and the device came up with the previous state; why, as far as it is known.
    FellBack(String),
}
