//! After the end of an order: what is no longer needed goes, what runs is made to keep running.

use takt_common::Sha256Digest;
use takt_common::release::Step;
use takt_common::report::Outcome;

use super::{Decision, pause_left};
use crate::action::{Action, Attempt, ContainerName};
use crate::facts::{ContainerState, Facts};
use crate::phase::{Job, Phase, Swap, Tries, Workload};
use crate::waiting::WaitingOn;

pub(super) fn ended(
    job: &Job,
    swap: Option<&Swap>,
    outcome: &Outcome,
    tries: &Tries,
    facts: &Facts,
) -> Decision {
    if matches!(facts.last, Some(Attempt { action: Action::Prune { .. }, result: Ok(_) })) {
        return Decision::Remember(Phase::Idle);
    }
    // Not seen is not gone: what is passed over now would stay for good.
    if facts.containers.values().any(|found| found.state == ContainerState::Unknown) {
        return Decision::Wait(WaitingOn::Engine);
    }
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    if let Some(name) = running_unkept(facts) {
        return Decision::Do(Action::KeepRunning { name });
    }
    let superfluous = match outcome {
        Outcome::Verified { .. } => job.old.as_ref(),
        Outcome::RolledBack { .. }
        | Outcome::Failed { .. }
        | Outcome::GivenUp { .. }
        | Outcome::Withdrawn => swap.map(|swap| &swap.new),
        // Both releases of a stranded device stay, for people to look at.
        Outcome::Serving | Outcome::HandedBack | Outcome::Stranded { .. } => None,
    };
    // A report that "it ran already" comes without a switch: then nothing is superfluous.
    if let Some(workload) = superfluous.filter(|_| swap.is_some())
        && let Some(remove) = remove_next(workload, facts)
    {
        return remove;
    }
    if let Some(delete) = stale_checkpoint(job, swap, outcome, facts) {
        return Decision::Do(delete);
    }
    if !matches!(outcome, Outcome::Stranded { .. })
        && let Some(key) = facts.kept.first()
    {
        return Decision::Do(Action::Settle { key: key.clone() });
    }
    Decision::Do(prune(facts))
}

fn remove_next(workload: &Workload, facts: &Facts) -> Option<Decision> {
    let gone = |state| matches!(state, ContainerState::Absent | ContainerState::Unknown);
    let (name, _) = facts.states(workload).into_iter().find(|(_, state)| !gone(*state))?;
    Some(Decision::Do(Action::Remove { name }))
}

/// A container that should run and does, but that the engine would not restart.
fn running_unkept(facts: &Facts) -> Option<ContainerName> {
    let own = facts.installed.iter();
    let all = own.chain(facts.stand_in.iter().map(|stand_in| &stand_in.workload));
    let mut names = all.flat_map(|workload| workload.containers().map(|(name, _)| name).collect::<Vec<_>>());
    names.find(|name| {
        let found = facts.container(name);
        found.state == ContainerState::Running && !found.kept_running
    })
}

/// After a rollback the old containers stay, their checkpoints do not: these hold all memory, keys included.
fn stale_checkpoint(job: &Job, swap: Option<&Swap>, outcome: &Outcome, facts: &Facts) -> Option<Action> {
    let (old, swap) = (job.old.as_ref()?, swap?);
    let checkpoint = swap.checkpoint.as_ref().or(swap.left_over.as_ref())?;
    if !matches!(outcome, Outcome::RolledBack { .. }) {
        return None;
    }
    let delete = |name: ContainerName| Action::DeleteCheckpoint { name, checkpoint: checkpoint.clone() };
    let names: Vec<ContainerName> = old.containers().map(|(name, _)| name).collect();
    // They go one after the other; the last action says how far that has come.
    let last = facts.last.as_ref().filter(|last| last.result.is_ok()).map(|last| &last.action);
    let done = names.iter().position(|name| last == Some(&delete(name.clone())));
    names.into_iter().nth(done.map_or(0, |done| done + 1)).map(delete)
}

/// Keeps the images of what runs and of the retained releases, and the files that a later way back or boot needs.
fn prune(facts: &Facts) -> Action {
    let standing_in = facts.stand_in.iter().map(|stand_in| &stand_in.workload);
    let all = facts.installed.iter().chain(standing_in).chain(&facts.retained);
    let keep_images = all
        .flat_map(|workload| workload.manifest.containers().into_iter().flat_map(|set| &set.containers))
        .map(|container| container.image_id)
        .collect();
    let next = facts.next.iter().flat_map(|next| next.order.members.iter().map(|member| member.sha256));
    let keep_files = next.chain(facts.installed.iter().flat_map(files_of)).collect();
    Action::Prune { keep_images, keep_files }
}

/// Of what is installed: package files, to go back to them; live patches, to apply them at the next boot.
fn files_of(workload: &Workload) -> Vec<Sha256Digest> {
    let of = |step: &Step| match step {
        Step::Package(set) => set.packages.iter().map(|package| package.file).collect(),
        Step::LivePatch(patch) => vec![patch.module],
        Step::File(_) | Step::Container(_) | Step::OsImage(_) => Vec::new(),
    };
    workload.manifest.steps.iter().flat_map(of).collect()
}
