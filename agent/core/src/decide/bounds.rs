//! Bounds that outlive the agent: how often it may be started while a switch or a way back is in hand, and how long what
//! cannot be looked at is waited for. Both are kept in the journal, so no kill begins them anew; a reboot does begin such a
//! wait anew, and is counted as a start.

use std::time::Duration;

use super::rollback::RollBack;
use super::{Decision, containers, failing, phase_by_phase, steps, turn_back};
use crate::action::Action;
use crate::facts::{BootTime, Facts, Routed};
use crate::phase::{Bounds, Job, Phase, Swap, Unseen, Way};
use crate::policy::Policy;
use crate::step::StepState;
use crate::waiting::WaitingOn;

/// How often an agent may be started in one switch, and again on its way back: a few kills and power cuts are bad luck,
/// more have a cause in what it does.
const STARTS_MAX: u32 = 10;

/// How long a step, the ports or the engine may stay out of sight. Services of a device that has just booted take
/// minutes; nobody waits a quarter of an hour for a release that has blinded its device.
const UNSEEN_MAX: Duration = Duration::from_mins(15);

/// How long the way back waits for the engine before it takes back the steps that do not need it: one of them may have
/// broken it.
const ENGINE_FIRST_MAX: Duration = Duration::from_mins(1);

impl Bounds {
    /// Nothing has been counted; this run of the agent is the first.
    pub(super) fn begin(facts: &Facts) -> Self {
        Self { run: Some(facts.started.clone()), ..Self::default() }
    }
}

/// Notes that another run of the agent has taken the switch or its way back in hand; with too many of them, that ends.
pub(super) fn another_run(phase: &Phase, facts: &Facts, policy: &Policy) -> Option<Decision> {
    let before = &in_hand(phase)?.bounds;
    if before.run.as_ref() == Some(&facts.started) {
        // The way back may first have to wait for a device that has just booted.
        let many = before.starts > STARTS_MAX;
        return many.then(|| too_many_starts(phase, before.starts, facts, policy)).flatten();
    }
    let mut next = phase.clone();
    let bounds = bounds_of(&mut next)?;
    // The journal of an agent that did not count has no run at all.
    bounds.starts = bounds.starts.saturating_add(u32::from(bounds.run.is_some()));
    bounds.run = Some(facts.started.clone());
    let starts = bounds.starts;
    if starts <= STARTS_MAX {
        return Some(Decision::Remember(next));
    }
    Some(too_many_starts(&next, starts, facts, policy).unwrap_or(Decision::Remember(next)))
}

/// The switch of a phase in which something of the device may be changed.
fn in_hand(phase: &Phase) -> Option<&Swap> {
    match phase {
        Phase::Checkpointing { swap, .. }
        | Phase::Switching { swap, .. }
        | Phase::Probation { swap, .. }
        | Phase::Confirming { swap, .. }
        | Phase::RollingBack { swap, .. } => Some(swap),
        _ => None,
    }
}

/// The same to be changed.
fn bounds_of(phase: &mut Phase) -> Option<&mut Bounds> {
    match phase {
        Phase::Checkpointing { swap, .. }
        | Phase::Switching { swap, .. }
        | Phase::Probation { swap, .. }
        | Phase::Confirming { swap, .. }
        | Phase::RollingBack { swap, .. } => Some(&mut swap.bounds),
        _ => None,
    }
}

/// The same phase with what is out of sight noted, or no longer.
fn noted(mut phase: Phase, unseen: Option<(Unseen, BootTime)>) -> Decision {
    if let Some(bounds) = bounds_of(&mut phase) {
        bounds.unseen = unseen;
    }
    Decision::Remember(phase)
}

fn too_many_starts(phase: &Phase, starts: u32, facts: &Facts, policy: &Policy) -> Option<Decision> {
    let due = phase_by_phase(phase, facts, policy);
    let why = match &due {
        Decision::Do(action) => format!("the agent was started {starts} times, the last time to {action}"),
        _ => format!("the agent was started {starts} times before the new release was verified"),
    };
    match phase {
        Phase::Checkpointing { job, swap } => Some(failing::without_checkpoint(job, swap, why, facts)),
        Phase::RollingBack { job, swap, cause, since, way, ran, tries } => {
            // Waiting for the previous release to be well kills nobody.
            let Decision::Do(action) = due else { return None };
            let mut next = swap.clone();
            next.bounds = Bounds { again: swap.bounds.again.clone(), ..Bounds::begin(facts) };
            let this = RollBack { job, swap: &next, cause, since, way: *way, ran: *ran, tries };
            let index = match &action {
                Action::Revert { key, .. } => Some(key.index),
                Action::Restart { .. } => steps::to_be_restarted(job, swap, facts),
                Action::Route { .. } => steps::of_containers(swap),
                Action::Restore { .. } => return Some(Decision::Remember(this.by(Way::Cold, facts))),
                _ => None,
            };
            Some(match index {
                Some(index) => this.pass_over(index, why, true),
                None => super::end(job, Some(&next), this.stranded_by(why, facts)),
            })
        }
        Phase::Switching { job, swap, .. }
        | Phase::Probation { job, swap, .. }
        | Phase::Confirming { job, swap, .. } => Some(turn_back(job, swap, why, facts)),
        _ => None,
    }
}

/// `decision`, unless it waits for what has been out of sight for too long.
pub(super) fn in_sight(phase: &Phase, decision: Decision, facts: &Facts) -> Decision {
    let (Some(job), Some(swap)) = (phase.job(), in_hand(phase)) else { return decision };
    let waits_for = match &decision {
        Decision::Wait(waiting) => out_of_sight(waiting, swap, facts),
        _ => None,
    };
    match (waits_for, &swap.bounds.unseen) {
        (None, None) => decision,
        (None, Some((what, _))) if still_unseen(*what, job, swap, facts) => decision,
        (None, Some(_)) => match decision {
            Decision::Remember(next) => noted(next, None),
            _ => noted(phase.clone(), None),
        },
        (Some(what), Some((before, since))) if what == *before && facts.boot.since(since).is_some() => {
            match &decision {
                Decision::Wait(waiting) if facts.boot.since(since) >= Some(UNSEEN_MAX) => {
                    let why = format!("waited {} s for {waiting}", UNSEEN_MAX.as_secs());
                    given_up(phase, what, why, facts)
                }
                _ => decision,
            }
        }
        (Some(what), _) => noted(phase.clone(), Some((what, facts.boot.clone()))),
    }
}

fn out_of_sight(waiting: &WaitingOn, swap: &Swap, facts: &Facts) -> Option<Unseen> {
    match waiting {
        WaitingOn::Engine => Some(Unseen::Engine),
        WaitingOn::Ports { .. } => Some(Unseen::Ports),
        WaitingOn::Step { kind, why } => {
            let unseen = StepState::Unknown(why.clone());
            let mut steps = swap.new.steps().filter(|(_, step)| step.kind() == *kind);
            steps.find(|(key, _)| facts.step(key) == unseen).map(|(key, _)| Unseen::Step(key.index))
        }
        _ => None,
    }
}

fn still_unseen(what: Unseen, job: &Job, swap: &Swap, facts: &Facts) -> bool {
    let mut both = job.old.iter().chain([&swap.new]);
    match what {
        Unseen::Engine => both.any(|workload| containers::unknown(&facts.states(workload))),
        Unseen::Ports => both.any(|workload| matches!(facts.routed(workload), Routed::Unknown(_))),
        Unseen::Step(index) => matches!(facts.step(&swap.new.key(index)), StepState::Unknown(_)),
    }
}

fn given_up(phase: &Phase, what: Unseen, why: String, facts: &Facts) -> Decision {
    match phase {
        Phase::RollingBack { job, swap, cause, since, way, ran, tries } => {
            let this = RollBack { job, swap, cause, since, way: *way, ran: *ran, tries };
            let index = match what {
                Unseen::Engine => None,
                Unseen::Ports => steps::of_containers(swap),
                Unseen::Step(index) => Some(index),
            };
            match index {
                Some(index) => this.pass_over(index, why, false),
                None => super::end(job, Some(swap), this.stranded_by(why, facts)),
            }
        }
        Phase::Checkpointing { job, swap } => failing::without_checkpoint(job, swap, why, facts),
        Phase::Switching { job, swap, .. }
        | Phase::Probation { job, swap, .. }
        | Phase::Confirming { job, swap, .. } => turn_back(job, swap, why, facts),
        other => Decision::Remember(other.clone()),
    }
}

/// Whether the way back has waited for the engine long enough to go on with what does not need it.
pub(super) fn goes_on_without_engine(swap: &Swap, facts: &Facts) -> bool {
    let Some((Unseen::Engine, since)) = &swap.bounds.unseen else { return false };
    facts.boot.since(since).is_some_and(|since| since >= ENGINE_FIRST_MAX)
}
