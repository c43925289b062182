//! How fast campaigns go, and what is told of it (paper 2, "Speed Regulation").

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::UnixTime;

/// How a campaign is regulated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Regulation {
    /// The share of devices that may fail, above 0 and at most 0.5. A release that fails on at most half of it is let through.
    pub tolerance: f64,
    /// The share of devices that may be verified with a warning, above 0 and at most 1; more slow the campaign down.
    pub warning_tolerance: f64,
    /// How elements grow while all goes well.
    pub growth: Growth,
    /// Seconds for which the devices of an element are watched after they were verified before the next element begins; a quarter of it
    /// in stage `generalization`. A campaign that has finished watches its devices for as long: what fails then counts still.
    pub observe_secs: u64,
    /// What becomes of devices on a release that failed too often.
    pub on_abort: OnAbort,
}

impl Regulation {
    /// The largest tolerance of failures; beyond it nothing would be regulated.
    pub const TOLERANCE_MAX: f64 = 0.5;
    /// The longest observation, in seconds: 30 days.
    pub const OBSERVE_SECS_MAX: u64 = 30 * 86_400;
}

impl Default for Regulation {
    fn default() -> Self {
        Self {
            tolerance: 0.02,
            warning_tolerance: 0.05,
            growth: Growth::default(),
            observe_secs: 3_600,
            on_abort: OnAbort::default(),
        }
    }
}

/// How elements grow while all goes well (paper 2: "linear, power, polynomial, exponential").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// By the same number of devices each time.
    Linear,
    /// With the square of their number.
    Power,
    /// By a number of devices that grows each time.
    Polynomial,
    /// By the same factor each time.
    #[default]
    Exponential,
}

/// What becomes of devices on a release that failed too often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnAbort {
    /// Devices that were verified keep it.
    #[default]
    Hold,
    /// They are brought back to what they ran before, elements at a time, standbys first.
    Rollback,
}

/// How far a campaign is (paper 2: phases by the share of devices that have ended).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Few devices: least is tolerated.
    #[default]
    Test,
    /// More of them, at moderate speed.
    Cautious,
    /// As many as possible.
    Generalization,
}

/// What was decided for the next element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speed {
    /// More devices.
    Faster,
    /// As many.
    Same,
    /// Fewer.
    Slower,
    /// None: the campaign is aborted.
    Abort,
}

/// An element that has ended, with what followed from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElementView {
    /// Its number, from 0.
    pub index: u32,
    /// In which stage the campaign was when it had ended.
    pub stage: Stage,
    /// Its devices.
    pub size: u32,
    /// Those on which the release failed, or that fell silent.
    pub errors: u32,
    /// Those that were verified with a warning.
    pub warnings: u32,
    /// How long the coordinator took for a report meanwhile, in milliseconds; nothing where nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<f64>,
    /// What was decided.
    pub decision: Speed,
    /// Why, with numbers.
    pub reason: String,
    /// When its first device began.
    pub began: UnixTime,
    /// When it was decided upon.
    pub ended: UnixTime,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear",
            Self::Power => "power",
            Self::Polynomial => "polynomial",
            Self::Exponential => "exponential",
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Test => "test",
            Self::Cautious => "cautious",
            Self::Generalization => "generalization",
        })
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Same => "same",
            Self::Slower => "slower",
            Self::Abort => "abort",
        })
    }
}
