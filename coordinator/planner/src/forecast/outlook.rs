//! The forecast of a device.

use super::choice::{Backtest, ModelName, choose};
use super::grid::Grid;
use super::model::Model;
use super::series::Series;

/// On each side of an interval, so many of a thousand truths lie: nine of ten lie within.
const OUTSIDE_PERMILLE: usize = 50;
/// The quantile of a normal distribution that leaves out 5 % on one side.
const NORMAL_QUANTILE: f64 = 1.645;
/// For an interval from fewer misses of one lead, those of its neighbours count too.
const MISSES_MIN: usize = 40;

/// How busy a device will be.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// Its name.
    pub device: String,
    /// By which model.
    pub model: ModelName,
    /// How wrong the models were on days that they had not seen; nothing with less than three days of history.
    pub backtest: Option<Backtest>,
    /// The slots after the last sample.
    pub slots: Vec<SlotLoad>,
    /// The place in `slots` of the lowest load, the earliest of several.
    pub best: usize,
}

/// The load of a slot, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlotLoad {
    /// When it begins: seconds since 1970, UTC.
    pub at: i64,
    /// Expected.
    pub load: f64,
    /// From here
    pub low: f64,
    /// to here in nine of ten cases.
    pub high: f64,
}

impl SlotLoad {
    /// When it begins, by RFC 3339 in UTC.
    pub fn slot_start(&self) -> String {
        jiff::Timestamp::from_second(self.at).map_or_else(|_| self.at.to_string(), |at| at.to_string())
    }
}

/// Forecasts `horizon` slots of `step` seconds (at least one) after the last sample of `series`; nothing without any sample.
pub fn outlook(series: &Series, step: i64, horizon: usize) -> Option<Outlook> {
    let grid = Grid::new(series, step);
    let choice = choose(&grid);
    let model = Model::fit(choice.name, &grid)?;
    let loads = model.ahead(&grid, grid.size(), horizon.max(1))?;
    let spread = spread(&grid);
    let slots: Vec<SlotLoad> = loads
        .iter()
        .enumerate()
        .map(|(lead, load)| {
            let (below, above) = around(&choice.misses, lead).unwrap_or((-spread, spread));
            SlotLoad {
                at: grid.at(grid.size() + lead),
                load: *load,
                low: (load + below).clamp(0.0, *load),
                high: (load + above).clamp(*load, 100.0),
            }
        })
        .collect();
    let best = (0..slots.len()).min_by(|a, b| slots[*a].load.total_cmp(&slots[*b].load))?;
    Some(Outlook {
        device: series.device.clone(),
        model: choice.name,
        backtest: choice.backtest,
        slots,
        best,
    })
}

/// What the truth may miss, below and above: quantiles of what it missed so far ahead. Leads beyond a day are like the last.
fn around(misses: &[Vec<f64>], lead: usize) -> Option<(f64, f64)> {
    let lead = lead.min(misses.len().checked_sub(1)?);
    let mut near = misses[lead].clone();
    let mut reach = 1;
    while near.len() < MISSES_MIN && reach < misses.len() {
        near.extend(misses[lead.saturating_sub(reach)].iter());
        near.extend(misses.get(lead + reach).into_iter().flatten());
        reach += 1;
    }
    near.sort_by(f64::total_cmp);
    // Of one more than there are: what comes next may be the most extreme one yet.
    let outside = (near.len() + 1) * OUTSIDE_PERMILLE / 1_000;
    let low = near.get(outside.saturating_sub(1))?;
    let high = near.get(near.len().checked_sub(outside.max(1))?)?;
    Some((*low, *high))
}

/// How far loads usually lie from their mean, for nine of ten.
fn spread(grid: &Grid) -> f64 {
    let known: Vec<f64> = grid.loads.iter().copied().filter(|load| load.is_finite()).collect();
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    let variance = known.iter().map(|load| (load - mean) * (load - mean)).sum::<f64>() / known.len() as f64;
    NORMAL_QUANTILE * variance.sqrt()
}
