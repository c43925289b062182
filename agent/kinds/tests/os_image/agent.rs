//! What the agent's core does with a step, on its way forward and back: look, then one action, and look again.

use takt_agent_core::{ActionFailure, StepState};
use takt_common::release::Step;
use takt_kinds::Kinds;

use super::device::Device;
use super::settings::{Store, key};

/// No way is longer, reboots included.
const TURNS_MAX: u32 = 20;

/// One of the five calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Prepare,
    Apply,
    Revert,
    Confirm,
}

/// Takes one action.
pub(crate) async fn act(kinds: &Kinds, store: &Store, call: Call, step: &Step) -> Result<(), ActionFailure> {
    match call {
        Call::Prepare => kinds.prepare(&key(), step, store).await,
        Call::Apply => kinds.apply(&key(), step, store).await,
        Call::Revert => kinds.revert(&key(), step).await,
        Call::Confirm => kinds.confirm(&key(), step).await,
    }
}

/// The next thing on the way forward (`takt-agent-core`, `steps::forward`).
pub(crate) fn forward(stands: &StepState) -> Option<Next> {
    Some(match stands {
        StepState::Untouched => Next::Act(Call::Prepare),
        StepState::Prepared | StepState::Half(_) => Next::Act(Call::Apply),
        StepState::NewAfterReboot => Next::Reboot,
        _ => return None,
    })
}

/// The next thing on the way back (`takt-agent-core`, `steps::backward`).
pub(crate) fn backward(stands: &StepState) -> Option<Next> {
    Some(match stands {
        StepState::Half(_)
        | StepState::Applied
        | StepState::Confirmed
        | StepState::NewAfterReboot
        | StepState::FellBack(_) => Next::Act(Call::Revert),
        StepState::OldAfterReboot => Next::Reboot,
        _ => return None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Act(Call),
    Reboot,
}

impl Device {
    async fn go(
        &mut self,
        step: &Step,
        next: fn(&StepState) -> Option<Next>,
    ) -> Result<StepState, ActionFailure> {
        for _ in 0..TURNS_MAX {
            let stands = self.look(step).await;
            match next(&stands) {
                None => return Ok(stands),
                Some(Next::Reboot) => self.reboot().await,
                Some(Next::Act(call)) => act(&self.kinds(), &self.store(), call, step).await?,
            }
        }
        panic!("the way never ends: {:?}", self.look(step).await);
    }

    /// As far forward as it goes.
    pub(crate) async fn forward(&mut self, step: &Step) -> Result<StepState, ActionFailure> {
        self.go(step, forward).await
    }

    /// All the way back.
    pub(crate) async fn backward(&mut self, step: &Step) -> Result<StepState, ActionFailure> {
        self.go(step, backward).await
    }

    pub(crate) async fn act(&self, call: Call, step: &Step) -> Result<(), ActionFailure> {
        act(&self.kinds(), &self.store(), call, step).await
    }
}
