//! Where walks can be, step by step. They are met in no order: what is asked of a place lies together, and so do the steps from it.

use super::transitions::Transitions;

/// Steps between places as walks take them.
pub(super) struct Steps {
    /// Those from place a are from `starts[a]` up to `starts[a + 1]`.
    starts: Vec<u32>,
    steps: Vec<Step>,
}

struct Step {
    probability: f64,
    to: u32,
}

impl Steps {
    pub(super) fn new(transitions: &Transitions) -> Self {
        let mut all = Self { starts: vec![0], steps: Vec::new() };
        for device in 0..transitions.size() {
            let (devices, probabilities) = transitions.row_slices(device);
            let steps = devices.iter().zip(probabilities);
            all.steps.extend(steps.map(|(to, probability)| Step { probability: *probability, to: *to }));
            all.starts.push(u32::try_from(all.steps.len()).expect("as many as a graph has edges"));
        }
        all
    }
}

/// A place where a walk can be.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    pub(super) place: u32,
    /// Its steps.
    start: u32,
    end: u32,
    /// How probable it is.
    pub(super) value: f64,
}

/// All places, and what is asked of each.
pub(super) struct Places<'s> {
    steps: &'s [Step],
    all: Vec<Place>,
    touched: Vec<u32>,
}

struct Place {
    /// How probable it is; 0 between two steps.
    reached: f64,
    diagonal: f64,
    /// What it is alike to others together, or more.
    others: f64,
    /// Its steps.
    start: u32,
    end: u32,
}

/// What a walk is like after a step; w is the probability of a place.
#[derive(Default)]
pub(super) struct Seen {
    /// `Σ w`
    pub(super) mass: f64,
    /// `Σ w²`
    pub(super) squares: f64,
    /// `Σ w² · D`
    pub(super) own: f64,
    /// `Σ w · (r - 1)`
    pub(super) others: f64,
    /// No less than `Σ w · S · wᵀ` without the places that meet.
    pub(super) apart: f64,
}

/// Places of nearly the same probability: less than twice that of any other.
#[derive(Clone, Copy, Default)]
struct Level {
    count: u32,
    others: f64,
    most: f64,
}

/// Levels from 1 down; what is less probable still is in the last.
const LEVELS: usize = 64;

impl<'s> Places<'s> {
    /// With a diagonal, and sums that are no less than those of the rows that belong to it.
    pub(super) fn new(steps: &'s Steps, diagonal: &[f64], sums: &[f64]) -> Self {
        let ends = steps.starts.windows(2);
        let place = |((diagonal, sum), ends): ((&f64, &f64), &[u32])| Place {
            reached: 0.0,
            diagonal: *diagonal,
            others: sum - 1.0,
            start: ends[0],
            end: ends[1],
        };
        let all = diagonal.iter().zip(sums).zip(ends).map(place).collect();
        Self { steps: &steps.steps, all, touched: Vec::new() }
    }

    /// Where a walk from a device begins.
    pub(super) fn at(&self, device: usize) -> Stop {
        let Place { start, end, .. } = self.all[device];
        Stop { place: u32::try_from(device).expect("as many as a graph has nodes"), start, end, value: 1.0 }
    }

    pub(super) fn diagonal(&self, place: u32) -> f64 {
        self.all[place as usize].diagonal
    }

    /// One step on.
    pub(super) fn step(&mut self, walk: &mut Vec<Stop>) -> Seen {
        for Stop { start, end, value, .. } in walk.drain(..) {
            for Step { probability, to } in &self.steps[start as usize..end as usize] {
                let reached = &mut self.all[*to as usize].reached;
                if *reached == 0.0 {
                    self.touched.push(*to);
                }
                *reached += value * probability;
            }
        }
        let mut seen = Seen::default();
        let mut levels = [Level::default(); LEVELS];
        for place in self.touched.drain(..) {
            let at = &mut self.all[place as usize];
            let value = std::mem::take(&mut at.reached);
            seen.mass += value;
            seen.squares += value * value;
            seen.own += value * value * at.diagonal;
            seen.others += value * at.others;
            // The exponent of an f64, from that of 1.
            let level = 1_023_u64.saturating_sub(value.to_bits() >> 52);
            let level = &mut levels[usize::try_from(level).unwrap_or(LEVELS).min(LEVELS - 1)];
            level.count += 1;
            level.others += value * at.others;
            level.most = level.most.max(value);
            walk.push(Stop { place, start: at.start, end: at.end, value });
        }
        // Each pair counts where its more probable place is: twice with one of a lower level, and within a level once for each.
        let mut below: f64 = 0.0;
        for level in levels.iter().rev().filter(|level| level.count > 0) {
            let beside = if level.count > 1 { level.most } else { 0.0 };
            seen.apart += level.others * beside.max(2.0 * below);
            below = level.most;
        }
        seen
    }
}
