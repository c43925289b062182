//! The load stays what it is.

use super::grid::Grid;

/// The latest load before slot `now`, `leads` times; nothing if there is none.
pub(super) fn ahead(grid: &Grid, now: usize, leads: usize) -> Option<Vec<f64>> {
    let known = grid.loads.get(..now)?.iter().rev().find(|load| load.is_finite())?;
    Some(vec![*known; leads])
}
