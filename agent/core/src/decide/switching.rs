//! The switch: the checkpoint, then each step in its order.

use takt_common::release::HookPoint;

use super::{Decision, failing, hooks, paused, steps, turn_back};
use crate::action::Action;
use crate::facts::{ContainerState, Facts};
use crate::phase::{Job, Phase, Swap, Tries};
use crate::waiting::WaitingOn;

/// The name of the checkpoint that an order takes; one a container is enough.
pub(super) const CHECKPOINT: &str = "takt-way-back";

pub(super) fn checkpointing(job: &Job, swap: &Swap, facts: &Facts) -> Decision {
    let Some(old) = &job.old else {
        return to_switching(job, swap.clone());
    };
    if let Some(swap) = note_reboot(swap, facts) {
        return if swap.reboots.len() > REBOOTS_MAX {
            let why = format!("the machine has rebooted {} times at its checkpoint", swap.reboots.len());
            failing::without_checkpoint(job, &swap, why, facts)
        } else {
            Decision::Remember(Phase::Checkpointing { job: Box::new(job.clone()), swap: Box::new(swap) })
        };
    }
    let states = facts.states(old);
    if states.iter().any(|(_, state)| *state == ContainerState::Unknown) {
        return Decision::Wait(WaitingOn::Engine);
    }
    if let Some((name, _)) = states.into_iter().find(|(_, state)| *state == ContainerState::Running) {
        return Decision::Do(Action::Checkpoint { name, checkpoint: CHECKPOINT.to_owned() });
    }
    // A checkpoint stops its container only once it is complete; a machine that lost power in between may have stopped it
    // too, but then restoring fails, and a cold start follows.
    let mut next = swap.clone();
    next.checkpoint = Some(CHECKPOINT.to_owned());
    to_switching(job, next)
}

fn to_switching(job: &Job, swap: Swap) -> Decision {
    let (job, swap) = (Box::new(job.clone()), Box::new(swap));
    Decision::Remember(Phase::Switching { job, swap, tries: Tries::default() })
}

/// How many reboots between the begin of a switch and its verdict are bad luck; with one more, the new release is taken
/// for their cause.
pub(super) const REBOOTS_MAX: usize = 3;

/// True when the machine has booted since the switch began: what does not run then has not died by itself.
pub(super) fn rebooted(swap: &Swap, facts: &Facts) -> bool {
    !swap.reboots.is_empty() || swap.began.as_ref().is_none_or(|began| began.boot_id != facts.boot.boot_id)
}

/// The switch with this boot noted in it, if it has not seen it yet.
pub(super) fn note_reboot(swap: &Swap, facts: &Facts) -> Option<Swap> {
    let boot_id = &facts.boot.boot_id;
    let first = swap.began.as_ref().is_some_and(|began| began.boot_id == *boot_id);
    (!first && !swap.reboots.contains(boot_id)).then(|| {
        let mut noted = swap.clone();
        noted.reboots.push(boot_id.clone());
        noted
    })
}

/// Goes on after a reboot, unless there have been too many.
pub(super) fn after_reboot(job: &Job, swap: Swap, tries: Tries, facts: &Facts) -> Decision {
    let count = swap.reboots.len();
    if count > REBOOTS_MAX {
        let cause = format!("the machine rebooted {count} times before the new release was verified");
        return turn_back(job, &swap, cause, facts);
    }
    Decision::Remember(Phase::Switching { job: Box::new(job.clone()), swap: Box::new(swap), tries })
}

pub(super) fn switching(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts) -> Decision {
    if let Some(swap) = note_reboot(swap, facts) {
        return after_reboot(job, swap, tries.clone(), facts);
    }
    if let Some(decision) = steps::forward(job, swap, tries, facts) {
        return paused(decision, tries, facts);
    }
    // A release without containers has not been given the state yet.
    for point in [HookPoint::ImportState, HookPoint::PostSwitch] {
        if let Some(hook) = hooks::due(point, job, swap) {
            return hook;
        }
    }
    let mut next = swap.clone();
    if let Some(took) = swap.began.as_ref().and_then(|began| facts.boot.since(began)) {
        next.timing.switch_millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }
    let (job, swap) = (Box::new(job.clone()), Box::new(next));
    Decision::Remember(Phase::Probation { job, swap, since: facts.boot.clone() })
}
