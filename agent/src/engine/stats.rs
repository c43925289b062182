//! What a workload uses.

use std::sync::PoisonError;
use std::time::Duration;

use takt_agent_core::{ContainerName, ContainerState};
use takt_common::Name;
use takt_common::health::WorkloadFacts;
use tracing::debug;

use super::Engine;
use super::answers::{MemoryStats, Stats};
use super::error::EngineError;
use crate::host::uptime;

/// Processor time of a container, and when it was so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    cpu_nanos: u64,
    /// Since boot.
    at: Duration,
}

/// What a container uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Share of one processor since it was last asked; `None` the first time and after a restart.
    pub cpu: Option<f64>,
    /// Memory in bytes, without file pages that the kernel may take back.
    pub memory_bytes: Option<u64>,
}

impl Engine {
    /// How a workload fares. What the engine does not say is absent.
    pub async fn workload_facts(&self, component: &Name, name: &ContainerName) -> WorkloadFacts {
        let mut facts = WorkloadFacts {
            component: component.clone(),
            container: name.to_string(),
            running: false,
            cpu: None,
            memory_bytes: None,
            restarts: 0,
        };
        let Ok(Some(seen)) = self.inspect(name).await else { return facts };
        facts.restarts = seen.restarts;
        facts.running =
            self.ended_code(name).is_none() && self.state_of(name, &seen) == ContainerState::Running;
        if facts.running {
            match self.usage(name).await {
                Ok(usage) => (facts.cpu, facts.memory_bytes) = (usage.cpu, usage.memory_bytes),
                Err(error) => {
                    debug!(%name, error = crate::failure::sentence(&error), "could not ask what a container uses");
                }
            }
        }
        facts
    }

    /// What a running container uses.
    pub async fn usage(&self, name: &ContainerName) -> Result<Usage, EngineError> {
        // One-shot: otherwise the engine itself waits a second for a second sample.
        let path = format!("/containers/{name}/stats?stream=false&one-shot=true");
        let call = format!("ask what container {name} uses");
        let stats: Stats = self.connection.get(call, &path).await?.unwrap_or_default();
        let cpu_nanos = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|usage| usage.total_usage);
        let cpu = cpu_nanos.and_then(|cpu_nanos| {
            let now = Used { cpu_nanos, at: uptime().unwrap_or_default() };
            let before = self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), now);
            share(before?, now)
        });
        Ok(Usage { cpu, memory_bytes: stats.memory_stats.and_then(|memory| memory_bytes(&memory)) })
    }
}

fn share(before: Used, now: Used) -> Option<f64> {
    let span = now.at.checked_sub(before.at)?.as_secs_f64();
    let used = now.cpu_nanos.checked_sub(before.cpu_nanos)?;
    (span > 0.0).then(|| used as f64 / 1e9 / span)
}

/// As `docker stats` counts it: cgroup v2 says `inactive_file`, v1 `total_inactive_file`.
fn memory_bytes(memory: &MemoryStats) -> Option<u64> {
    let stats = memory.stats.as_ref();
    let inactive = ["total_inactive_file", "inactive_file"].iter().find_map(|key| stats?.get(*key)).copied();
    Some(memory.usage?.saturating_sub(inactive.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn half_a_processor_for_two_seconds_is_half() {
        let at = Duration::from_secs(9);
        let before = Used { cpu_nanos: 5_000_000_000, at };
        let now = Used { cpu_nanos: 6_000_000_000, at: at + Duration::from_secs(2) };
        assert_eq!(share(before, now), Some(0.5));
        assert_eq!(share(before, before), None);
        assert_eq!(
            share(now, Used { cpu_nanos: 1, at: at + Duration::from_secs(3) }),
            None,
            "it was restarted"
        );
    }

    #[test]
    fn file_pages_that_can_be_taken_back_do_not_count() {
        let memory = |usage, stats: &[(&str, u64)]| MemoryStats {
            usage,
            stats: Some(
                stats.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect::<HashMap<_, _>>(),
            ),
        };
        assert_eq!(memory_bytes(&memory(Some(100), &[("inactive_file", 30)])), Some(70));
        assert_eq!(
            memory_bytes(&memory(Some(100), &[("total_inactive_file", 40), ("inactive_file", 1)])),
            Some(60)
        );
        assert_eq!(memory_bytes(&memory(Some(10), &[("inactive_file", 30)])), Some(0));
        assert_eq!(memory_bytes(&memory(None, &[])), None);
        assert_eq!(memory_bytes(&memory(Some(10), &[])), Some(10));
    }
}
