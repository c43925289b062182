//! The diagonal D that makes every device 1 to itself.
//!
//! For device i let `w_k` be row i of `P^k`: where k steps lead. Any D gives an S' with `S'(i, i) = Σ_k C^k Σ_j w_k(j)² D_j`, and
//! how far that misses 1 tells how good D is: no entry of S' differs from S by more than the largest miss times that entry of
//! S, because both follow from their diagonals by the same steps.
//!
//! So walks are followed from each device, and from where all of their rest is bounded, no further. The rest after t steps is
//! `C^t · w_t · S' · w_tᵀ`, of which `C^t Σ_j w_t(j)² S'(j, j)` is known (S' is nearly 1 on its diagonal) and the other part lies
//! between 0 and `C^t · max(w_t) · Σ_j w_t(j) (r_j - 1)`, where r_j is no less than the sum of row j of S'. Single places whose
//! part in that is small are left on the way in the same manner. On graphs in which steps spread, a handful of steps remain.
//!
//! A device with one neighbour has `D = 1 - C` whatever the rest of the graph is like, and devices with the same neighbours
//! and weights share their walks.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use super::transitions::Transitions;

/// More steps than a tolerance of 1e-9 needs at C = 0.8.
const STEPS_MAX: usize = 128;
/// How many places walks may go through for one D, all devices together; what is missed then is told.
const WORK_MAX: usize = 4_000_000_000;
/// How much less far.
const FIRST_LOOK: f64 = 4.0;
/// How much of a tolerance is for walks that end; the rest is for D.
const LEFT_PART: f64 = 0.85;
/// Steps towards D that are so much shorter bring nothing.
const PACE_MIN: f64 = 1e-3;

/// D with its error.
#[derive(Debug, Clone)]
pub(super) struct Diagonal {
    /// Between `1 - C` and what [`highest()`] gives.
    pub(super) values: Vec<f64>,
    /// No similarity is wrong by more than this part of itself.
    pub(super) error: f64,
}

/// No less than D: what it is where two walks from one device that part never meet again.
pub(super) fn highest(transitions: &Transitions, decay: f64) -> Vec<f64> {
    let ones = vec![1.0; transitions.size()];
    transitions.squares_times(&ones).iter().map(|square| 1.0 - decay * square).collect()
}

/// D up to `tolerance`, where walks need not be followed too far for that. `highest` is that of [`highest()`], and `sums` are no less
/// than those of the rows of the S' that belongs to it.
pub(super) fn diagonal(
    transitions: &Transitions,
    decay: f64,
    tolerance: f64,
    highest: &[f64],
    sums: &[f64],
    threads: NonZeroUsize,
) -> Diagonal {
    let mut values = highest.to_vec();
    let groups = Groups::new(transitions);
    let walks = Walks { transitions, decay, sums, share: groups.share() };
    // The first D is only a guess: walks need not be followed that far for a better one.
    let mut look = walks.look(&groups, &values, tolerance * FIRST_LOOK, threads);
    look.error = f64::INFINITY;
    let mut work = look.work;
    let mut pace = 1.0;
    while look.error > tolerance && pace >= PACE_MIN && work <= WORK_MAX {
        // `I - C (P ∘ P)` is nearly the inverse of the equations, and is it where walks do not meet again.
        let again = transitions.squares_times(&look.missed);
        let step = values.iter().zip(highest).zip(look.missed.iter().zip(again)).map(
            |((value, highest), (missed, again))| {
                (value - pace * (missed - decay * again)).max(1.0 - decay).min(*highest)
            },
        );
        let next: Vec<f64> = step.collect();
        let next_look = walks.look(&groups, &next, tolerance, threads);
        work += next_look.work;
        if next_look.error < look.error {
            (values, look) = (next, next_look);
        } else {
            pace *= 0.5;
        }
    }
    Diagonal { values, error: look.error }
}

/// Devices with several neighbours, those with the same ones together.
struct Groups {
    /// The first of each group.
    leaders: Vec<usize>,
    /// The number of each device's group.
    of: Vec<Option<usize>>,
}

impl Groups {
    fn new(transitions: &Transitions) -> Self {
        let mut all = Self { leaders: Vec::new(), of: vec![None; transitions.size()] };
        let mut known: HashMap<Vec<(usize, u64)>, usize> = HashMap::new();
        for device in 0..transitions.size() {
            let row: Vec<(usize, u64)> =
                transitions.row(device).map(|(to, probability)| (to, probability.to_bits())).collect();
            if row.len() < 2 {
                continue;
            }
            let group = *known.entry(row).or_insert_with(|| {
                all.leaders.push(device);
                all.leaders.len() - 1
            });
            all.of[device] = Some(group);
        }
        all
    }

    /// How many places the walks of one may go through each time.
    fn share(&self) -> usize {
        WORK_MAX / 4 / self.leaders.len().max(1)
    }
}

/// What a D is like.
struct Look {
    /// `S'(i, i) - 1`, or less.
    missed: Vec<f64>,
    /// No similarity is wrong by more than this part of itself.
    error: f64,
    /// How many places were gone through.
    work: usize,
}

/// Where two walks from one device meet again, after the first step.
#[derive(Clone, Copy, Default)]
struct Meeting {
    /// `S'(i, i) - D_i`, or less.
    value: f64,
    /// It may be more by so much,
    open: f64,
    /// and wrong by this times the largest miss of all.
    taken: f64,
    work: usize,
}

struct Walks<'t> {
    transitions: &'t Transitions,
    decay: f64,
    sums: &'t [f64],
    share: usize,
}

impl Walks<'_> {
    fn look(&self, groups: &Groups, values: &[f64], tolerance: f64, threads: NonZeroUsize) -> Look {
        let mut meetings = vec![Meeting::default(); groups.leaders.len()];
        let share = meetings.len().div_ceil(threads.get()).max(1);
        std::thread::scope(|scope| {
            for (meetings, leaders) in meetings.chunks_mut(share).zip(groups.leaders.chunks(share)) {
                scope.spawn(move || {
                    let mut places = Places::new(self, values);
                    for (meeting, leader) in meetings.iter_mut().zip(leaders) {
                        *meeting = self.meeting(*leader, tolerance, &mut places);
                    }
                });
            }
        });
        let mut look = Look { missed: vec![0.0; values.len()], error: 0.0, work: values.len() };
        for (device, group) in groups.of.iter().enumerate() {
            let Some(group) = group else { continue };
            let meeting = meetings[*group];
            let missed = values[device] + meeting.value - 1.0;
            look.missed[device] = missed;
            // What is missed elsewhere is no more than the largest of these.
            let most = missed.abs().max((missed + meeting.open).abs());
            look.error = look.error.max(most / (1.0 - meeting.taken));
        }
        look.work += meetings.iter().map(|meeting| meeting.work).sum::<usize>();
        self.pass_on(groups, &mut look.missed);
        look
    }

    /// What a device with one neighbour misses is C times what that one misses.
    fn pass_on(&self, groups: &Groups, missed: &mut [f64]) {
        let mut known: Vec<bool> = groups.of.iter().map(Option::is_some).collect();
        for device in 0..missed.len() {
            let mut way = Vec::new();
            let mut at = device;
            // In a circle of such devices none misses anything.
            while !known[at] {
                known[at] = true;
                way.push(at);
                match self.transitions.row(at).next() {
                    Some((next, _)) => at = next,
                    None => break,
                }
            }
            let mut passed = missed[at];
            for device in way.into_iter().rev() {
                if device != at {
                    passed *= self.decay;
                    missed[device] = passed;
                }
            }
        }
    }

    fn meeting(&self, device: usize, tolerance: f64, places: &mut Places<'_>) -> Meeting {
        let mut found = Meeting::default();
        let mut walk = vec![(u32::try_from(device).expect("as many as a graph has nodes"), 1.0)];
        // What may be left out still.
        let mut left = LEFT_PART * tolerance;
        let mut power = 1.0;
        // At least this part of what is left out never meets again.
        let mut part = 1.0;
        for step in 1.. {
            let seen = places.step(&mut walk);
            found.work += walk.len();
            power *= self.decay;
            // Those that met are known, but for what is wrong with D itself: that counts for all that may be wrong.
            let met = power * seen.squares;
            if step == 1 {
                part = 1.0 - met;
            }
            let tail = power * seen.apart.min(seen.mass * seen.mass - seen.squares).max(0.0);
            if tail <= left * (1.0 - found.taken - met) || step == STEPS_MAX || found.work > self.share {
                found.value += met;
                found.open += tail;
                found.taken += met;
                return found;
            }
            found.value += power * seen.own;
            // All pairs of which one is as small as that are no more than `2 · small` times what the others are alike to, together.
            let small = 0.3 * left * part / (2.0 * power * seen.others.max(f64::MIN_POSITIVE));
            let mut largest: f64 = 0.0;
            walk.retain(|(place, value)| {
                if *value <= small {
                    largest = largest.max(*value);
                    found.taken += power * value * value;
                    found.value += power * value * value * (1.0 - places.all[*place as usize].diagonal);
                }
                *value > small
            });
            let dropped = 2.0 * power * largest * seen.others;
            left -= dropped / part;
            found.open += dropped;
        }
        found
    }
}

/// Where walks can be, and what is asked of each place: together, because they are met in no order.
struct Places<'t> {
    transitions: &'t Transitions,
    all: Vec<Place>,
    touched: Vec<u32>,
}

struct Place {
    /// How probable it is; 0 between two steps.
    reached: f64,
    diagonal: f64,
    /// What it is alike to others together, or more.
    others: f64,
}

/// What a walk is like after a step; w is the probability of a place.
#[derive(Default)]
struct Seen {
    /// `Σ w`
    mass: f64,
    /// `Σ w²`
    squares: f64,
    /// `Σ w² · D`
    own: f64,
    /// `Σ w · (r - 1)`
    others: f64,
    /// No less than `Σ w · S · wᵀ` without the places that meet.
    apart: f64,
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

impl<'t> Places<'t> {
    fn new(walks: &Walks<'t>, values: &[f64]) -> Self {
        let place =
            |(diagonal, sum): (&f64, &f64)| Place { reached: 0.0, diagonal: *diagonal, others: sum - 1.0 };
        let all = values.iter().zip(walks.sums).map(place).collect();
        Self { transitions: walks.transitions, all, touched: Vec::new() }
    }

    /// One step on.
    fn step(&mut self, walk: &mut Vec<(u32, f64)>) -> Seen {
        for (place, value) in walk.drain(..) {
            let (devices, probabilities) = self.transitions.row_slices(place as usize);
            for (to, probability) in devices.iter().zip(probabilities) {
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
            walk.push((place, value));
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
