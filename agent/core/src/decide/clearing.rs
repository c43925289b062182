//! After the end of an order: what is no longer needed goes, what runs is made to keep running.

use takt_common::Sha256Digest;
use takt_common::release::{HookPoint, Step};
use takt_common::report::Outcome;

use super::{Decision, containers, failing, is_done, memory, pause_left};
use crate::action::{Action, Attempt, ContainerName};
use crate::facts::{ContainerState, Facts};
use crate::phase::{Job, Phase, Swap, Tries, Workload};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

/// How often an engine that does not answer is asked while another order waits, which may be the one that mends it: for
/// three minutes.
const ENGINE_TRIES_MAX: u32 = 10;

pub(super) fn ended(
    job: &Job,
    swap: Option<&Swap>,
    outcome: &Outcome,
    tries: &Tries,
    facts: &Facts,
    policy: &Policy,
) -> Decision {
    if matches!(facts.last, Some(Attempt { action: Action::Prune { .. }, result: Ok(_) })) {
        return Decision::Remember(Phase::Idle);
    }
    // Not seen is not gone: what is passed over now would stay for good.
    if facts.containers.values().any(|found| found.state == ContainerState::Unknown) {
        return engine_away(job, swap, outcome, tries, facts, policy);
    }
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    // At rest what ran before is started, and never beside this.
    if let (Outcome::Stranded { .. }, Some(swap)) = (outcome, swap)
        && let Some(stop) = containers::stop_next(&swap.new, facts)
    {
        return stop;
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
        Outcome::Serving | Outcome::Checkpointed | Outcome::HandedBack | Outcome::Stranded { .. } => None,
    };
    // A report that "it ran already" comes without a switch: then nothing is superfluous.
    if let Some(workload) = superfluous.filter(|_| swap.is_some())
        && let Some(remove) = remove_next(workload, facts)
    {
        return remove;
    }
    let stale = stale_checkpoint(job, swap, outcome, facts);
    if let Some(delete) = stale.or_else(|| memory::left_over(job, swap, outcome, facts)) {
        return Decision::Do(delete);
    }
    if !matches!(outcome, Outcome::Stranded { .. })
        && let Some(key) = facts.kept.first()
    {
        return Decision::Do(Action::Settle { key: key.clone() });
    }
    Decision::Do(prune(facts))
}

fn engine_away(
    job: &Job,
    swap: Option<&Swap>,
    outcome: &Outcome,
    tries: &Tries,
    facts: &Facts,
    policy: &Policy,
) -> Decision {
    if facts.next.is_none() || pause_left(tries, facts).is_some() {
        return Decision::Wait(WaitingOn::Engine);
    }
    let why = WaitingOn::Engine.to_string();
    Decision::Remember(match failing::again(tries, why, ENGINE_TRIES_MAX, false, facts, policy) {
        Ok(tries) => Phase::Ended {
            job: Box::new(job.clone()),
            swap: swap.cloned().map(Box::new),
            outcome: outcome.clone(),
            tries,
        },
        Err(_) => Phase::Idle,
    })
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
    // Nobody tells whether they are gone: what has been done says so.
    old.containers().map(|(name, _)| delete(name)).find(|delete| !is_done(delete, facts))
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
    let hand_back = facts.stand_in.iter().filter_map(|stand_in| {
        let hook = stand_in.workload.manifest.hooks.get(&HookPoint::HandBack)?;
        Some(hook.program)
    });
    let keep_files = next.chain(facts.installed.iter().flat_map(files_of)).chain(hand_back).collect();
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
