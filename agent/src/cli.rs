//! The command line of `takt-agent`, apart from the program, so that manual pages and completions are written from it.

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Upgrades this device when its coordinator orders it and it is safe, and keeps a way back.
///
/// Exit codes: 0 stopped as asked, 1 failed, 2 bad usage or settings.
#[derive(Debug, Parser)]
#[command(name = "takt-agent", version, about, long_about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the agent can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until SIGTERM or SIGINT.
    Run {
        /// The settings file.
        #[arg(long, value_name = "FILE", default_value = "/etc/takt/agent.toml")]
        config: PathBuf,
    },
    /// Make this device a member of a fleet: once, with a token from `takt enrol token`.
    Enrol {
        /// The settings file.
        #[arg(long, value_name = "FILE", default_value = "/etc/takt/agent.toml")]
        config: PathBuf,
        /// The token.
        #[arg(long, env = "TAKT_ENROL_TOKEN", hide_env_values = true)]
        token: String,
    },
    /// Take this device out of its fleet: wipe its keys and certificates. What runs on it runs on. Stop the agent first; the
    /// coordinator is told by `takt device decommission`.
    Decommission {
        /// The settings file.
        #[arg(long, value_name = "FILE", default_value = "/etc/takt/agent.toml")]
        config: PathBuf,
        /// Really do it: it cannot be undone.
        #[arg(long)]
        yes: bool,
    },
}

/// The whole command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}
