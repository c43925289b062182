//! The simulated machine of one device: files that are there, and what is in force.

use std::collections::BTreeSet;

use takt_agent_core::{Action, ActionFailure, Nature, StepKey, StepState};
use takt_common::Sha256Digest;
use takt_common::release::ReleaseId;

/// A machine that does at once and whole what it is told.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) files: BTreeSet<Sha256Digest>,
    /// Steps of which a way back is kept.
    pub(crate) kept: BTreeSet<StepKey>,
    /// Steps of the order in hand that are in force.
    applied: BTreeSet<StepKey>,
    confirmed: BTreeSet<StepKey>,
    /// What is in force.
    pub(crate) runs: Option<ReleaseId>,
    /// What was in force before the order in hand.
    before: Option<ReleaseId>,
}

impl Machine {
    /// Where a step stands.
    pub(crate) fn look(&self, key: &StepKey) -> StepState {
        match (self.applied.contains(key), self.confirmed.contains(key), self.kept.contains(key)) {
            (true, true, _) => StepState::Confirmed,
            (true, false, _) => StepState::Applied,
            (false, _, true) => StepState::Prepared,
            (false, _, false) => StepState::Untouched,
        }
    }

    /// Does what an agent decided for the release in hand.
    pub(crate) fn perform(
        &mut self,
        action: &Action,
        release: Option<&ReleaseId>,
    ) -> Result<(), ActionFailure> {
        match action {
            Action::Fetch { sha256, .. } => {
                self.files.insert(*sha256);
            }
            Action::Prepare { key, .. } => {
                self.kept.insert(key.clone());
            }
            Action::Apply { key, .. } => {
                if self.applied.is_empty() {
                    self.before = self.runs.take();
                }
                self.applied.insert(key.clone());
                self.runs = release.cloned();
            }
            Action::Revert { key, .. } => {
                self.confirmed.remove(key);
                if self.applied.remove(key) && self.applied.is_empty() {
                    self.runs = self.before.take();
                }
            }
            Action::Confirm { key, .. } => {
                self.confirmed.insert(key.clone());
            }
            Action::Settle { key } => {
                self.kept.remove(key);
                self.applied.remove(key);
                self.confirmed.remove(key);
            }
            Action::Prune { keep_files, .. } => self.files.retain(|file| keep_files.contains(file)),
            Action::Hook { .. } => {}
            other => {
                let text = format!("a virtual device cannot {other}");
                return Err(ActionFailure { nature: Nature::Fatal, text });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use takt_agent_core::WorkloadName;
    use takt_common::release::{FileSet, Step};

    use super::*;

    fn id(version: &str) -> ReleaseId {
        ReleaseId { name: "lamp".parse().unwrap(), version: version.parse().unwrap() }
    }

    fn key(generation: u32, index: usize) -> StepKey {
        StepKey { workload: WorkloadName(format!("takt-x-lamp-g1-{generation}")), index }
    }

    #[test]
    fn steps_go_forward_and_back_and_what_is_in_force_goes_with_them() {
        let mut machine = Machine::default();
        let step = || Box::new(Step::File(FileSet { files: Vec::new() }));
        let release = id("1.0");
        let mut does = |action| {
            machine.perform(&action, Some(&release)).unwrap();
            (machine.look(&key(1, 0)), machine.runs.is_some())
        };
        assert_eq!(does(Action::Prepare { key: key(1, 0), step: step() }), (StepState::Prepared, false));
        assert_eq!(does(Action::Apply { key: key(1, 0), step: step() }), (StepState::Applied, true));
        assert_eq!(does(Action::Apply { key: key(1, 1), step: step() }), (StepState::Applied, true));
        assert_eq!(does(Action::Confirm { key: key(1, 0), step: step() }), (StepState::Confirmed, true));
        assert_eq!(does(Action::Revert { key: key(1, 1), step: step() }), (StepState::Confirmed, true));
        assert_eq!(does(Action::Revert { key: key(1, 0), step: step() }), (StepState::Prepared, false));
        assert_eq!(does(Action::Settle { key: key(1, 0) }), (StepState::Untouched, false));
        let refused =
            machine.perform(&Action::KeepRunning { name: key(1, 0).workload.container(None) }, None);
        assert_eq!(refused.unwrap_err().nature, Nature::Fatal);
    }
}
