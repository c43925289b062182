//! Whole campaigns in virtual time, the same for the same seed.
//!
//! Strategy `takt` is the coordinator itself: its pure loops decide over a fleet of virtual devices, and nothing of them is imitated.
//! The others are what people do today: the fixed rate of paper 2's operator, equal groups (hawkBit), a rate that doubles with
//! successes (AWS IoT Jobs).

mod chance;
mod fleet;
mod others;
mod result;
mod scenario;
mod takt;

pub use result::{ElementRow, SimResult, SimState};
pub use scenario::{Scenario, ScenarioError, SiteOutages, Strategy, StrategyError};

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario) -> Result<SimResult, ScenarioError> {
    scenario.check()?;
    let fleet = fleet::VirtualFleet::new(scenario);
    Ok(match scenario.strategy {
        Strategy::Takt { growth } => takt::run(scenario, fleet, growth),
        Strategy::Fixed { share } => others::fixed(scenario, &fleet, share),
        Strategy::Groups { groups } => others::groups(scenario, &fleet, groups),
        Strategy::Exponential { rate, factor } => others::exponential(scenario, &fleet, rate, factor),
    })
}
