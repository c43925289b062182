//! Restarts: of the machine, or of this agent by its service.

use std::process::Stdio;
use std::time::Duration;

use takt_agent_core::action::Restarted;
use takt_agent_core::failure::Natured;
use takt_agent_core::{ActionFailure, Nature};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::failure::failure;

/// How long a machine may take to go down before the reboot counts as failed.
const GOING_DOWN_MAX: Duration = Duration::from_mins(5);
/// How long the agent may take to end.
const ENDING_MAX: Duration = Duration::from_mins(1);

/// What restarts the machine: a command line of the settings.
#[derive(Debug, Clone)]
pub struct Restarter {
    /// The command that reboots.
    pub reboot: Vec<String>,
    /// Ends this agent; its service starts it anew.
    pub stop: CancellationToken,
}

/// A restart did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// The command cannot be run.
    #[error("run '{command}'")]
    Run {
        /// Which.
        command: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It failed.
    #[error("'{command}' ended with {status}")]
    Refused {
        /// Which.
        command: String,
        /// How.
        status: std::process::ExitStatus,
    },
    /// Nothing happened.
    #[error("{what} is still up {} s after it was told to restart", limit.as_secs())]
    StillUp {
        /// What.
        what: Restarted,
        /// How long it had.
        limit: Duration,
    },
}

impl Natured for RestartError {
    fn nature(&self) -> Nature {
        Nature::Transient
    }
}

impl Restarter {
    /// Restarts it. Returns only when that failed.
    pub async fn restart(&self, what: Restarted, why: &str) -> Result<(), ActionFailure> {
        tracing::info!(%what, why, "restarting");
        let limit = match what {
            Restarted::Machine => {
                self.reboot().await.map_err(|error| failure(&error))?;
                GOING_DOWN_MAX
            }
            Restarted::Agent => {
                self.stop.cancel();
                ENDING_MAX
            }
        };
        crate::clock::sleep(limit).await;
        Err(failure(&RestartError::StillUp { what, limit }))
    }

    async fn reboot(&self) -> Result<(), RestartError> {
        let command = self.reboot.join(" ");
        let (program, arguments) = self.reboot.split_first().expect("the settings refuse an empty command");
        let status = Command::new(program).args(arguments).stdin(Stdio::null()).status().await;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(RestartError::Refused { command, status }),
            Err(source) => Err(RestartError::Run { command, source }),
        }
    }
}
