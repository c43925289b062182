//! The one decision of the agent, phase by phase.

mod baseline;
mod blockers;
mod bounds;
mod clearing;
mod confirming;
mod containers;
mod failing;
mod fetching;
mod hooks;
mod idle;
mod memory;
mod probation;
mod rollback;
mod staged;
mod steps;
mod switching;

use std::time::Duration;

use takt_common::report::Outcome;

use crate::action::{Action, ActionFailure, Attempt, Nature};
use crate::facts::Facts;
use crate::phase::{Bounds, Job, Phase, Swap, Tries, Way};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Commit this phase to the journal, then look again.
    Remember(Phase),
    /// Take this action, then look again.
    Do(Action),
    /// Nothing until something changes; this is why.
    Wait(WaitingOn),
}

/// Decides what the agent does next. Total and pure.
pub fn decide(phase: &Phase, facts: &Facts, policy: &Policy) -> Decision {
    if let Some(Attempt { action, result: Err(failure) }) = &facts.last {
        return failing::after(phase, action, failure, facts, policy);
    }
    if let Some(Attempt { action: Action::Hook { point, .. }, result: Ok(said) }) = &facts.last
        && let Some(noted) = hooks::noted(phase, *point, said)
    {
        return Decision::Remember(noted);
    }
    if let Some(decision) = bounds::another_run(phase, facts, policy) {
        return decision;
    }
    match bounds::in_sight(phase, phase_by_phase(phase, facts, policy), facts) {
        // An action that succeeded and is wanted again has changed nothing, or somebody else has undone it: count it as
        // failed, so that no loop is endless.
        Decision::Do(action) if is_done(&action, facts) => {
            let failure = ActionFailure { nature: Nature::Transient, text: "it had no effect".to_owned() };
            failing::after(phase, &action, &failure, facts, policy)
        }
        decision => decision,
    }
}

/// Whether the action has succeeded since a phase was remembered or the agent rested.
fn is_done(action: &Action, facts: &Facts) -> bool {
    matches!(&facts.last, Some(Attempt { action: last, result: Ok(_) }) if last == action)
        || facts.done.contains(action)
}

/// What each phase wants next, whatever was done and counted before.
fn phase_by_phase(phase: &Phase, facts: &Facts, policy: &Policy) -> Decision {
    match phase {
        Phase::Idle => idle::idle(facts),
        Phase::Fetching { job, hook, tries } => {
            idle::while_it_waits(fetching::fetching(job, hook.as_deref(), tries, facts, policy), facts)
        }
        Phase::Staged { job, swap, tries } => {
            idle::while_it_waits(staged::staged(job, swap, tries, facts, policy), facts)
        }
        Phase::Checkpointing { job, swap } => switching::checkpointing(job, swap, facts),
        Phase::Switching { job, swap, tries } => switching::switching(job, swap, tries, facts),
        Phase::Probation { job, swap, since } => probation::probation(job, swap, since, facts),
        Phase::Confirming { job, swap, since, tries } => {
            confirming::confirming(job, swap, since, tries, facts, policy)
        }
        Phase::RollingBack { job, swap, cause, since, way, ran, tries } => {
            let this = rollback::RollBack { job, swap, cause, since, way: *way, ran: *ran, tries };
            rollback::rolling_back(&this, facts, policy)
        }
        Phase::GivingMemory { job, tries } => memory::giving(job, tries, facts),
        Phase::HandingBack { job, tries } => idle::handing_back(job, tries, facts),
        Phase::Ended { job, swap, outcome, tries } => {
            clearing::ended(job, swap.as_deref(), outcome, tries, facts, policy)
        }
    }
}

/// Ends the order: clearing up follows.
fn end(job: &Job, swap: Option<&Swap>, outcome: Outcome) -> Decision {
    Decision::Remember(Phase::Ended {
        job: Box::new(job.clone()),
        swap: swap.cloned().map(Box::new),
        outcome,
        tries: Tries::default(),
    })
}

/// Turns back: whatever ran before is brought back.
fn turn_back(job: &Job, swap: &Swap, cause: String, facts: &Facts) -> Decision {
    Decision::Remember(Phase::RollingBack {
        job: Box::new(job.clone()),
        swap: Box::new(Swap { bounds: Bounds::begin(facts), ..swap.clone() }),
        cause,
        since: facts.boot.clone(),
        way: Way::AsIs,
        ran: false,
        tries: Tries::default(),
    })
}

/// The wait that is left before the next try, if any.
fn pause_left(tries: &Tries, facts: &Facts) -> Option<Decision> {
    let not_before = tries.not_before.as_ref().filter(|instant| instant.boot_id == facts.boot.boot_id)?;
    let left = not_before.millis.saturating_sub(facts.boot.millis);
    let why = || tries.why.clone().unwrap_or_default();
    (left > 0).then(|| {
        Decision::Wait(if tries.held {
            WaitingOn::NotNow { said: why(), in_millis: left }
        } else {
            WaitingOn::Retry { why: why(), count: tries.count, in_millis: left }
        })
    })
}

/// An action, unless its next try is still to be waited for.
fn paused(decision: Decision, tries: &Tries, facts: &Facts) -> Decision {
    match decision {
        Decision::Do(_) => pause_left(tries, facts).unwrap_or(decision),
        other => other,
    }
}

/// Milliseconds of `whole` that are left after `gone`.
fn millis(whole: Duration, gone: Duration) -> u64 {
    u64::try_from(whole.saturating_sub(gone).as_millis()).unwrap_or(u64::MAX)
}
