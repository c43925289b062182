//! How a campaign is to be regulated, as options.

use clap::{Args, ValueEnum};
use takt_common::regulation::{Growth, OnAbort, Regulation};

use crate::span;

/// Options of `takt campaign start`.
#[derive(Debug, Args)]
pub struct RegulationArgs {
    /// The share of devices that may fail: 2% or 0.02; more end the campaign
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = share)]
    tolerance: f64,
    /// The share of devices that may be verified with a warning; more slow the campaign down
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    warning_tolerance: f64,
    /// How elements grow while all goes well
    #[arg(long, value_enum, default_value_t = GrowthArg::Exponential)]
    growth: GrowthArg,
    /// How long the devices of an element are watched before the next one begins; 0s for not at all
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span::parse_secs_or_zero)]
    observe: u64,
    /// What becomes of devices on a release that failed too often
    #[arg(long, value_enum, default_value_t = OnAbortArg::Hold)]
    on_abort: OnAbortArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GrowthArg {
    /// By the same number of devices each time
    Linear,
    /// With the square of their number
    Power,
    /// By a number of devices that grows each time
    Polynomial,
    /// By the same factor each time
    Exponential,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnAbortArg {
    /// Devices that were verified keep it
    Hold,
    /// They are brought back to what they ran before, standbys first
    Rollback,
}

impl From<RegulationArgs> for Regulation {
    fn from(args: RegulationArgs) -> Self {
        Self {
            tolerance: args.tolerance,
            warning_tolerance: args.warning_tolerance,
            growth: match args.growth {
                GrowthArg::Linear => Growth::Linear,
                GrowthArg::Power => Growth::Power,
                GrowthArg::Polynomial => Growth::Polynomial,
                GrowthArg::Exponential => Growth::Exponential,
            },
            observe_secs: args.observe,
            on_abort: match args.on_abort {
                OnAbortArg::Hold => OnAbort::Hold,
                OnAbortArg::Rollback => OnAbort::Rollback,
            },
        }
    }
}

/// A text is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a share: a number between 0 and 1, or a percentage such as 2%, is expected")]
struct ShareError(String);

/// `2%` or `0.02`.
fn share(text: &str) -> Result<f64, ShareError> {
    let refused = || ShareError(text.chars().take(40).collect());
    let (number, part) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().map_err(|_| refused())? / part;
    (0.0..=1.0).contains(&share).then_some(share).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_read_as_percentages_and_as_numbers() {
        for (text, value) in [("2%", 0.02), ("0.02", 0.02), ("0.5 %", 0.005), ("1", 1.0), ("0", 0.0)] {
            assert!((share(text).unwrap() - value).abs() < 1e-12, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "%", "2", "-1%", "NaN", "101%", "two"] {
            let error = share(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{text}' is not a share")), "{error}");
        }
    }
}
