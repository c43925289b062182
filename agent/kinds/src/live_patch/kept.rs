//! What is kept of a step, and where it stands.

use serde::{Deserialize, Serialize};
use takt_agent_core::StepState;
use takt_common::release::LivePatch;

use super::kernel::Found;
use crate::note::{self, NoteError};
use crate::way_back::StepFolder;

const NOTE: &str = "live-patch.json";

/// The format of the note: fields are only ever added.
const FORMAT: u32 = 1;

/// The note of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// [`FORMAT`].
    pub format: u32,
    /// Nothing of the patch was loaded before the step: it is this step's to take back.
    #[serde(default)]
    pub ours: bool,
    /// It was confirmed.
    #[serde(default)]
    pub confirmed: bool,
    /// It was taken back.
    #[serde(default)]
    pub reverted: bool,
}

impl Default for Kept {
    fn default() -> Self {
        Self { format: FORMAT, ours: false, confirmed: false, reverted: false }
    }
}

impl Kept {
    pub(super) fn read(folder: &StepFolder) -> Result<Option<Self>, NoteError> {
        note::read(folder, NOTE)
    }

    pub(super) fn write(&self, folder: &StepFolder) -> Result<(), NoteError> {
        note::write(folder, NOTE, self)
    }
}

/// Where a step stands, on a device that runs the kernel release `runs`.
pub(super) fn stand(patch: &LivePatch, kept: Option<&Kept>, runs: &str, found: Found) -> StepState {
    let before = if kept.is_some() { StepState::Prepared } else { StepState::Untouched };
    let reverted = kept.is_some_and(|kept| kept.reverted);
    if runs == patch.stands_for {
        // What the patch mends is mended, and nothing takes that back but another kernel.
        return if reverted { before } else { StepState::Confirmed };
    }
    if runs != patch.kernel {
        return before;
    }
    match found {
        Found::Absent => before,
        // Others brought it, and the step has let go of it.
        Found::InForce if reverted && kept.is_some_and(|kept| !kept.ours) => before,
        Found::InForce if kept.is_some_and(|kept| kept.confirmed) => StepState::Confirmed,
        Found::InForce => StepState::Applied,
        Found::Idle | Found::Moving | Found::Coming | Found::Leaving => {
            StepState::Half(format!("patch {}: {found}", patch.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use takt_common::Sha256Digest;

    use super::*;

    #[test]
    fn where_a_step_stands_is_told_from_the_kernel() {
        let patch = LivePatch {
            module: Sha256Digest::of(b"module"),
            name: "mend".to_owned(),
            kernel: "6.1.0-1".to_owned(),
            stands_for: "6.1.0-2".to_owned(),
            transition_secs: 1,
        };
        let ours = Kept { ours: true, ..Kept::default() };
        let confirmed = Kept { confirmed: true, ..ours.clone() };
        let reverted = Kept { reverted: true, ..ours.clone() };
        let let_go = Kept { reverted: true, ..Kept::default() };
        for (kept, runs, found, expected) in [
            (None, "6.1.0-1", Found::Absent, "Untouched"),
            (Some(&ours), "6.1.0-1", Found::Absent, "Prepared"),
            (None, "6.1.0-1", Found::InForce, "Applied"),
            (Some(&ours), "6.1.0-1", Found::InForce, "Applied"),
            (Some(&confirmed), "6.1.0-1", Found::InForce, "Confirmed"),
            (Some(&confirmed), "6.1.0-1", Found::Absent, "Prepared"),
            (Some(&reverted), "6.1.0-1", Found::Absent, "Prepared"),
            // Somebody has loaded it again after it was taken back.
            (Some(&reverted), "6.1.0-1", Found::InForce, "Applied"),
            (Some(&let_go), "6.1.0-1", Found::InForce, "Prepared"),
            (Some(&let_go), "6.1.0-1", Found::Leaving, "Half"),
            (None, "6.1.0-1", Found::Idle, "Half"),
            (None, "6.1.0-1", Found::Moving, "Half"),
            (Some(&ours), "6.1.0-1", Found::Coming, "Half"),
            (Some(&ours), "6.1.0-1", Found::Leaving, "Half"),
            (None, "6.1.0-2", Found::Absent, "Confirmed"),
            (Some(&ours), "6.1.0-2", Found::Absent, "Confirmed"),
            (Some(&reverted), "6.1.0-2", Found::Absent, "Prepared"),
            (None, "6.1.0-3", Found::Absent, "Untouched"),
            (Some(&ours), "6.1.0-3", Found::Absent, "Prepared"),
        ] {
            let stands = format!("{:?}", stand(&patch, kept, runs, found));
            assert!(stands.starts_with(expected), "{kept:?}, {runs}, {found:?}: {stands}");
        }
    }
}
