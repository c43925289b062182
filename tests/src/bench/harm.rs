//! How few devices a bad release harms, over many simulated fleets, beside what people do today.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use takt_sim::{Scenario, ScenarioError, SimResult, SimState, SiteOutages, StrategyError, run};

use super::error::BenchError;
use super::figure::{Figure, Goal, Unit};
use super::machine::machine;
use super::spread::Spread;
use crate::fleet::{FleetError, interrupted};

const TAKT: &str = "takt";
const OTHERS: [&str; 3] = ["fixed:0.0625", "groups:10", "exponential:50:2"];
/// A release fails on this part of the devices, and at most so much of the harm of the best other strategy is the goal.
const BAD: [(f64, f64); 3] = [(0.05, 1.0), (0.2, 0.2), (1.0, 0.2)];
/// At once, and after it was verified, in seconds.
const DELAYS: [u64; 2] = [0, 3_600];
/// Half of the tolerance: a release that fails so often is let through.
const LET_THROUGH: f64 = 0.01;
/// The most stops of such a release, in percent.
const STOPS_MAX: f64 = 1.0;
/// A good release takes so much of the elements of the fixed rate at the most.
const ELEMENTS_RATIO: f64 = 0.75;
/// More devices fall silent for good than may fail.
const SILENT: f64 = 0.05;
const SITES: u32 = 20;
const OUTAGES: u32 = 20;

/// The group `fleet`.
#[derive(Debug, Clone, Copy)]
pub struct HarmGroup {
    /// How many fleets each figure is of.
    pub seeds: u64,
}

/// A scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum HarmError {
    /// Its strategy.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// It.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

impl HarmGroup {
    /// Measures everything, and tells of it through `say`.
    pub fn run(self, say: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
        let machine = machine(None);
        let mut figures = Vec::new();
        for (bad, ratio) in BAD {
            for delay in DELAYS {
                let when = if delay == 0 { "at once" } else { "after an hour" };
                say(&format!("a release that fails on {:.0} % of 10,000 devices {when}", bad * 100.0));
                figures.push(self.harm(bad, delay, ratio, when, &machine)?);
            }
        }
        say("a release at half of the tolerance, a good one, outages of sites, silent devices");
        let through = self.fleets(&Scenario { bad_fraction: LET_THROUGH, ..of(TAKT)? })?;
        let stops =
            Figure::new("stops of a release that fails on 1 %", Unit::Percent, &stopped(&through), &machine);
        let stops = stops.instead(mean(&stopped(&through)));
        figures.push(stops.with(Goal::Value(STOPS_MAX)));
        let elements = |results: &[SimResult]| spread(results, |result| result.elements.len() as f64);
        let (ours, fixed) = (self.fleets(&of(TAKT)?)?, self.fleets(&of(OTHERS[0])?)?);
        let good = Figure::new("elements of a good release", Unit::Count, &elements(&ours), &machine);
        figures.push(good.beside(OTHERS[0], &elements(&fixed)).with(Goal::Ratio(ELEMENTS_RATIO)));
        let outages = SiteOutages::Count(OUTAGES);
        let away = self.fleets(&Scenario { sites: SITES, site_outages: outages, ..of(TAKT)? })?;
        let name = "stops of a good release while sites are cut off (false alarms)";
        let alarms =
            Figure::new(name, Unit::Percent, &stopped(&away), &machine).instead(mean(&stopped(&away)));
        figures.push(alarms.with(Goal::Value(STOPS_MAX)));
        let silent = self.fleets(&Scenario { silent_fraction: SILENT, ..of(TAKT)? })?;
        let name = "campaigns that go on although 5 % of devices fall silent (misses)";
        let missed = 100.0 - mean(&stopped(&silent));
        figures.push(
            Figure::new(name, Unit::Percent, &stopped(&silent), &machine)
                .instead(missed)
                .with(Goal::Value(0.0)),
        );
        Ok(figures)
    }

    /// Devices harmed, in the mean of all fleets, beside the best of the other strategies.
    fn harm(self, bad: f64, delay: u64, ratio: f64, when: &str, machine: &str) -> Result<Figure, BenchError> {
        let scenario = |strategy| -> Result<Scenario, BenchError> {
            Ok(Scenario { bad_fraction: bad, failure_delay_s: delay, ..of(strategy)? })
        };
        let harmed = |results: &[SimResult]| spread(results, |result| f64::from(result.harmed));
        let ours = harmed(&self.fleets(&scenario(TAKT)?)?);
        let mut best: Option<(&str, Spread)> = None;
        for other in OTHERS {
            let theirs = harmed(&self.fleets(&scenario(other)?)?);
            if best.as_ref().is_none_or(|(_, least)| mean(&theirs) < mean(least)) {
                best = Some((other, theirs));
            }
        }
        let name = format!("devices harmed when {:.0} % fail {when}, of 10,000 (mean)", bad * 100.0);
        let figure = Figure::new(&name, Unit::Count, &ours, machine).instead(mean(&ours));
        let Some((other, theirs)) = best else { return Ok(figure) };
        Ok(figure.beside(other, &Spread::of(vec![mean(&theirs)])).with(Goal::Ratio(ratio)))
    }

    /// The same scenario with one seed after the other, on all processors.
    fn fleets(self, scenario: &Scenario) -> Result<Vec<SimResult>, BenchError> {
        let next = AtomicU64::new(1);
        let done: Mutex<Vec<Result<SimResult, ScenarioError>>> = Mutex::new(Vec::new());
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed > self.seeds || interrupted() {
                            return;
                        }
                        let result = run(&Scenario { seed, ..scenario.clone() });
                        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(result);
                    }
                });
            }
        });
        if interrupted() {
            return Err(FleetError::Interrupted.into());
        }
        let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(done.into_iter().collect::<Result<_, _>>().map_err(HarmError::from)?)
    }
}

/// 10,000 devices, tolerance 2 %.
fn of(strategy: &str) -> Result<Scenario, BenchError> {
    Ok(Scenario { strategy: strategy.parse().map_err(HarmError::from)?, ..Scenario::default() })
}

fn spread(results: &[SimResult], what: fn(&SimResult) -> f64) -> Spread {
    Spread::of(results.iter().map(what).collect())
}

/// 100 for each campaign that was stopped, 0 for the others: their mean is a share in percent.
fn stopped(results: &[SimResult]) -> Spread {
    spread(results, |result| if result.state == SimState::Aborted { 100.0 } else { 0.0 })
}

fn mean(spread: &Spread) -> f64 {
    spread.mean()
}
