//! What can be asked of each model.

use super::choice::ModelName;
use super::grid::Grid;
use super::persistence;
use super::profile::Profile;
use super::regression::Regression;

/// A fitted model.
#[derive(Debug, Clone)]
pub(super) enum Model {
    Persistence,
    Profile(Profile),
    Regression(Regression),
}

impl Model {
    /// Fits all of `grid`; nothing where its history is too short.
    pub(super) fn fit(name: ModelName, grid: &Grid) -> Option<Self> {
        match name {
            ModelName::Persistence => Some(Self::Persistence),
            ModelName::DailyProfile => Profile::daily(grid).map(Self::Profile),
            ModelName::WeeklyProfile => Profile::weekly(grid).map(Self::Profile),
            ModelName::Regression => Regression::fit(grid).map(Self::Regression),
        }
    }

    /// The loads of slot `now` and later, by those before it; nothing if it knows none.
    pub(super) fn ahead(&self, grid: &Grid, now: usize, leads: usize) -> Option<Vec<f64>> {
        match self {
            Self::Persistence => persistence::ahead(grid, now, leads),
            Self::Profile(profile) => Some(profile.ahead(grid, now, leads)),
            Self::Regression(regression) => Some(regression.ahead(grid, now, leads)),
        }
    }
}
