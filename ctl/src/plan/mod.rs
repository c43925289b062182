//! `takt plan …`: the planner on files, without a coordinator. Results are JSON.

mod advise;
mod chain;
mod check;
mod draw;
mod forecast;
mod inputs;
mod schedule;
mod similarity;

use std::num::NonZeroUsize;

use clap::{Subcommand, ValueEnum};
use takt_planner::{Conflict, InputError, Likeness, Measure};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::file::FileError;
use crate::output::Output;

/// `takt plan …`
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Ranks devices by how dependent they are: the dependency chain
    #[command(after_help = "Example:\n  takt plan chain --edges edges.csv --top 10")]
    Chain(chain::ChainArgs),
    /// Shows which devices are alike in what calls them, or in what they call
    #[command(after_help = "Example:\n  takt plan similarity --edges edges.csv --device camera-1")]
    Similarity(similarity::SimilarityArgs),
    /// Forecasts how busy devices will be
    #[command(after_help = "Example:\n  takt plan forecast --workload workload.csv --device camera-1")]
    Forecast(forecast::ForecastArgs),
    /// Gives each device a slot for its upgrade
    #[command(
        after_help = "Example:\n  takt plan schedule --edges edges.csv --drm drm.toml --workload workload.csv --policy policy.toml"
    )]
    Schedule(schedule::ScheduleArgs),
    /// Checks a plan, by other code than that which makes plans
    #[command(
        after_help = "Example:\n  takt plan check --plan plan.json --edges edges.csv --drm drm.toml --workload workload.csv --policy policy.toml"
    )]
    Check(check::CheckArgs),
    /// Advises on what is probably missing: edges that devices alike have, and devices that can stand in for each other
    #[command(
        after_help = "Example:\n  takt plan advise --edges edges.csv --drm drm.toml --rejected rejected.csv"
    )]
    Advise(advise::AdviseArgs),
    /// Draws the dependency graph, or the forecast as a heat map
    #[command(
        after_help = "Example:\n  takt plan draw --edges edges.csv -o graph.svg\n  takt plan draw --heatmap --workload workload.csv -o forecast.svg"
    )]
    Draw(draw::DrawArgs),
}

/// What makes devices alike.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum MeasureArg {
    /// They are called by devices that are alike, or call such (classic SimRank); 0 at unequal depth under one root
    Simrank,
    /// The same, also at unequal depth
    SimrankStar,
}

/// A plan is not made, or no good.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file is out of reach.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is refused.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A plan that was given is none.
    #[error("{file}, line {}: {source}", source.line())]
    Plan {
        /// The file.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A device that no file names.
    #[error("--device {name}: {file} does not name it")]
    UnknownDevice {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        file: String,
    },
    /// A decay outside of (0, 1).
    #[error("--c {0}: a number between 0 and 1 is expected")]
    Decay(f64),
    /// More devices than can be paired in memory.
    #[error(
        "{file}: {devices} devices are too many for all pairs, at most {most} are; ask for one with --device"
    )]
    TooMany {
        /// Where they stand.
        file: String,
        /// How many.
        devices: usize,
        /// How many are not too many.
        most: usize,
    },
    /// More devices than a picture can show.
    #[error("{file}: {devices} devices are too many for a picture, at most {most} are not")]
    TooManyToDraw {
        /// Where they stand.
        file: String,
        /// How many.
        devices: usize,
        /// How many are not too many.
        most: usize,
    },
    /// There is no plan.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A plan breaks the rules.
    #[error("{file}: {count} violations, the first: {first}")]
    Violations {
        /// The plan.
        file: String,
        /// How many.
        count: usize,
        /// One of them.
        first: String,
    },
}

impl PlanError {
    /// What the shell gets.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Conflict(_) | Self::Violations { .. } => Exit::Refused,
            _ => Exit::BadInput,
        }
    }
}

/// Does what a `takt plan` command asks for.
pub fn run(command: PlanCommand, output: Output) -> Result<(), Failure> {
    match command {
        PlanCommand::Chain(args) => chain::run(&args, output),
        PlanCommand::Similarity(args) => similarity::run(&args, output),
        PlanCommand::Forecast(args) => forecast::run(&args, output),
        PlanCommand::Schedule(args) => schedule::run(&args, output),
        PlanCommand::Check(args) => check::run(&args, output),
        PlanCommand::Advise(args) => advise::run(&args, output),
        PlanCommand::Draw(args) => draw::run(&args, output),
    }
}

fn likeness(measure: MeasureArg, decay: f64) -> Result<Likeness, PlanError> {
    if !(decay > 0.0 && decay < 1.0) {
        return Err(PlanError::Decay(decay));
    }
    let measure = match measure {
        MeasureArg::Simrank => Measure::SimRank,
        MeasureArg::SimrankStar => Measure::SimRankStar,
    };
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Ok(Likeness { measure, decay, threads, ..Likeness::default() })
}

/// How a measure is called in results.
const fn name(measure: MeasureArg) -> &'static str {
    match measure {
        MeasureArg::Simrank => "simrank",
        MeasureArg::SimrankStar => "simrank-star",
    }
}
