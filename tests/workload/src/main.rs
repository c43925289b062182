//! `takt-demo-counter`: counts in memory and serves the count at `$BIND:$PORT`, in the manner of its `$NATURE`.
//!
//! `GET /` counts and shows, `GET /counter` shows, `GET /health` answers 200 or 500. SIGTERM and SIGINT end it
//! at once with exit code 0.

use std::error::Error;
use std::net::TcpListener;
use std::process::{ExitCode, exit};
use std::sync::{Arc, mpsc};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use takt_workload::{Counter, Nature, Settings, serve};

/// The exit code of a release that will not start: what a shell says of a missing program.
const WONT_START_CODE: u8 = 127;
/// The exit code of a release that dies.
const DIES_CODE: i32 = 1;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let mut text = format!("takt-demo-counter: failed to {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    if settings.nature == Nature::WontStart {
        return Ok(ExitCode::from(WONT_START_CODE));
    }
    exit_on_signals()?;
    if let Nature::DiesAfter(life) = settings.nature {
        thread::spawn(move || {
            // Nothing is ever sent: a wait that nothing wakes early.
            let (_sender, never) = mpsc::channel::<()>();
            let _timeout = never.recv_timeout(life);
            exit(DIES_CODE);
        });
    }
    // The standard library sets SO_REUSEADDR, so a restart does not wait for old connections.
    let listener = TcpListener::bind(settings.address)
        .map_err(|error| format!("listen at {}: {error}", settings.address))?;
    println!("takt-demo-counter {} ({}) serves at {}", settings.version, settings.nature, settings.address);
    serve(&Arc::new(Counter::new(settings)), &listener)?;
    Ok(ExitCode::SUCCESS)
}

/// A container's first process must take its signals itself: the kernel drops those it neither handles nor
/// blocks. They are blocked here, before any other thread exists, and one thread waits for them.
fn exit_on_signals() -> Result<(), Box<dyn Error>> {
    let mut ending = SigSet::empty();
    ending.add(Signal::SIGTERM);
    ending.add(Signal::SIGINT);
    ending.thread_block().map_err(|error| format!("block signals: {error}"))?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if ending.wait().is_ok() {
            exit(0);
        }
    })?;
    Ok(())
}
