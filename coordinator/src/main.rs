//! `takt-coordinator`: runs a coordinator in the foreground.
//!
//! Exit codes: 0 ended as asked, 1 failed while running, 2 bad settings or usage.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use takt_coordinator::cli::{Arguments, Command};
use takt_coordinator::first_start::{self, FirstStartError, Start};
use takt_coordinator::{Settings, clock, serve, service};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Threads that drive connections; what blocks runs on others.
const WORKERS: usize = 2;

/// Threads that may wait for the disk at a time; commits that wait together share one flush.
const BLOCKING_THREADS: usize = 64;

const EXIT_FAILED: u8 = 1;
const EXIT_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let Command::Serve { config } = Arguments::parse().command;
    let filter = EnvFilter::try_from_env("TAKT_LOG").unwrap_or_else(|_| EnvFilter::new("info,rumqttd=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let settings = match first_start::settings(&config) {
        Ok(settings) => settings,
        Err(error) => {
            let code =
                if matches!(error, FirstStartError::Settings(_)) { EXIT_SETTINGS } else { EXIT_FAILED };
            return fail(code, &error.into());
        }
    };
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILED, &error),
    }
}

/// The whole chain, once, as one sentence.
fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("takt-coordinator: {}", format!("{error:#}").replace('\n', " "));
    ExitCode::from(code)
}

fn run(settings: Settings) -> anyhow::Result<()> {
    let start = first_start::prepare(&settings, clock::now())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        end_on_signals(&shutdown)?;
        let steps = first_start::next_steps(&settings);
        let running = serve(settings, shutdown).await?;
        if start == Start::First {
            println!("{steps}");
        }
        let listening = format!("HTTPS API on {}, MQTT gate on {}", running.api_addr, running.gate_addr);
        println!("{listening}");
        service::ready(&listening);
        Ok(running.stopped().await?)
    })
}

fn end_on_signals(shutdown: &CancellationToken) -> anyhow::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("listen for signals")?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                tracing::info!("shutdown asked for");
                shutdown.cancel();
                service::stopping();
            }
        });
    }
    Ok(())
}
