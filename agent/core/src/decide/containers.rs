//! The containers of a switch: several swap as one.

use std::time::Duration;

use takt_common::release::{HookPoint, Strategy};

use super::idle::rested;
use super::switching::rebooted;
use super::{Decision, hooks, is_done, memory, millis, steps, turn_back};
use crate::action::{Action, ContainerName};
use crate::facts::{ContainerState, Facts, Routed};
use crate::phase::{Job, Phase, Role, Swap, TakenMemory, Tries, Workload};
use crate::waiting::WaitingOn;

/// How long after a boot containers of the switch in hand are started again; what has not come to run by then, dies as
/// soon as it is started.
const START_AFTER_BOOT_MAX: Duration = Duration::from_mins(10);

/// How long a container may take to stop.
pub(super) fn grace(secs: u32) -> Duration {
    Duration::from_secs(u64::from(secs))
}

/// Whether the engine has not answered for one of them.
pub(super) fn unknown(states: &[(ContainerName, ContainerState)]) -> bool {
    states.iter().any(|(_, state)| *state == ContainerState::Unknown)
}

/// Whether all of them run; true of none.
pub(super) fn all_run(workload: &Workload, facts: &Facts) -> bool {
    facts.states(workload).iter().all(|(_, state)| *state == ContainerState::Running)
}

/// Stops the one that started last of those that run.
pub(super) fn stop_next(workload: &Workload, facts: &Facts) -> Option<Decision> {
    let mut containers: Vec<_> = workload.containers().collect();
    containers.reverse();
    let running =
        containers.into_iter().find(|(name, _)| facts.container(name).state == ContainerState::Running);
    running
        .map(|(name, container)| Decision::Do(Action::Stop { name, grace: grace(container.stop_grace_secs) }))
}

/// What is still to be done ahead of the switch: images, then containers.
pub(super) fn prepare_next(workload: &Workload, role: Role, facts: &Facts) -> Option<Decision> {
    let absent = |container: &&takt_common::release::Container| {
        facts.images.get(&container.image_id) == Some(&crate::facts::Presence::Absent)
    };
    let set = workload.manifest.containers()?;
    if let Some(container) = set.containers.iter().find(absent) {
        return Some(Decision::Do(Action::LoadImage {
            archive: container.archive,
            image: container.image_id,
        }));
    }
    let (name, container) =
        workload.containers().find(|(name, _)| facts.container(name).state == ContainerState::Absent)?;
    Some(Decision::Do(Action::Create { name, role, container: Box::new(container.clone()) }))
}

/// The next thing on the way from the old containers to the new ones; `None` when these run and have the ports.
pub(super) fn forward(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts) -> Option<Decision> {
    let new = facts.states(&swap.new);
    let old = job.old.as_ref().map(|old| facts.states(old)).unwrap_or_default();
    // Nothing is stopped for a container that is not there.
    if unknown(&new) || unknown(&old) {
        return Some(Decision::Wait(WaitingOn::Engine));
    }
    if let Some((name, _)) = new.iter().find(|(_, state)| *state == ContainerState::Absent) {
        return Some(turn_back(job, swap, format!("container {name} has been removed"), facts));
    }
    if let Some(decision) = memory::stop_sick(job, swap, facts) {
        return Some(decision);
    }
    let both_run = swap.strategy == Some(Strategy::Handover);
    if !both_run && let Some(stop) = job.old.as_ref().and_then(|old| stop_next(old, facts)) {
        return Some(stop);
    }
    for (name, state) in &new {
        let start = Action::Start { name: name.clone() };
        let boot_is_young = Duration::from_millis(facts.boot.millis) < START_AFTER_BOOT_MAX;
        match state {
            ContainerState::Running => {}
            ContainerState::Created => {
                return memory::before_start(job, swap, name, facts).or(Some(Decision::Do(start)));
            }
            ContainerState::Exited(_) if memory::starts_afresh(swap, &start, facts) => {
                return Some(Decision::Do(start));
            }
            // Memory outlives no boot: that it is lost is noted first.
            ContainerState::Exited(_)
                if swap.memory != Some(TakenMemory::Here) && rebooted(swap, facts) && boot_is_young =>
            {
                return Some(Decision::Do(start));
            }
            ContainerState::Exited(code) => {
                let cause = format!("the new release exited with code {code} at its start");
                let afresh = memory::afresh(job, swap, &cause);
                return Some(afresh.unwrap_or_else(|| turn_back(job, swap, cause, facts)));
            }
            ContainerState::Unknown | ContainerState::Absent => {
                return Some(Decision::Wait(WaitingOn::Engine));
            }
        }
    }
    if let Some(import) = hooks::due(HookPoint::ImportState, job, swap) {
        return Some(import);
    }
    if both_run && let Some(decision) = well_ahead(job, swap, tries, facts) {
        return Some(decision);
    }
    if let Some(decision) = route(&swap.new, facts) {
        return Some(decision);
    }
    if both_run { drain(job, swap, tries, facts) } else { None }
}

/// Strategy `handover`: the new ones must be well before clients come to them.
fn well_ahead(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts) -> Option<Decision> {
    if swap.moved.is_some() {
        return None;
    }
    let Some(elapsed) = swap.up.as_ref().and_then(|up| facts.boot.since(up)) else {
        let mut next = swap.clone();
        next.up = Some(facts.boot.clone());
        return Some(remember(job, next, tries));
    };
    let wellness = &facts.wellness;
    if wellness.well_for.is_some() {
        return None;
    }
    let health = &swap.new.manifest.health;
    if elapsed >= health.start() && wellness.failures_in_a_row >= health.failures_max {
        let said = wellness.last_failure.as_deref().unwrap_or("no answer");
        let cause = format!("the new release was not well within {} ms: {said}", health.start_millis);
        return Some(turn_back(job, swap, cause, facts));
    }
    Some(Decision::Wait(WaitingOn::FirstGoodRound {
        last_failure: wellness.last_failure.clone(),
        left_millis: millis(health.start(), elapsed),
    }))
}

/// Lets the published ports lead to `workload`.
pub(super) fn route(workload: &Workload, facts: &Facts) -> Option<Decision> {
    match facts.routed(workload) {
        Routed::Yes => None,
        Routed::No => Some(Decision::Do(Action::Route { to: Box::new(workload.clone()) })),
        Routed::Unknown(why) => Some(Decision::Wait(WaitingOn::Ports { why })),
    }
}

/// Before a switch: published ports that a reboot has undone are led back to what runs. An order may wait for days, and
/// clients must not wait with it. Where that fails, an order goes on until the next try, but not if its release `publishes`
/// ports: it could not lead them either.
pub(super) fn restore_ports(publishes: bool, facts: &Facts) -> Option<Decision> {
    let standing_in = facts.stand_in.iter().map(|stand_in| &stand_in.workload);
    let undone = |workload: &&Workload| {
        workload.has_containers() && all_run(workload, facts) && facts.routed(workload) == Routed::No
    };
    let routes = facts.installed.iter().chain(standing_in).filter(undone);
    let mut routes = routes.map(|workload| Action::Route { to: Box::new(workload.clone()) }).peekable();
    let first = routes.peek().cloned()?;
    let due = routes.find(|route| !is_done(route, facts) && rested(route, facts).is_none());
    match due {
        Some(route) => Some(Decision::Do(route)),
        None => publishes.then(|| rested(&first, facts).unwrap_or(Decision::Do(first))),
    }
}

/// Strategy `handover`: clients come to the new ones; the old ones stop once those they still serve have gone.
fn drain(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts) -> Option<Decision> {
    let Some(moved) = &swap.moved else {
        let mut next = swap.clone();
        next.moved = Some(facts.boot.clone());
        return Some(remember(job, next, tries));
    };
    let old = job.old.as_ref()?;
    let limit = Duration::from_secs(u64::from(swap.new.manifest.containers()?.drain_secs));
    let connections = facts.connections.get(&old.name).copied().unwrap_or(0);
    let runs = facts.states(old).iter().any(|(_, state)| *state == ContainerState::Running);
    match facts.boot.since(moved) {
        Some(elapsed) if runs && connections > 0 && elapsed < limit => {
            Some(Decision::Wait(WaitingOn::Draining { connections, left_millis: millis(limit, elapsed) }))
        }
        _ => stop_next(old, facts),
    }
}

fn remember(job: &Job, swap: Swap, tries: &Tries) -> Decision {
    Decision::Remember(Phase::Switching {
        job: Box::new(job.clone()),
        swap: Box::new(swap),
        tries: tries.clone(),
    })
}

/// On the way back: the new ones stop, after the ports lead to the old ones again where those still run.
pub(super) fn backward(job: &Job, swap: &Swap, facts: &Facts) -> Option<Decision> {
    if unknown(&facts.states(&swap.new)) {
        return Some(Decision::Wait(WaitingOn::Engine));
    }
    let stop = stop_next(&swap.new, facts)?;
    let old_serves = job.old.as_ref().filter(|old| old.has_containers() && all_run(old, facts));
    Some(old_serves.and_then(|old| route_back(old, swap, facts)).unwrap_or(stop))
}

/// The same as [`route`] on the way back: ports that cannot be led back keep nothing else from going back.
pub(super) fn route_back(old: &Workload, swap: &Swap, facts: &Facts) -> Option<Decision> {
    let passed_over = steps::of_containers(swap).is_some_and(|index| swap.stuck.contains_key(&index));
    if passed_over { None } else { route(old, facts) }
}
