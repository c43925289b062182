//! What is kept of the connections while they run, and what is told of them in the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two answers; shorter ones are what a busy machine does all the time.
const GAP_NOTED_MIN: Duration = Duration::from_millis(1);
/// More gaps than these are only counted: ten a second for three hours.
const GAPS_MAX: usize = 100_000;
/// More failures than these are only counted.
const FAILURES_TOLD_MAX: usize = 16;

/// A time in which nobody was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last answer before it.
    pub from: Instant,
    /// The first answer after it.
    pub to: Instant,
}

impl Gap {
    /// How long it took.
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// A connection that was not answered as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When it was begun, since the start of the load.
    pub begun: Duration,
    /// How long it took to fail.
    pub took: Duration,
    /// What went wrong.
    pub what: String,
}

/// What has come of a load.
#[derive(Debug, Clone)]
pub struct Report {
    /// Connections that were answered as they should be.
    pub answered: u64,
    /// Connections that were not.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<Failure>,
    /// How long it went on.
    pub lasted: Duration,
    /// The slowest one that was answered, from its beginning to its end.
    pub slowest: Duration,
    /// All times of a millisecond and more in which nobody was answered.
    pub gaps: Vec<Gap>,
    /// Gaps that there was no room for; 0 unless all goes wrong.
    pub gaps_untold: u64,
}

impl Report {
    /// New connections a second.
    pub fn per_sec(&self) -> f64 {
        (self.answered + self.failed) as f64 / self.lasted.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The longest time without an answer that touches the time from `from` to `to`; zero where there was none of a
    /// millisecond or more.
    pub fn largest_gap(&self, from: Instant, to: Instant) -> Duration {
        let touching = self.gaps.iter().filter(|gap| gap.from <= to && gap.to >= from);
        touching.map(Gap::length).max().unwrap_or_default()
    }
}

/// What all clients write to.
#[derive(Debug)]
pub(crate) struct Record {
    start: Instant,
    answered: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds since the start; 0 before the first answer.
    last_answer: AtomicU64,
    slowest: AtomicU64,
    gaps_untold: AtomicU64,
    gaps: Mutex<Vec<Gap>>,
    failures: Mutex<Vec<Failure>>,
}

impl Record {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_answer: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
            gaps_untold: AtomicU64::new(0),
            gaps: Mutex::new(Vec::new()),
            failures: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn answered(&self, begun: Instant, ended: Instant) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.slowest.fetch_max(nanos(ended.saturating_duration_since(begun)), Ordering::Relaxed);
        let at = nanos(ended.saturating_duration_since(self.start));
        // Only the answer that is the latest of all so far can end a gap.
        let before = self.last_answer.fetch_max(at, Ordering::Relaxed);
        if before == 0 || Duration::from_nanos(at.saturating_sub(before)) < GAP_NOTED_MIN {
            return;
        }
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        if gaps.len() < GAPS_MAX {
            gaps.push(Gap { from: self.start + Duration::from_nanos(before), to: ended });
        } else {
            self.gaps_untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self, begun: Instant, ended: Instant, what: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < FAILURES_TOLD_MAX {
            let (begun, took) =
                (begun.saturating_duration_since(self.start), ended.saturating_duration_since(begun));
            failures.push(Failure { begun, took, what });
        }
    }

    /// Answered and failed connections.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    pub(crate) fn report(&self, end: Instant) -> Report {
        let (answered, failed) = self.counts();
        Report {
            answered,
            failed,
            failures: self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lasted: end.saturating_duration_since(self.start),
            slowest: Duration::from_nanos(self.slowest.load(Ordering::Relaxed)),
            gaps: self.gaps.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            gaps_untold: self.gaps_untold.load(Ordering::Relaxed),
        }
    }
}

/// Enough for five centuries.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    #[test]
    fn a_gap_is_from_the_latest_answer_to_the_next_whoever_got_them() {
        let start = now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let record = Record::new(start);
        // The one that ends at 3 was recorded late: it makes no gap and hides none.
        for (begun, ended) in [(0, 2), (1, 4), (1, 3), (2, 14), (14, 14)] {
            record.answered(at(begun), at(ended));
        }
        record.failed(at(5), at(9), "reset".to_owned());
        let report = record.report(at(20));
        assert_eq!((report.answered, report.failed), (5, 1));
        assert_eq!(report.gaps, [Gap { from: at(2), to: at(4) }, Gap { from: at(4), to: at(14) }]);
        assert_eq!(report.largest_gap(at(0), at(3)), Duration::from_millis(2));
        assert_eq!(report.largest_gap(at(5), at(6)), Duration::from_millis(10), "it lies within the gap");
        assert_eq!(report.largest_gap(at(15), at(20)), Duration::ZERO);
        assert_eq!(report.slowest, Duration::from_millis(12));
        assert_eq!(report.failures[0].took, Duration::from_millis(4));
        assert!((report.per_sec() - 300.0).abs() < 1e-6);
    }
}
