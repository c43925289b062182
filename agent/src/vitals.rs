//! How a release on watch fares: response times of its health checks and what its containers use. Pure.

use std::time::Duration;

use takt_agent_core::Vitals;

use crate::engine::Usage;

/// Rounds of health checks after which a measurement is good enough to compare with.
pub const ROUNDS_ENOUGH: usize = 5;
/// Rounds that are kept: more say little more.
const ROUNDS_MAX: usize = 256;

/// A measurement in hand.
#[derive(Debug, Clone, Default)]
pub struct Measurement {
    /// Rounds so far, failed ones included.
    rounds: usize,
    /// Response times of good rounds, in milliseconds.
    responses: Vec<u64>,
    /// Thousandths of a processor, each since the sample before.
    cpu: Vec<u32>,
    /// The most memory that was seen, in bytes.
    memory_bytes: Option<u64>,
    /// Restarts at the first sample and now.
    restarts: Option<(u64, u64)>,
}

impl Measurement {
    /// Takes in a round of health checks that took so long, if it was good.
    pub fn round(&mut self, good: bool, took: Duration) {
        self.rounds = self.rounds.saturating_add(1);
        if good && self.responses.len() < ROUNDS_MAX {
            self.responses.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// Takes in what all its containers together use, and how often they have been restarted.
    pub fn usage(&mut self, usage: &Usage, restarts: u64) {
        if let Some(cpu) = usage.cpu.filter(|cpu| cpu.is_finite() && *cpu >= 0.0)
            && self.cpu.len() < ROUNDS_MAX
        {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Bounded just before.
            self.cpu.push((cpu * 1e3).min(1e9).round() as u32);
        }
        self.memory_bytes = self.memory_bytes.max(usage.memory_bytes);
        let first = self.restarts.map_or(restarts, |(first, _)| first);
        self.restarts = Some((first, restarts));
    }

    /// Rounds that are still needed.
    pub const fn rounds_left(&self) -> usize {
        ROUNDS_ENOUGH.saturating_sub(self.rounds)
    }

    /// What has been measured.
    pub fn vitals(&self) -> Vitals {
        let mut responses = self.responses.clone();
        responses.sort_unstable();
        let cpu_sum: u64 = self.cpu.iter().copied().map(u64::from).sum();
        let cpu = cpu_sum.checked_div(self.cpu.len() as u64);
        let restarts = self.restarts.map_or(0, |(first, now)| now.saturating_sub(first));
        Vitals {
            cpu_permille: cpu.map(|cpu| u32::try_from(cpu).unwrap_or(u32::MAX)),
            memory_bytes: self.memory_bytes,
            response_millis: responses.get(responses.len() / 2).copied(),
            restarts: u32::try_from(restarts).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_response_the_mean_share_and_the_most_memory_count() {
        let mut measurement = Measurement::default();
        assert_eq!(measurement.vitals(), Vitals::default());
        for millis in [9, 500, 10] {
            measurement.round(true, Duration::from_millis(millis));
        }
        measurement.round(false, Duration::from_secs(9));
        assert_eq!(measurement.rounds_left(), 1);
        for (cpu, memory, restarts) in [(None, 5, 3), (Some(0.2), 9, 3), (Some(0.4), 7, 5)] {
            measurement.usage(&Usage { cpu, memory_bytes: Some(memory) }, restarts);
        }
        let expected =
            Vitals { cpu_permille: Some(300), memory_bytes: Some(9), response_millis: Some(10), restarts: 2 };
        assert_eq!(measurement.vitals(), expected);
    }
}
