//! The similarity of every pair of devices, by sweeps over one matrix.
//!
//! A sweep finds row after row, in an order in which steps lead to earlier rows (module `precedence`), and takes what it has found
//! already (Gauss and Seidel). So a graph without circles takes one sweep, which is exact, and what is in a circle or leads to one
//! takes as many as make it stand still. S is symmetric, but writing each row as a column too would take longer than finding it.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::precedence::Precedence;
use super::transitions::Transitions;
use super::{Measure, Rule};

/// Less work than this is not worth a thread.
const WORK_MIN: usize = 1 << 16;
/// So many devices are compared with each other one at a time: steps from that one are looked up once for all of them.
const LANES: usize = 8;

/// The matrix S.
#[derive(Debug, Clone)]
pub(crate) struct Similarities {
    size: usize,
    /// Where a device stands in the matrix.
    places: Vec<u32>,
    /// Row by row.
    values: Vec<f64>,
    /// No similarity is wrong by more than this, rounding aside.
    pub(crate) error: f64,
}

impl Similarities {
    /// How alike two devices are.
    pub(crate) fn of(&self, one: usize, other: usize) -> f64 {
        self.values[self.places[one] as usize * self.size + self.places[other] as usize]
    }

    /// How alike each device is to all others together.
    pub(crate) fn row_sums(&self) -> Vec<f64> {
        let sum = |place: &u32| {
            let row = *place as usize * self.size;
            let all: f64 = self.values[row..row + self.size].iter().sum();
            all - self.values[row + *place as usize]
        };
        self.places.iter().map(sum).collect()
    }
}

/// All of S up to `tolerance`, on so many threads, in `8 · size²` bytes.
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
    let mut sweep = Sweep {
        steps: &transitions.in_places(&precedence.order, &places),
        rule,
        threads: threads.get(),
        size,
        values: vec![0.0; size * size],
        rows: Vec::new(),
    };
    for place in 0..size {
        sweep.values[place * size + place] = sweep.own();
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
    let mut error = if circles.is_empty() { 0.0 } else { factor };
    while error > tolerance {
        let mut moved: f64 = 0.0;
        if rule.measure == Measure::SimRankStar {
            moved = settled.iter().map(|block| sweep.block(block, open.clone())).fold(moved, f64::max);
        }
        moved = circles.iter().map(|block| sweep.block(block, of_open.clone())).fold(moved, f64::max);
        error = factor * moved;
    }
    Similarities { size, places, values: sweep.values, error }
}

struct Sweep<'t> {
    /// Between places.
    steps: &'t Transitions,
    rule: Rule,
    threads: usize,
    size: usize,
    values: Vec<f64>,
    /// Of the block in work: what its rows will be.
    rows: Vec<f64>,
}

impl Sweep<'_> {
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
        rows.resize(block.len() * width, 0.0);
        let threads = if rows.len() < WORK_MIN { 1 } else { self.threads.min(block.len()) };
        let share = block.len().div_ceil(threads);
        let this = &*self;
        let find = |(number, rows): (usize, &mut [f64])| {
            let first = block.start + number * share;
            match this.rule.measure {
                Measure::SimRank => this.rows(first, &others, rows),
                Measure::SimRankStar => this.star_rows(first, &others, rows),
            }
        };
        side_by_side(rows.chunks_mut(share * width).enumerate(), threads, find);
        let size = self.size;
        let write = |(known, rows): (&mut [f64], &[f64])| {
            let mut moved: f64 = 0.0;
            for (known, row) in known.chunks_mut(size).zip(rows.chunks(width)) {
                for (known, new) in known[others.clone()].iter_mut().zip(row) {
                    moved = moved.max((*new - *known).abs());
                    *known = *new;
                }
            }
            moved
        };
        let known = self.values[block.start * size..block.end * size].chunks_mut(share * size);
        let moved = side_by_side(known.zip(rows.chunks(share * width)), threads, write);
        self.rows = rows;
        moved.into_iter().fold(0.0, f64::max)
    }

    /// `Σ_i p(i) · S(i, ·)` over the steps from a place.
    fn ahead(&self, place: usize, ahead: &mut [f64]) {
        let (places, probabilities) = self.steps.row_slices(place);
        let row = |to: u32| &self.values[to as usize * self.size..][..self.size];
        ahead.fill(0.0);
        let (places, rest) = places.as_chunks::<3>();
        let (probabilities, rest_probabilities) = probabilities.as_chunks::<3>();
        // Three rows in one go: what is summed up is read and written once for them.
        for ([a, b, c], [p, q, r]) in places.iter().zip(probabilities) {
            let rows = row(*a).iter().zip(row(*b)).zip(row(*c));
            for (sum, ((a, b), c)) in ahead.iter_mut().zip(rows) {
                *sum += p * a + q * b + r * c;
            }
        }
        for (to, probability) in rest.iter().zip(rest_probabilities) {
            for (sum, value) in ahead.iter_mut().zip(row(*to)) {
                *sum += probability * value;
            }
        }
    }

    /// The rows from place `first` on.
    fn rows(&self, first: usize, others: &Range<usize>, rows: &mut [f64]) {
        let width = others.len();
        let mut ahead = vec![0.0; self.size];
        // What lies ahead of several, side by side.
        let mut wide = vec![[0.0; LANES]; self.size];
        for (group, rows) in rows.chunks_mut(LANES * width).enumerate() {
            let first = first + group * LANES;
            let lanes = rows.len() / width;
            for lane in 0..lanes {
                self.ahead(first + lane, &mut ahead);
                for (wide, ahead) in wide.iter_mut().zip(&ahead) {
                    wide[lane] = *ahead;
                }
            }
            for (column, other) in others.clone().enumerate() {
                let (places, probabilities) = self.steps.row_slices(other);
                let mut met = [0.0; LANES];
                for (to, probability) in places.iter().zip(probabilities) {
                    for (met, ahead) in met.iter_mut().zip(&wide[*to as usize]) {
                        *met += probability * ahead;
                    }
                }
                for (lane, met) in met.iter().enumerate().take(lanes) {
                    rows[lane * width + column] = self.rule.decay * met;
                }
            }
            for (lane, row) in rows.chunks_mut(width).enumerate() {
                if others.contains(&(first + lane)) {
                    row[first + lane - others.start] = self.own();
                }
            }
        }
    }

    /// The rows of SimRank* from place `first` on: one step leads from one of the two, and the other stays.
    fn star_rows(&self, first: usize, others: &Range<usize>, rows: &mut [f64]) {
        let mut ahead = vec![0.0; self.size];
        let mut whole = vec![0.0; self.size];
        for (place, row) in (first..).zip(rows.chunks_mut(others.len())) {
            self.ahead(place, &mut ahead);
            whole.copy_from_slice(&self.values[place * self.size..][..self.size]);
            for other in others.clone() {
                let met: f64 = self.steps.row(other).map(|(to, probability)| probability * whole[to]).sum();
                let own = if other == place { self.own() } else { 0.0 };
                whole[other] = 0.5 * self.rule.decay * (ahead[other] + met) + own;
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

/// Does `work` on each part, on a thread of its own where there are several. Gives what came of each.
fn side_by_side<P: Send, R: Send>(
    parts: impl Iterator<Item = P>,
    threads: usize,
    work: impl Fn(P) -> R + Sync,
) -> Vec<R> {
    if threads == 1 {
        return parts.map(work).collect();
    }
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        running.into_iter().map(|thread| thread.join().expect("none panics")).collect()
    })
}
