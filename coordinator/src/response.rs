//! How long the coordinator takes for reports: what regulation knows of its own infrastructure (paper 2).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many of the last reports are looked at, and only those of the last minutes.
const KEPT_MAX: usize = 512;
const KEPT_FOR: Duration = Duration::from_mins(2);

/// Fewer say nothing.
const SAMPLES_MIN: usize = 32;

/// Answers within this time are as good as any, in milliseconds: what differs below is noise of the disk.
const GOOD_MS: f64 = 50.0;

/// Times of the last reports.
#[derive(Debug, Default)]
pub struct ResponseTimes(Mutex<VecDeque<(Instant, Duration)>>);

impl ResponseTimes {
    /// A report that arrived at `began` is durable at `now`.
    pub fn note(&self, began: Instant, now: Instant) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == KEPT_MAX {
            times.pop_front();
        }
        times.push_back((now, now.saturating_duration_since(began)));
    }

    /// The median of the last reports in milliseconds, at least 50; nothing where there were too few.
    pub fn median_ms(&self, now: Instant) -> Option<f64> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = times.iter().filter(|(at, _)| now.saturating_duration_since(*at) < KEPT_FOR);
        let mut took: Vec<Duration> = lately.map(|(_, took)| *took).collect();
        drop(times);
        if took.len() < SAMPLES_MIN {
            return None;
        }
        let middle = took.len() / 2;
        let (_, median, _) = took.select_nth_unstable(middle);
        Some((median.as_secs_f64() * 1_000.0).max(GOOD_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_median_of_enough_late_reports_counts() {
        let (times, start) = (ResponseTimes::default(), clock::instant());
        for number in 1..=31_u64 {
            times.note(start, start + Duration::from_millis(10 * number));
        }
        assert_eq!(times.median_ms(start), None, "31 are too few");
        times.note(start, start + Duration::from_millis(900));
        let median = times.median_ms(start + Duration::from_secs(1)).unwrap();
        assert!((median - 170.0).abs() < 1e-6, "{median}");
        assert_eq!(times.median_ms(start + Duration::from_mins(5)), None, "they are too old");
    }

    #[test]
    fn short_times_are_all_the_same() {
        let (times, start) = (ResponseTimes::default(), clock::instant());
        for _ in 0..40 {
            times.note(start, start + Duration::from_millis(3));
        }
        assert_eq!(times.median_ms(start), Some(50.0));
    }
}
