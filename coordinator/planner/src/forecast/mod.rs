//! How busy each device will be (paper 1, "Workload Prediction of IoT Devices for Deployment Slot Allocation").
//!
//! Three models compete for each device: the load of now (persistence), the device's own daily or weekly profile, and a
//! multivariate linear regression on lags and calendar harmonics. Which one is taken was the best on days that it had not seen;
//! how wrong it was there gives the interval.

mod choice;
mod grid;
mod least_squares;
mod model;
mod outlook;
mod persistence;
mod profile;
mod regression;
mod series;

pub use choice::{Backtest, ModelName};
pub use grid::common_step;
pub use least_squares::LeastSquares;
pub use outlook::{Outlook, SlotLoad, outlook};
pub use series::{Sample, Series};

#[cfg(test)]
mod tests;
