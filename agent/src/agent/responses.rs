//! How releases fare while the device is at rest: their health checks are asked beside the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use takt_agent_core::Workload;
use takt_agent_core::phase::Role;
use takt_common::Name;
use takt_common::health::Unwell;
use takt_common::release::{Health, Manifest, ReleaseId};
use tokio::task::JoinHandle;

use crate::host;
use crate::perform::Performer;
use crate::probe::{self, Asked};

/// They are asked so often while all are well: forecasts are made of means over minutes.
const EVERY: Duration = Duration::from_mins(1);
/// No sooner again, however often a release is asked on probation.
const AGAIN_MIN: Duration = Duration::from_secs(1);

/// What a release has answered.
#[derive(Debug)]
struct Answer {
    release: ReleaseId,
    health: Health,
    /// After how many milliseconds all its checks had passed, or which one failed.
    said: Result<u64, String>,
}

/// What the rounds so far have said, and the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Responses {
    millis: BTreeMap<Name, u64>,
    failing: BTreeMap<Name, Failing>,
    asking: Option<JoinHandle<Vec<Answer>>>,
    /// Since boot.
    due: Duration,
}

/// A release whose last rounds have failed.
#[derive(Debug)]
struct Failing {
    rounds: u32,
    /// As many end a probation.
    rounds_max: u32,
    said: Unwell,
}

impl Responses {
    /// How many milliseconds each component took whose last round was good.
    pub(super) const fn millis(&self) -> &BTreeMap<Name, u64> {
        &self.millis
    }

    /// The releases that are not well.
    pub(super) fn unwell(&self) -> Vec<Unwell> {
        let unwell = self.failing.values().filter(|failing| failing.rounds >= failing.rounds_max);
        unwell.map(|failing| failing.said.clone()).collect()
    }

    /// Takes in the round that has ended, and begins one when it is due. True when one has ended.
    pub(super) async fn look<'w>(
        &mut self,
        uptime: Duration,
        performer: &Arc<Performer>,
        installed: impl Iterator<Item = &'w Workload>,
    ) -> bool {
        if let Some(asking) = self.asking.take_if(|asking| asking.is_finished()) {
            // It has ended, so this does not wait; one that panicked has said nothing.
            self.note(uptime, asking.await.unwrap_or_default());
            return true;
        }
        if self.asking.is_some() || uptime < self.due {
            return false;
        }
        self.due = uptime + EVERY;
        let has_checks = |workload: &&Workload| !workload.manifest.health.probes.is_empty();
        let asked: Vec<Workload> = installed.filter(has_checks).cloned().collect();
        if asked.is_empty() {
            *self = Self { due: self.due, ..Self::default() };
        } else {
            self.asking = Some(tokio::spawn(ask(Arc::clone(performer), asked)));
        }
        false
    }

    /// An order is in hand: what answers now may be another release soon. A round that is under way counts no more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Where one fails, all are asked again as soon as that one would be on probation: whether it is not well shows sooner.
    fn note(&mut self, uptime: Duration, answers: Vec<Answer>) {
        self.millis.clear();
        let mut failing = BTreeMap::new();
        for Answer { release, health, said } in answers {
            let component = &release.name;
            match said {
                Ok(millis) => drop(self.millis.insert(component.clone(), millis)),
                Err(why) => {
                    tracing::debug!(%component, why, "a release at rest is not well");
                    let rounds = self.failing.get(component).map_or(0, |failing| failing.rounds) + 1;
                    let why = why.chars().take(Unwell::WHY_CHARS_MAX).collect();
                    let rounds_max = health.failures_max.max(1);
                    let component = component.clone();
                    let said = Unwell { release, why };
                    failing.insert(component, Failing { rounds, rounds_max, said });
                    if rounds < rounds_max {
                        self.due = self.due.min(uptime + health.interval().max(AGAIN_MIN));
                    }
                }
            }
        }
        self.failing = failing;
    }
}

/// One after the other, so that none makes another one slow.
async fn ask(performer: Arc<Performer>, asked: Vec<Workload>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(asked.len());
    for workload in asked {
        let engine = &performer.engine;
        let variables = performer.ports.variables_now(engine, &workload, Role::Own).await;
        let begin = host::uptime().unwrap_or_default();
        let round = probe::round(&Asked { engine, workload: &workload, variables: &variables }).await;
        let took = host::uptime().unwrap_or_default().saturating_sub(begin).as_millis();
        let said = round.map(|()| u64::try_from(took).unwrap_or(u64::MAX));
        let Manifest { release, health, .. } = workload.manifest;
        answers.push(Answer { release, health, said });
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(said: Result<u64, &str>) -> Vec<Answer> {
        let name = |text: &str| text.parse().unwrap();
        let release = ReleaseId { name: name("counter"), version: name("1.0.0") };
        let health = Health { failures_max: 3, interval_millis: 5_000, ..Health::default() };
        vec![Answer { release, health, said: said.map_err(str::to_owned) }]
    }

    #[test]
    fn a_release_is_unwell_after_as_many_failed_rounds_as_end_a_probation_and_no_more() {
        let mut responses = Responses { due: EVERY, ..Responses::default() };
        let bad = || answer(Err("tcp: no connection"));
        for seconds in [0, 5] {
            responses.note(Duration::from_secs(seconds), bad());
            assert!(responses.unwell().is_empty());
            assert_eq!(responses.due, Duration::from_secs(seconds + 5), "it is asked again soon");
            responses.due = EVERY;
        }
        responses.note(Duration::from_secs(10), bad());
        let unwell = responses.unwell();
        assert_eq!((unwell.len(), unwell[0].why.as_str()), (1, "tcp: no connection"));
        assert_eq!(responses.due, EVERY, "it is known now");
        responses.note(Duration::from_secs(70), answer(Ok(7)));
        assert!(responses.unwell().is_empty());
        assert_eq!(responses.millis().values().collect::<Vec<_>>(), [&7]);
        responses.note(Duration::from_secs(130), bad());
        assert!(responses.unwell().is_empty() && responses.millis().is_empty());
    }

    #[test]
    fn why_is_cut() {
        let mut responses = Responses::default();
        for _ in 0..3 {
            responses.note(EVERY, answer(Err(&"x".repeat(10_000))));
        }
        assert_eq!(responses.unwell()[0].why.len(), Unwell::WHY_CHARS_MAX);
    }
}
