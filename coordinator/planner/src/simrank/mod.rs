//! SimRank of a weighted graph in one direction (paper 1, eq. 1 or 2; Jeh and Widom, KDD 2002), and SimRank*.
//!
//! With P the matrix of the probabilities of a step, SimRank is the solution of `S = C·P·S·Pᵀ + D` whose diagonal is 1, where D
//! has nothing beside its diagonal. Two ways lead to what the chain needs of it:
//!
//! * [`all_pairs()`]: by the definition, in the square of the number of devices.
//! * [`row_sums()`]: `S = Σ_k C^k · P^k · D · (Pᵀ)^k`, so once D is known (module `diagonal`) the sums of its rows are products of P
//!   with vectors (Maehara, Kusumi and Kawarabayashi, 2014, call this the linearized form).
//!
//! After a change of an edge, module `live` follows D and the sums without working all of them out anew.
//!
//! SimRank* (Yu, Lin, Zhang, Chang and Pei, PVLDB 7, 2013) is the solution of `S = C/2 · (P·S + S·Pᵀ) + (1 - C)·I`: walks of unequal
//! length meet too, so devices at unequal depth under one root are not strangers.

mod all_pairs;
mod diagonal;
mod leap;
mod live;
mod places;
mod precedence;
mod row_sums;
mod spread;
mod star;
mod team;
mod transitions;
mod value;

pub(crate) use all_pairs::{Similarities, all_pairs};
pub(crate) use live::LiveSums;
pub(crate) use row_sums::{Linear, RowSums, row_sums};
pub(crate) use star::{star_row, star_sums};
pub(crate) use transitions::Transitions;

/// What makes two devices alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// That they are called by, or call, devices that are alike (paper 1, eq. 1 and 2).
    SimRank,
    /// The same, also at unequal depth under one device.
    SimRankStar,
}

/// A measure with its decay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) measure: Measure,
    /// C in (0, 1).
    pub(crate) decay: f64,
}

#[cfg(test)]
mod tests;
