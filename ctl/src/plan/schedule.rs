//! `takt plan schedule`: a slot for each device.

use clap::{Args, ValueEnum};
use takt_planner::{Method, Plan, make_plan};

use super::inputs::{Inputs, ProblemArgs};
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
    Ok(output.json_line(&plan(&inputs, method, &enough)?)?)
}

fn plan(inputs: &Inputs, method: Method, enough: &dyn Fn() -> bool) -> Result<Plan, PlanError> {
    let likeness = likeness(MeasureArg::Simrank, takt_planner::DECAY)?;
    let scores = inputs.network.scores(likeness).totals();
    Ok(make_plan(&inputs.problem(), &inputs.forecasts.intervals, &scores, method, enough)?)
}
