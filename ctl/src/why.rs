//! `takt why DEVICE`: what a device waits for, in sentences.

use clap::Args;
use takt_common::api::WhyView;

use crate::api::Api;
use crate::device::DeviceArg;
use crate::failure::Failure;
use crate::output::{Output, Tone};

/// `takt why`
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// A device's name or id
    #[arg(value_name = "DEVICE")]
    device: DeviceArg,
}

/// Shows what holds a device, the nearest cause first.
pub async fn run(args: WhyArgs, api: &Api, output: Output) -> Result<(), Failure> {
    let why: WhyView = api.get(&format!("/api/v1/devices/{}/why", args.device)).await?;
    Ok(output.give(&why, || lines(&why, output))?)
}

fn lines(why: &WhyView, output: Output) -> Vec<String> {
    let heading = if why.waiting {
        format!("{} is {}:", why.device, output.toned(Tone::Busy, "waiting"))
    } else {
        format!("{} is {}.", why.device, output.toned(Tone::Good, "not waiting"))
    };
    let mut lines = vec![heading];
    lines.extend(why.reasons.iter().map(|reason| format!("  - {reason}")));
    if let Some(nearest) = why.holds.first() {
        lines.push(format!("  released by: {}", nearest.released_by));
    }
    lines
}
