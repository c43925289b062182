//! The similarity of every pair of devices, by sweeps over one matrix.
//!
//! A sweep finds row after row, in an order in which steps lead to earlier rows (module `precedence`), and takes what it has found
//! already (Gauss and Seidel). So a graph without circles takes one sweep, which is exact, and what is in a circle or leads to one
//! takes as many as make it stand still. What is left to find after a few sweeps is nearly the same for all pairs of a row, and gets
//! less by the same factor each time, so it is added at once (module `leap`). S is symmetric, but writing each row as a column too would take longer than finding it.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::leap::Leap;
use super::precedence::Precedence;
use super::team::Team;
use super::transitions::Transitions;
use super::value::{SINGLE_ROUNDING, Value};
use super::{Measure, Rule};

/// Less work than this is not worth a thread.
const WORK_MIN: usize = 1 << 14;
/// So many devices are compared with each other one at a time: steps from that one are looked up once for all of them.
const LANES: usize = 8;
/// Numbers of half the room are used where their rounding is no more than this part of the tolerance: what takes longest is to bring
/// them from memory and back.
const ROUNDING_PART: f64 = 0.1;

/// The matrix S.
#[derive(Debug, Clone)]
pub(crate) struct Similarities {
    size: usize,
    /// Where a device stands in the matrix.
    places: Vec<u32>,
    pub(super) values: Values,
    /// No similarity is wrong by more than this.
    pub(crate) error: f64,
}

/// Row by row.
#[derive(Debug, Clone)]
pub(super) enum Values {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Similarities {
    /// How alike two devices are.
    pub(crate) fn of(&self, one: usize, other: usize) -> f64 {
        let place = self.places[one] as usize * self.size + self.places[other] as usize;
        match &self.values {
            Values::Single(values) => f64::from(values[place]),
            Values::Double(values) => values[place],
        }
    }

    /// How alike each device is to all others together.
    pub(crate) fn row_sums(&self) -> Vec<f64> {
        let others = |one: usize| (0..self.size).filter(move |other| *other != one);
        (0..self.size).map(|one| others(one).map(|other| self.of(one, other)).sum()).collect()
    }
}

/// All of S up to `tolerance`, on so many threads, in `8 · size²` bytes, or half of that where the tolerance allows it.
pub(crate) fn all_pairs(
    transitions: &Transitions,
    rule: Rule,
    tolerance: f64,
    threads: NonZeroUsize,
) -> Similarities {
    let size = transitions.size();
    let precedence = Precedence::new(transitions);
    let mut places = vec![0; size];
    for (place, device) in precedence.order.iter().enumerate() {
        places[*device as usize] = u32::try_from(place).expect("as many as a graph has nodes");
    }
    let ordered = transitions.in_places(&precedence.order, &places);
    let team = Team::new(threads);
    let rounding = single_rounding(transitions, rule);
    let (values, error) = if rounding <= ROUNDING_PART * tolerance {
        let settle = || settle(&ordered, &precedence, rule, tolerance - rounding, &team);
        let (values, error) = team.run(settle);
        (Values::Single(values), error + rounding)
    } else {
        let (values, error) = team.run(|| settle(&ordered, &precedence, rule, tolerance, &team));
        (Values::Double(values), error)
    };
    Similarities { size, places, values, error }
}

/// What numbers of half the room make wrong of a similarity: a value is the sum of products over the steps from two devices, each of
/// which is rounded, and what is wrong with one goes on into others, C times less with each step (Higham 2002, 3.1).
fn single_rounding(transitions: &Transitions, rule: Rule) -> f64 {
    let most = (0..transitions.size()).map(|device| transitions.row(device).count()).max().unwrap_or(0);
    rule.decay / (1.0 - rule.decay) * (2 * most + 6) as f64 * SINGLE_ROUNDING
}

/// The rows of S in the order of `precedence`, and how wrong they may be.
fn settle<V: Value>(
    steps: &Transitions,
    precedence: &Precedence,
    rule: Rule,
    tolerance: f64,
    team: &Team,
) -> (Vec<V>, f64) {
    let size = steps.size();
    let mut sweep = Sweep {
        steps: &Steps::new(steps),
        rule,
        team,
        size,
        values: vec![V::default(); size * size],
        rows: Vec::new(),
        moved: vec![0.0; size],
    };
    for place in 0..size {
        sweep.values[place * size + place] = V::of(sweep.own());
    }
    let (settled, circles) = precedence.blocks.split_at(precedence.settled);
    let open = circles.first().map_or(size, |block| block.start)..size;
    // Both of a pair step at once, so where one of them comes to an end all is known of both; for SimRank* the other goes on.
    let (of_settled, of_open) = match rule.measure {
        Measure::SimRank => (0..size, open.clone()),
        Measure::SimRankStar => (0..open.start, 0..size),
    };
    for block in settled {
        sweep.block(block, of_settled.clone());
    }
    sweep.mirror(&open);
    // Each sweep leaves at most C of what was wrong before it.
    let factor = rule.decay / (1.0 - rule.decay);
    let mut leap = Leap::default();
    let mut error = if circles.is_empty() { 0.0 } else { factor };
    while error > tolerance {
        let mut moved: f64 = 0.0;
        if rule.measure == Measure::SimRankStar {
            moved = settled.iter().map(|block| sweep.block(block, open.clone())).fold(moved, f64::max);
        }
        moved = circles.iter().map(|block| sweep.block(block, of_open.clone())).fold(moved, f64::max);
        error = factor * moved;
        if rule.measure == Measure::SimRank
            && let Some(factor) = leap.after(sweep.moved[open.clone()].iter().sum(), error, tolerance)
        {
            sweep.leap(&open, factor);
        }
    }
    (sweep.values, error)
}

/// Steps between places, with numbers of one kind.
struct Steps<V> {
    /// Those from place a are from `starts[a]` up to `starts[a + 1]`.
    starts: Vec<usize>,
    places: Vec<u32>,
    probabilities: Vec<V>,
}

impl<V: Value> Steps<V> {
    fn new(transitions: &Transitions) -> Self {
        let mut all = Self { starts: vec![0], places: Vec::new(), probabilities: Vec::new() };
        for place in 0..transitions.size() {
            let (places, probabilities) = transitions.row_slices(place);
            all.places.extend(places);
            all.probabilities.extend(probabilities.iter().map(|probability| V::of(*probability)));
            all.starts.push(all.places.len());
        }
        all
    }

    fn from(&self, place: usize) -> (&[u32], &[V]) {
        let range = self.starts[place]..self.starts[place + 1];
        (&self.places[range.clone()], &self.probabilities[range])
    }
}

struct Sweep<'t, V> {
    steps: &'t Steps<V>,
    rule: Rule,
    team: &'t Team,
    size: usize,
    values: Vec<V>,
    /// Of the block in work: what its rows will be.
    rows: Vec<V>,
    /// By how much the similarities of each place have grown together when they were last found.
    moved: Vec<f64>,
}

impl<V: Value> Sweep<'_, V> {
    /// How alike a device is to itself, whatever it steps to.
    fn own(&self) -> f64 {
        match self.rule.measure {
            Measure::SimRank => 1.0,
            Measure::SimRankStar => 1.0 - self.rule.decay,
        }
    }

    /// Finds the similarities of a block's devices to those at the places `others` anew. Gives how far one moved.
    fn block(&mut self, block: &Range<usize>, others: Range<usize>) -> f64 {
        let width = others.len();
        let mut rows = std::mem::take(&mut self.rows);
        rows.resize(block.len() * width, V::default());
        let threads = if rows.len() < WORK_MIN { 1 } else { self.team.size() };
        // Whole groups of rows, so that none is looked at in vain.
        let share = block.len().div_ceil(threads).next_multiple_of(LANES);
        let this = &*self;
        let find = |(number, rows): (usize, &mut [V])| {
            let first = block.start + number * share;
            match this.rule.measure {
                Measure::SimRank => this.rows(first, &others, rows),
                Measure::SimRankStar => this.star_rows(first, &others, rows),
            }
        };
        self.team.each(rows.chunks_mut(share * width).enumerate(), find);
        let size = self.size;
        let write = |((known, rows), grown): ((&mut [V], &[V]), &mut [f64])| {
            let mut moved = [V::default(); LANES];
            for ((known, row), grown) in known.chunks_mut(size).zip(rows.chunks(width)).zip(grown) {
                let (known, known_rest) = known[others.clone()].as_chunks_mut::<LANES>();
                let (row, row_rest) = row.as_chunks::<LANES>();
                let mut sums = [V::default(); LANES];
                for (known, new) in known.iter_mut().zip(row) {
                    for (((moved, sum), known), new) in moved.iter_mut().zip(&mut sums).zip(&*known).zip(new)
                    {
                        *moved = moved.or_distance(*known, *new);
                        *sum += *new - *known;
                    }
                    *known = *new;
                }
                for (known, new) in known_rest.iter_mut().zip(row_rest) {
                    moved[0] = moved[0].or_distance(*known, *new);
                    sums[0] += *new - *known;
                    *known = *new;
                }
                *grown = sums.into_iter().map(Into::into).sum();
            }
            moved.into_iter().map(Into::into).fold(0.0, f64::max)
        };
        let known = self.values[block.start * size..block.end * size].chunks_mut(share * size);
        let grown = self.moved[block.clone()].chunks_mut(share);
        let moved = self.team.each(known.zip(rows.chunks(share * width)).zip(grown), write);
        self.rows = rows;
        moved.into_iter().fold(0.0, f64::max)
    }

    /// Adds `factor` times what the similarities of each place in `open` to the others there have grown in the mean to each of them. A
    /// similarity of 0 stays what it is: no steps from both meet, and none ever will.
    fn leap(&mut self, open: &Range<usize>, factor: f64) {
        let (size, nothing, grown) = (self.size, V::default(), &self.moved);
        let leap = |(place, row): (usize, &mut [V])| {
            let own = row[place];
            let open_row = &mut row[open.clone()];
            let met = open_row.iter().filter(|value| **value > nothing).count();
            let by = V::of(factor * grown[place] / met.max(1) as f64);
            for value in open_row {
                *value += if *value > nothing { by } else { nothing };
            }
            row[place] = own;
        };
        let rows = self.values.chunks_mut(size.max(1)).enumerate().skip(open.start);
        self.team.each(rows, leap);
    }

    /// `factor · Σ_i p(i) · S(i, ·)` over the steps from a place.
    fn ahead(&self, place: usize, factor: V, ahead: &mut [V]) {
        let (places, probabilities) = self.steps.from(place);
        let row = |to: u32| &self.values[to as usize * self.size..][..self.size];
        ahead.fill(V::default());
        let (places, rest) = places.as_chunks::<3>();
        let (probabilities, rest_probabilities) = probabilities.as_chunks::<3>();
        // Three rows in one go: what is summed up is read and written once for them.
        for ([a, b, c], probabilities) in places.iter().zip(probabilities) {
            let [p, q, r] = probabilities.map(|probability| factor * probability);
            let rows = row(*a).iter().zip(row(*b)).zip(row(*c));
            for (sum, ((a, b), c)) in ahead.iter_mut().zip(rows) {
                *sum += p * *a;
                *sum += q * *b;
                *sum += r * *c;
            }
        }
        for (to, probability) in rest.iter().zip(rest_probabilities) {
            let probability = factor * *probability;
            for (sum, value) in ahead.iter_mut().zip(row(*to)) {
                *sum += probability * *value;
            }
        }
    }

    /// The rows from place `first` on.
    fn rows(&self, first: usize, others: &Range<usize>, rows: &mut [V]) {
        let width = others.len();
        let decay = V::of(self.rule.decay);
        let mut ahead = vec![V::default(); self.size];
        // What lies ahead of several, side by side.
        let mut wide = vec![[V::default(); LANES]; self.size];
        for (group, rows) in rows.chunks_mut(LANES * width).enumerate() {
            let first = first + group * LANES;
            let lanes = rows.len() / width;
            for lane in 0..lanes {
                self.ahead(first + lane, decay, &mut ahead);
                for (wide, ahead) in wide.iter_mut().zip(&ahead) {
                    wide[lane] = *ahead;
                }
            }
            for (column, other) in others.clone().enumerate() {
                let (places, probabilities) = self.steps.from(other);
                let mut met = [V::default(); LANES];
                for (to, probability) in places.iter().zip(probabilities) {
                    for (met, ahead) in met.iter_mut().zip(&wide[*to as usize]) {
                        *met += *probability * *ahead;
                    }
                }
                for (lane, met) in met.iter().enumerate().take(lanes) {
                    rows[lane * width + column] = *met;
                }
            }
            for (lane, row) in rows.chunks_mut(width).enumerate() {
                if others.contains(&(first + lane)) {
                    row[first + lane - others.start] = V::of(self.own());
                }
            }
        }
    }

    /// The rows of SimRank* from place `first` on: one step leads from one of the two, and the other stays.
    fn star_rows(&self, first: usize, others: &Range<usize>, rows: &mut [V]) {
        let mut ahead = vec![V::default(); self.size];
        let mut whole = vec![V::default(); self.size];
        let half = V::of(0.5 * self.rule.decay);
        for (place, row) in (first..).zip(rows.chunks_mut(others.len())) {
            self.ahead(place, V::of(1.0), &mut ahead);
            whole.copy_from_slice(&self.values[place * self.size..][..self.size]);
            for other in others.clone() {
                let (places, probabilities) = self.steps.from(other);
                let mut met = ahead[other];
                for (to, probability) in places.iter().zip(probabilities) {
                    met += *probability * whole[*to as usize];
                }
                let mut value = half * met;
                if other == place {
                    value += V::of(self.own());
                }
                whole[other] = value;
            }
            row.copy_from_slice(&whole[others.clone()]);
        }
    }

    /// What the rows before `open` say of the places in it holds the other way round.
    fn mirror(&mut self, open: &Range<usize>) {
        let (before, rest) = self.values.split_at_mut(open.start * self.size);
        for (place, row) in open.clone().zip(rest.chunks_mut(self.size.max(1))) {
            for (value, other) in row.iter_mut().zip(before.chunks(self.size)) {
                *value = other[place];
            }
        }
    }
}
