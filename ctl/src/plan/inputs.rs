//! The files of a command.

use std::path::{Path, PathBuf};

use clap::Args;
use takt_planner::{
    Forecasts, LoadWeights, Network, Problem, SchedulePolicy, Series, common_step, outlook, read_drm,
    read_edges, read_policy, read_workload,
};

use super::PlanError;
use crate::file;

/// The largest file: some millions of samples.
const LENGTH_MAX: u64 = 1024 * 1024 * 1024;

/// A file's content and name.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl Input {
    pub(super) fn read(path: &Path) -> Result<Self, PlanError> {
        Ok(Self { name: path.display().to_string(), bytes: file::read_bytes(path, LENGTH_MAX)? })
    }
}

pub(super) fn edges(path: &Path) -> Result<Network, PlanError> {
    let input = Input::read(path)?;
    Ok(read_edges(&input.name, &input.bytes)?)
}

pub(super) fn workload(path: &Path, weights: LoadWeights) -> Result<Vec<Series>, PlanError> {
    let input = Input::read(path)?;
    Ok(read_workload(&input.name, &input.bytes, weights)?)
}

/// What a load is where the file has no column for it.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// What compute counts in a load that the file does not give
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, value_parser = weight)]
    compute_weight: f64,
    /// What memory counts
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, value_parser = weight)]
    memory_weight: f64,
}

fn weight(text: &str) -> Result<f64, String> {
    let weight: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    if weight > 0.0 && weight <= 1e6 { Ok(weight) } else { Err("a number above 0 is expected".to_owned()) }
}

impl LoadArgs {
    pub(super) const fn weights(&self) -> LoadWeights {
        LoadWeights { compute: self.compute_weight, memory: self.memory_weight }
    }
}

/// The files that a schedule is made of, and checked against.
#[derive(Debug, Args)]
pub(super) struct ProblemArgs {
    /// Who calls and requires whom: source,target,requests,bytes,requires[,weight]
    #[arg(long, value_name = "FILE")]
    edges: PathBuf,
    /// Who stands in for whom, and how many of a set serve
    #[arg(long, value_name = "FILE")]
    drm: PathBuf,
    /// Samples: device,slot_start,compute,memory,availability,response_ms,storage[,load]
    #[arg(long, value_name = "FILE")]
    workload: PathBuf,
    /// Slots, windows, limits
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    load: LoadArgs,
}

/// All that a schedule stands on.
pub(super) struct Inputs {
    pub(super) network: Network,
    pub(super) drm: takt_planner::Drm,
    pub(super) policy: SchedulePolicy,
    pub(super) forecasts: Forecasts,
}

impl ProblemArgs {
    pub(super) fn read(&self) -> Result<Inputs, PlanError> {
        let series = workload(&self.workload, self.load.weights())?;
        let network = edges(&self.edges)?.with(series.iter().map(|series| series.device.as_str()));
        let input = Input::read(&self.drm)?;
        let drm = read_drm(&input.name, &input.bytes, &network)?;
        let input = Input::read(&self.policy)?;
        let policy = read_policy(&input.name, &input.bytes, &network)?;
        let forecasts = forecasts(&network, &series, &policy);
        Ok(Inputs { network, drm, policy, forecasts })
    }
}

impl Inputs {
    pub(super) fn problem(&self) -> Problem<'_> {
        self.policy.problem(&self.network, &self.drm, &self.forecasts.loads)
    }
}

fn forecasts(network: &Network, series: &[Series], policy: &SchedulePolicy) -> Forecasts {
    let step = common_step(series);
    let slots = &policy.slots;
    let end = slots.at(slots.open.len());
    let mut forecasts = Forecasts::default();
    for device in network.devices() {
        let known =
            series.binary_search_by(|series| series.device.cmp(device)).ok().map(|found| &series[found]);
        let outlook = known.and_then(|series| {
            let last = series.samples.last()?.at;
            let horizon = usize::try_from((end - last).max(0) / step + 1).unwrap_or(1);
            outlook(series, step, horizon)
        });
        let known = known.zip(outlook.as_ref());
        forecasts.add(known, step, slots.start, slots.seconds, slots.open.len());
    }
    forecasts
}
