//! `takt plan forecast`: how busy devices will be.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use takt_planner::{Backtest, ModelName, Outlook, SlotLoad, common_step, outlook};

use super::inputs::LoadArgs;
use super::{PlanError, inputs};
use crate::failure::Failure;
use crate::output::Output;

/// `takt plan forecast`
#[derive(Debug, Args)]
pub struct ForecastArgs {
    /// Samples: device,slot_start,compute,memory,availability,response_ms,storage[,load]
    #[arg(long, value_name = "FILE")]
    workload: PathBuf,
    /// Only this device
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[command(flatten)]
    horizon: Horizon,
    #[command(flatten)]
    load: LoadArgs,
}

/// How far a forecast goes.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Horizon {
    /// How many slots ahead
    #[arg(long, value_name = "SLOTS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=8784))]
    horizon: u16,
}

#[derive(Serialize)]
struct OutlookView {
    device: String,
    model: ModelName,
    /// Null with less than three days of history.
    backtest: Option<Backtest>,
    slots: Vec<SlotView>,
    best_slot: SlotView,
}

#[derive(Serialize, Clone)]
struct SlotView {
    slot_start: String,
    load: f64,
    low: f64,
    high: f64,
}

fn slot(slot: &SlotLoad) -> SlotView {
    SlotView { slot_start: slot.slot_start(), load: slot.load, low: slot.low, high: slot.high }
}

fn view(outlook: Outlook) -> OutlookView {
    let slots: Vec<SlotView> = outlook.slots.iter().map(slot).collect();
    let best_slot = slots[outlook.best].clone();
    OutlookView { device: outlook.device, model: outlook.model, backtest: outlook.backtest, slots, best_slot }
}

pub(super) fn run(args: &ForecastArgs, output: Output) -> Result<(), Failure> {
    let outlooks = outlooks(&args.workload, args.device.as_deref(), args.horizon, &args.load)?;
    let views: Vec<OutlookView> = outlooks.into_iter().map(view).collect();
    Ok(output.json_line(&views)?)
}

/// Of one device of a file, or of all.
pub(super) fn outlooks(
    workload: &Path,
    device: Option<&str>,
    horizon: Horizon,
    load: &LoadArgs,
) -> Result<Vec<Outlook>, PlanError> {
    let mut all = inputs::workload(workload, load.weights())?;
    let step = common_step(&all);
    if let Some(name) = device {
        all.retain(|series| series.device == name);
        if all.is_empty() {
            let file = workload.display().to_string();
            return Err(PlanError::UnknownDevice { name: name.to_owned(), file });
        }
    }
    let horizon = usize::from(horizon.horizon);
    Ok(all.iter().filter_map(|series| outlook(series, step, horizon)).collect())
}
