//! What is simulated.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use takt_common::regulation::{Growth, Regulation};

/// The most devices of a scenario.
pub(crate) const DEVICES_MAX: u32 = 1_000_000;

/// The longest times, in seconds: 30 days.
const SECS_MAX: u64 = 30 * 86_400;

/// A scenario; what its file leaves out is as in [`Scenario::default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// How many devices there are; 1 to 1,000,000. Default 10,000.
    pub devices: u32,
    /// Everything random follows from it. Default 1.
    pub seed: u64,
    /// Who rolls out. Default `takt`.
    pub strategy: Strategy,
    /// The share of devices on which the release fails. Default 0.
    pub bad_fraction: f64,
    /// Seconds from the switch until it fails there; within `verify_s` it fails its probation, later it has been verified before.
    /// Default 0.
    pub failure_delay_s: u64,
    /// The share of devices that are verified with a warning. Default 0.
    pub warning_fraction: f64,
    /// The share of devices that never answer to their order. Default 0.
    pub silent_fraction: f64,
    /// How many sites the devices are at, each behind a gateway. Default 1.
    pub sites: u32,
    /// Sites that are cut off: how many times, or each as `[site, from second, for seconds]`. Default 0.
    pub site_outages: SiteOutages,
    /// By how much the coordinator's response time differs, as `[progress, factor]`: in the element with which the campaign passes that
    /// share of the fleet. Default none.
    pub infra: Vec<(f64, f64)>,
    /// Seconds of probation after the switch. Default 300.
    pub verify_s: u64,
    /// The share of devices that may fail. Default 0.02.
    pub tolerance: f64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            devices: 10_000,
            seed: 1,
            strategy: Strategy::Takt { growth: Growth::default() },
            bad_fraction: 0.0,
            failure_delay_s: 0,
            warning_fraction: 0.0,
            silent_fraction: 0.0,
            sites: 1,
            site_outages: SiteOutages::Count(0),
            infra: Vec::new(),
            verify_s: 300,
            tolerance: Regulation::default().tolerance,
        }
    }
}

/// Sites that are cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SiteOutages {
    /// So many times: a random site, at a random time within the first six hours, for ten minutes to an hour.
    Count(u32),
    /// `[site, from second, for seconds]`.
    Each(Vec<(u32, u64, u64)>),
}

/// Who rolls out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Strategy {
    /// `takt`, or `takt:linear` and so on: the coordinator's loops.
    Takt {
        /// How elements grow.
        growth: Growth,
    },
    /// `fixed:0.0625`: this share of the fleet at a time; stops when the failure rate of finished devices passes the tolerance.
    Fixed {
        /// The share.
        share: f64,
    },
    /// `groups:10`: equal groups, the next at 80 % installed; pauses when a group's errors pass the tolerance.
    Groups {
        /// How many.
        groups: u32,
    },
    /// `exponential:50:2`: devices a minute, times the factor for each 1,000 successes; cancels past the tolerance once 100 are executed.
    Exponential {
        /// Devices a minute.
        rate: u32,
        /// How the rate grows.
        factor: f64,
    },
}

/// A text is no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a strategy: takt, takt:GROWTH (linear, power, polynomial, exponential), fixed:SHARE, groups:COUNT or \
     exponential:RATE:FACTOR is expected, such as fixed:0.0625"
)]
pub struct StrategyError(String);

impl FromStr for Strategy {
    type Err = StrategyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || StrategyError(text.chars().take(60).collect());
        let parts: Vec<&str> = text.split(':').collect();
        let strategy = match parts[..] {
            ["takt"] => Self::Takt { growth: Growth::default() },
            ["takt", "linear"] => Self::Takt { growth: Growth::Linear },
            ["takt", "power"] => Self::Takt { growth: Growth::Power },
            ["takt", "polynomial"] => Self::Takt { growth: Growth::Polynomial },
            ["takt", "exponential"] => Self::Takt { growth: Growth::Exponential },
            ["fixed", share] => Self::Fixed { share: share.parse().map_err(|_| refused())? },
            ["groups", groups] => Self::Groups { groups: groups.parse().map_err(|_| refused())? },
            ["exponential", rate, factor] => Self::Exponential {
                rate: rate.parse().map_err(|_| refused())?,
                factor: factor.parse().map_err(|_| refused())?,
            },
            _ => return Err(refused()),
        };
        let sound = match strategy {
            Self::Takt { .. } => true,
            Self::Fixed { share } => share > 0.0 && share <= 1.0,
            Self::Groups { groups } => groups > 0,
            Self::Exponential { rate, factor } => rate > 0 && factor >= 1.0 && factor.is_finite(),
        };
        sound.then_some(strategy).ok_or_else(refused)
    }
}

impl TryFrom<String> for Strategy {
    type Error = StrategyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Takt { growth } if *growth == Growth::default() => f.write_str("takt"),
            Self::Takt { growth } => write!(f, "takt:{growth}"),
            Self::Fixed { share } => write!(f, "fixed:{share}"),
            Self::Groups { groups } => write!(f, "groups:{groups}"),
            Self::Exponential { rate, factor } => write!(f, "exponential:{rate}:{factor}"),
        }
    }
}

impl From<Strategy> for String {
    fn from(strategy: Strategy) -> Self {
        strategy.to_string()
    }
}

/// A scenario cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// A value out of its range.
    #[error("field '{field}': {value} is not {expected}")]
    Range {
        /// Of the scenario.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl Scenario {
    /// Whether every value is in its range.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let range = |sound: bool, field, value: String, expected| {
            if sound { Ok(()) } else { Err(ScenarioError::Range { field, value, expected }) }
        };
        let share = |field, value: f64| {
            range((0.0..=1.0).contains(&value), field, value.to_string(), "a share between 0 and 1")
        };
        let secs = |field, value: u64| range(value <= SECS_MAX, field, value.to_string(), "at most 30 days");
        let devices = (1..=DEVICES_MAX).contains(&self.devices);
        range(devices, "devices", self.devices.to_string(), "between 1 and 1,000,000")?;
        share("bad_fraction", self.bad_fraction)?;
        share("warning_fraction", self.warning_fraction)?;
        share("silent_fraction", self.silent_fraction)?;
        secs("failure_delay_s", self.failure_delay_s)?;
        secs("verify_s", self.verify_s)?;
        let sites = (1..=self.devices).contains(&self.sites);
        range(sites, "sites", self.sites.to_string(), "between 1 and the number of devices")?;
        let tolerance = self.tolerance > 0.0 && self.tolerance <= Regulation::TOLERANCE_MAX;
        range(tolerance, "tolerance", self.tolerance.to_string(), "above 0 and at most 0.5")?;
        for (progress, factor) in &self.infra {
            let sound = (0.0..=1.0).contains(progress) && *factor > 0.0 && factor.is_finite();
            let expected = "a progress between 0 and 1 with a factor above 0";
            range(sound, "infra", format!("[{progress}, {factor}]"), expected)?;
        }
        if let SiteOutages::Each(outages) = &self.site_outages {
            for (site, from, length) in outages {
                let sound = *site < self.sites && *from <= SECS_MAX && *length <= SECS_MAX;
                let expected = "[site, from second, for seconds] of a site, counted from 0, within 30 days";
                range(sound, "site_outages", format!("[{site}, {from}, {length}]"), expected)?;
            }
        }
        Ok(())
    }
}
