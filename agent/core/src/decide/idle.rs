//! At rest: take the next order, and keep what should run running.

use takt_common::order::Action as OrderAction;
use takt_common::release::{Container, Kind};
use takt_common::report::Outcome;

use super::{Decision, containers, end, hooks, is_done, pause_left};
use crate::action::{Action, ContainerName};
use crate::facts::{ContainerState, Facts, Presence, Routed};
use crate::phase::{Accepted, Job, Phase, Role, Tries, Workload};
use crate::step::StepState;
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
    supervise_from(from, Some(rested(action, facts).unwrap_or_else(|| retry(why))), facts)
}

/// Everything that should run, in an order that stays.
fn should_run(facts: &Facts) -> impl Iterator<Item = (Role, &Workload)> {
    let own = facts.installed.iter().map(|workload| (Role::Own, workload));
    let stand_in = facts.stand_in.iter().map(|stand_in| (Role::StandIn, &stand_in.workload));
    own.chain(stand_in)
}

/// The place of the workload that `action` was for.
fn place(action: &Action, facts: &Facts) -> Option<usize> {
    should_run(facts).position(|(_, workload)| match action {
        Action::Create { name, .. } | Action::Start { name } | Action::KeepRunning { name } => {
            workload.containers().any(|(own, _)| own == *name)
        }
        Action::Route { to } => to.name == workload.name,
        Action::Apply { key, .. } => key.workload == workload.name,
        _ => false,
    })
}

/// Goes through the workloads from `from` on, and never back before a rest: so no two of them can keep it busy.
fn supervise_from(from: usize, failed: Option<Decision>, facts: &Facts) -> Decision {
    let needs: Vec<(usize, Decision)> = should_run(facts)
        .enumerate()
        .filter_map(|(place, (role, workload))| Some((place, supervise(role, workload, facts)?)))
        .map(|(place, need)| match need {
            Decision::Do(action) => (place, rested(&action, facts).unwrap_or(Decision::Do(action))),
            wait => (place, wait),
        })
        .collect();
    let is_action = |need: &Decision| matches!(need, Decision::Do(_));
    if let Some((_, action)) = needs.iter().find(|(place, need)| *place >= from && is_action(need)) {
        return action.clone();
    }
    if let Some(wait) = failed {
        return wait;
    }
    match needs.into_iter().map(|(_, need)| need).min_by_key(is_action) {
        Some(Decision::Do(action)) => retry(format!("failed to {action}")),
        Some(wait) => wait,
        None => Decision::Wait(WaitingOn::Orders),
    }
}

fn retry(why: String) -> Decision {
    Decision::Wait(WaitingOn::Retry { why, count: 1, in_millis: 0 })
}

/// The wait that is left before an action that has failed is tried again.
pub(super) fn rested(action: &Action, facts: &Facts) -> Option<Decision> {
    facts.helpless.tries(action).and_then(|tries| pause_left(tries, facts))
}

fn begin(accepted: &Accepted, facts: &Facts) -> Decision {
    let order = &accepted.order;
    let component = order.members.first().map(|member| &member.release.name);
    let old = match order.action {
        OrderAction::Install => facts
            .installed
            .iter()
            .find(|workload| Some(&workload.manifest.release.name) == component)
            .cloned(),
        _ => None,
    };
    let job = Job { accepted: accepted.clone(), old };
    match &order.action {
        OrderAction::Install => fetch(job),
        OrderAction::TakeOver { device, .. } => match &facts.stand_in {
            None => fetch(job),
            Some(stand_in) if stand_in.device != *device => {
                let cause = format!("this device already stands in for {}", stand_in.name);
                end(&job, None, Outcome::Failed { cause })
            }
            Some(stand_in) if containers::unknown(&facts.states(&stand_in.workload)) => {
                Decision::Wait(WaitingOn::Engine)
            }
            Some(stand_in) if containers::all_run(&stand_in.workload, facts) => {
                end(&job, None, Outcome::Serving)
            }
            Some(stand_in) => {
                let cause = format!("the stand-in for {} does not run", stand_in.name);
                end(&job, None, Outcome::Failed { cause })
            }
        },
        OrderAction::Checkpoint { .. } => {
            Decision::Remember(Phase::GivingMemory { job: Box::new(job), tries: Tries::default() })
        }
        OrderAction::HandBack { device, .. } => match &facts.stand_in {
            Some(stand_in) if stand_in.device == *device => {
                Decision::Remember(Phase::HandingBack { job: Box::new(job), tries: Tries::default() })
            }
            _ => end(&job, None, Outcome::HandedBack),
        },
        OrderAction::Withdraw => end(&job, None, Outcome::Withdrawn),
    }
}

fn fetch(job: Job) -> Decision {
    Decision::Remember(Phase::Fetching { job: Box::new(job), hook: None, tries: Tries::default() })
}

/// What a workload that should run needs, if anything.
fn supervise(role: Role, workload: &Workload, facts: &Facts) -> Option<Decision> {
    let container = workload
        .containers()
        .find_map(|(name, container)| supervise_container(role, workload, name, container, facts));
    container.or_else(|| supervise_ports(workload, facts)).or_else(|| supervise_patches(workload, facts))
}

fn supervise_container(
    role: Role,
    workload: &Workload,
    name: ContainerName,
    container: &Container,
    facts: &Facts,
) -> Option<Decision> {
    let image = facts.images.get(&container.image_id).copied().unwrap_or(Presence::Unknown);
    let found = facts.container(&name);
    match (found.state, image) {
        (ContainerState::Unknown, _) | (ContainerState::Absent, Presence::Unknown) => {
            Some(Decision::Wait(WaitingOn::Engine))
        }
        (ContainerState::Absent, Presence::Present) => {
            Some(Decision::Do(Action::Create { name, role, container: Box::new(container.clone()) }))
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
            (!found.kept_running).then_some(Decision::Do(Action::KeepRunning { name }))
        }
    }
}

/// Published ports are rules of the kernel: a reboot, or a restart of the engine that gives other addresses, undoes them.
fn supervise_ports(workload: &Workload, facts: &Facts) -> Option<Decision> {
    match facts.routed(workload) {
        Routed::Yes => None,
        Routed::No => Some(Decision::Do(Action::Route { to: Box::new(workload.clone()) })),
        Routed::Unknown(why) => Some(Decision::Wait(WaitingOn::Ports { why })),
    }
}

/// A live patch is gone after a reboot: it is applied again, until the kernel runs that it stands for.
fn supervise_patches(workload: &Workload, facts: &Facts) -> Option<Decision> {
    workload.steps().filter(|(_, step)| step.kind() == Kind::LivePatch).find_map(|(key, step)| {
        matches!(facts.step(&key), StepState::Untouched | StepState::Prepared | StepState::Half(_))
            .then(|| Decision::Do(Action::Apply { key, step: Box::new(step.clone()) }))
    })
}

/// While an order waits for its switch, live patches that a reboot has undone are applied again: it may wait for days, and what
/// a patch mends must not wait with it. An order that can go on goes on.
pub(super) fn while_it_waits(decision: Decision, facts: &Facts) -> Decision {
    if !matches!(decision, Decision::Wait(_)) {
        return decision;
    }
    let needs = facts.installed.iter().filter_map(|workload| supervise_patches(workload, facts));
    let mut due = needs.filter(|need| match need {
        Decision::Do(action) => !is_done(action, facts) && rested(action, facts).is_none(),
        _ => false,
    });
    due.next().unwrap_or(decision)
}

pub(super) fn handing_back(job: &Job, tries: &Tries, facts: &Facts) -> Decision {
    let Some(stand_in) = &facts.stand_in else {
        return end(job, None, Outcome::HandedBack);
    };
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    let states = facts.states(&stand_in.workload);
    if containers::unknown(&states) {
        return Decision::Wait(WaitingOn::Engine);
    }
    // While what it has started still runs.
    if let Some(hook) = hooks::hand_back(stand_in).filter(|hook| !is_done(hook, facts)) {
        return Decision::Do(hook);
    }
    if let Some(stop) = containers::stop_next(&stand_in.workload, facts) {
        return stop;
    }
    match states.into_iter().find(|(_, state)| *state != ContainerState::Absent) {
        Some((name, _)) => Decision::Do(Action::Remove { name }),
        None => end(job, None, Outcome::HandedBack),
    }
}
