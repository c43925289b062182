//! `takt plan advise`: what is probably missing from graph and matrix.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use takt_planner::{DECAY, Doubt, Likeness, Network};

use super::{MeasureArg, inputs, likeness};
use crate::failure::Failure;
use crate::output::Output;

/// Similarities for advice need not be sharper.
const TOLERANCE: f64 = 1e-4;
/// The names of so many devices stand in a reason.
const NAMES_MAX: usize = 3;

/// `takt plan advise`
#[derive(Debug, Args)]
pub struct AdviseArgs {
    /// Who calls whom: source,target,requests,bytes,requires[,weight]
    #[arg(long, value_name = "FILE")]
    edges: PathBuf,
    /// Who stands in for whom already: devices with a standby get no advice
    #[arg(long, value_name = "FILE")]
    drm: Option<PathBuf>,
    /// Edges that were rejected before, in the same form as --edges: they are not advised again
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// Devices less similar are not alike, from 0 to 1
    #[arg(long, value_name = "SIMILARITY", default_value_t = 0.4, value_parser = share)]
    alike: f64,
    /// An edge is advised if so large a part of the devices alike have it, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.6, value_parser = share)]
    least: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    let fits = share > 0.0 && share <= 1.0;
    if fits { Ok(share) } else { Err("a number above 0 and up to 1 is expected".to_owned()) }
}

#[derive(Serialize)]
struct Advice<'n> {
    edges: Vec<EdgeAdvice<'n>>,
    standbys: Vec<StandbyAdvice<'n>>,
}

#[derive(Serialize)]
struct EdgeAdvice<'n> {
    source: &'n str,
    target: &'n str,
    requires: bool,
    weight: f64,
    confidence: f64,
    reason: String,
}

#[derive(Serialize)]
struct StandbyAdvice<'n> {
    device: &'n str,
    by: &'n str,
    similarity: f64,
    reason: String,
}

pub(super) fn run(args: &AdviseArgs, output: Output) -> Result<(), Failure> {
    let likeness = Likeness { tolerance: TOLERANCE, ..likeness(MeasureArg::Simrank, DECAY)? };
    let network = inputs::edges(&args.edges)?;
    inputs::paired(&network, args.edges.display().to_string())?;
    let rejected = args.rejected.as_deref().map(inputs::edges).transpose()?.unwrap_or_default();
    let drm = args.drm.as_deref().map(|drm| inputs::drm(drm, &network)).transpose()?.unwrap_or_default();
    let served: BTreeSet<u32> = drm.standbys.iter().map(|standby| standby.device).collect();
    let doubt = Doubt { alike_min: args.alike, share_min: args.least };
    let advice = Advice {
        edges: edges(&network, &pairs(&rejected), likeness, doubt),
        standbys: standbys(&network, &served, likeness, args.alike),
    };
    Ok(output.json_line(&advice)?)
}

/// The names of who calls whom.
fn pairs(network: &Network) -> BTreeSet<(&str, &str)> {
    let name = |device: u32| network.devices()[device as usize].as_str();
    network.edges().iter().map(|edge| (name(edge.source), name(edge.target))).collect()
}

fn edges<'n>(
    network: &'n Network,
    rejected: &BTreeSet<(&str, &str)>,
    likeness: Likeness,
    doubt: Doubt,
) -> Vec<EdgeAdvice<'n>> {
    let name = |device: u32| network.devices()[device as usize].as_str();
    let likely = network.likely_edges(likeness, doubt).into_iter();
    let news = likely.filter(|edge| !rejected.contains(&(name(edge.source), name(edge.target))));
    let advice = news.map(|edge| {
        let like: Vec<&str> = edge.like.iter().take(NAMES_MAX).map(|device| name(*device)).collect();
        let more = edge.like.len().saturating_sub(NAMES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        EdgeAdvice {
            source: name(edge.source),
            target: name(edge.target),
            requires: edge.requires,
            weight: edge.weight,
            confidence: edge.share,
            reason: format!(
                "{}{more}, which call what {} calls, call {} too",
                like.join(", "),
                name(edge.source),
                name(edge.target)
            ),
        }
    });
    advice.collect()
}

fn standbys<'n>(
    network: &'n Network,
    served: &BTreeSet<u32>,
    likeness: Likeness,
    alike: f64,
) -> Vec<StandbyAdvice<'n>> {
    let name = |device: u32| network.devices()[device as usize].as_str();
    let likely = network.likely_standbys(likeness, alike).into_iter();
    let advice = likely.filter(|one| !served.contains(&one.device)).map(|one| StandbyAdvice {
        device: name(one.device),
        by: name(one.by),
        similarity: one.similarity,
        reason: format!(
            "{} and {} are called by and call the same kind of devices",
            name(one.device),
            name(one.by)
        ),
    });
    advice.collect()
}
