//! Takeover `restore` (paper 1, rolling upgrade, step 1): memory goes from the device to its standby.
//!
//! The device's containers run on: it is not touched before the standby serves. On the standby correctness does not depend
//! on the memory: where it cannot be had or used, the stand-in starts afresh, and the report says so.

use takt_common::order::{Action as OrderAction, Takeover};
use takt_common::release::Network;
use takt_common::report::Outcome;

use super::{Decision, containers, end, failing, is_done, pause_left};
use crate::action::{Action, ActionFailure, ContainerName};
use crate::facts::Facts;
use crate::phase::{Job, Phase, Swap, TakenMemory, Tries, Workload};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

/// The name of the checkpoint, on the device and on its standby.
pub(super) const CHECKPOINT: &str = "takt-takeover";

/// How often memory is asked for; each time the standby waits for it to come.
const TAKE_TRIES_MAX: u32 = 3;
/// How often containers are started from it: one retry cured all failures of a restore (moby#42900).
const RESTORE_TRIES_MAX: u32 = 2;

/// The device's side.
pub(super) fn giving(job: &Job, tries: &Tries, facts: &Facts) -> Decision {
    let order = &job.accepted.order;
    let OrderAction::Checkpoint { standby, lease, .. } = order.action else {
        return failed(job, "the order asks for no memory".to_owned());
    };
    if facts.next.is_some() {
        return end(job, None, Outcome::Withdrawn);
    }
    let ordered =
        |workload: &&Workload| order.members.iter().any(|member| member.sha256 == workload.manifest_sha256);
    let Some(workload) = facts.installed.iter().find(ordered) else {
        let release = order.members.first().map_or_else(String::new, |member| member.release.to_string());
        return failed(job, format!("{release}, whose memory is asked for, does not run here"));
    };
    let (given, checkpoint) = (Box::new(workload.clone()), CHECKPOINT.to_owned());
    let give = Action::GiveMemory { workload: given, standby, lease, checkpoint };
    if is_done(&give, facts) {
        return end(job, None, Outcome::Checkpointed);
    }
    if let Err(why) = portable(workload).and_then(|()| facts.checkpoint_ability.clone()) {
        return failed(job, why);
    }
    if facts.now >= order.deadline {
        let why = tries.why.clone().unwrap_or_else(|| WaitingOn::Engine.to_string());
        return end(job, None, Outcome::GivenUp { cause: format!("the deadline passed; waited on {why}") });
    }
    if containers::unknown(&facts.states(workload)) {
        return Decision::Wait(WaitingOn::Engine);
    }
    if !containers::all_run(workload, facts) {
        return failed(job, format!("{} does not run: it has no memory to give", workload.manifest.release));
    }
    pause_left(tries, facts).unwrap_or(Decision::Do(give))
}

fn failed(job: &Job, cause: String) -> Decision {
    end(job, None, Outcome::Failed { cause })
}

/// Whether the memory means the same on another device.
fn portable(workload: &Workload) -> Result<(), String> {
    let release = &workload.manifest.release;
    let set = workload.manifest.containers();
    let set = set.ok_or_else(|| format!("{release} has no containers, so no memory to give"))?;
    // Such a port is chosen for each container anew, and the process holds the one that was chosen here.
    let bound = |container: &&takt_common::release::Container| {
        container.network == Network::Host && !container.ports.is_empty()
    };
    match set.containers.iter().find(bound) {
        Some(_) => Err(format!(
            "{release} has a published port on the device's own network, which its memory holds: only on the bridge network \
             another device can go on with it"
        )),
        None => Ok(()),
    }
}

/// Giving has failed.
pub(super) fn not_given(
    job: Box<Job>,
    tries: &Tries,
    why: String,
    final_now: bool,
    facts: &Facts,
    policy: &Policy,
) -> Decision {
    match failing::again(tries, why, policy.engine_tries_max, final_now, facts, policy) {
        Ok(tries) => Decision::Remember(Phase::GivingMemory { job, tries }),
        Err(cause) => failed(&job, cause),
    }
}

/// A checkpoint that an agent which was killed has left: it holds all memory, keys included.
pub(super) fn left_over(job: &Job, swap: Option<&Swap>, outcome: &Outcome, facts: &Facts) -> Option<Action> {
    let delete = |name: ContainerName| Action::DeleteCheckpoint { name, checkpoint: CHECKPOINT.to_owned() };
    let due = |workload: &Workload| {
        workload.containers().map(|(name, _)| delete(name)).find(|delete| !is_done(delete, facts))
    };
    match (&job.accepted.order.action, outcome, swap) {
        (OrderAction::Checkpoint { .. }, _, _) => {
            let members = &job.accepted.order.members;
            let mut given = facts.installed.iter();
            given
                .find(|workload| members.iter().any(|member| member.sha256 == workload.manifest_sha256))
                .and_then(due)
        }
        // Of other ends the containers go, and their checkpoints with them.
        (OrderAction::TakeOver { .. }, Outcome::Serving, Some(swap)) if swap.memory.is_some() => {
            due(&swap.new)
        }
        _ => None,
    }
}

/// The standby's side: what is to be done before a container that was created is started in the plain way.
pub(super) fn before_start(job: &Job, swap: &Swap, name: &ContainerName, facts: &Facts) -> Option<Decision> {
    let OrderAction::TakeOver { device, how: Takeover::Restore, lease, .. } = job.accepted.order.action
    else {
        return None;
    };
    match swap.memory {
        None => {
            let workload = Box::new(swap.new.clone());
            let take = Action::TakeMemory { workload, device, lease, checkpoint: CHECKPOINT.to_owned() };
            Some(if is_done(&take, facts) {
                noted(job, swap, TakenMemory::Here, None)
            } else {
                Decision::Do(take)
            })
        }
        Some(TakenMemory::Here) => {
            let (name, checkpoint) = (name.clone(), CHECKPOINT.to_owned());
            Some(Decision::Do(Action::Restore { name, checkpoint }))
        }
        Some(TakenMemory::Sick | TakenMemory::Lost) => None,
    }
}

/// Taking or using the memory has failed: again, or afresh.
pub(super) fn not_taken(
    job: &Job,
    swap: &Swap,
    tries: &Tries,
    (action, failure, why): (&Action, &ActionFailure, &str),
    facts: &Facts,
    policy: &Policy,
) -> Option<Decision> {
    let limit = match (action, swap.memory) {
        (Action::TakeMemory { .. }, _) => TAKE_TRIES_MAX,
        (Action::Restore { .. }, Some(TakenMemory::Here)) => RESTORE_TRIES_MAX,
        _ => return None,
    };
    let final_now = failure.nature != crate::action::Nature::Transient;
    Some(match failing::again(tries, why.to_owned(), limit, final_now, facts, policy) {
        Ok(tries) => {
            let (job, swap) = (Box::new(job.clone()), Box::new(swap.clone()));
            Decision::Remember(Phase::Switching { job, swap, tries })
        }
        Err(why) => noted(job, swap, TakenMemory::Lost, Some(&why)),
    })
}

/// A stand-in that goes on from memory has died or is sick: it is started afresh. `None` where it began afresh.
pub(super) fn afresh(job: &Job, swap: &Swap, why: &str) -> Option<Decision> {
    (swap.memory == Some(TakenMemory::Here)).then(|| noted(job, swap, TakenMemory::Sick, Some(why)))
}

/// What runs from memory that is of no use stops first.
pub(super) fn stop_sick(job: &Job, swap: &Swap, facts: &Facts) -> Option<Decision> {
    if swap.memory != Some(TakenMemory::Sick) {
        return None;
    }
    let stop = containers::stop_next(&swap.new, facts);
    Some(stop.unwrap_or_else(|| noted(job, swap, TakenMemory::Lost, None)))
}

/// Whether a container that has exited is to be started all the same: nothing has started it afresh yet.
pub(super) fn starts_afresh(swap: &Swap, start: &Action, facts: &Facts) -> bool {
    swap.memory == Some(TakenMemory::Lost) && !is_done(start, facts)
}

fn noted(job: &Job, swap: &Swap, memory: TakenMemory, lost_by: Option<&str>) -> Decision {
    let mut swap = swap.clone();
    swap.memory = Some(memory);
    swap.warnings.extend(
        lost_by.map(|why| format!("it serves without the memory of the device, started afresh: {why}")),
    );
    let (job, swap) = (Box::new(job.clone()), Box::new(swap));
    Decision::Remember(Phase::Switching { job, swap, tries: Tries::default() })
}
