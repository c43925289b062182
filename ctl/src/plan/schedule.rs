//! `takt plan schedule`: a slot for each device.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use takt_planner::{Kept, Method, Plan, make_plan};

use super::inputs::{Inputs, ProblemArgs, plan};
use super::{MeasureArg, PlanError, likeness};
use crate::clock::timer;
use crate::failure::Failure;
use crate::output::Output;

/// `takt plan schedule`
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    #[command(flatten)]
    problem: ProblemArgs,
    /// How
    #[arg(long, value_enum, default_value = "optimal")]
    method: MethodArg,
    /// A plan that is there already, as this command writes it: as few devices as can be are moved away from it
    #[arg(long, value_name = "PLAN")]
    keep: Option<PathBuf>,
    /// With --keep: a device moves where that saves so many percent points of predicted load, too
    #[arg(long, value_name = "POINTS", requires = "keep", value_parser = points)]
    move_cost: Option<f64>,
}

fn points(text: &str) -> Result<f64, String> {
    let points: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    if (0.0..=1e9).contains(&points) {
        Ok(points)
    } else {
        Err("a number of at least 0 is expected".to_owned())
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MethodArg {
    /// As paper 1 has it: the device whose least busy slot is the earliest first, then the least dependent
    Paper,
    /// Least predicted disruption, then soonest done
    Optimal,
}

pub(super) fn run(args: &ScheduleArgs, output: Output) -> Result<(), Failure> {
    let inputs = args.problem.read()?;
    let enough = timer(inputs.policy.time_limit);
    let method = match args.method {
        MethodArg::Paper => Method::Paper,
        MethodArg::Optimal => Method::Optimal,
    };
    let before = args.keep.as_deref().map(plan).transpose()?.map(|plan| inputs.slots_of(&plan));
    let kept = before.as_deref().map(|slots| {
        let fewest = Kept::fewest_moves(slots);
        Kept { move_cost: args.move_cost.unwrap_or(fewest.move_cost), ..fewest }
    });
    Ok(output.json_line(&make(&inputs, method, kept, &enough)?)?)
}

fn make(
    inputs: &Inputs,
    method: Method,
    kept: Option<Kept<'_>>,
    enough: &dyn Fn() -> bool,
) -> Result<Plan, PlanError> {
    let likeness = likeness(MeasureArg::Simrank, takt_planner::DECAY)?;
    let scores = inputs.network.scores(likeness).totals();
    let mut problem = inputs.problem();
    problem.kept = kept;
    Ok(make_plan(&problem, &inputs.forecasts.intervals, &scores, method, enough)?)
}
