//! Hooks: programs of the release that run on the device at stated points of an upgrade.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookPoint {
    /// Before the first byte of the release's other artifacts is fetched.
    PreFetch,
    /// When nothing else speaks against switching.
    PreSwitch,
    /// On a standby: after a launch once it is well, where it is only notified first. It takes over for the other device.
    Takeover,
    /// On a standby, before it ends its takeover: the other device serves for itself again.
    HandBack,
    /// Right before the switch begins, for state that the new release shall have; the old one still runs.
    ExportState,
    /// Once the new containers run, or all steps of a release without containers are in force, to give it that state.
    ImportState,
    /// After all steps have been applied.
    PostSwitch,
    /// In every round of health checks, as one of them.
    Healthy,
    /// After a rollback, once the previous release is back.
    Rollback,
}

impl HookPoint {
    /// All of them, in the order in which they come.
    pub const ALL: [Self; 9] = [
        Self::PreFetch,
        Self::PreSwitch,
        Self::Takeover,
        Self::HandBack,
        Self::ExportState,
        Self::ImportState,
        Self::PostSwitch,
        Self::Healthy,
        Self::Rollback,
    ];
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreFetch => "pre-fetch",
            Self::PreSwitch => "pre-switch",
            Self::Takeover => "takeover",
            Self::HandBack => "hand-back",
            Self::ExportState => "export-state",
            Self::ImportState => "import-state",
            Self::PostSwitch => "post-switch",
            Self::Healthy => "healthy",
            Self::Rollback => "rollback",
        })
    }
}

/// The exit code by which a hook at `pre-fetch` or `pre-switch` says "not now" (`EX_TEMPFAIL` of sysexits.h): it is
/// asked again until the order's deadline. Any other but 0 is a failure.
pub const NOT_NOW: i32 = 75;

/// A hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The program, one of the release's artifacts.
    pub program: Sha256Digest,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// How many seconds it may take before it is killed with all it has started.
    #[serde(default = "timeout_secs_default")]
    pub timeout_secs: u32,
}

const fn timeout_secs_default() -> u32 {
    Hook::TIMEOUT_SECS_DEFAULT
}

impl Hook {
    /// [`Hook::timeout_secs`] where nothing else is said.
    pub const TIMEOUT_SECS_DEFAULT: u32 = 30;

    /// How long it may take.
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs as u64)
    }
}
