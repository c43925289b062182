//! Multivariate linear regression (paper 1, figure 14) of a load on loads before it and on the calendar.
//!
//! The paper's own regression explains the load of a slot by other figures of the same slot, which nobody knows before it. Here
//! the factors are what is known ahead: loads one slot, two slots, a day and, where there is enough history, a week ago, the usual
//! load of that time of the day, and harmonics of day and week.

use std::f64::consts::TAU;

use super::grid::{DAY, Grid};
use super::least_squares::LeastSquares;
use super::profile::Profile;

/// Loads are percentages: features of about 1 keep the triangle's columns alike.
const SCALE: f64 = 0.01;
/// The harmonics of the day.
const HARMONICS: i32 = 2;
/// From so many days on, a week ago is a feature, and harmonics of the week.
const DAYS_FOR_WEEK: usize = 15;
/// Per feature, so many samples, or the fit follows chance.
const SAMPLES_PER_FEATURE: usize = 4;

/// A fitted regression.
#[derive(Debug, Clone)]
pub(super) struct Regression {
    features: Features,
    factors: Vec<f64>,
}

#[derive(Debug, Clone)]
struct Features {
    weekly: bool,
    usual: Profile,
}

impl Features {
    fn count(&self) -> usize {
        let harmonics = 2 * usize::try_from(HARMONICS).unwrap_or(0);
        if self.weekly { 4 + harmonics + 1 + 2 } else { 4 + harmonics }
    }

    /// Adds those of `slot` to `row`, by what `load` knows of slots before it.
    fn of(&self, grid: &Grid, slot: usize, load: impl Fn(usize) -> f64, row: &mut Vec<f64>) {
        let day = grid.day();
        let back = |slots: usize| slot.checked_sub(slots).map_or(f64::NAN, &load) * SCALE;
        row.extend([back(1), back(2), back(day), self.usual.at(grid, slot) * SCALE]);
        let second = grid.second_of_week(slot);
        let mut harmonic = |period: i64, number: i32| {
            let angle = TAU * f64::from(number) * (second % period) as f64 / period as f64;
            row.extend([angle.sin(), angle.cos()]);
        };
        (1..=HARMONICS).for_each(|number| harmonic(DAY, number));
        if self.weekly {
            harmonic(7 * DAY, 1);
            row.push(back(7 * day));
        }
    }
}

impl Regression {
    /// Fits all of `grid`; nothing where its history is too short.
    pub(super) fn fit(grid: &Grid) -> Option<Self> {
        let usual = Profile::daily(grid)?;
        let features = Features { weekly: grid.size() >= DAYS_FOR_WEEK * grid.day(), usual };
        let mut rows = Vec::with_capacity(features.count() * grid.size());
        for slot in 0..grid.size() {
            features.of(grid, slot, |slot| grid.loads[slot], &mut rows);
        }
        let targets: Vec<f64> = grid.loads.iter().map(|load| load * SCALE).collect();
        let fit = LeastSquares::of(features.count(), &rows, &targets);
        if fit.samples() < SAMPLES_PER_FEATURE * features.count() {
            return None;
        }
        Some(Self { factors: fit.solve()?, features })
    }

    /// From slot `now` on, by the loads before it; each further slot by those found for the ones before it. Where a load is
    /// missing, the usual one stands in.
    pub(super) fn ahead(&self, grid: &Grid, now: usize, leads: usize) -> Vec<f64> {
        let mut found: Vec<f64> = Vec::with_capacity(leads);
        let mut row = Vec::with_capacity(self.features.count());
        for slot in now..now + leads {
            let load = |slot: usize| {
                let known = if slot < now { grid.loads[slot] } else { found[slot - now] };
                if known.is_finite() { known } else { self.features.usual.at(grid, slot) }
            };
            row.clear();
            self.features.of(grid, slot, load, &mut row);
            for value in &mut row {
                // Before the first slot.
                if !value.is_finite() {
                    *value = self.features.usual.at(grid, slot) * SCALE;
                }
            }
            let explained: f64 =
                row.iter().zip(&self.factors[1..]).map(|(feature, factor)| feature * factor).sum();
            found.push(((self.factors[0] + explained) / SCALE).clamp(0.0, 100.0));
        }
        found
    }
}
