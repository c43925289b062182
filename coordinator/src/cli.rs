//! The command line of `takt-coordinator`, apart from the program, so that manual pages and completions are written
//! from it.

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand};

/// The coordinator of a Takt fleet.
///
/// Exit codes: 0 ended as asked, 1 failed while running, 2 bad settings or usage.
#[derive(Debug, Parser)]
#[command(name = "takt-coordinator", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the coordinator can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve devices (MQTT) and operators (HTTPS) until SIGTERM or SIGINT
    Serve {
        /// The settings file; if it does not exist it is made with the defaults, and keys beside it
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// The whole command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Arguments::command()
}
