//! From staged to verified: preparing ahead, the checkpoint, the switch and the probation.

use std::time::Duration;

use takt_common::order::{Action as OrderAction, AtDeadline};
use takt_common::release::Strategy;
use takt_common::report::Outcome;

use super::{Decision, blockers, end, pause_left, turn_back};
use crate::action::Action;
use crate::facts::{BootTime, ContainerState, Facts, Presence};
use crate::phase::{Job, Phase, Swap, Tries, Workload};
use crate::policy::Policy;
use crate::waiting::{Blocker, WaitingOn};

/// How long the container of `workload` may take to stop.
pub(super) fn grace(workload: &Workload) -> Duration {
    let secs = workload.manifest.container.as_ref().map_or(10, |container| container.stop_grace_secs);
    Duration::from_secs(u64::from(secs))
}

fn old_state(job: &Job, facts: &Facts) -> ContainerState {
    job.old.as_ref().map_or(ContainerState::Absent, |old| facts.container(&old.container))
}

pub(super) fn staged(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts, policy: &Policy) -> Decision {
    if facts.next.is_some() {
        return end(job, Some(swap), Outcome::Withdrawn);
    }
    let order = &job.accepted.order;
    let overdue = facts.now >= order.deadline;
    let mut found = blockers::before_switch(job, &swap.new.manifest, facts, policy);
    if overdue && order.policy.at_deadline == AtDeadline::GoAhead {
        found.retain(|blocker| !blocker.is_soft());
    }
    let engine_away = facts.image == Presence::Unknown
        || facts.container(&swap.new.container) == ContainerState::Unknown
        || (job.old.is_some() && old_state(job, facts) == ContainerState::Unknown);
    if overdue && (order.policy.at_deadline == AtDeadline::GiveUp || !found.is_empty() || engine_away) {
        let cause = if engine_away { WaitingOn::Engine.to_string() } else { held_by(&found, tries) };
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
    // Loading and creating ahead need storage but disturb nobody, so only storage holds them back.
    let low_disk = found.iter().any(|blocker| matches!(blocker, Blocker::LowDisk { .. }));
    if let Some(prepare) = prepare(job, swap, facts).filter(|_| !low_disk) {
        return prepare;
    }
    if !found.is_empty() {
        return Decision::Wait(WaitingOn::Blockers(found));
    }
    let (job_box, mut next) = (Box::new(job.clone()), Box::new(swap.clone()));
    next.began = Some(facts.boot.clone());
    if swap.strategy == Strategy::Preserve && old_state(job, facts) == ContainerState::Running {
        Decision::Remember(Phase::Checkpointing { job: job_box, swap: next })
    } else {
        Decision::Remember(Phase::Switching { job: job_box, swap: next, tries: Tries::default() })
    }
}

fn held_by(found: &[Blocker], tries: &Tries) -> String {
    match (found, &tries.why) {
        ([], Some(why)) => why.clone(),
        ([], None) => "preparations".to_owned(),
        _ => WaitingOn::Blockers(found.to_vec()).to_string(),
    }
}

/// What is still to be done ahead of the switch.
fn prepare(job: &Job, swap: &Swap, facts: &Facts) -> Option<Decision> {
    let container = swap.new.manifest.container.as_ref()?;
    if facts.image == Presence::Absent {
        return Some(Decision::Do(Action::LoadImage {
            archive: container.archive,
            image: container.image_id,
        }));
    }
    (facts.container(&swap.new.container) == ContainerState::Absent).then(|| {
        Decision::Do(Action::Create {
            name: swap.new.container.clone(),
            role: job.role(),
            container: Box::new(container.clone()),
        })
    })
}

/// The name of the checkpoint that an order takes; one a container is enough.
const CHECKPOINT: &str = "takt-way-back";

pub(super) fn checkpointing(job: &Job, swap: &Swap, facts: &Facts) -> Decision {
    let Some(old) = &job.old else {
        return to_switching(job, swap.clone());
    };
    match facts.container(&old.container) {
        ContainerState::Unknown => Decision::Wait(WaitingOn::Engine),
        ContainerState::Running => Decision::Do(Action::Checkpoint {
            name: old.container.clone(),
            checkpoint: CHECKPOINT.to_owned(),
        }),
        // The checkpoint stops the container only once it is complete; a machine that lost power in between may have
        // stopped it too, but then restoring fails, and a cold start follows.
        ContainerState::Absent | ContainerState::Created | ContainerState::Exited(_) => {
            let mut next = swap.clone();
            next.checkpoint = Some(CHECKPOINT.to_owned());
            to_switching(job, next)
        }
    }
}

fn to_switching(job: &Job, swap: Swap) -> Decision {
    let (job, swap) = (Box::new(job.clone()), Box::new(swap));
    Decision::Remember(Phase::Switching { job, swap, tries: Tries::default() })
}

/// True when the machine has booted since the switch began: what does not run then has not died by itself.
fn rebooted(swap: &Swap, facts: &Facts) -> bool {
    swap.began.as_ref().is_none_or(|began| began.boot_id != facts.boot.boot_id)
}

pub(super) fn switching(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts) -> Decision {
    if let Some(old) = &job.old {
        match facts.container(&old.container) {
            ContainerState::Unknown => return Decision::Wait(WaitingOn::Engine),
            ContainerState::Running => {
                return Decision::Do(Action::Stop { name: old.container.clone(), grace: grace(old) });
            }
            ContainerState::Absent | ContainerState::Created | ContainerState::Exited(_) => {}
        }
    }
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    let name = swap.new.container.clone();
    match facts.container(&name) {
        ContainerState::Unknown => Decision::Wait(WaitingOn::Engine),
        ContainerState::Absent => turn_back(job, swap, format!("container {name} has been removed"), facts),
        ContainerState::Created => Decision::Do(Action::Start { name }),
        ContainerState::Exited(_) if rebooted(swap, facts) => Decision::Do(Action::Start { name }),
        ContainerState::Exited(code) => {
            turn_back(job, swap, format!("the new release exited with code {code} at its start"), facts)
        }
        ContainerState::Running => {
            let mut next = swap.clone();
            if let Some(took) = swap.began.as_ref().and_then(|began| facts.boot.since(began)) {
                next.timing.switch_millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            }
            let (job, swap) = (Box::new(job.clone()), Box::new(next));
            Decision::Remember(Phase::Probation { job, swap, since: facts.boot.clone() })
        }
    }
}

pub(super) fn probation(job: &Job, swap: &Swap, since: &BootTime, facts: &Facts) -> Decision {
    let name = swap.new.container.clone();
    let health = &swap.new.manifest.health;
    let Some(elapsed) = facts.boot.since(since) else {
        // Another boot: start again, and be on probation from the beginning.
        return after_reboot(job, swap, facts);
    };
    match facts.container(&name) {
        ContainerState::Unknown => return Decision::Wait(WaitingOn::Engine),
        ContainerState::Running => {}
        ContainerState::Absent | ContainerState::Created => {
            return turn_back(
                job,
                swap,
                format!("container {name} has been removed or recreated in probation"),
                facts,
            );
        }
        ContainerState::Exited(code) => {
            return turn_back(
                job,
                swap,
                format!("the new release exited with code {code} in probation"),
                facts,
            );
        }
    }
    let wellness = &facts.wellness;
    let last_failure = || wellness.last_failure.clone().unwrap_or_else(|| "no answer".to_owned());
    let failed = wellness.failures_in_a_row >= health.failures_max;
    if failed && wellness.ever_well {
        let cause = format!("the new release fell ill in probation: {}", last_failure());
        return turn_back(job, swap, cause, facts);
    }
    if failed && elapsed >= health.start() {
        let cause =
            format!("the new release was not well within {} ms: {}", health.start_millis, last_failure());
        return turn_back(job, swap, cause, facts);
    }
    match wellness.well_for {
        Some(well_for) if well_for >= health.probation() && wellness.failures_in_a_row == 0 => {
            let outcome = match job.accepted.order.action {
                OrderAction::TakeOver { .. } => Outcome::Serving,
                _ => Outcome::Verified { strategy: Some(swap.strategy) },
            };
            end(job, Some(swap), outcome)
        }
        Some(well_for) => {
            Decision::Wait(WaitingOn::Probation { left_millis: millis(health.probation(), well_for) })
        }
        None => Decision::Wait(WaitingOn::FirstGoodRound {
            last_failure: wellness.last_failure.clone(),
            left_millis: millis(health.start(), elapsed),
        }),
    }
}

fn after_reboot(job: &Job, swap: &Swap, facts: &Facts) -> Decision {
    let name = swap.new.container.clone();
    match facts.container(&name) {
        ContainerState::Unknown => Decision::Wait(WaitingOn::Engine),
        ContainerState::Created | ContainerState::Exited(_) => Decision::Do(Action::Start { name }),
        ContainerState::Absent => {
            turn_back(job, swap, format!("container {name} was gone after a reboot"), facts)
        }
        ContainerState::Running => {
            let (job, swap) = (Box::new(job.clone()), Box::new(swap.clone()));
            Decision::Remember(Phase::Probation { job, swap, since: facts.boot.clone() })
        }
    }
}

fn millis(whole: Duration, gone: Duration) -> u64 {
    u64::try_from(whole.saturating_sub(gone).as_millis()).unwrap_or(u64::MAX)
}
