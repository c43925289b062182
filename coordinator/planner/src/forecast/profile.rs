//! A device's usual day, or its usual week.

use super::grid::{DAY, Grid};

/// Loads of a day or of a week, by local clocks.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    /// Seconds until it begins anew.
    period: i64,
    /// The mean load of each slot; of all together where a slot has none.
    loads: Vec<f64>,
}

impl Profile {
    /// The usual day; nothing without any load.
    pub(super) fn daily(grid: &Grid) -> Option<Self> {
        Self::new(grid, DAY)
    }

    /// The usual week.
    pub(super) fn weekly(grid: &Grid) -> Option<Self> {
        Self::new(grid, 7 * DAY)
    }

    fn new(grid: &Grid, period: i64) -> Option<Self> {
        let known = grid.known();
        if known == 0 {
            return None;
        }
        let mut all = Self { period, loads: vec![0.0; usize::try_from(period / grid.step).unwrap_or(1)] };
        let mut counts = vec![0.0; all.loads.len()];
        let mut total = 0.0;
        for (slot, load) in grid.loads.iter().enumerate().filter(|(_, load)| load.is_finite()) {
            let place = all.place(grid, slot);
            all.loads[place] += load;
            counts[place] += 1.0;
            total += load;
        }
        for (load, count) in all.loads.iter_mut().zip(counts) {
            *load = if count > 0.0 { *load / count } else { total / known as f64 };
        }
        Some(all)
    }

    fn place(&self, grid: &Grid, slot: usize) -> usize {
        let place = grid.second_of_week(slot) % self.period / grid.step;
        usize::try_from(place).unwrap_or(0).min(self.loads.len() - 1)
    }

    /// The usual load of a slot.
    pub(super) fn at(&self, grid: &Grid, slot: usize) -> f64 {
        self.loads[self.place(grid, slot)]
    }

    /// From slot `now` on.
    pub(super) fn ahead(&self, grid: &Grid, now: usize, leads: usize) -> Vec<f64> {
        (now..now + leads).map(|slot| self.at(grid, slot)).collect()
    }
}
