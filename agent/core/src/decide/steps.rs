//! Steps of a release that are no containers: forward in their order, back in the reverse one.

use takt_common::order::Action as OrderAction;
use takt_common::release::{Kind, Step};

use super::{Decision, bounds, containers, turn_back};
use crate::action::{Action, Restarted};
use crate::facts::{Facts, Routed};
use crate::phase::{Job, Swap, Tries};
use crate::step::{StepKey, StepState};
use crate::waiting::WaitingOn;

/// The steps that this order takes: a stand-in only runs the containers of what is verified on the device already.
pub(super) fn of<'a>(job: &Job, swap: &'a Swap) -> Vec<(StepKey, &'a Step)> {
    let stand_in = matches!(job.accepted.order.action, OrderAction::TakeOver { .. });
    swap.new.steps().filter(|(_, step)| !stand_in || step.kind() == Kind::Container).collect()
}

/// The same without containers.
pub(super) fn without_containers<'a>(job: &Job, swap: &'a Swap) -> Vec<(StepKey, &'a Step)> {
    of(job, swap).into_iter().filter(|(_, step)| step.kind() != Kind::Container).collect()
}

/// What must be started anew for a step to be in force.
const fn restarted(step: &Step) -> Restarted {
    match step {
        Step::Package(_) => Restarted::Agent,
        _ => Restarted::Machine,
    }
}

/// The first step that nobody can look at.
pub(super) fn unseen(job: &Job, swap: &Swap, facts: &Facts) -> Option<WaitingOn> {
    without_containers(job, swap).into_iter().find_map(|(key, step)| match facts.step(&key) {
        StepState::Unknown(why) => Some(WaitingOn::Step { kind: step.kind(), why }),
        _ => None,
    })
}

/// Keeps the way back of each step ahead of the switch; `None` when there is nothing more to keep.
pub(super) fn prepare_next(job: &Job, swap: &Swap, facts: &Facts) -> Option<Decision> {
    without_containers(job, swap).into_iter().find_map(|(key, step)| match facts.step(&key) {
        StepState::Unknown(why) => Some(Decision::Wait(WaitingOn::Step { kind: step.kind(), why })),
        // What was half done before anything began here is for the adapter to mend.
        StepState::Untouched | StepState::Half(_) => {
            Some(Decision::Do(Action::Prepare { key, step: Box::new(step.clone()) }))
        }
        _ => None,
    })
}

/// The next thing on the way forward; `None` when all steps are in force.
pub(super) fn forward(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts) -> Option<Decision> {
    of(job, swap).into_iter().find_map(|(key, step)| match step {
        Step::Container(_) => containers::forward(job, swap, tries, facts),
        _ => forward_one(job, swap, key, step, facts),
    })
}

fn forward_one(job: &Job, swap: &Swap, key: StepKey, step: &Step, facts: &Facts) -> Option<Decision> {
    let kind = step.kind();
    let boxed = || Box::new(step.clone());
    Some(match facts.step(&key) {
        StepState::Applied | StepState::Confirmed => return None,
        StepState::Unknown(why) => Decision::Wait(WaitingOn::Step { kind, why }),
        StepState::Untouched => Decision::Do(Action::Prepare { key, step: boxed() }),
        StepState::Prepared | StepState::Half(_) => Decision::Do(Action::Apply { key, step: boxed() }),
        StepState::NewAfterReboot => {
            let why = format!("into {kind} step {key}");
            Decision::Do(Action::Restart { what: restarted(step), why })
        }
        StepState::OldAfterReboot => {
            turn_back(job, swap, format!("{kind} step {key} is being taken back by somebody else"), facts)
        }
        StepState::FellBack(why) => turn_back(job, swap, fell_back(&key, kind, &why), facts),
    })
}

/// The cause of turning back from what did not come up, also when nothing is known of it.
fn fell_back(key: &StepKey, kind: Kind, why: &str) -> String {
    let why = if why.is_empty() { "nobody knows why" } else { why };
    format!("{kind} step {key} fell back: {why}")
}

/// On probation and after: what is no longer in force ends it.
pub(super) fn no_longer_in_force(job: &Job, swap: &Swap, facts: &Facts) -> Option<Decision> {
    without_containers(job, swap).into_iter().find_map(|(key, step)| {
        let kind = step.kind();
        let cause = match facts.step(&key) {
            StepState::Applied | StepState::Confirmed => return None,
            StepState::Unknown(why) => return Some(Decision::Wait(WaitingOn::Step { kind, why })),
            StepState::FellBack(why) => fell_back(&key, kind, &why),
            StepState::Half(what) => format!("{kind} step {key} is no longer whole: {what}"),
            StepState::Untouched
            | StepState::Prepared
            | StepState::NewAfterReboot
            | StepState::OldAfterReboot => format!("{kind} step {key} is no longer in force"),
        };
        Some(turn_back(job, swap, cause, facts))
    })
}

/// The next thing on the way back, with the place of its step; `None` when nothing of the new release is in force any more.
pub(super) fn backward(job: &Job, swap: &Swap, facts: &Facts) -> Option<(usize, Decision)> {
    let mut engine = None;
    for (key, step) in of(job, swap).into_iter().rev() {
        let index = key.index;
        let decision = match step {
            Step::Container(_) => containers::backward(job, swap, facts),
            _ if swap.stuck.contains_key(&index) => None,
            _ => backward_one(key, step, facts),
        };
        match decision {
            None => {}
            Some(Decision::Wait(WaitingOn::Engine)) if bounds::goes_on_without_engine(swap, facts) => {
                engine = Some((index, Decision::Wait(WaitingOn::Engine)));
            }
            Some(decision) => return Some((index, decision)),
        }
    }
    engine
}

fn backward_one(key: StepKey, step: &Step, facts: &Facts) -> Option<Decision> {
    Some(match facts.step(&key) {
        StepState::Untouched | StepState::Prepared => return None,
        StepState::Unknown(why) => Decision::Wait(WaitingOn::Step { kind: step.kind(), why }),
        // Also what fell back by itself: a boot loader that counts all slots out may begin again, with the one that failed;
        // and an agent that fell back runs from a copy of its program while its new package is still installed.
        StepState::Half(_)
        | StepState::Applied
        | StepState::Confirmed
        | StepState::NewAfterReboot
        | StepState::FellBack(_) => Decision::Do(Action::Revert { key, step: Box::new(step.clone()) }),
        StepState::OldAfterReboot => {
            let why = format!("out of {} step {key}", step.kind());
            Decision::Do(Action::Restart { what: restarted(step), why })
        }
    })
}

/// The place of the containers among the steps.
pub(super) fn of_containers(swap: &Swap) -> Option<usize> {
    swap.new.manifest.steps.iter().position(|step| step.kind() == Kind::Container)
}

/// Whether a step that was passed over is back all the same; of containers, whether the ports lead to the old ones.
pub(super) fn is_back(job: &Job, swap: &Swap, index: usize, facts: &Facts) -> bool {
    if of_containers(swap) == Some(index) {
        return job.old.as_ref().is_none_or(|old| facts.routed(old) == Routed::Yes);
    }
    match facts.step(&swap.new.key(index)) {
        StepState::Untouched | StepState::Prepared => true,
        // The boot loader has gone back to the old system. Of a package the launcher only runs a copy of the old agent.
        StepState::FellBack(_) => {
            swap.new.manifest.steps.get(index).is_some_and(|step| step.kind() == Kind::OsImage)
        }
        _ => false,
    }
}

/// Whether a step that was passed over may still go back by what was not to be had before: the ports, or a restart.
pub(super) fn may_go_back_later(swap: &Swap, index: usize, facts: &Facts) -> bool {
    of_containers(swap) == Some(index) || facts.step(&swap.new.key(index)) == StepState::OldAfterReboot
}

/// The step that a restart on the way back is for.
pub(super) fn to_be_restarted(job: &Job, swap: &Swap, facts: &Facts) -> Option<usize> {
    let pending =
        |key: &StepKey| !swap.stuck.contains_key(&key.index) && facts.step(key) == StepState::OldAfterReboot;
    without_containers(job, swap).into_iter().rev().find(|(key, _)| pending(key)).map(|(key, _)| key.index)
}

/// The next step that could still fall back by itself; `None` when there is none.
pub(super) fn confirm_next(job: &Job, swap: &Swap, facts: &Facts) -> Option<Decision> {
    without_containers(job, swap).into_iter().find_map(|(key, step)| {
        (facts.step(&key) == StepState::Applied)
            .then(|| Decision::Do(Action::Confirm { key, step: Box::new(step.clone()) }))
    })
}
