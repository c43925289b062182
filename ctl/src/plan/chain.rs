//! `takt plan chain`: the Device Dependency Chain of an edges file.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use takt_planner::DECAY;

use super::{MeasureArg, inputs, likeness, name};
use crate::failure::Failure;
use crate::output::Output;

/// `takt plan chain`
#[derive(Debug, Args)]
pub struct ChainArgs {
    /// Who calls whom: source,target,requests,bytes,requires[,weight]
    #[arg(long, value_name = "FILE")]
    edges: PathBuf,
    /// What makes devices alike
    #[arg(long, value_enum, default_value = "simrank")]
    measure: MeasureArg,
    /// The decay C of paper 1
    #[arg(long, value_name = "C", default_value_t = DECAY)]
    c: f64,
    /// Only so many devices, from the most dependent one
    #[arg(long, value_name = "N")]
    top: Option<usize>,
}

#[derive(Serialize)]
struct ChainView<'a> {
    c: f64,
    measure: &'static str,
    error_bound: f64,
    devices: Vec<RankView<'a>>,
}

#[derive(Serialize)]
struct RankView<'a> {
    device: &'a str,
    rank: usize,
    score: f64,
    score_in: f64,
    score_out: f64,
}

pub(super) fn run(args: &ChainArgs, output: Output) -> Result<(), Failure> {
    let likeness = likeness(args.measure, args.c)?;
    let network = inputs::edges(&args.edges)?;
    let scores = network.scores(likeness);
    let totals = scores.totals();
    let view = |(rank, device): (usize, u32)| {
        let number = device as usize;
        RankView {
            device: &network.devices()[number],
            rank,
            score: totals[number],
            score_in: scores.score_in[number],
            score_out: scores.score_out[number],
        }
    };
    let top = args.top.unwrap_or(usize::MAX);
    let devices = (1..).zip(scores.ranked()).take(top).map(view).collect();
    let view = ChainView { c: args.c, measure: name(args.measure), error_bound: scores.error_bound, devices };
    Ok(output.json_line(&view)?)
}
