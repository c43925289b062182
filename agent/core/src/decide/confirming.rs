//! The new release has passed its probation; what could still fall back by itself is made to stay, and only then the
//! report says *verified*.

use takt_common::report::Outcome;

use super::{Decision, end, millis, paused, probation, steps, switching, turn_back};
use crate::facts::{BootTime, Facts};
use crate::phase::{Job, Swap, Tries};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

pub(super) fn confirming(
    job: &Job,
    swap: &Swap,
    since: &BootTime,
    tries: &Tries,
    facts: &Facts,
    policy: &Policy,
) -> Decision {
    let Some(elapsed) = facts.boot.since(since) else {
        // Another boot: what lives in memory only is gone, so the switch is gone through again, and the probation too.
        let swap = switching::note_reboot(swap, facts).unwrap_or_else(|| swap.clone());
        return switching::after_reboot(job, swap, Tries::default(), facts);
    };
    if let Some(ended) = probation::no_longer_runs(job, swap, facts) {
        return paused(ended, tries, facts);
    }
    let wellness = &facts.wellness;
    if wellness.failures_in_a_row >= swap.new.manifest.health.failures_max && wellness.ever_well {
        let said = wellness.last_failure.as_deref().unwrap_or("no answer");
        return turn_back(job, swap, format!("the new release fell ill after its probation: {said}"), facts);
    }
    if swap.new.manifest.brings_agent() && !facts.heard {
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
