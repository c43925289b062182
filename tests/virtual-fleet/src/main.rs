//! `takt-fleet`: enrols and runs virtual devices until it is told to end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use takt_fleet::{FleetSpec, VirtualFleet, raise_open_files};
use tokio::signal::unix::{SignalKind, signal};

/// From one line of counts to the next.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Runs virtual devices against a coordinator: real decisions, keys, signatures, MQTT and TLS on simulated machines.
///
/// The coordinator must let so many connections come from one address: [gate] connections_max and
/// connections_per_source_max.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The coordinator's HTTPS address
    #[arg(long, value_name = "URL")]
    url: String,
    /// The certificate of the fleet CA (ca.pem)
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Enrolment tokens for so many devices together, as `takt enrol token` prints them; may be given several times, and
    /// one for each hundred devices lets them enrol beside each other
    #[arg(
        long = "token",
        value_name = "TOKEN",
        required = true,
        value_delimiter = ',',
        env = "TAKT_ENROL_TOKENS",
        hide_env_values = true
    )]
    tokens: Vec<String>,
    /// How many devices
    #[arg(long, value_name = "N")]
    count: usize,
    /// Devices are called PREFIX-NUMBER
    #[arg(long, default_value = "virtual")]
    prefix: String,
    /// The number of the first device
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    first: usize,
    /// The hardware of all devices
    #[arg(long, value_name = "NAME", default_value = "virtual")]
    hardware: String,
    /// The share of devices, 0 to 1, that find every new release ill and roll it back
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    bad: f64,
    /// Seconds from one health sample of a device to the next
    #[arg(long, value_name = "SECS", default_value_t = 30)]
    health: u64,
    /// How many agents begin to connect in a second
    #[arg(long, value_name = "N", default_value_t = 400)]
    connect_per_sec: u32,
    /// The final counts as JSON, and no line per second
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("takt-fleet: failed to {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(until_told(arguments))
}

async fn until_told(arguments: &Arguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("hear SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("hear SIGINT")?;
    let spec = FleetSpec {
        prefix: arguments.prefix.clone(),
        first: arguments.first,
        hardware: arguments.hardware.clone(),
        health_interval: Duration::from_secs(arguments.health.max(1)),
        connect_per_sec: arguments.connect_per_sec,
        ..FleetSpec::new(&arguments.url, &arguments.ca, arguments.tokens.clone(), arguments.count)
    };
    let enrolled = tokio::select! {
        enrolled = VirtualFleet::enrol(&spec) => Some(enrolled?),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let Some(mut fleet) = enrolled else { return Ok(()) };
    fleet.let_be_ill(arguments.bad);
    fleet.connect();
    let mut tick = tokio::time::interval(LINE_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        if !arguments.json {
            println!("{}", fleet.counts());
        }
    }
    let counts = fleet.counts();
    let ended = fleet.stop().await;
    if arguments.json {
        println!("{}", serde_json::to_string(&counts).context("write the counts")?);
    } else {
        println!("{counts}");
    }
    anyhow::ensure!(ended == 0, "keep all agents running: {ended} have ended");
    Ok(())
}
