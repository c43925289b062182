//! The way back: stop the new one, then bring back what ran before, with its memory if that was kept.

use takt_common::report::{Memory, Outcome};

use super::{Decision, end, failing, pause_left, switching};
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

    /// It runs: from now on it may die.
    fn seen_running(&self) -> Phase {
        Phase::RollingBack {
            job: Box::new(self.job.clone()),
            swap: Box::new(self.swap.clone()),
            cause: self.cause.to_owned(),
            since: self.since.clone(),
            way: self.way,
            ran: true,
            tries: self.tries.clone(),
        }
    }

    /// The previous release runs: the end.
    fn back(&self, memory: Memory, facts: &Facts, warning: Option<String>) -> Decision {
        let mut swap = self.swap.clone();
        swap.warnings.extend(warning);
        if memory != Memory::Untouched {
            let took =
                facts.boot.since(self.since).map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            swap.timing.rollback_millis = took;
        }
        end(self.job, Some(&swap), Outcome::RolledBack { cause: self.cause.to_owned(), memory })
    }
}

pub(super) fn rolling_back(this: &RollBack, facts: &Facts, policy: &Policy) -> Decision {
    let new = &this.swap.new.container;
    let state = facts.container(new);
    if let Some(pause) = pause_left(this.tries, facts).filter(|_| state != ContainerState::Unknown) {
        return pause;
    }
    match state {
        ContainerState::Unknown => return Decision::Wait(WaitingOn::Engine),
        ContainerState::Running => {
            let grace = switching::grace(&this.swap.new);
            return Decision::Do(Action::Stop { name: new.clone(), grace });
        }
        ContainerState::Absent | ContainerState::Created | ContainerState::Exited(_) => {}
    }
    let Some(old) = &this.job.old else {
        return end(this.job, Some(this.swap), Outcome::Failed { cause: this.cause.to_owned() });
    };
    let name = old.container.clone();
    let same_boot = facts.boot.since(this.since).is_some();
    match (this.way, facts.container(&name)) {
        (_, ContainerState::Unknown) => Decision::Wait(WaitingOn::Engine),
        (_, ContainerState::Absent) => {
            let cause = format!("{}; then container {name} of the previous release was gone", this.cause);
            end(this.job, Some(this.swap), Outcome::Stranded { cause })
        }
        (Way::AsIs, ContainerState::Running) if switching::rebooted(this.swap, facts) => {
            this.back(Memory::Lost, facts, None)
        }
        (Way::AsIs, ContainerState::Running) => this.back(Memory::Untouched, facts, None),
        (Way::AsIs, _) => {
            let way = if this.swap.checkpoint.is_some() { Way::Restore } else { Way::Cold };
            Decision::Remember(this.by(way, facts))
        }
        // No memory outlives a boot: somebody else has started it.
        (Way::Restore, ContainerState::Running) if !same_boot => {
            Decision::Remember(this.by(Way::Cold, facts))
        }
        (Way::Restore | Way::Cold, ContainerState::Running) if !this.ran => {
            Decision::Remember(this.seen_running())
        }
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
        (Way::Restore, ContainerState::Running) => watch(this, old, Memory::Kept, facts),
        (Way::Restore, ContainerState::Created | ContainerState::Exited(_)) => match &this.swap.checkpoint {
            Some(checkpoint) => Decision::Do(Action::Restore { name, checkpoint: checkpoint.clone() }),
            None => Decision::Remember(this.by(Way::Cold, facts)),
        },
        (Way::Restart, ContainerState::Running) => {
            Decision::Do(Action::Stop { name, grace: switching::grace(old) })
        }
        (Way::Restart, _) => Decision::Remember(this.by(Way::Cold, facts)),
        (Way::Cold, ContainerState::Running) => watch(this, old, Memory::Lost, facts),
        (Way::Cold, ContainerState::Created | ContainerState::Exited(_)) => {
            Decision::Do(Action::Start { name })
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
