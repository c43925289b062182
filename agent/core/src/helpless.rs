//! What could not be helped at rest or while an order waits: each of it is tried again after a pause that grows, up to the longest. It is kept in
//! memory only: a new run of the agent tries at once.

use crate::action::{Action, Attempt};
use crate::facts::BootTime;
use crate::phase::Tries;
use crate::policy::Policy;

/// More actions than the workloads of a device need at rest; of more, the oldest is forgotten.
const ACTIONS_MAX: usize = 64;

/// Such actions that have failed, each with how often in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Helpless(Vec<(Action, Tries)>);

impl Helpless {
    /// Takes in what came of such an action.
    pub fn note(&mut self, attempt: &Attempt, boot: &BootTime, policy: &Policy) {
        let before = self.0.iter().position(|(action, _)| *action == attempt.action);
        let count = before.map_or(0, |place| self.0.remove(place).1.count).saturating_add(1);
        let Err(failure) = &attempt.result else { return };
        if self.0.len() == ACTIONS_MAX {
            self.0.remove(0);
        }
        let why = Some(format!("failed to {}: {}", attempt.action, failure.text));
        let not_before = Some(boot.plus(policy.pause(count)));
        self.0.push((attempt.action.clone(), Tries { count, why, not_before, held: false }));
    }

    /// The failed tries of an action.
    pub(crate) fn tries(&self, action: &Action) -> Option<&Tries> {
        self.0.iter().find(|(failed, _)| failed == action).map(|(_, tries)| tries)
    }
}
