//! Sums of rows of SimRank that follow a graph whose edges change one at a time.
//!
//! An edge more, less or of another weight changes one row of P, that of device t: `P' = P + e_t δᵀ`. With the same D,
//! `S = D + C P S Pᵀ` changes by `Σ_k C^(k+1) P'^k M P'^kᵀ`, where `M = e_t uᵀ + u e_tᵀ + c e_t e_tᵀ`, `u = P S δ` and `c = δᵀ S δ`. So what
//! the diagonal misses then is known for all devices at once, from where t is reached from (`P'^k e_t`) and from `P'^k u`:
//! `Σ_k C^(k+1) (2 (P'^k e_t)_i (P'^k u)_i + c (P'^k e_t)_i²)`.
//!
//! D is changed where most is missed first (Southwell's relaxation): a D that is more by s at device j adds `s Σ_k C^k (P'^k e_j)_i²` to the
//! diagonal at i, which is known from the few devices that reach j soon. All that is left out on the way is added up: no
//! similarity is wrong by a larger part than it was before, and what was left since.

use std::collections::BinaryHeap;
use std::num::NonZeroUsize;

use super::row_sums::{Linear, RowSums, row_sums_by, sums};
use super::transitions::Transitions;

/// What a change may leave of what is missed at each device.
const LEFT_MAX: f64 = 5e-6;
/// What sums over steps may leave out.
const TAIL_MAX: f64 = 3e-7;
/// Less probable places are left on the way.
const PLACE_MIN: f64 = 1e-5;
/// More steps than any tail needs at C = 0.8.
const STEPS_MAX: i32 = 256;
/// So many changes of D, for each device there is, are not worth it any more.
const CHANGES_PER_DEVICE_MAX: usize = 4;

/// Sums of rows in one direction.
#[derive(Debug, Clone)]
pub(crate) struct LiveSums {
    transitions: Transitions,
    /// The same steps backwards.
    backwards: Transitions,
    decay: f64,
    tolerance: f64,
    threads: NonZeroUsize,
    diagonal: Vec<f64>,
    /// No similarity is wrong by more than this part of itself.
    error: f64,
    sums: RowSums,
}

impl LiveSums {
    pub(crate) fn new(transitions: Transitions, decay: f64, tolerance: f64, threads: NonZeroUsize) -> Self {
        let linear = Linear::new(&transitions, decay, tolerance, threads);
        let (diagonal, error, sums) = (linear.diagonal().to_vec(), linear.error(), linear.row_sums());
        let backwards = transitions.reversed();
        Self { transitions, backwards, decay, tolerance, threads, diagonal, error, sums }
    }

    pub(crate) const fn sums(&self) -> &RowSums {
        &self.sums
    }

    /// Steps from `device` lead elsewhere now: in proportion to `weights`. When errors have added up to more than what is aimed at, all
    /// is worked out anew.
    pub(crate) fn change(&mut self, device: u32, weights: &[(u32, f64)]) {
        let before = std::mem::replace(&mut self.transitions, Transitions::new(0, Vec::new()));
        self.transitions = before.with_row(device, weights);
        self.backwards = self.transitions.reversed();
        let Some(error) = self.follow(&before, device as usize) else { return self.anew() };
        self.error += error;
        self.sums = row_sums_by(&self.transitions, self.decay, self.tolerance, &self.diagonal, self.error);
        if self.sums.error_bound > 2.0 * self.tolerance {
            self.anew();
        }
    }

    fn anew(&mut self) {
        let transitions = std::mem::replace(&mut self.transitions, Transitions::new(0, Vec::new()));
        *self = Self::new(transitions, self.decay, self.tolerance, self.threads);
    }

    /// Changes D to follow another row of `device`. What that adds to the error; nothing if it takes too long.
    fn follow(&mut self, before: &Transitions, device: usize) -> Option<f64> {
        let (mut missed, mut left_out) = self.missed(before, device);
        let mut largest: BinaryHeap<Missed> =
            (0..).zip(&missed).filter_map(|(at, missed)| Missed::at(at, *missed)).collect();
        let mut room = Room::new(missed.len());
        for _ in 0..CHANGES_PER_DEVICE_MAX * missed.len().max(1) {
            let Some(Missed { at, .. }) = largest.pop() else {
                let left = missed.iter().fold(0.0, |most: f64, missed| most.max(missed.abs()));
                return Some(left + left_out);
            };
            let wrong = missed[at as usize];
            if wrong.abs() <= LEFT_MAX {
                continue;
            }
            let tail = room.meetings(&self.backwards, self.decay, at);
            let own = room.found[at as usize];
            let step = -wrong / own;
            self.diagonal[at as usize] += step;
            left_out += step.abs() * tail;
            for place in room.places.drain(..) {
                let meeting = std::mem::take(&mut room.found[place as usize]);
                missed[place as usize] += step * meeting;
                if place != at {
                    largest.extend(Missed::at(place, missed[place as usize]));
                }
            }
        }
        None
    }

    /// By how much the diagonal of S' is wrong with the new steps and the old D where it was right before, and what that may be
    /// wrong by itself.
    fn missed(&self, before: &Transitions, device: usize) -> (Vec<f64>, f64) {
        let now = &self.transitions;
        let mut change = vec![0.0; now.size()];
        for (to, probability) in now.row(device) {
            change[to] += probability;
        }
        for (to, probability) in before.row(device) {
            change[to] -= probability;
        }
        let (alike, wrong) = self.alike(before, &change);
        let twice: f64 = change.iter().zip(&alike).map(|(a, b)| a * b).sum();
        let mut toward = vec![0.0; now.size()];
        toward[device] = 1.0;
        let mut along = before.times(&alike);
        let mut missed = vec![0.0; now.size()];
        let mut power = self.decay;
        let most = |values: &[f64]| values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        for _ in 0..STEPS_MAX {
            for ((missed, toward), along) in missed.iter_mut().zip(&toward).zip(&along) {
                *missed += power * toward * (2.0 * along + twice * toward);
            }
            power *= self.decay;
            toward = now.times(&toward);
            along = now.times(&along);
            let rest = power * most(&toward) * (2.0 * most(&along) + twice.abs() * most(&toward));
            if rest <= TAIL_MAX {
                break;
            }
        }
        let rest = power * most(&toward) * (2.0 * most(&along) + twice.abs() * most(&toward));
        (missed, (rest + 4.0 * self.decay * wrong) / (1.0 - self.decay))
    }

    /// `S' · change`, and what no entry of it is wrong by.
    fn alike(&self, before: &Transitions, change: &[f64]) -> (Vec<f64>, f64) {
        let mut visits = vec![change.to_vec()];
        let mut power = 1.0;
        let largest = self.sums.sums.iter().copied().fold(0.0, f64::max);
        let largest = (1.0 + largest) * (1.0 + self.sums.error_bound);
        let rest = loop {
            let next = before.transposed_times(visits.last().expect("the first is there"));
            power *= self.decay;
            let most = next.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            let rest = power * next.iter().map(|value| value.abs()).sum::<f64>().min(most * largest);
            if rest <= TAIL_MAX || visits.len() > STEPS_MAX as usize {
                break rest;
            }
            visits.push(next);
        };
        (sums(before, self.decay, &self.diagonal, &visits), rest)
    }
}

/// A device at which something is missed, the larger the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Missed {
    /// The bits of a number that is not negative are in its order.
    most: u64,
    at: u32,
}

impl Missed {
    /// Nothing where so little is missed that it may be left.
    fn at(at: u32, missed: f64) -> Option<Self> {
        (missed.abs() > LEFT_MAX).then_some(Self { most: missed.abs().to_bits(), at })
    }
}

/// Room for walks that end at one device.
struct Room {
    /// `Σ_k C^k (P^k e_j)_i²` of each device i; 0 between two walks.
    found: Vec<f64>,
    /// The devices at which that is not 0.
    places: Vec<u32>,
    reached: Vec<f64>,
}

impl Room {
    fn new(size: usize) -> Self {
        Self { found: vec![0.0; size], places: Vec::new(), reached: vec![0.0; size] }
    }

    /// Finds how often two walks from each device meet at `device`, by going backwards from there. No less is left out than is
    /// told.
    fn meetings(&mut self, backwards: &Transitions, decay: f64, device: u32) -> f64 {
        let mut walk = vec![(device, 1.0)];
        let (mut power, mut dropped, mut left_out) = (1.0, 0.0, 0.0);
        for step in 1..=STEPS_MAX {
            let mut most: f64 = 0.0;
            for (place, value) in &walk {
                let found = &mut self.found[*place as usize];
                if *found == 0.0 {
                    self.places.push(*place);
                }
                *found += power * value * value;
                most = most.max(*value);
            }
            // What was dropped could have been at any of these.
            left_out += power * dropped * (2.0 * most + dropped);
            if power * most * most <= TAIL_MAX * (1.0 - decay) || step == STEPS_MAX {
                left_out += power * (most + dropped) * (most + dropped) / (1.0 - decay);
                break;
            }
            walk = self.step(backwards, &walk);
            power *= decay;
            let mut less: f64 = 0.0;
            walk.retain(|(_, value)| {
                if *value < PLACE_MIN {
                    less = less.max(*value);
                }
                *value >= PLACE_MIN
            });
            dropped += less;
        }
        left_out
    }

    /// From where one step leads to a place of `walk`.
    fn step(&mut self, backwards: &Transitions, walk: &[(u32, f64)]) -> Vec<(u32, f64)> {
        let mut next = Vec::new();
        for (place, value) in walk {
            for (from, probability) in backwards.row(*place as usize) {
                let reached = &mut self.reached[from];
                if *reached == 0.0 {
                    next.push(u32::try_from(from).expect("as many as a graph has nodes"));
                }
                *reached += probability * value;
            }
        }
        next.into_iter().map(|place| (place, std::mem::take(&mut self.reached[place as usize]))).collect()
    }
}
