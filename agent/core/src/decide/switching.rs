//! From staged to verified: preparing ahead, the checkpoint, the switch and the probation.

use std::time::Duration;

use takt_common::order::{Action as OrderAction, AtDeadline};
use takt_common::release::Strategy;
use takt_common::report::Outcome;

use super::{Decision, blockers, end, failing, pause_left, turn_back};
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
    let mut next = swap.clone();
    next.began = Some(facts.boot.clone());
    if swap.strategy == Strategy::Replace {
        return to_switching(job, next);
    }
    if old_state(job, facts) == ContainerState::Running {
        return Decision::Remember(Phase::Checkpointing { job: Box::new(job.clone()), swap: Box::new(next) });
    }
    next.strategy = Strategy::Replace;
    next.warnings.push("the previous release did not run: it had no memory to preserve".to_owned());
    to_switching(job, next)
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
pub(super) const CHECKPOINT: &str = "takt-way-back";

pub(super) fn checkpointing(job: &Job, swap: &Swap, facts: &Facts) -> Decision {
    let Some(old) = &job.old else {
        return to_switching(job, swap.clone());
    };
    if let Some(swap) = note_reboot(swap, facts) {
        return if swap.reboots.len() > REBOOTS_MAX {
            let why = format!("the machine has rebooted {} times at its checkpoint", swap.reboots.len());
            failing::without_checkpoint(job, &swap, why, facts)
        } else {
            Decision::Remember(Phase::Checkpointing { job: Box::new(job.clone()), swap: Box::new(swap) })
        };
    }
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

/// How many reboots between the begin of a switch and its verdict are bad luck; with one more, the new release is taken
/// for their cause.
const REBOOTS_MAX: usize = 3;

/// True when the machine has booted since the switch began: what does not run then has not died by itself.
pub(super) fn rebooted(swap: &Swap, facts: &Facts) -> bool {
    !swap.reboots.is_empty() || swap.began.as_ref().is_none_or(|began| began.boot_id != facts.boot.boot_id)
}

/// The switch with this boot noted in it, if it has not seen it yet.
fn note_reboot(swap: &Swap, facts: &Facts) -> Option<Swap> {
    let boot_id = &facts.boot.boot_id;
    let first = swap.began.as_ref().is_some_and(|began| began.boot_id == *boot_id);
    (!first && !swap.reboots.contains(boot_id)).then(|| {
        let mut noted = swap.clone();
        noted.reboots.push(boot_id.clone());
        noted
    })
}

/// Goes on after a reboot, unless there have been too many.
fn after_reboot(job: &Job, swap: Swap, tries: Tries, facts: &Facts) -> Decision {
    let count = swap.reboots.len();
    if count > REBOOTS_MAX {
        let cause = format!("the machine rebooted {count} times before the new release was verified");
        return turn_back(job, &swap, cause, facts);
    }
    Decision::Remember(Phase::Switching { job: Box::new(job.clone()), swap: Box::new(swap), tries })
}

pub(super) fn switching(job: &Job, swap: &Swap, tries: &Tries, facts: &Facts) -> Decision {
    if let Some(swap) = note_reboot(swap, facts) {
        return after_reboot(job, swap, tries.clone(), facts);
    }
    let name = swap.new.container.clone();
    let (old, new) = (old_state(job, facts), facts.container(&name));
    // Nothing is stopped for a container that is not there.
    if old == ContainerState::Unknown || new == ContainerState::Unknown {
        return Decision::Wait(WaitingOn::Engine);
    }
    if new == ContainerState::Absent {
        return turn_back(job, swap, format!("container {name} has been removed"), facts);
    }
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    if let Some(old) = job.old.as_ref().filter(|_| old == ContainerState::Running) {
        return Decision::Do(Action::Stop { name: old.container.clone(), grace: grace(old) });
    }
    match new {
        ContainerState::Unknown | ContainerState::Absent => Decision::Wait(WaitingOn::Engine),
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
        let swap = note_reboot(swap, facts).unwrap_or_else(|| swap.clone());
        return match facts.container(&name) {
            ContainerState::Unknown => Decision::Wait(WaitingOn::Engine),
            _ => after_reboot(job, swap, Tries::default(), facts),
        };
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
    // A stand-in runs what its device has verified already: it serves as soon as its health checks say so.
    let (probation, outcome) = match job.accepted.order.action {
        OrderAction::TakeOver { .. } => (Duration::ZERO, Outcome::Serving),
        _ => (health.probation(), Outcome::Verified { strategy: Some(swap.strategy) }),
    };
    match wellness.well_for {
        Some(well_for) if well_for >= probation && wellness.failures_in_a_row == 0 => {
            end(job, Some(swap), outcome)
        }
        Some(well_for) => Decision::Wait(WaitingOn::Probation { left_millis: millis(probation, well_for) }),
        None => Decision::Wait(WaitingOn::FirstGoodRound {
            last_failure: wellness.last_failure.clone(),
            left_millis: millis(health.start(), elapsed),
        }),
    }
}

fn millis(whole: Duration, gone: Duration) -> u64 {
    u64::try_from(whole.saturating_sub(gone).as_millis()).unwrap_or(u64::MAX)
}
