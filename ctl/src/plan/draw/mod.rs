//! `takt plan draw`: pictures that people can look at.

mod graph;
mod heatmap;

use std::path::PathBuf;

use clap::Args;

use super::forecast::Horizon;
use super::inputs::LoadArgs;
use super::{MeasureArg, PlanError, inputs, likeness};
use crate::failure::Failure;
use crate::file;
use crate::output::Output;

/// More of them on one picture are not looked at.
const DEVICES_MAX: usize = 1_000;

/// `takt plan draw`
#[derive(Debug, Args)]
#[group(id = "picture", required = true, multiple = false, args = ["edges", "heatmap"])]
pub struct DrawArgs {
    /// Draws who calls and requires whom: source,target,requests,bytes,requires[,weight]
    #[arg(long, value_name = "FILE")]
    edges: Option<PathBuf>,
    /// Draws how busy each device will be in each slot
    #[arg(long, requires = "workload")]
    heatmap: bool,
    /// For --heatmap: samples: device,slot_start,compute,memory,availability,response_ms,storage[,load]
    #[arg(long, value_name = "FILE", requires = "heatmap")]
    workload: Option<PathBuf>,
    #[command(flatten)]
    horizon: Horizon,
    #[command(flatten)]
    load: LoadArgs,
    /// The picture, as SVG; a file of this name is replaced
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(args: &DrawArgs, output: Output) -> Result<(), Failure> {
    let picture = match (&args.edges, &args.workload) {
        (Some(path), _) => {
            let network = inputs::edges(path)?;
            within(path, network.devices().len())?;
            let scores = network.scores(likeness(MeasureArg::Simrank, takt_planner::DECAY)?);
            graph::draw(&network, &scores)
        }
        (None, Some(path)) => {
            let outlooks = super::forecast::outlooks(path, None, args.horizon, &args.load)?;
            within(path, outlooks.len())?;
            heatmap::draw(&outlooks)
        }
        (None, None) => unreachable!("one of them is required"),
    };
    file::replace(&args.output, picture.to_string().as_bytes())?;
    Ok(output.line(&format!("drew {}", args.output.display()))?)
}

fn within(path: &std::path::Path, devices: usize) -> Result<(), PlanError> {
    if devices <= DEVICES_MAX {
        return Ok(());
    }
    Err(PlanError::TooManyToDraw { file: path.display().to_string(), devices, most: DEVICES_MAX })
}
