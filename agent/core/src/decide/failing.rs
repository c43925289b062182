//! After an action failed: try again, take another way, or end the order.

use takt_common::release::Strategy;
use takt_common::report::Outcome;

use super::rollback::RollBack;
use super::switching::CHECKPOINT;
use super::{Decision, end, idle, memory, steps, turn_back};
use crate::action::{Action, ActionFailure, Nature};
use crate::facts::{BootTime, Facts};
use crate::phase::{Bounds, Job, Phase, Swap, Tries, Way};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

/// How often a restore from a checkpoint is tried: moby#42900 fails at random, and one retry cured all of 12 failures.
const RESTORE_TRIES_MAX: u32 = 2;

/// How often clearing away a container is tried: for an hour and a half, at a minute each.
const CLEARING_TRIES_MAX: u32 = 100;

pub(super) fn after(
    phase: &Phase,
    action: &Action,
    failure: &ActionFailure,
    facts: &Facts,
    policy: &Policy,
) -> Decision {
    let why = format!("failed to {action}: {}", failure.text);
    if failure.nature == Nature::NotNow
        && let Some(held) = not_now(phase, action, failure, facts, policy)
    {
        return held;
    }
    // Once the switch has begun there is nothing to wait for any more: to ask for it is a failure like others.
    let final_now = matches!(failure.nature, Nature::Fatal | Nature::NotNow);
    match phase.clone() {
        Phase::Idle => idle::after_failure(action, why, facts),
        // Ports and live patches of what runs are nothing that the order in hand could fail by: after a rest.
        Phase::Fetching { .. } | Phase::Staged { .. } if action.is_upkeep() => {
            Decision::Wait(WaitingOn::Retry { why, count: 1, in_millis: 0 })
        }
        Phase::Fetching { job, hook, tries } => {
            let limit = match failure.nature {
                Nature::Corrupt => policy.corrupt_tries_max,
                Nature::Transient | Nature::Fatal | Nature::NotNow => policy.fetch_tries_max,
            };
            match again(&tries, why, limit, final_now, facts, policy) {
                Ok(tries) => Decision::Remember(Phase::Fetching { job, hook, tries }),
                Err(cause) => end(&job, None, Outcome::Failed { cause }),
            }
        }
        Phase::Staged { job, swap, tries } => {
            let final_now = final_now || failure.nature == Nature::Corrupt;
            match again(&tries, why, policy.engine_tries_max, final_now, facts, policy) {
                Ok(tries) => Decision::Remember(Phase::Staged { job, swap, tries }),
                Err(cause) => end(&job, Some(&swap), Outcome::Failed { cause }),
            }
        }
        Phase::Checkpointing { job, swap } => without_checkpoint(&job, &swap, why, facts),
        Phase::Switching { job, swap, tries } => {
            let what = (action, failure, why.as_str());
            if let Some(decision) = memory::not_taken(&job, &swap, &tries, what, facts, policy) {
                return decision;
            }
            match again(&tries, why, policy.engine_tries_max, final_now, facts, policy) {
                Ok(tries) => Decision::Remember(Phase::Switching { job, swap, tries }),
                Err(cause) => turn_back(&job, &swap, cause, facts),
            }
        }
        Phase::Probation { job, mut swap, .. } => {
            // It may have told the half of it: the hook that ends a takeover runs as well.
            if let Action::Hook { point, .. } = action {
                swap.hooks.insert(*point, String::new());
            }
            turn_back(&job, &swap, why, facts)
        }
        Phase::Confirming { job, swap, since, tries } => {
            match again(&tries, why, policy.engine_tries_max, final_now, facts, policy) {
                Ok(tries) => Decision::Remember(Phase::Confirming { job, swap, since, tries }),
                Err(cause) => turn_back(&job, &swap, cause, facts),
            }
        }
        Phase::RollingBack { job, swap, cause, since, way, ran, tries } => {
            let this =
                RollBack { job: &job, swap: &swap, cause: &cause, since: &since, way, ran, tries: &tries };
            let passed_over = match action {
                Action::Revert { key, .. } => Some(key.index),
                Action::Restart { .. } => steps::to_be_restarted(&job, &swap, facts),
                Action::Route { .. } => steps::of_containers(&swap),
                _ => None,
            };
            if let Some(index) = passed_over {
                return step_failed(&this, index, why, facts, policy);
            }
            match action {
                Action::Hook { point, .. } => {
                    let mut swap = swap.clone();
                    swap.warnings.push(why);
                    swap.hooks.insert(*point, String::new());
                    Decision::Remember(RollBack { swap: &swap, ..this }.same())
                }
                _ => way_failed(&this, why, since.clone(), facts, policy),
            }
        }
        Phase::GivingMemory { job, tries } => memory::not_given(job, &tries, why, final_now, facts, policy),
        Phase::HandingBack { job, tries } => {
            match again(&tries, why, policy.rollback_tries_max, false, facts, policy) {
                Ok(tries) => Decision::Remember(Phase::HandingBack { job, tries }),
                Err(cause) => end(&job, None, Outcome::Failed { cause }),
            }
        }
        // The outcome stands. Images and files that cannot go now go after the next order; a container, and a
        // checkpoint in it, would stay for good, so only an order that waits ends those tries early.
        Phase::Ended { job, swap, outcome, tries } => {
            let later = facts.next.is_some() || matches!(action, Action::Prune { .. });
            let limit = match action {
                _ if later => policy.engine_tries_max,
                // At rest what ran before is started: not beside a release that does not stop.
                Action::Stop { .. } => u32::MAX,
                _ => CLEARING_TRIES_MAX,
            };
            match again(&tries, why, limit, false, facts, policy) {
                Ok(tries) => Decision::Remember(Phase::Ended { job, swap, outcome, tries }),
                Err(_) => Decision::Remember(Phase::Idle),
            }
        }
    }
}

/// A hook asked to wait before anything was switched: it is asked again, until the order's deadline.
fn not_now(
    phase: &Phase,
    action: &Action,
    failure: &ActionFailure,
    facts: &Facts,
    policy: &Policy,
) -> Option<Decision> {
    let Action::Hook { point, .. } = action else { return None };
    let held = |tries: &Tries| {
        // Failures of anything else are not counted on, nor is this counted as one of them.
        let count = if tries.held { tries.count.saturating_add(1) } else { 1 };
        let why = Some(format!("the hook {point}, which asks to wait: {}", failure.text));
        Tries { count, why, not_before: Some(facts.boot.plus(policy.pause(count))), held: true }
    };
    Some(Decision::Remember(match phase.clone() {
        Phase::Fetching { job, hook, tries } => Phase::Fetching { job, hook, tries: held(&tries) },
        Phase::Staged { job, swap, tries } => Phase::Staged { job, swap, tries: held(&tries) },
        _ => return None,
    }))
}

/// A step that cannot be taken back is passed over, and the end of the order says so: what ran before is brought to run
/// all the same.
fn step_failed(this: &RollBack, index: usize, why: String, facts: &Facts, policy: &Policy) -> Decision {
    // Each step has tries of its own: one that went back only after failures does not use up those of the next.
    let tries = this.swap.bounds.back.get(&index).cloned().unwrap_or_default();
    match again(&tries, why, policy.rollback_tries_max, false, facts, policy) {
        Ok(tries) => {
            let mut swap = this.swap.clone();
            swap.bounds.back.insert(index, tries);
            Decision::Remember(RollBack { swap: &swap, ..*this }.same())
        }
        Err(why) => this.pass_over(index, why, false),
    }
}

/// The previous release came up and did not stay up.
pub(super) fn came_down(this: &RollBack, why: String, facts: &Facts, policy: &Policy) -> Decision {
    way_failed(this, why, facts.boot.clone(), facts, policy)
}

/// Tries the same way again, with its time running from `since`; then the next way; then the device is stranded.
fn way_failed(this: &RollBack, why: String, since: BootTime, facts: &Facts, policy: &Policy) -> Decision {
    let way = this.way;
    let limit = if way == Way::Restore { RESTORE_TRIES_MAX } else { policy.rollback_tries_max };
    let (job, mut swap) = (Box::new(this.job.clone()), Box::new(this.swap.clone()));
    match again(this.tries, why, limit, false, facts, policy) {
        Ok(tries) => {
            let cause = this.cause.to_owned();
            Decision::Remember(Phase::RollingBack { job, swap, cause, since, way, ran: false, tries })
        }
        Err(why) if way == Way::Restore => {
            swap.warnings.push(why);
            Decision::Remember(RollBack { swap: &swap, ..*this }.by(Way::Cold, facts))
        }
        Err(why) => end(&job, Some(&swap), this.stranded_by(why, facts)),
    }
}

/// One more failed try, or the reason to stop trying.
pub(super) fn again(
    tries: &Tries,
    why: String,
    limit: u32,
    final_now: bool,
    facts: &Facts,
    policy: &Policy,
) -> Result<Tries, String> {
    let count = if tries.held { 1 } else { tries.count.saturating_add(1) };
    if final_now {
        return Err(why);
    }
    if count >= limit {
        return Err(if count > 1 { format!("{why} ({count} tries)") } else { why });
    }
    Ok(Tries { count, why: Some(why), not_before: Some(facts.boot.plus(policy.pause(count))), held: false })
}

/// CRIU refused: the container keeps running, and the next strategy that the release allows is used.
pub(super) fn without_checkpoint(job: &Job, swap: &Swap, why: String, facts: &Facts) -> Decision {
    let mut swap = swap.clone();
    swap.checkpoint = None;
    swap.bounds = Bounds::begin(facts);
    swap.left_over = Some(CHECKPOINT.to_owned());
    let set = swap.new.manifest.containers();
    if !set.is_some_and(|set| set.strategies.contains(&Strategy::Replace)) {
        return turn_back(job, &swap, why, facts);
    }
    swap.strategy = Some(Strategy::Replace);
    swap.began = Some(facts.boot.clone());
    swap.warnings.push(format!("{why}; the strategy replace was used"));
    Decision::Remember(Phase::Switching {
        job: Box::new(job.clone()),
        swap: Box::new(swap),
        tries: Tries::default(),
    })
}
