//! From staged to the switch: preparing ahead, blockers, hooks, the measurement of what runs.

use takt_common::order::AtDeadline;
use takt_common::release::{ContainerSet, HookPoint, Strategy};
use takt_common::report::Outcome;

use super::{Decision, blockers, containers, end, hooks, pause_left, paused, steps};
use crate::facts::{Baseline, Facts, Presence};
use crate::phase::{Bounds, Job, Phase, Swap, Tries, Workload};
use crate::policy::Policy;
use crate::waiting::{Blocker, WaitingOn};

pub(super) fn staged(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts, policy: &Policy) -> Decision {
    if facts.next.is_some() {
        return end(job, Some(swap), Outcome::Withdrawn);
    }
    let order = &job.accepted.order;
    let overdue = facts.now >= order.deadline;
    let mut found = blockers::before_switch(job, swap, facts, policy);
    if swap.hooks.contains_key(&HookPoint::ExportState) {
        // The load may be the export's own.
        found.retain(|blocker| !matches!(blocker, Blocker::HighLoad { .. }));
    }
    if overdue && order.policy.at_deadline == AtDeadline::GoAhead {
        found.retain(|blocker| !blocker.is_soft());
    }
    let engine_away = engine_away(job, swap, facts);
    let unseen = steps::unseen(job, swap, facts);
    let held = tries.held || engine_away || unseen.is_some() || !found.is_empty();
    if overdue && (order.policy.at_deadline == AtDeadline::GiveUp || held) {
        let cause = match unseen {
            _ if engine_away => WaitingOn::Engine.to_string(),
            Some(unseen) if found.is_empty() => unseen.to_string(),
            _ => held_by(&found, tries),
        };
        return end(
            job,
            Some(swap),
            Outcome::GivenUp { cause: format!("the deadline passed; waited on {cause}") },
        );
    }
    if engine_away {
        return Decision::Wait(WaitingOn::Engine);
    }
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    let publishes = swap.new.manifest.containers().is_some_and(ContainerSet::publishes);
    if let Some(route) = containers::restore_ports(publishes, facts) {
        return route;
    }
    // Preparing ahead needs storage but disturbs nobody, so only storage holds it back.
    let low_disk = found.iter().any(|blocker| matches!(blocker, Blocker::LowDisk { .. }));
    let prepare = || {
        containers::prepare_next(&swap.new, job.role(), facts)
            .or_else(|| steps::prepare_next(job, swap, facts))
    };
    if !low_disk && let Some(prepare) = prepare() {
        return prepare;
    }
    if !found.is_empty() {
        return ask_again(job, swap, tries).unwrap_or(Decision::Wait(WaitingOn::Blockers(found)));
    }
    // The programs of hooks are files like others: they are there.
    if let Some(hook) = hooks::due(HookPoint::PreSwitch, job, swap) {
        return paused(hook, tries, facts);
    }
    let mut next = swap.clone();
    match facts.baseline {
        // A measurement is not worth an order that may wait no longer.
        Baseline::Measuring { left_millis } if !overdue => {
            return Decision::Wait(WaitingOn::Baseline { left_millis });
        }
        Baseline::Measured(vitals) => next.baseline = Some(vitals),
        Baseline::Measuring { .. } | Baseline::None => {}
    }
    if let Some(hook) = hooks::due(HookPoint::ExportState, job, swap) {
        return hook;
    }
    next.began = Some(facts.boot.clone());
    next.bounds = Bounds::begin(facts);
    begin(job, next, facts)
}

/// What a hook has said, and what it has exported, is old when the switch has to wait after all: it is asked anew.
fn ask_again(job: &Job, swap: &Swap, tries: &Tries) -> Option<Decision> {
    let mut next = swap.clone();
    next.hooks.retain(|point, _| !matches!(point, HookPoint::PreSwitch | HookPoint::ExportState));
    (next.hooks.len() < swap.hooks.len()).then(|| {
        let (job, swap) = (Box::new(job.clone()), Box::new(next));
        Decision::Remember(Phase::Staged { job, swap, tries: tries.clone() })
    })
}

fn engine_away(job: &Job, swap: &Swap, facts: &Facts) -> bool {
    let away = |workload: &Workload| containers::unknown(&facts.states(workload));
    let no_images = swap.new.has_containers() && facts.image(&swap.new.manifest) == Presence::Unknown;
    no_images || away(&swap.new) || job.old.as_ref().is_some_and(away)
}

fn begin(job: &Job, mut next: Swap, facts: &Facts) -> Decision {
    let old = job.old.as_ref().filter(|old| old.has_containers());
    let old_runs = old.is_some_and(|old| containers::all_run(old, facts));
    match next.strategy {
        Some(Strategy::Preserve) if old_runs => {
            let (job, swap) = (Box::new(job.clone()), Box::new(next));
            return Decision::Remember(Phase::Checkpointing { job, swap });
        }
        Some(Strategy::Preserve) => {
            next.strategy = Some(Strategy::Replace);
            next.warnings.push("the previous release did not run: it had no memory to preserve".to_owned());
        }
        Some(Strategy::Handover) if !old_runs => {
            next.strategy = Some(Strategy::Replace);
            next.warnings.push("the previous release did not run: there was nothing to hand over".to_owned());
        }
        Some(Strategy::Handover | Strategy::Replace) | None => {}
    }
    let (job, swap) = (Box::new(job.clone()), Box::new(next));
    Decision::Remember(Phase::Switching { job, swap, tries: Tries::default() })
}

fn held_by(found: &[Blocker], tries: &Tries) -> String {
    match (found, &tries.why) {
        ([], Some(why)) => why.clone(),
        ([], None) => "preparations".to_owned(),
        _ => WaitingOn::Blockers(found.to_vec()).to_string(),
    }
}
