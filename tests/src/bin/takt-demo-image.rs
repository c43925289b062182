//! `takt-demo-image`: writes an image archive of the demo's workload and prints its digests as JSON.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use takt_tests::image::{ImageError, Recipe, workload_binary};
use takt_workload::Nature;

/// Writes an image archive of the demo's workload, as `docker load` takes it, and prints its digests as JSON.
#[derive(Debug, Parser)]
struct Arguments {
    /// The version that the workload shows.
    #[arg(long)]
    version: String,
    /// good, sick, dies-after:MILLISECONDS, mute or wont-start.
    #[arg(long, default_value = "good")]
    nature: Nature,
    /// The archive to write.
    #[arg(long)]
    out: PathBuf,
    /// The static binary of the workload; built where neither this nor TAKT_DEMO_COUNTER names it.
    #[arg(long)]
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(shown) => {
            println!("{shown:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("takt-demo-image: failed to {:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<serde_json::Value, ImageError> {
    let binary = match arguments.binary {
        Some(path) => path,
        None => workload_binary()?,
    };
    let image = Recipe::counter(&arguments.version, arguments.nature, binary).build(&arguments.out)?;
    Ok(serde_json::json!({
        "archive": image.archive,
        "bytes": image.bytes,
        "sha256": image.sha256,
        "image_id": image.id,
    }))
}
