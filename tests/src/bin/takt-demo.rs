//! `takt-demo`: the whole path once, on this machine, with real containers.
//!
//! Exit codes: 0 all was seen, 1 something was not or the demo could not go on, 130 ended by a signal.

use std::process::ExitCode;

use takt_tests::demo::{self, Verdict};
use takt_tests::fleet::FleetError;

const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match demo::run() {
        Ok(Verdict::AllSeen) => ExitCode::SUCCESS,
        Ok(Verdict::Missing) => ExitCode::FAILURE,
        Err(FleetError::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) => {
            eprintln!("takt-demo: failed to {:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}
