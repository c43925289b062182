//! Probation: the new release must stay well for its time.

use std::time::Duration;

use takt_common::order::{Action as OrderAction, Takeover};
use takt_common::release::HookPoint;
use takt_common::report::Outcome;

use super::{Decision, baseline, containers, end, hooks, memory, millis, steps, switching, turn_back};
use crate::facts::{BootTime, ContainerState, Facts};
use crate::phase::{Job, Phase, Swap, Tries};
use crate::waiting::WaitingOn;

pub(super) fn probation(job: &Job, swap: &Swap, since: &BootTime, facts: &Facts) -> Decision {
    let health = &swap.new.manifest.health;
    let Some(elapsed) = facts.boot.since(since) else {
        // Another boot: start again, and be on probation from the beginning.
        if containers::unknown(&facts.states(&swap.new)) {
            return Decision::Wait(WaitingOn::Engine);
        }
        let swap = switching::note_reboot(swap, facts).unwrap_or_else(|| swap.clone());
        return switching::after_reboot(job, swap, Tries::default(), facts);
    };
    if let Some(ended) = no_longer_runs(job, swap, facts) {
        return ended;
    }
    // A standby that starts nothing serves by something of its own, which must hear of it before it can be well.
    let told = matches!(job.accepted.order.action, OrderAction::TakeOver { how: Takeover::Notify, .. });
    if let Some(hook) = hooks::due(HookPoint::Takeover, job, swap).filter(|_| told) {
        return hook;
    }
    let wellness = &facts.wellness;
    let last_failure = || wellness.last_failure.clone().unwrap_or_else(|| "no answer".to_owned());
    let failed = wellness.failures_in_a_row >= health.failures_max;
    if failed && wellness.ever_well {
        let cause = format!("the new release fell ill in probation: {}", last_failure());
        return turned_back(job, swap, cause, facts);
    }
    if failed && elapsed >= health.start() {
        let cause =
            format!("the new release was not well within {} ms: {}", health.start_millis, last_failure());
        return turned_back(job, swap, cause, facts);
    }
    // A stand-in runs what its device has verified already: it serves as soon as its health checks say so.
    let stands_in = matches!(job.accepted.order.action, OrderAction::TakeOver { .. });
    let probation = if stands_in { Duration::ZERO } else { health.probation() };
    match wellness.well_for {
        Some(well_for) if well_for >= probation && wellness.failures_in_a_row == 0 => {
            passed(job, swap, stands_in, facts)
        }
        Some(well_for) => Decision::Wait(WaitingOn::Probation { left_millis: millis(probation, well_for) }),
        None => Decision::Wait(WaitingOn::FirstGoodRound {
            last_failure: wellness.last_failure.clone(),
            left_millis: millis(health.start(), elapsed),
        }),
    }
}

/// A stand-in that goes on from its device's memory may do better without it.
fn turned_back(job: &Job, swap: &Swap, cause: String, facts: &Facts) -> Decision {
    memory::afresh(job, swap, &cause).unwrap_or_else(|| turn_back(job, swap, cause, facts))
}

/// What should run and does not, or should be in force and is not.
pub(super) fn no_longer_runs(job: &Job, swap: &Swap, facts: &Facts) -> Option<Decision> {
    for (name, state) in facts.states(&swap.new) {
        let cause = match state {
            ContainerState::Running => continue,
            ContainerState::Unknown => return Some(Decision::Wait(WaitingOn::Engine)),
            ContainerState::Absent | ContainerState::Created => {
                format!("container {name} has been removed or recreated in probation")
            }
            ContainerState::Exited(code) => format!("the new release exited with code {code} in probation"),
        };
        return Some(turned_back(job, swap, cause, facts));
    }
    // Somebody else may have changed the rules; a restart of the engine gives containers other addresses.
    containers::route(&swap.new, facts).or_else(|| steps::no_longer_in_force(job, swap, facts))
}

fn passed(job: &Job, swap: &Swap, stands_in: bool, facts: &Facts) -> Decision {
    if stands_in {
        return hooks::due(HookPoint::Takeover, job, swap)
            .unwrap_or_else(|| end(job, Some(swap), Outcome::Serving));
    }
    let mut next = swap.clone();
    if let (Some(before), Some(after)) = (&swap.baseline, &facts.vitals) {
        next.warnings.extend(baseline::worse(before, after, &swap.new.manifest.health.baseline));
    }
    if steps::without_containers(job, swap).is_empty() {
        return end(job, Some(&next), Outcome::Verified { strategy: swap.strategy });
    }
    Decision::Remember(Phase::Confirming {
        job: Box::new(job.clone()),
        swap: Box::new(next),
        since: facts.boot.clone(),
        tries: Tries::default(),
    })
}
