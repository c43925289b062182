//! The Device Dependency Chain: devices ranked by how alike they are to others in what calls them and what they call (paper 1,
//! eq. 1 and 2).

use std::num::NonZeroUsize;

use petgraph::Direction;
use takt_common::{DeviceId, Name};

use crate::graph::DomainGraph;
use crate::network::Network;
use crate::simrank::{
    Linear, Measure, RowSums, Rule, Similarities, Transitions, all_pairs, row_sums, star_row, star_sums,
};

/// The most devices with edges that are ranked in one domain.
pub const DEVICES_SCORED_MAX: usize = 20_000;

/// Up to so many, scores are sums over all pairs, in 32 MiB.
const ALL_PAIRS_MAX: usize = 2_000;
/// Up to so many, similarities of all pairs are told.
pub const DEVICES_PAIRED_MAX: usize = 20_000;

/// The decay C of paper 1, eq. 1 and 2; 0.8 is the value of the original SimRank publication.
pub const DECAY: f64 = 0.8;

/// What a similarity may be wrong by where nothing else is said.
pub const TOLERANCE_OF_PAIRS: f64 = 1e-9;
/// Of more devices a score s may be wrong by this times `1 + s`, in each direction.
pub(crate) const TOLERANCE_OF_SCORES: f64 = 1e-3;

/// Scores are compared in steps of this: mirror-image devices differ by rounding only, and then the name decides.
const SCORE_STEPS_PER_UNIT: f64 = 1e6;

/// How alike devices are.
#[derive(Debug, Clone, Copy)]
pub struct Likeness {
    /// In what.
    pub measure: Measure,
    /// C of paper 1, between 0 and 1.
    pub decay: f64,
    /// What the similarity of two devices may be wrong by, where those of all pairs are found. Scores of more devices than are paired for
    /// them have an error of their own.
    pub tolerance: f64,
    /// How many threads work it out.
    pub threads: NonZeroUsize,
}

impl Default for Likeness {
    fn default() -> Self {
        Self {
            measure: Measure::SimRank,
            decay: DECAY,
            tolerance: TOLERANCE_OF_PAIRS,
            threads: NonZeroUsize::MIN,
        }
    }
}

/// Scores of all devices, by their numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// How alike each is to all others together by those that call it (eq. 1).
    pub score_in: Vec<f64>,
    /// How alike each is to all others together by those that it calls (eq. 2).
    pub score_out: Vec<f64>,
    /// In each direction a score s may be wrong by this times `1 + s`.
    pub error_bound: f64,
}

impl Scores {
    pub(crate) fn of(calls_in: RowSums, calls_out: RowSums) -> Self {
        Self {
            score_in: calls_in.sums.into_iter().map(step).collect(),
            score_out: calls_out.sums.into_iter().map(step).collect(),
            error_bound: calls_in.error_bound.max(calls_out.error_bound),
        }
    }

    /// How dependent each device is: both together.
    pub fn totals(&self) -> Vec<f64> {
        self.score_in.iter().zip(&self.score_out).map(|(a, b)| step(a + b)).collect()
    }

    /// The devices from the most dependent one to the least; of equals the first by number.
    pub fn ranked(&self) -> Vec<u32> {
        let totals = self.totals();
        let mut devices: Vec<u32> = (0..).take(totals.len()).collect();
        devices.sort_by(|a, b| totals[*b as usize].total_cmp(&totals[*a as usize]).then(a.cmp(b)));
        devices
    }
}

fn step(score: f64) -> f64 {
    (score * SCORE_STEPS_PER_UNIT).round() / SCORE_STEPS_PER_UNIT
}

impl Network {
    /// The scores of all devices (paper 1, "Build Device Dependency Chain").
    pub fn scores(&self, likeness: Likeness) -> Scores {
        Scores::of(self.sums(Direction::Incoming, likeness), self.sums(Direction::Outgoing, likeness))
    }

    /// How alike each two devices are, by those that call them ([`Direction::Incoming`]) or those that they call, in memory for
    /// the square of their number; no more than [`DEVICES_PAIRED_MAX`].
    pub fn pairs(&self, direction: Direction, likeness: Likeness) -> Pairs {
        let all =
            all_pairs(&self.transitions(direction), likeness.rule(), likeness.tolerance, likeness.threads);
        Pairs(all)
    }

    /// How alike a device is to each, and by how much that may be wrong.
    pub fn alike(&self, device: u32, direction: Direction, likeness: Likeness) -> (Vec<f64>, f64) {
        let transitions = self.transitions(direction);
        if self.devices().len() <= ALL_PAIRS_MAX {
            let all = all_pairs(&transitions, likeness.rule(), likeness.tolerance, likeness.threads);
            let row = (0..self.devices().len()).map(|other| all.of(device as usize, other)).collect();
            return (row, all.error);
        }
        match likeness.measure {
            Measure::SimRank => {
                Linear::new(&transitions, likeness.decay, TOLERANCE_OF_SCORES, likeness.threads)
                    .row(device as usize)
            }
            Measure::SimRankStar => {
                star_row(&transitions, likeness.decay, likeness.tolerance, device as usize)
            }
        }
    }

    fn sums(&self, direction: Direction, likeness: Likeness) -> RowSums {
        let transitions = self.transitions(direction);
        if transitions.size() <= ALL_PAIRS_MAX {
            return sums_of_pairs(&transitions, likeness);
        }
        match likeness.measure {
            Measure::SimRank => row_sums(&transitions, likeness.decay, TOLERANCE_OF_SCORES, likeness.threads),
            Measure::SimRankStar => {
                star_sums(&transitions, likeness.decay, TOLERANCE_OF_SCORES, likeness.threads)
            }
        }
    }
}

impl Likeness {
    const fn rule(self) -> Rule {
        Rule { measure: self.measure, decay: self.decay }
    }
}

fn sums_of_pairs(transitions: &Transitions, likeness: Likeness) -> RowSums {
    let all = all_pairs(transitions, likeness.rule(), likeness.tolerance, likeness.threads);
    RowSums { error_bound: all.error * transitions.size() as f64, sums: all.row_sums() }
}

/// How alike each two devices are.
#[derive(Debug, Clone)]
pub struct Pairs(Similarities);

impl Pairs {
    /// Two of them, by number.
    pub fn of(&self, one: u32, other: u32) -> f64 {
        self.0.of(one as usize, other as usize)
    }

    /// No similarity is wrong by more than this.
    pub const fn error_bound(&self) -> f64 {
        self.0.error
    }
}

/// The Device Dependency Chain of a domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// From the highest score, the most dependent device, to the lowest; ties by name.
    pub devices: Vec<Score>,
    /// In each direction a score s may be wrong by this times `1 + s`.
    pub error_bound: f64,
}

/// A device in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Which.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// How alike it is to all others together by those that call it (eq. 1).
    pub score_in: f64,
    /// How alike it is to all others together by those that it calls (eq. 2).
    pub score_out: f64,
    /// How dependent it is: both together.
    pub score: f64,
}

impl DomainGraph {
    /// The Device Dependency Chain of all devices of the domain (paper 1, "Build Device Dependency Chain").
    pub fn chain(&self) -> Chain {
        let scores = self.network().scores(Likeness::default());
        let totals = scores.totals();
        let score = |number: u32| {
            let (device, name) = self.device(number);
            let number = number as usize;
            Score {
                device,
                name: name.clone(),
                score_in: scores.score_in[number],
                score_out: scores.score_out[number],
                score: totals[number],
            }
        };
        Chain { devices: scores.ranked().into_iter().map(score).collect(), error_bound: scores.error_bound }
    }
}

#[cfg(test)]
mod tests;
