//! `takt plan check`: whether a plan keeps to the rules.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use takt_planner::{Plan, check_plan};

use super::PlanError;
use super::inputs::{Input, ProblemArgs};
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
    let input = Input::read(&args.plan)?;
    let plan: Plan = serde_json::from_slice(&input.bytes)
        .map_err(|source| PlanError::Plan { file: input.name.clone(), source })?;
    let inputs = args.problem.read()?;
    let violations = check_plan(&inputs.problem(), &plan);
    let first = violations.first().cloned();
    let count = violations.len();
    output.json_line(&CheckView { violations })?;
    first.map_or(Ok(()), |first| Err(PlanError::Violations { file: input.name, count, first }.into()))
}
