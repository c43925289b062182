//! The similarity of every pair of devices, by sweeps over one matrix.
//!
//! A sweep goes through the devices in an order in which steps lead to earlier ones (module `precedence`), and takes what it
//! has found already (Gauss and Seidel). So a graph without circles takes one sweep, which is exact, and what is in a circle or
//! leads to one takes as many as make it stand still.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::precedence::Precedence;
use super::transitions::Transitions;
use super::{Measure, Rule};

/// Less work than this is not worth a thread.
const WORK_MIN: usize = 1 << 18;

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
    };
    let own = match rule.measure {
        Measure::SimRank => 1.0,
        Measure::SimRankStar => 1.0 - rule.decay,
    };
    for place in 0..size {
        sweep.values[place * size + place] = own;
    }
    for block in &precedence.blocks[..precedence.settled] {
        sweep.block(block);
    }
    let circles = &precedence.blocks[precedence.settled..];
    // Each sweep leaves at most C of what was wrong before it.
    let open = rule.decay / (1.0 - rule.decay);
    let mut error = if circles.is_empty() { 0.0 } else { open };
    while error > tolerance {
        let moved = circles.iter().map(|block| sweep.block(block)).fold(0.0, f64::max);
        error = open * moved;
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
}

impl Sweep<'_> {
    /// Finds the similarities of a block's devices to themselves and all before them anew. Gives how far one moved.
    fn block(&mut self, block: &Range<usize>) -> f64 {
        let mut lines = self.values[block.start * self.size..block.end * self.size].to_vec();
        let work = block.len() * block.end;
        let threads = if work < WORK_MIN { 1 } else { self.threads.min(block.len()) };
        let share = block.len().div_ceil(threads);
        let this = &*self;
        side_by_side(lines.chunks_mut(share * this.size).enumerate(), threads, |(number, lines)| {
            let first = block.start + number * share;
            let mut ahead = vec![0.0; this.size];
            for (place, line) in (first..).zip(lines.chunks_mut(this.size)) {
                this.ahead(place, &mut ahead);
                this.line(place, block, &ahead, line);
            }
        });
        if self.rule.measure == Measure::SimRankStar {
            self.among_themselves(block, &mut lines);
        }
        self.write(block, &lines, threads)
    }

    /// `Σ_i p(i) · S(i, ·)` over the steps from a place.
    fn ahead(&self, place: usize, ahead: &mut [f64]) {
        ahead.fill(0.0);
        for (to, probability) in self.steps.row(place) {
            let row = &self.values[to * self.size..(to + 1) * self.size];
            for (sum, value) in ahead.iter_mut().zip(row) {
                *sum += probability * value;
            }
        }
    }

    /// The similarities of the device at `place` to all up to itself.
    fn line(&self, place: usize, block: &Range<usize>, ahead: &[f64], line: &mut [f64]) {
        let decay = self.rule.decay;
        match self.rule.measure {
            Measure::SimRank => {
                for (other, value) in line.iter_mut().enumerate().take(place) {
                    let met: f64 =
                        self.steps.row(other).map(|(to, probability)| probability * ahead[to]).sum();
                    *value = decay * met;
                }
            }
            Measure::SimRankStar => {
                for other in 0..block.start {
                    let met: f64 =
                        self.steps.row(other).map(|(to, probability)| probability * line[to]).sum();
                    line[other] = 0.5 * decay * (ahead[other] + met);
                }
            }
        }
    }

    /// The same for pairs within a block, of SimRank*: one step leads from one of the two, and the other stays.
    fn among_themselves(&self, block: &Range<usize>, lines: &mut [f64]) {
        for place in block.clone() {
            for other in block.start..=place {
                let line = |place: usize| &lines[(place - block.start) * self.size..][..self.size];
                let step = |from: usize, line: &[f64]| -> f64 {
                    self.steps.row(from).map(|(to, probability)| probability * line[to]).sum()
                };
                let met = step(place, line(other)) + step(other, line(place));
                let own = if place == other { 1.0 - self.rule.decay } else { 0.0 };
                let value = 0.5 * self.rule.decay * met + own;
                lines[(place - block.start) * self.size + other] = value;
                lines[(other - block.start) * self.size + place] = value;
            }
        }
    }

    /// Writes what was found into rows and columns. Gives how far one moved.
    fn write(&mut self, block: &Range<usize>, lines: &[f64], threads: usize) -> f64 {
        let size = self.size;
        let (before, rest) = self.values.split_at_mut(block.start * size);
        let mut moved: f64 = 0.0;
        for place in block.clone() {
            let line = &lines[(place - block.start) * size..][..=place];
            for (other, value) in line.iter().enumerate() {
                let old = &mut rest[(place - block.start) * size + other];
                moved = moved.max((*value - *old).abs());
                *old = *value;
                if other >= block.start {
                    rest[(other - block.start) * size + place] = *value;
                }
            }
        }
        let share = block.start.div_ceil(threads).max(1);
        side_by_side(before.chunks_mut(share * size).enumerate(), threads, |(number, rows)| {
            for (other, row) in (number * share..).zip(rows.chunks_mut(size)) {
                for (place, value) in block.clone().zip(&mut row[block.clone()]) {
                    *value = lines[(place - block.start) * size + other];
                }
            }
        });
        moved
    }
}

/// Does `work` on each part, on a thread of its own where there are several.
fn side_by_side<P: Send>(parts: impl Iterator<Item = P>, threads: usize, work: impl Fn(P) + Sync) {
    if threads == 1 {
        parts.for_each(work);
        return;
    }
    std::thread::scope(|scope| {
        for part in parts {
            let work = &work;
            scope.spawn(move || work(part));
        }
    });
}
