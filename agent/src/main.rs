//! `takt-agent`: one for each device.

use std::process::ExitCode;

use clap::Parser as _;
use takt_agent::cli::{Cli, Command};
use takt_agent::settings::Settings;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What failed, for the exit code.
enum Failure {
    Settings(String),
    Running(String),
}

fn main() -> ExitCode {
    takt_agent::memory::one_heap();
    let cli = Cli::parse();
    start_log();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(text)) => {
            eprintln!("takt-agent: failed to {text}");
            ExitCode::from(2)
        }
        Err(Failure::Running(text)) => {
            eprintln!("takt-agent: failed to {text}");
            ExitCode::FAILURE
        }
    }
}

/// Levels by target are all that a device's log needs; regular expressions for it would cost a tenth of the program.
fn start_log() {
    let wanted = std::env::var("TAKT_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    tracing_subscriber::registry()
        .with(lines)
        .with(wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO)))
        .init();
}

fn run(command: Command) -> Result<(), Failure> {
    let (Command::Run { config } | Command::Enrol { config, .. } | Command::Decommission { config, .. }) =
        &command;
    let settings = Settings::load(config).map_err(|error| Failure::Settings(takt_agent::sentence(&error)))?;
    if let Command::Decommission { yes, .. } = command {
        return decommission(&settings, yes);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| Failure::Running(format!("start the runtime: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Enrol { token, .. } => takt_agent::enrol::enrol(&settings, &token)
                .await
                .map(|membership| {
                    println!(
                        "{} is enrolled as {} in {}",
                        settings.name, membership.device, membership.domain
                    );
                })
                .map_err(|error| Failure::Running(takt_agent::sentence(&error))),
            Command::Run { .. } | Command::Decommission { .. } => {
                let stop = stop_on_signals().map_err(Failure::Running)?;
                let agent = takt_agent::agent::Agent::open(settings, &stop)
                    .map_err(|error| Failure::Running(takt_agent::sentence(&error)))?;
                Box::pin(agent.run(stop))
                    .await
                    .map_err(|error| Failure::Running(takt_agent::sentence(&error)))
            }
        }
    })
}

fn decommission(settings: &Settings, yes: bool) -> Result<(), Failure> {
    if !yes {
        let why = "decommission this device: it would lose its keys for ever; say it again with --yes";
        return Err(Failure::Settings(why.to_owned()));
    }
    let wiped = takt_agent::decommission::decommission(&settings.state_dir)
        .map_err(|error| Failure::Running(takt_agent::sentence(&error)))?;
    let name = &settings.name;
    if wiped {
        println!(
            "{name} is decommissioned: its keys and certificates are wiped, what runs on it runs on; tell its \
             coordinator by `takt device decommission {name}`"
        );
    } else {
        println!("{name} has no keys and no journal: there was nothing to wipe");
    }
    Ok(())
}

fn stop_on_signals() -> Result<CancellationToken, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let error = |error: std::io::Error| format!("watch for signals: {error}");
    let mut term = signal(SignalKind::terminate()).map_err(error)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(error)?;
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        on_signal.cancel();
        takt_agent::service::stopping();
    });
    Ok(stop)
}
