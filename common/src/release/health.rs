//! Health checks of a release, its probation, and how it may compare with what ran before.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A question whose answer says whether the workload is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Probe {
    /// A plain HTTP GET (RFC 9110) whose status must be 200 to 299.
    Http(String),
    /// A TCP connection to `host:port` that must be accepted.
    Tcp(String),
    /// A command that must exit with 0: inside the first container, or on the device when the release has none.
    Exec(Vec<String>),
    /// A systemd unit that must be active.
    Unit(String),
    /// The health check that the images themselves bring: of the containers that have one, none may be unhealthy.
    Healthcheck,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => write!(f, "http {url}"),
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Exec(command) => write!(f, "exec {}", command.join(" ")),
            Self::Unit(unit) => write!(f, "unit {unit}"),
            Self::Healthcheck => f.write_str("healthcheck"),
        }
    }
}

/// The health checks of a release and how long it is on probation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// All of them must pass.
    pub probes: Vec<Probe>,
    /// Milliseconds from one round of probes to the next.
    pub interval_millis: u32,
    /// Milliseconds after which an unanswered probe has failed.
    pub timeout_millis: u32,
    /// Milliseconds within which all probes must have passed once.
    pub start_millis: u32,
    /// Milliseconds during which the release must stay well before it is verified.
    pub probation_millis: u32,
    /// Failed rounds in a row that end the probation.
    pub failures_max: u32,
    /// How much worse than the previous release it may be before that is a warning.
    #[serde(default)]
    pub baseline: BaselineLimits,
}

/// How much more than the previous release the new one may take, each as a factor, before its success carries a warning.
///
/// Beside the factor a difference counts only when people would see it: that margin is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineLimits {
    /// Processor time, in percent of what the previous release took.
    pub cpu_percent: u32,
    /// Memory, in percent.
    pub memory_percent: u32,
    /// Response time of the health checks, in percent.
    pub response_percent: u32,
    /// Restarts by the engine or by systemd.
    pub restarts: u32,
}

impl Default for BaselineLimits {
    fn default() -> Self {
        Self { cpu_percent: 200, memory_percent: 150, response_percent: 200, restarts: 0 }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            probes: Vec::new(),
            interval_millis: 500,
            timeout_millis: 2_000,
            start_millis: 15_000,
            probation_millis: 30_000,
            failures_max: 3,
            baseline: BaselineLimits::default(),
        }
    }
}

impl Health {
    /// From one round of probes to the next.
    pub const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_millis as u64)
    }

    /// How long a probe may take.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_millis as u64)
    }

    /// How long until the first good round.
    pub const fn start(&self) -> Duration {
        Duration::from_millis(self.start_millis as u64)
    }

    /// How long the release must stay well.
    pub const fn probation(&self) -> Duration {
        Duration::from_millis(self.probation_millis as u64)
    }
}
