//! After the end of an order: what is no longer needed goes, what runs is made to keep running.

use takt_common::Sha256Digest;
use takt_common::report::Outcome;

use super::{Decision, pause_left};
use crate::action::{Action, Attempt, ContainerName};
use crate::facts::{ContainerState, Facts, WorkloadState};
use crate::phase::{Job, Phase, Swap, Tries, Workload};
use crate::waiting::WaitingOn;

pub(super) fn ended(
    job: &Job,
    swap: Option<&Swap>,
    outcome: &Outcome,
    tries: &Tries,
    facts: &Facts,
) -> Decision {
    if matches!(facts.last, Some(Attempt { action: Action::Prune { .. }, result: Ok(()) })) {
        return Decision::Remember(Phase::Idle);
    }
    // Not seen is not gone: what is passed over now would stay for good.
    if facts.containers.values().any(|state| *state == ContainerState::Unknown) {
        return Decision::Wait(WaitingOn::Engine);
    }
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    if let Some(unkept) = running_unkept(facts) {
        return Decision::Do(Action::KeepRunning { name: unkept.clone() });
    }
    let superfluous = match outcome {
        Outcome::Verified { .. } => job.old.as_ref().map(|old| &old.container),
        Outcome::RolledBack { .. }
        | Outcome::Failed { .. }
        | Outcome::GivenUp { .. }
        | Outcome::Withdrawn => swap.map(|swap| &swap.new.container),
        // Both containers of a stranded device stay, for people to look at.
        Outcome::Serving | Outcome::HandedBack | Outcome::Stranded { .. } => None,
    };
    // A report that "it ran already" comes without a switch: then nothing is superfluous.
    if let Some(name) = superfluous.filter(|_| swap.is_some()) {
        match facts.container(name) {
            ContainerState::Absent | ContainerState::Unknown => {}
            _ => return Decision::Do(Action::Remove { name: name.clone() }),
        }
    }
    if let Some(delete) = stale_checkpoint(job, swap, outcome, facts) {
        return Decision::Do(delete);
    }
    Decision::Do(prune(facts))
}

/// A container that should run and does, but that the engine would not restart.
fn running_unkept(facts: &Facts) -> Option<&ContainerName> {
    let unkept = |state: &WorkloadState| state.container == ContainerState::Running && !state.kept_running;
    let own = facts.installed.iter().find(|(_, state)| unkept(state)).map(|(workload, _)| workload);
    let stand_in =
        facts.stand_in.iter().find(|(_, state)| unkept(state)).map(|(stand_in, _)| &stand_in.workload);
    own.or(stand_in).map(|workload| &workload.container)
}

/// After a rollback the old container stays, its checkpoint does not: it holds all memory, keys included.
fn stale_checkpoint(job: &Job, swap: Option<&Swap>, outcome: &Outcome, facts: &Facts) -> Option<Action> {
    let (old, swap) = (job.old.as_ref()?, swap?);
    let checkpoint = swap.checkpoint.as_ref().or(swap.left_over.as_ref())?;
    let stays = matches!(outcome, Outcome::RolledBack { .. });
    let action = Action::DeleteCheckpoint { name: old.container.clone(), checkpoint: checkpoint.clone() };
    let done = facts.last.as_ref().is_some_and(|last| last.action == action && last.result.is_ok());
    (stays && !done).then_some(action)
}

/// Keeps the images of what runs and of the retained releases; files only while an order needs them.
fn prune(facts: &Facts) -> Action {
    let running = facts.installed.iter().map(|(workload, _)| workload);
    let standing_in = facts.stand_in.iter().map(|(stand_in, _)| &stand_in.workload);
    let image =
        |workload: &Workload| workload.manifest.container.as_ref().map(|container| container.image_id);
    let keep_images: Vec<Sha256Digest> =
        running.chain(standing_in).chain(&facts.retained).filter_map(image).collect();
    let keep_files =
        facts.next.iter().flat_map(|next| next.order.members.iter().map(|member| member.sha256)).collect();
    Action::Prune { keep_images, keep_files }
}
