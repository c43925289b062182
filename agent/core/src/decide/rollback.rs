//! The way back: each step in the reverse order, then what ran before comes back, with its memory if that was kept.
//!
//! The containers of the new release stop in their turn, those of the previous one start last: they need what the other
//! steps bring back.

use std::time::Duration;

use takt_common::release::HookPoint;
use takt_common::report::{Memory, Outcome};

use super::{Decision, containers, end, failing, hooks, paused, steps, switching};
use crate::action::Action;
use crate::facts::{BootTime, ContainerState, Facts};
use crate::phase::{Job, Phase, Swap, Tries, Way, Workload};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

/// The fields of [`Phase::RollingBack`].
#[derive(Clone, Copy)]
pub(super) struct RollBack<'a> {
    pub job: &'a Job,
    pub swap: &'a Swap,
    pub cause: &'a str,
    pub since: &'a BootTime,
    pub way: Way,
    pub ran: bool,
    pub tries: &'a Tries,
}

impl RollBack<'_> {
    /// The same rollback by another way, from now.
    pub(super) fn by(&self, way: Way, facts: &Facts) -> Phase {
        Phase::RollingBack {
            job: Box::new(self.job.clone()),
            swap: Box::new(self.swap.clone()),
            cause: self.cause.to_owned(),
            since: facts.boot.clone(),
            way,
            ran: false,
            tries: Tries::default(),
        }
    }

    /// The same phase with what has been changed in it.
    pub(super) fn same(&self) -> Phase {
        Phase::RollingBack {
            job: Box::new(self.job.clone()),
            swap: Box::new(self.swap.clone()),
            cause: self.cause.to_owned(),
            since: self.since.clone(),
            way: self.way,
            ran: self.ran,
            tries: self.tries.clone(),
        }
    }

    /// It runs: from now on it may die.
    fn seen_running(&self) -> Phase {
        Self { ran: true, ..*self }.same()
    }

    /// The same without step `index`, which cannot be taken back. A `last` chance gives it no further one.
    pub(super) fn pass_over(&self, index: usize, why: String, last: bool) -> Decision {
        let mut swap = self.swap.clone();
        swap.bounds.back.remove(&index);
        swap.bounds.unseen = None;
        if last {
            swap.bounds.again.insert(index);
        }
        swap.stuck.insert(index, why);
        Decision::Remember(RollBack { swap: &swap, ..*self }.same())
    }

    /// All else is back: ports that could not be moved, and steps for which only a restart is left, get one more chance.
    fn once_more(&self, facts: &Facts) -> Option<Decision> {
        let stuck = self.swap.stuck.keys().copied();
        let mut worth = stuck.filter(|index| {
            !self.swap.bounds.again.contains(index)
                && !steps::is_back(self.job, self.swap, *index, facts)
                && steps::may_go_back_later(self.swap, *index, facts)
        });
        let index = worth.next()?;
        let mut swap = self.swap.clone();
        swap.stuck.remove(&index);
        swap.bounds.again.insert(index);
        Some(Decision::Remember(RollBack { swap: &swap, ..*self }.same()))
    }

    /// An action for step `index`, unless its next try is still to be waited for.
    fn paused(&self, index: Option<usize>, decision: Decision, facts: &Facts) -> Decision {
        let own = index.and_then(|index| self.swap.bounds.back.get(&index));
        let decision = own.map_or(decision.clone(), |tries| paused(decision, tries, facts));
        paused(decision, self.tries, facts)
    }

    /// The previous release is back: the end, after the release's own hook.
    fn back(&self, memory: Memory, facts: &Facts, warning: Option<String>) -> Decision {
        if let Some(again) = self.once_more(facts) {
            return again;
        }
        if let Some(hook) = hooks::due(HookPoint::Rollback, self.job, self.swap) {
            return hook;
        }
        let mut swap = self.swap.clone();
        swap.warnings.extend(warning);
        if memory != Memory::Untouched {
            let took =
                facts.boot.since(self.since).map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            swap.timing.rollback_millis = took;
        }
        let stuck = self.stuck(facts);
        if !stuck.is_empty() {
            return end(self.job, Some(&swap), self.stranded(&stuck));
        }
        end(self.job, Some(&swap), Outcome::RolledBack { cause: self.cause.to_owned(), memory })
    }

    /// Neither release could be brought to run as it was: the cause, what is not back, and `why`.
    pub(super) fn stranded_by(&self, why: String, facts: &Facts) -> Outcome {
        let mut reasons = self.stuck(facts);
        reasons.push(why);
        self.stranded(&reasons)
    }

    fn stranded(&self, reasons: &[String]) -> Outcome {
        Outcome::Stranded { cause: format!("{}; then {}", self.cause, reasons.join("; ")) }
    }

    /// What could not be taken back and is not back by now: a reboot takes back what lives in memory only.
    fn stuck(&self, facts: &Facts) -> Vec<String> {
        let stuck = self.swap.stuck.iter();
        let not_back = stuck.filter(|(index, _)| !steps::is_back(self.job, self.swap, **index, facts));
        not_back.map(|(_, why)| why.clone()).collect()
    }
}

/// How long one way may take without an end; what runs by turns and not at once, never comes to one.
const WAY_MAX: Duration = Duration::from_mins(15);

pub(super) fn rolling_back(this: &RollBack, facts: &Facts, policy: &Policy) -> Decision {
    if let Some((index, decision)) = steps::backward(this.job, this.swap, facts) {
        return this.paused(Some(index), decision, facts);
    }
    let Some(old) = this.job.old.as_ref().filter(|old| old.has_containers()) else {
        return without_containers(this, facts);
    };
    let index = steps::of_containers(this.swap);
    this.paused(index, bring_back(this, old, facts, policy), facts)
}

/// Nothing of the new release is in force, and there were no containers before it.
fn without_containers(this: &RollBack, facts: &Facts) -> Decision {
    let Some(old) = &this.job.old else {
        // Nothing of ours was there: either there was nothing at all, or what was there is back as it was.
        if let Some(again) = this.once_more(facts) {
            return again;
        }
        let stuck = this.stuck(facts);
        if !stuck.is_empty() {
            return end(this.job, Some(this.swap), this.stranded(&stuck));
        }
        // A standby that was told to serve is told that it need not.
        if this.swap.hooks.contains_key(&HookPoint::Takeover)
            && let Some(hook) = hooks::due(HookPoint::HandBack, this.job, this.swap)
        {
            return this.paused(None, hook, facts);
        }
        let cause = this.cause.to_owned();
        return if steps::without_containers(this.job, this.swap).is_empty() {
            end(this.job, Some(this.swap), Outcome::Failed { cause })
        } else {
            this.back(Memory::Untouched, facts, None)
        };
    };
    if !this.ran {
        return Decision::Remember(RollBack { since: &facts.boot, ..*this }.seen_running());
    }
    watch(this, old, Memory::Untouched, facts)
}

/// The containers of the previous release, by the way in hand.
fn bring_back(this: &RollBack, old: &Workload, facts: &Facts, policy: &Policy) -> Decision {
    let states = facts.states(old);
    if containers::unknown(&states) {
        return Decision::Wait(WaitingOn::Engine);
    }
    if let Some((name, _)) = states.iter().find(|(_, state)| *state == ContainerState::Absent) {
        let why = format!("container {name} of the previous release was gone");
        return end(this.job, Some(this.swap), this.stranded_by(why, facts));
    }
    let since = facts.boot.since(this.since);
    if since.is_some_and(|since| since > WAY_MAX) && this.way != Way::AsIs && !this.ran {
        let why = format!("the previous release did not come to run within {} s", WAY_MAX.as_secs());
        return failing::came_down(this, why, facts, policy);
    }
    let same_boot = since.is_some();
    let Some((name, state)) = states.into_iter().find(|(_, state)| *state != ContainerState::Running) else {
        return all_run(this, old, same_boot, facts);
    };
    match (this.way, state) {
        (Way::AsIs, _) => {
            let way = if this.swap.checkpoint.is_some() { Way::Restore } else { Way::Cold };
            Decision::Remember(this.by(way, facts))
        }
        (Way::Restart, _) => match containers::stop_next(old, facts) {
            Some(stop) => stop,
            None => Decision::Remember(this.by(Way::Cold, facts)),
        },
        (Way::Restore | Way::Cold, ContainerState::Created) if this.ran || !same_boot => {
            failing::came_down(this, format!("container {name} was recreated"), facts, policy)
        }
        (Way::Restore | Way::Cold, ContainerState::Exited(_)) if !same_boot => {
            let why = "the machine rebooted while the previous release was brought back".to_owned();
            failing::came_down(this, why, facts, policy)
        }
        (Way::Restore | Way::Cold, ContainerState::Exited(code)) if this.ran => {
            let why = format!("container {name} of the previous release exited with code {code}");
            failing::came_down(this, why, facts, policy)
        }
        (Way::Restore, _) => match &this.swap.checkpoint {
            Some(checkpoint) => Decision::Do(Action::Restore { name, checkpoint: checkpoint.clone() }),
            None => Decision::Remember(this.by(Way::Cold, facts)),
        },
        (Way::Cold, _) => Decision::Do(Action::Start { name }),
    }
}

/// All containers of the previous release run.
fn all_run(this: &RollBack, old: &Workload, same_boot: bool, facts: &Facts) -> Decision {
    // Clients come to it at once: whether it is well is asked then.
    let ports = || containers::route_back(old, this.swap, facts);
    match this.way {
        Way::AsIs => ports().unwrap_or_else(|| {
            let memory = if switching::rebooted(this.swap, facts) { Memory::Lost } else { Memory::Untouched };
            this.back(memory, facts, None)
        }),
        // No memory outlives a boot: somebody else has started it.
        Way::Restore if !same_boot => Decision::Remember(this.by(Way::Cold, facts)),
        Way::Restore | Way::Cold if !this.ran => Decision::Remember(this.seen_running()),
        Way::Restore => ports().unwrap_or_else(|| watch(this, old, Memory::Kept, facts)),
        Way::Cold => ports().unwrap_or_else(|| watch(this, old, Memory::Lost, facts)),
        Way::Restart => {
            containers::stop_next(old, facts).unwrap_or_else(|| Decision::Remember(this.by(Way::Cold, facts)))
        }
    }
}

/// The previous release has started: it must show that it is well before the report says so.
fn watch(this: &RollBack, old: &Workload, memory: Memory, facts: &Facts) -> Decision {
    let Some(elapsed) = facts.boot.since(this.since) else {
        return Decision::Remember(this.by(this.way, facts));
    };
    if facts.wellness.well_for.is_some() {
        return this.back(memory, facts, None);
    }
    let health = &old.manifest.health;
    if elapsed < health.start() || facts.wellness.failures_in_a_row < health.failures_max {
        let left = health.start().saturating_sub(elapsed).as_millis();
        return Decision::Wait(WaitingOn::FirstGoodRound {
            last_failure: facts.wellness.last_failure.clone(),
            left_millis: u64::try_from(left).unwrap_or(u64::MAX),
        });
    }
    let failure = facts.wellness.last_failure.clone().unwrap_or_else(|| "no answer".to_owned());
    match memory {
        Memory::Kept => Decision::Remember(this.by(Way::Restart, facts)),
        Memory::Lost | Memory::Untouched => {
            let warning = format!("the previous release runs again but is not well: {failure}");
            this.back(memory, facts, Some(warning))
        }
    }
}
