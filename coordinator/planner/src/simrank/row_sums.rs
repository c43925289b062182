//! SimRank without all pairs: how similar each device is to all others together, or one to each.

use std::num::NonZeroUsize;

use super::diagonal::{Diagonal, diagonal, highest};
use super::transitions::Transitions;

/// More steps than a tolerance of 1e-9 needs on a million devices at C = 0.8; what is left is told.
const STEPS_MAX: usize = 256;

/// The sums of the rows of S without its diagonal.
#[derive(Debug, Clone)]
pub(crate) struct RowSums {
    /// One for each device, `Σ_{b ≠ a} S(a, b)`.
    pub(crate) sums: Vec<f64>,
    /// A sum s is wrong by no more than this times `1 + s`.
    pub(crate) error_bound: f64,
}

/// S in its linear form, for as many questions as wanted.
#[derive(Debug, Clone)]
pub(crate) struct Linear<'t> {
    transitions: &'t Transitions,
    decay: f64,
    visits: Visits,
    /// No sum of a row is wrong by more than this because steps end.
    missing: f64,
    diagonal: Diagonal,
}

/// `Σ_k C^k · (Pᵀ)^k · 1` up to a number of steps.
#[derive(Debug, Clone)]
struct Visits {
    /// `(Pᵀ)^k · 1` for each k.
    by_steps: Vec<Vec<f64>>,
    /// `C^k · max((Pᵀ)^k · 1)` of the first k that was left out: what is left out of a sum is no more than this times the largest
    /// sum of all.
    left: f64,
}

/// The sums of all rows, with a bound of their error that is at most `tolerance` where the graph allows it.
pub(crate) fn row_sums(
    transitions: &Transitions,
    decay: f64,
    tolerance: f64,
    threads: NonZeroUsize,
) -> RowSums {
    Linear::new(transitions, decay, tolerance, threads).row_sums()
}

/// The same by a D that is known, by which no similarity is wrong by more than the part `error` of itself.
pub(super) fn row_sums_by(
    transitions: &Transitions,
    decay: f64,
    tolerance: f64,
    diagonal: &[f64],
    error: f64,
) -> RowSums {
    let mut visits = Visits { by_steps: vec![vec![1.0; transitions.size()]], left: f64::INFINITY };
    loop {
        visits.go_on(transitions, decay, tolerance);
        let sums = visits.sums(transitions, decay, diagonal);
        // What is missing of the largest sum is no more than `left` times itself.
        let largest = sums.iter().copied().fold(1.0, f64::max) / (1.0 - visits.left).max(0.0);
        let missing = visits.left * largest;
        if missing <= 0.08 * tolerance || visits.by_steps.len() > STEPS_MAX {
            return told(&sums, error, missing);
        }
    }
}

fn told(sums: &[f64], error: f64, missing: f64) -> RowSums {
    RowSums {
        sums: sums.iter().map(|sum| (sum - 1.0).max(0.0)).collect(),
        error_bound: error + missing * (1.0 + error),
    }
}

impl<'t> Linear<'t> {
    pub(crate) fn new(
        transitions: &'t Transitions,
        decay: f64,
        tolerance: f64,
        threads: NonZeroUsize,
    ) -> Self {
        let highest = highest(transitions, decay);
        let (visits, missing, most) = visits(transitions, decay, tolerance, &highest);
        let most: Vec<f64> = most.iter().map(|sum| sum + missing).collect();
        let diagonal = diagonal(transitions, decay, 0.9 * tolerance, &highest, &most, threads);
        Self { transitions, decay, visits, missing, diagonal }
    }

    pub(crate) fn diagonal(&self) -> &[f64] {
        &self.diagonal.values
    }

    /// No similarity is wrong by more than this part of itself because of D.
    pub(crate) const fn error(&self) -> f64 {
        self.diagonal.error
    }

    pub(crate) fn row_sums(&self) -> RowSums {
        let sums = self.visits.sums(self.transitions, self.decay, &self.diagonal.values);
        told(&sums, self.diagonal.error, self.missing)
    }

    /// How alike `device` is to each; no entry is wrong by more than the second.
    pub(crate) fn row(&self, device: usize) -> (Vec<f64>, f64) {
        let mut visits = vec![vec![0.0; self.transitions.size()]];
        visits[0][device] = 1.0;
        for step in 1..self.visits.by_steps.len() {
            visits.push(self.transitions.transposed_times(&visits[step - 1]));
        }
        let row = sums(self.transitions, self.decay, &self.diagonal.values, &visits);
        (row, self.diagonal.error + self.missing)
    }
}

/// As many steps as a small part of `tolerance` needs; what is missing then, and sums that are no less than those of the rows but for
/// that.
fn visits(transitions: &Transitions, decay: f64, tolerance: f64, highest: &[f64]) -> (Visits, f64, Vec<f64>) {
    let mut visits = Visits { by_steps: vec![vec![1.0; transitions.size()]], left: f64::INFINITY };
    loop {
        visits.go_on(transitions, decay, tolerance);
        // With what is never less in the place of D: no less than the sums.
        let most = visits.sums(transitions, decay, highest);
        let largest = most.iter().copied().fold(1.0, f64::max);
        let missing =
            if visits.left < 1.0 { visits.left * largest / (1.0 - visits.left) } else { f64::INFINITY };
        if missing <= 0.08 * tolerance || visits.by_steps.len() > STEPS_MAX {
            return (visits, missing, most);
        }
    }
}

impl Visits {
    /// Some steps more; at the first call as many as make what is left a small part of `tolerance`.
    fn go_on(&mut self, transitions: &Transitions, decay: f64, tolerance: f64) {
        let wanted = if self.left.is_finite() { 0.25 * self.left } else { 0.02 * tolerance };
        loop {
            let next = transitions.transposed_times(self.by_steps.last().expect("the first is there"));
            let steps = i32::try_from(self.by_steps.len()).unwrap_or(i32::MAX);
            self.left = decay.powi(steps) * next.iter().copied().fold(0.0, f64::max);
            if self.left <= wanted || self.by_steps.len() > STEPS_MAX {
                return;
            }
            self.by_steps.push(next);
        }
    }

    fn sums(&self, transitions: &Transitions, decay: f64, diagonal: &[f64]) -> Vec<f64> {
        sums(transitions, decay, diagonal, &self.by_steps)
    }
}

/// `Σ_k C^k · P^k · D · visits_k`, from the last term to the first.
pub(super) fn sums(transitions: &Transitions, decay: f64, diagonal: &[f64], visits: &[Vec<f64>]) -> Vec<f64> {
    let mut sums = vec![0.0; transitions.size()];
    for visits in visits.iter().rev() {
        sums = transitions.times(&sums);
        for ((sum, visits), own) in sums.iter_mut().zip(visits).zip(diagonal) {
            *sum = decay * *sum + own * visits;
        }
    }
    sums
}
