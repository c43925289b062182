//! The diagonal D that makes every device 1 to itself.
//!
//! For device i let `w_k` be row i of `P^k`: where k steps lead. Any D gives an S' with `S'(i, i) = Σ_k C^k Σ_j w_k(j)² D_j`, and
//! how far that misses 1 tells how good D is: no entry of S' differs from S by more than the largest miss times that entry of
//! S, because both follow from their diagonals by the same steps.
//!
//! So walks are followed from each device, and from where all of their rest is bounded, no further. The rest after t steps is
//! `C^t · w_t · S' · w_tᵀ`, of which `C^t Σ_j w_t(j)² S'(j, j)` is known (S' is nearly 1 on its diagonal) and the other part lies
//! between 0 and `C^t · max(w_t) · Σ_j w_t(j) (r_j - 1)`, where r_j is no less than the sum of row j of S'. Single places whose
//! part in that is small are left on the way in the same manner. D is made for the middle between the bounds, so that half of what
//! lies between them is what may be wrong. On graphs in which steps spread, a handful of steps remain.
//!
//! How S' changes with D is known without walking again as far as walks do not meet again: then `w_k(j)²` is an entry of the power k of
//! `P ∘ P`, and the powers sum up to an inverse. What that leaves out is bounded by how much more walks meet than that.
//!
//! A device with one neighbour has `D = 1 - C` whatever the rest of the graph is like, and devices with the same neighbours
//! and weights share their walks.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use super::places::{Places, Steps, Stop};
use super::transitions::Transitions;

/// More steps than a tolerance of 1e-9 needs at C = 0.8.
const STEPS_MAX: usize = 128;
/// How many places walks may go through for one D, all devices together; what is missed then is told.
const WORK_MAX: usize = 4_000_000_000;
/// How much less far walks are followed for a first guess, and for a better one.
const FIRST_LOOKS: [f64; 2] = [16.0, 4.0];
/// Powers of `P ∘ P` are left out once they bring less than this.
const POWER_MIN: f64 = 1e-12;
/// How much of a tolerance is for walks that end; the rest is for D.
const LEFT_PART: f64 = 0.85;
/// Steps towards D that are so much shorter bring nothing.
const PACE_MIN: f64 = 1e-3;

/// D with its error.
#[derive(Debug, Clone)]
pub(super) struct Diagonal {
    /// One for each device.
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
    // D itself is between `1 - C` and the highest. What is aimed at is lower by what the middle may be wrong, and higher where that of
    // others is lower.
    let highest: Vec<f64> = highest.iter().map(|value| value + tolerance).collect();
    let range = Range { lowest: 1.0 - decay - tolerance, highest: &highest };
    let sums: Vec<f64> = sums.iter().map(|sum| sum * (1.0 + tolerance / (1.0 - decay))).collect();
    let steps = Steps::new(transitions);
    let walks = Walks { transitions, steps, decay, sums: &sums, share: groups.share() };
    let mut work = 0;
    for farther in FIRST_LOOKS {
        let look = walks.look(&groups, &values, tolerance * farther, threads);
        work += look.work;
        values = walks.better(&values, &range, &look, 1.0);
    }
    let apart = walks.powers(&vec![1.0; values.len()]);
    let mut look = walks.look(&groups, &values, tolerance, threads);
    work += look.work;
    let mut pace = 1.0;
    loop {
        let next = walks.better(&values, &range, &look, pace);
        let foreseen = walks.foreseen(&groups, &look, &values, &next, &apart);
        if foreseen <= tolerance && foreseen < look.error {
            return Diagonal { values: next, error: foreseen };
        }
        if look.error <= tolerance || pace < PACE_MIN || work > WORK_MAX {
            return Diagonal { values, error: look.error };
        }
        let next_look = walks.look(&groups, &next, tolerance, threads);
        work += next_look.work;
        if next_look.error < look.error {
            (values, look) = (next, next_look);
        } else {
            pace *= 0.5;
        }
    }
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

/// Where D is looked for.
struct Range<'h> {
    lowest: f64,
    highest: &'h [f64],
}

/// What a D is like.
struct Look {
    /// `S'(i, i) - 1`, as far as it is known: the middle of what it may be.
    missed: Vec<f64>,
    /// Of each group.
    meetings: Vec<Meeting>,
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
    /// `Σ_k C^k Σ_j w_k(j)²` over the steps for which D was asked,
    known: f64,
    /// and no less than that over all steps for which it was not.
    later: f64,
    work: usize,
}

struct Walks<'t> {
    transitions: &'t Transitions,
    steps: Steps,
    decay: f64,
    sums: &'t [f64],
    share: usize,
}

impl Meeting {
    /// How wrong similarities may be where the middle misses 1 by so much. What is missed elsewhere is no more than the largest of
    /// these.
    fn error(&self, missed: f64) -> f64 {
        (missed.abs() + 0.5 * self.open) / (1.0 - self.taken)
    }
}

impl Walks<'_> {
    /// A D by which less is missed: all of it, if walks never met again.
    fn better(&self, values: &[f64], range: &Range<'_>, look: &Look, pace: f64) -> Vec<f64> {
        // `I - C (P ∘ P)` is the inverse of the sum of the powers.
        let again = self.transitions.squares_times(&look.missed);
        let missed = look.missed.iter().zip(again).map(|(missed, again)| missed - self.decay * again);
        let next = values.iter().zip(range.highest).zip(missed);
        next.map(|((value, highest), missed)| (value - pace * missed).max(range.lowest).min(*highest))
            .collect()
    }

    /// `Σ_k C^k (P ∘ P)^k · values`
    fn powers(&self, values: &[f64]) -> Vec<f64> {
        let mut sums = values.to_vec();
        let mut power = values.to_vec();
        for _ in 0..STEPS_MAX {
            power = self.transitions.squares_times(&power);
            let mut most: f64 = 0.0;
            for (value, sum) in power.iter_mut().zip(&mut sums) {
                *value *= self.decay;
                *sum += *value;
                most = most.max(value.abs());
            }
            if most < POWER_MIN {
                break;
            }
        }
        sums
    }

    /// How wrong similarities may be with `next` in the place of `values`, of which `look` is known. `apart` are the powers of ones.
    fn foreseen(&self, groups: &Groups, look: &Look, values: &[f64], next: &[f64], apart: &[f64]) -> f64 {
        let step: Vec<f64> = next.iter().zip(values).map(|(next, value)| next - value).collect();
        let most = step.iter().fold(0.0, |most: f64, step| most.max(step.abs()));
        let moved = self.powers(&step);
        let mut error: f64 = 0.0;
        for (device, group) in groups.of.iter().enumerate() {
            let Some(group) = group else { continue };
            let meeting = look.meetings[*group];
            // The power 0 is not among what walks meet; what they do not follow any further counts on both sides.
            let more = (meeting.known - (apart[device] - 1.0) + 2.0 * meeting.later).max(0.0);
            let missed = (look.missed[device] + moved[device]).abs() + most * more;
            error = error.max(meeting.error(missed));
        }
        error
    }

    fn look(&self, groups: &Groups, values: &[f64], tolerance: f64, threads: NonZeroUsize) -> Look {
        let mut meetings = vec![Meeting::default(); groups.leaders.len()];
        let share = meetings.len().div_ceil(threads.get()).max(1);
        std::thread::scope(|scope| {
            for (meetings, leaders) in meetings.chunks_mut(share).zip(groups.leaders.chunks(share)) {
                scope.spawn(move || {
                    let mut places = Places::new(&self.steps, values, self.sums);
                    for (meeting, leader) in meetings.iter_mut().zip(leaders) {
                        *meeting = self.meeting(*leader, tolerance, &mut places);
                    }
                });
            }
        });
        let work = values.len() + meetings.iter().map(|meeting| meeting.work).sum::<usize>();
        let mut look = Look { missed: vec![0.0; values.len()], meetings, error: 0.0, work };
        for (device, group) in groups.of.iter().enumerate() {
            let Some(group) = group else { continue };
            let meeting = look.meetings[*group];
            let missed = values[device] + meeting.value + 0.5 * meeting.open - 1.0;
            look.missed[device] = missed;
            look.error = look.error.max(meeting.error(missed));
        }
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
        let mut walk = vec![places.at(device)];
        // What may be left out still: it is half of that by which the middle may be wrong.
        let mut left = 2.0 * LEFT_PART * tolerance;
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
                found.later += met / (1.0 - self.decay);
                return found;
            }
            found.value += power * seen.own;
            found.known += met;
            // All pairs of which one is as small as that are no more than `2 · small` times what the others are alike to, together.
            let small = 0.3 * left * part / (2.0 * power * seen.others.max(f64::MIN_POSITIVE));
            let mut largest: f64 = 0.0;
            walk.retain(|Stop { place, value, .. }| {
                if *value <= small {
                    largest = largest.max(*value);
                    found.taken += power * value * value;
                    found.later += power * value * value / (1.0 - self.decay);
                    found.value += power * value * value * (1.0 - places.diagonal(*place));
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
