//! `takt plan check`: whether a plan keeps to the rules.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use takt_planner::check_plan;

use super::PlanError;
use super::inputs::{ProblemArgs, plan};
use crate::failure::Failure;
use crate::output::Output;

/// `takt plan check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The plan, as `takt plan schedule` writes it
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    #[command(flatten)]
    problem: ProblemArgs,
}

#[derive(Serialize)]
struct CheckView {
    violations: Vec<String>,
}

pub(super) fn run(args: &CheckArgs, output: Output) -> Result<(), Failure> {
    let plan = plan(&args.plan)?;
    let inputs = args.problem.read()?;
    let violations = check_plan(&inputs.problem(), &plan);
    let first = violations.first().cloned();
    let count = violations.len();
    output.json_line(&CheckView { violations })?;
    let file = args.plan.display().to_string();
    first.map_or(Ok(()), |first| Err(PlanError::Violations { file, count, first }.into()))
}
