//! SimRank* without all pairs.
//!
//! `S = (1 - C) Σ_l (C/2)^l Σ_{α+β=l} binom(l, α) · P^α · (Pᵀ)^β`. So S times a vector v is `Σ_α P^α · y_α` with
//! `y_α = Σ_β c(α, β) · (Pᵀ)^β · v`, summed up from the last α to the first: as many products with P as with its transpose.

use std::num::NonZeroUsize;

use super::row_sums::RowSums;
use super::spread::{Spread, Walk, at};
use super::transitions::Transitions;

/// More steps than a tolerance of 1e-9 needs on a million devices at C = 0.8; what is left is told.
const STEPS_MAX: usize = 160;
/// How many places walks may go through for the similarities of devices to themselves, all together, and each at least.
const WORK_MAX: usize = 4_000_000_000;
const SHARE_MIN: usize = 10_000;

/// The sums of the rows of S without its diagonal.
pub(crate) fn star_sums(
    transitions: &Transitions,
    decay: f64,
    tolerance: f64,
    threads: NonZeroUsize,
) -> RowSums {
    let size = transitions.size();
    // No row of (Pᵀ)^β is visited by more than all.
    let (mut sums, missing) =
        times(transitions, decay, 0.25 * tolerance / size.max(1) as f64, &vec![1.0; size]);
    let missing = missing * size as f64;
    let mut own = vec![(0.0, 0.0); size];
    let share = size.div_ceil(threads.get()).max(1);
    std::thread::scope(|scope| {
        for (part, own) in own.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                let mut spread = Spread::new(size);
                for (device, own) in (part * share..).zip(own) {
                    *own = alike_to_itself(transitions, decay, 0.5 * tolerance, device, &mut spread);
                }
            });
        }
    });
    let mut worst: f64 = 0.0;
    for (sum, (value, width)) in sums.iter_mut().zip(own) {
        *sum = (*sum - value).max(0.0);
        worst = worst.max(width);
    }
    RowSums { sums, error_bound: missing + worst }
}

/// How alike `device` is to each; no entry is wrong by more than the second.
pub(crate) fn star_row(
    transitions: &Transitions,
    decay: f64,
    tolerance: f64,
    device: usize,
) -> (Vec<f64>, f64) {
    let mut one = vec![0.0; transitions.size()];
    one[device] = 1.0;
    times(transitions, decay, tolerance, &one)
}

/// S times `vector`, and what is left out: no more than this times what visits a place at most.
fn times(transitions: &Transitions, decay: f64, tolerance: f64, vector: &[f64]) -> (Vec<f64>, f64) {
    let mut steps = 0;
    let mut missing = decay;
    while missing > tolerance && steps < STEPS_MAX {
        steps += 1;
        missing *= decay;
    }
    let mut visits = vec![vector.to_vec()];
    for step in 0..steps {
        visits.push(transitions.transposed_times(&visits[step]));
    }
    let mut product = vec![0.0; vector.len()];
    for ahead in (0..=steps).rev() {
        product = transitions.times(&product);
        let mut factor = factor(decay, ahead, 0);
        for (back, visits) in visits.iter().enumerate().take(steps - ahead + 1) {
            for (sum, visits) in product.iter_mut().zip(visits) {
                *sum += factor * visits;
            }
            factor *= 0.5 * decay * (ahead + back + 1) as f64 / (back + 1) as f64;
        }
    }
    (product, missing)
}

/// `c(α, β) = (1 - C) · (C/2)^(α+β) · binom(α+β, α)`.
fn factor(decay: f64, ahead: usize, back: usize) -> f64 {
    let start = (1.0 - decay) * (0.5 * decay).powi(i32::try_from(ahead).unwrap_or(i32::MAX));
    (0..back).fold(start, |factor, back| factor * 0.5 * decay * (ahead + back + 1) as f64 / (back + 1) as f64)
}

/// `S(a, a) = Σ c(α, β) · Σ_j w_α(j) · w_β(j)`, with half of what it may be wrong by both ways: after t steps no more than
/// `C^(t+1) · max(w_t)` is left.
fn alike_to_itself(
    transitions: &Transitions,
    decay: f64,
    tolerance: f64,
    device: usize,
    spread: &mut Spread,
) -> (f64, f64) {
    let mut walks: Vec<Walk> = Vec::new();
    let mut walk = at(device);
    let (mut value, mut places, mut power) = (0.0, 0, 1.0);
    loop {
        let step = walks.len();
        power *= decay;
        let most = walk.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        walks.push(walk.clone());
        spread.meet(&walk, walks.iter(), |other, met| {
            let twice = if other == step { 1.0 } else { 2.0 };
            value += twice * factor(decay, step, other) * met;
        });
        places += walk.len() * walks.len();
        let left = power * most;
        if left <= tolerance || places > (WORK_MAX / transitions.size()).max(SHARE_MIN) || step >= STEPS_MAX {
            return (value + 0.5 * left, 0.5 * left);
        }
        spread.step(transitions, &mut walk);
    }
}
