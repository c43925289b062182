//! The release on watch: its health checks are asked when a round is due, and what it uses is measured beside the loop.

use std::sync::Arc;
use std::time::Duration;

use takt_agent_core::facts::Baseline;
use takt_agent_core::phase::Role;
use takt_agent_core::{BootTime, ContainerName, ContainerState, Phase, Vitals, Watching, Wellness, Workload};
use takt_common::release::HookPoint;
use tokio::task::JoinHandle;

use super::Agent;
use crate::engine::Usage;
use crate::perform::Performer;
use crate::probe::{self, Asked, Watch};
use crate::vitals::Measurement;

/// What all containers of a workload together use, and their restarts.
type Sample = (Usage, u64);

/// The release on watch, what its health checks have said, and when they are asked next.
pub(super) struct Watched {
    key: String,
    watch: Watch,
    measurement: Measurement,
    sampling: Option<JoinHandle<Sample>>,
    due: BootTime,
}

/// What is known of it now.
pub(super) struct Seen {
    pub(super) as_what: Watching,
    pub(super) wellness: Wellness,
    pub(super) vitals: Vitals,
    rounds_left: usize,
    interval: Duration,
}

impl Seen {
    /// The measurement of what runs before a switch.
    pub(super) fn baseline(&self) -> Baseline {
        if self.rounds_left == 0 {
            return Baseline::Measured(self.vitals);
        }
        let left = self.interval.saturating_mul(u32::try_from(self.rounds_left).unwrap_or(u32::MAX));
        Baseline::Measuring { left_millis: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl Agent {
    /// Asks the health checks of the release on watch, when a round is due.
    pub(super) async fn watch(&mut self) -> Option<Seen> {
        let record = self.journal.record();
        let on_watch = record.phase.on_watch().map(|on| (on.workload.clone(), on.role, on.as_what, on.key));
        let Some((workload, role, as_what, key)) = on_watch else {
            self.watched = None;
            return None;
        };
        let now = self.boot_time();
        let interval = workload.manifest.health.interval();
        let mut watched = match self.watched.take() {
            Some(watched) if watched.key == key => watched,
            _ => Watched {
                key,
                watch: Watch::new(),
                measurement: Measurement::default(),
                sampling: None,
                due: now.clone(),
            },
        };
        let due = watched.due.boot_id != now.boot_id || now.millis >= watched.due.millis;
        let enough = as_what == Watching::Baseline && watched.measurement.rounds_left() == 0;
        if due && !enough {
            if self.can_answer(&workload).await {
                let begin = self.boot_time();
                self.give_up_ports(&workload, role).await;
                let answer = self.round(&workload, role).await;
                let answered = self.boot_time();
                watched.measurement.round(answer.is_ok(), answered.since(&begin).unwrap_or_default());
                watched.watch.note(&answered, workload.manifest.health.failures_max, answer);
                watched.due = answered.plus(interval);
                self.sample(&mut watched, &workload).await;
            } else if as_what == Watching::Baseline {
                // What does not run has nothing to compare with; the count of rounds ends the wait for it.
                watched.measurement.round(false, Duration::ZERO);
            }
        }
        let seen = Seen {
            as_what,
            wellness: watched.watch.wellness(&self.boot_time()),
            vitals: watched.measurement.vitals(),
            rounds_left: watched.measurement.rounds_left(),
            interval,
        };
        self.watched = Some(watched);
        Some(seen)
    }

    /// Containers that do not run cannot answer.
    async fn can_answer(&self, workload: &Workload) -> bool {
        for (name, _) in workload.containers() {
            if self.performer.engine.state(&name).await != ContainerState::Running {
                return false;
            }
        }
        true
    }

    /// On probation the previous release has stopped: what it published and the new one does not, must lead nowhere.
    async fn give_up_ports(&self, workload: &Workload, role: Role) {
        let phase = &self.journal.record().phase;
        let (Phase::Probation { job, .. } | Phase::Confirming { job, .. }) = phase else { return };
        let Some(old) = &job.old else { return };
        let Performer { engine, ports, .. } = &*self.performer;
        if let Err(error) = ports.give_up(engine, old, workload, role).await {
            tracing::warn!(old = %old.name, error = %crate::sentence(&error), "its published ports still lead somewhere");
        }
    }

    async fn round(&self, workload: &Workload, role: Role) -> Result<(), String> {
        let engine = &self.performer.engine;
        let variables = self.performer.ports.variables(engine, workload, role).await;
        probe::round(&Asked { engine, workload, variables: &variables }).await?;
        match workload.manifest.hooks.get(&HookPoint::Healthy) {
            Some(hook) => {
                let run = self.performer.hook(HookPoint::Healthy, hook, &workload.name, None).await;
                run.map(drop).map_err(|failure| failure.text)
            }
            None => Ok(()),
        }
    }

    /// Takes in what the engine said of the usage, and asks again: it may think about that for a second or more.
    async fn sample(&self, watched: &mut Watched, workload: &Workload) {
        if let Some(sampling) = watched.sampling.take_if(|sampling| sampling.is_finished())
            && let Ok((usage, restarts)) = sampling.await
        {
            watched.measurement.usage(&usage, restarts);
        }
        let names: Vec<ContainerName> = workload.containers().map(|(name, _)| name).collect();
        if watched.sampling.is_some() || names.is_empty() {
            return;
        }
        let performer = Arc::clone(&self.performer);
        watched.sampling = Some(tokio::spawn(async move {
            let mut all = Usage::default();
            let mut restarts = 0;
            for name in names {
                let add = |a: Option<f64>, b: Option<f64>| a.map_or(b, |a| Some(a + b.unwrap_or(0.0)));
                if let Ok(usage) = performer.engine.usage(&name).await {
                    all.cpu = add(all.cpu, usage.cpu);
                    all.memory_bytes = match (all.memory_bytes, usage.memory_bytes) {
                        (Some(a), Some(b)) => Some(a.saturating_add(b)),
                        (a, b) => a.or(b),
                    };
                }
                restarts += performer.engine.restarts(&name).await;
            }
            (all, restarts)
        }));
    }

    /// How long until the next round of health checks.
    pub(super) fn until_next_round(&self) -> Duration {
        let left = self.watched.as_ref().and_then(|watched| watched.due.since(&self.boot_time()));
        left.unwrap_or_default().min(super::REST_WAITING)
    }
}
