//! Which model is the best one for a device, and how wrong it is.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::grid::Grid;
use super::model::Model;

/// Days that are held out: half of the history, and no more than a week.
const HELD_OUT_PART: usize = 2;
const HELD_OUT_DAYS_MAX: usize = 7;
/// Days of history that a comparison needs at least.
const DAYS_MIN: usize = 3;
/// Days of history that a weekly profile needs at least: two of each weekday besides what is held out.
const DAYS_FOR_WEEK: usize = 21;
/// A model must be better than a simpler one by this part: on loads that follow nothing, one of several is a little better by chance.
const MARGIN: f64 = 0.15;

/// A way to forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelName {
    /// The load stays what it is.
    Persistence,
    /// As usual at that time of the day.
    DailyProfile,
    /// As usual at that time of the week.
    WeeklyProfile,
    /// Multivariate linear regression.
    Regression,
}

impl ModelName {
    /// As it is written in documents.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Persistence => "persistence",
            Self::DailyProfile => "daily-profile",
            Self::WeeklyProfile => "weekly-profile",
            Self::Regression => "regression",
        }
    }
}

impl Display for ModelName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key().replace('-', " "))
    }
}

/// Mean absolute errors on held-out days, in percent points, over all leads up to a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Backtest {
    /// Of the model that was taken.
    pub mae: f64,
    /// Of the load that stays what it is.
    pub persistence_mae: f64,
    /// Of the better profile.
    pub profile_mae: f64,
}

/// What was chosen.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) name: ModelName,
    /// Nothing with too little history.
    pub(super) backtest: Option<Backtest>,
    /// What was missing to the truth on held-out days, for each lead from 1, sorted.
    pub(super) misses: Vec<Vec<f64>>,
}

/// The misses of one model.
struct Trial {
    name: ModelName,
    mae: f64,
    misses: Vec<Vec<f64>>,
}

/// Lets all models forecast days that they have not seen, up to a day ahead.
pub(super) fn choose(grid: &Grid) -> Choice {
    let days = grid.size() / grid.day();
    let fallback =
        if grid.known() < grid.day() / 2 { ModelName::Persistence } else { ModelName::DailyProfile };
    let untested = Choice { name: fallback, backtest: None, misses: Vec::new() };
    if days < DAYS_MIN {
        return untested;
    }
    let held_out = (days / HELD_OUT_PART).clamp(1, HELD_OUT_DAYS_MAX) * grid.day();
    let seen = grid.until(grid.size() - held_out);
    let run = |name| trial(name, grid, &seen);
    let Some(persistence) = run(ModelName::Persistence) else { return untested };
    let weekly = if days >= DAYS_FOR_WEEK { run(ModelName::WeeklyProfile) } else { None };
    let profiles = [run(ModelName::DailyProfile), weekly].into_iter().flatten();
    let Some(profile) = profiles.min_by(|a, b| a.mae.total_cmp(&b.mae)) else { return untested };
    let (persistence_mae, profile_mae) = (persistence.mae, profile.mae);
    let better = |best: Trial, other: Trial| {
        if other.mae < best.mae * (1.0 - MARGIN) { other } else { best }
    };
    let best = [Some(profile), run(ModelName::Regression)].into_iter().flatten().fold(persistence, better);
    let backtest = Backtest { mae: best.mae, persistence_mae, profile_mae };
    Choice { name: best.name, backtest: Some(backtest), misses: best.misses }
}

/// Forecasts made in each slot that was not seen.
fn trial(name: ModelName, grid: &Grid, seen: &Grid) -> Option<Trial> {
    let model = Model::fit(name, seen)?;
    let mut misses: Vec<Vec<f64>> = vec![Vec::new(); grid.day()];
    for now in seen.size()..grid.size() {
        let leads = grid.day().min(grid.size() - now);
        let Some(found) = model.ahead(grid, now, leads) else { continue };
        for (lead, (found, truth)) in found.iter().zip(&grid.loads[now..]).enumerate() {
            if truth.is_finite() {
                misses[lead].push(truth - found);
            }
        }
    }
    let count: usize = misses.iter().map(Vec::len).sum();
    if count == 0 {
        return None;
    }
    let mae = misses.iter().flatten().map(|miss| miss.abs()).sum::<f64>() / count as f64;
    for misses in &mut misses {
        misses.sort_by(f64::total_cmp);
    }
    Some(Trial { name, mae, misses })
}
