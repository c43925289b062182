//! At rest: take the next order, and keep what should run running.

use takt_common::order::Action as OrderAction;
use takt_common::report::Outcome;

use super::{Decision, end, pause_left};
use crate::action::Action;
use crate::facts::{ContainerState, Facts, Presence, WorkloadState};
use crate::phase::{Accepted, Job, Phase, Role, Tries, Workload};
use crate::waiting::WaitingOn;

pub(super) fn idle(facts: &Facts) -> Decision {
    if let Some(accepted) = &facts.next {
        return begin(accepted, facts);
    }
    let from = facts.last.as_ref().and_then(|last| place(&last.action, facts)).unwrap_or(0);
    supervise_from(from, None, facts)
}

/// What is wrong with one workload does not keep the others from being looked after.
pub(super) fn after_failure(action: &Action, why: String, facts: &Facts) -> Decision {
    if let Some(accepted) = &facts.next {
        return begin(accepted, facts);
    }
    let from = place(action, facts).map_or(usize::MAX, |place| place + 1);
    supervise_from(from, Some(why), facts)
}

/// Everything that should run, in an order that stays.
fn should_run(facts: &Facts) -> impl Iterator<Item = (Role, &Workload, &WorkloadState)> {
    let own = facts.installed.iter().map(|(workload, state)| (Role::Own, workload, state));
    let stand_in = facts.stand_in.iter().map(|(stand_in, state)| (Role::StandIn, &stand_in.workload, state));
    own.chain(stand_in)
}

/// The place of the workload that `action` was for.
fn place(action: &Action, facts: &Facts) -> Option<usize> {
    let (Action::Create { name, .. } | Action::Start { name } | Action::KeepRunning { name }) = action else {
        return None;
    };
    should_run(facts).position(|(_, workload, _)| workload.container == *name)
}

/// Goes through the workloads from `from` on, and never back before a rest: so no two of them can keep it busy.
fn supervise_from(from: usize, failed: Option<String>, facts: &Facts) -> Decision {
    let needs: Vec<(usize, Decision)> = should_run(facts)
        .enumerate()
        .filter_map(|(place, (role, workload, state))| Some((place, supervise(role, workload, state)?)))
        .collect();
    let is_action = |need: &Decision| matches!(need, Decision::Do(_));
    if let Some((_, action)) = needs.iter().find(|(place, need)| *place >= from && is_action(need)) {
        return action.clone();
    }
    let retry = |why| Decision::Wait(WaitingOn::Retry { why, count: 1, in_millis: 0 });
    if let Some(why) = failed {
        return retry(why);
    }
    match needs.into_iter().map(|(_, need)| need).min_by_key(is_action) {
        Some(Decision::Do(action)) => retry(format!("failed to {action}")),
        Some(wait) => wait,
        None => Decision::Wait(WaitingOn::Orders),
    }
}

fn begin(accepted: &Accepted, facts: &Facts) -> Decision {
    let order = &accepted.order;
    let component = order.members.first().map(|member| &member.release.name);
    let old = match order.action {
        OrderAction::Install => facts
            .installed
            .iter()
            .find(|(workload, _)| Some(&workload.manifest.release.name) == component)
            .map(|(workload, _)| workload.clone()),
        _ => None,
    };
    let job = Job { accepted: accepted.clone(), old };
    match &order.action {
        OrderAction::Install => fetch(job),
        OrderAction::TakeOver { device, .. } => match &facts.stand_in {
            None => fetch(job),
            Some((stand_in, _)) if stand_in.device != *device => {
                let cause = format!("this device already stands in for {}", stand_in.name);
                end(&job, None, Outcome::Failed { cause })
            }
            Some((_, state)) if state.container == ContainerState::Unknown => {
                Decision::Wait(WaitingOn::Engine)
            }
            Some((_, state)) if state.container == ContainerState::Running => {
                end(&job, None, Outcome::Serving)
            }
            Some((stand_in, _)) => {
                let cause = format!("the stand-in for {} does not run", stand_in.name);
                end(&job, None, Outcome::Failed { cause })
            }
        },
        OrderAction::HandBack { device, .. } => match &facts.stand_in {
            Some((stand_in, _)) if stand_in.device == *device => {
                Decision::Remember(Phase::HandingBack { job: Box::new(job), tries: Tries::default() })
            }
            _ => end(&job, None, Outcome::HandedBack),
        },
        OrderAction::Withdraw => end(&job, None, Outcome::Withdrawn),
    }
}

fn fetch(job: Job) -> Decision {
    Decision::Remember(Phase::Fetching { job: Box::new(job), tries: Tries::default() })
}

/// What a container that should run needs, if anything.
fn supervise(role: Role, workload: &Workload, state: &WorkloadState) -> Option<Decision> {
    let name = workload.container.clone();
    match (state.container, state.image) {
        (ContainerState::Unknown, _) | (ContainerState::Absent, Presence::Unknown) => {
            Some(Decision::Wait(WaitingOn::Engine))
        }
        (ContainerState::Absent, Presence::Present) => {
            let container = workload.manifest.container.clone()?;
            Some(Decision::Do(Action::Create { name, role, container: Box::new(container) }))
        }
        (ContainerState::Absent, Presence::Absent) => Some(Decision::Wait(WaitingOn::Retry {
            why: format!("container {name} and the image of {} are gone", workload.manifest.release),
            count: 1,
            in_millis: 0,
        })),
        (ContainerState::Created | ContainerState::Exited(_), _) => {
            Some(Decision::Do(Action::Start { name }))
        }
        (ContainerState::Running, _) => {
            (!state.kept_running).then_some(Decision::Do(Action::KeepRunning { name }))
        }
    }
}

pub(super) fn handing_back(job: &Job, tries: &Tries, facts: &Facts) -> Decision {
    let Some((stand_in, state)) = &facts.stand_in else {
        return end(job, None, Outcome::HandedBack);
    };
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    let name = stand_in.workload.container.clone();
    match state.container {
        ContainerState::Unknown => Decision::Wait(WaitingOn::Engine),
        ContainerState::Running => {
            Decision::Do(Action::Stop { name, grace: super::switching::grace(&stand_in.workload) })
        }
        ContainerState::Created | ContainerState::Exited(_) => Decision::Do(Action::Remove { name }),
        ContainerState::Absent => end(job, None, Outcome::HandedBack),
    }
}
