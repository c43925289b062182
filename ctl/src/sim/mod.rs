//! `takt sim`: a whole campaign in virtual time, by the coordinator's own loops. The result is JSON.

mod plot;

use std::path::PathBuf;

use clap::Args;
use takt_sim::{Scenario, ScenarioError};

use crate::failure::Failure;
use crate::file::{self, SyntaxError};
use crate::output::Output;

pub(crate) const EXAMPLE: &str = "Example:\n  takt sim --scenario scenario.toml --plot sizes.svg";

/// `takt sim`
#[derive(Debug, Args)]
pub struct SimArgs {
    /// The scenario, as TOML: devices, seed, strategy, bad_fraction, failure_delay_s, warning_fraction, silent_fraction, sites,
    /// site_outages, infra, verify_s, tolerance; all of them optional
    #[arg(long, value_name = "FILE")]
    scenario: PathBuf,
    /// Draws the size of each element over the progress, as SVG; a file of this name is replaced
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// A scenario is refused.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Not TOML, or not a scenario.
    #[error("{}, {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: SyntaxError,
    },
    /// A value that no scenario can have.
    #[error("{}: {source}", path.display())]
    Scenario {
        /// The file.
        path: PathBuf,
        /// Which and why.
        source: ScenarioError,
    },
}

/// Runs a scenario and gives what came of it.
pub(crate) fn run(args: &SimArgs, output: Output) -> Result<(), Failure> {
    let path = args.scenario.clone();
    let text = file::read_text(&path)?;
    let scenario: Scenario =
        file::from_toml(&text).map_err(|source| SimError::Syntax { path: path.clone(), source })?;
    let result = takt_sim::run(&scenario).map_err(|source| SimError::Scenario { path, source })?;
    if let Some(picture) = &args.plot {
        file::replace(picture, plot::draw(&scenario, &result).to_string().as_bytes())?;
    }
    Ok(output.json_line(&result)?)
}
