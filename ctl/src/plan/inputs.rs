//! The files of a command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use takt_planner::{
    DEVICES_PAIRED_MAX, Forecasts, LoadWeights, Network, Plan, Problem, SchedulePolicy, Series, read_drm,
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

/// How many devices there are, if they are few enough for similarities of all pairs.
pub(super) fn paired(network: &Network, file: String) -> Result<usize, PlanError> {
    let devices = network.devices().len();
    let fits = devices <= DEVICES_PAIRED_MAX;
    if fits { Ok(devices) } else { Err(PlanError::TooMany { file, devices, most: DEVICES_PAIRED_MAX }) }
}

pub(super) fn drm(path: &Path, network: &Network) -> Result<takt_planner::Drm, PlanError> {
    let input = Input::read(path)?;
    Ok(read_drm(&input.name, &input.bytes, network)?)
}

pub(super) fn workload(path: &Path, weights: LoadWeights) -> Result<Vec<Series>, PlanError> {
    let input = Input::read(path)?;
    Ok(read_workload(&input.name, &input.bytes, weights)?)
}

/// A plan as `takt plan schedule` writes it.
pub(super) fn plan(path: &Path) -> Result<Plan, PlanError> {
    let input = Input::read(path)?;
    serde_json::from_slice(&input.bytes).map_err(|source| PlanError::Plan { file: input.name, source })
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
        let drm = drm(&self.drm, &network)?;
        let input = Input::read(&self.policy)?;
        let policy = read_policy(&input.name, &input.bytes, &network)?;
        let forecasts = Forecasts::of(&network, &series, &policy.slots);
        Ok(Inputs { network, drm, policy, forecasts })
    }
}

impl Inputs {
    /// The slots that devices have by another plan, as far as they are slots of this one: by the devices' numbers.
    pub(super) fn slots_of(&self, plan: &Plan) -> Vec<Option<usize>> {
        let slots = &self.policy.slots;
        let starts: BTreeMap<String, usize> =
            (0..slots.open.len()).map(|slot| (slots.rfc3339(slot), slot)).collect();
        let mut found = vec![None; self.network.devices().len()];
        for assignment in &plan.assignments {
            if let Some(device) = self.network.find(&assignment.device) {
                found[device as usize] = starts.get(&assignment.slot_start).copied();
            }
        }
        found
    }

    pub(super) fn problem(&self) -> Problem<'_> {
        self.policy.problem(&self.network, &self.drm, &self.forecasts.loads)
    }
}
