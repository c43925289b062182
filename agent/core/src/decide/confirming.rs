//! The new release has passed its probation; what could still fall back by itself is made to stay, and only then the
//! report says *verified*.

use takt_common::release::Step;
use takt_common::report::Outcome;

use super::{Decision, end, millis, paused, probation, steps, switching, turn_back};
use crate::facts::{BootTime, Facts};
use crate::phase::{Job, Phase, Swap, Tries};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

/// The package that holds the agent itself.
const OWN_PACKAGE: &str = "takt-agent";

/// True when the release brings another agent, which commits only after a full round trip with the coordinator.
fn brings_an_agent(swap: &Swap) -> bool {
    swap.new.manifest.steps.iter().any(|step| match step {
        Step::Package(set) => set.packages.iter().any(|package| package.name == OWN_PACKAGE),
        _ => false,
    })
}

pub(super) fn confirming(
    job: &Job,
    swap: &Swap,
    since: &BootTime,
    tries: &Tries,
    facts: &Facts,
    policy: &Policy,
) -> Decision {
    let Some(elapsed) = facts.boot.since(since) else {
        let noted = switching::note_reboot(swap, facts).unwrap_or_else(|| swap.clone());
        if noted.reboots.len() > switching::REBOOTS_MAX {
            return switching::after_reboot(job, noted, Tries::default(), facts);
        }
        return Decision::Remember(Phase::Confirming {
            job: Box::new(job.clone()),
            swap: Box::new(noted),
            since: facts.boot.clone(),
            tries: Tries::default(),
        });
    };
    // After a reboot containers are started like those at rest would be: by going through the switch again.
    if switching::rebooted(swap, facts) && !super::containers::all_run(&swap.new, facts) {
        return switching::after_reboot(job, swap.clone(), Tries::default(), facts);
    }
    if let Some(ended) = probation::no_longer_runs(job, swap, facts) {
        return paused(ended, tries, facts);
    }
    let wellness = &facts.wellness;
    if wellness.failures_in_a_row >= swap.new.manifest.health.failures_max && wellness.ever_well {
        let said = wellness.last_failure.as_deref().unwrap_or("no answer");
        return turn_back(job, swap, format!("the new release fell ill after its probation: {said}"), facts);
    }
    if brings_an_agent(swap) && !facts.heard {
        if elapsed >= policy.hear_max {
            let cause = format!(
                "the new agent has not heard from the coordinator within {} s",
                policy.hear_max.as_secs()
            );
            return turn_back(job, swap, cause, facts);
        }
        return Decision::Wait(WaitingOn::Coordinator { left_millis: millis(policy.hear_max, elapsed) });
    }
    match steps::confirm_next(job, swap, facts) {
        Some(confirm) => paused(confirm, tries, facts),
        None => end(job, Some(swap), Outcome::Verified { strategy: swap.strategy }),
    }
}
