//! The release manifest: what a publisher signs (as a TUF target), and all that a device needs to run it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::id::Name;
use crate::strict_json::{self, StrictJsonError};

/// The format this code writes and reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// The largest manifest that is read, in bytes: a few of them must fit into one record of a device's journal.
pub const MANIFEST_LENGTH_MAX: usize = 16 * 1024;

/// Which release of which component: `counter 2.0.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseId {
    /// The component; releases of one component replace each other.
    pub name: Name,
    /// The version for people; order is given by the release counter, never by this text.
    pub version: Name,
}

impl ReleaseId {
    /// The path of the manifest in the package repository.
    pub fn target_path(&self) -> String {
        format!("releases/{}/{}.json", self.name, self.version)
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// How urgent a release is; the order of campaigns (paper 2, operation decomposition).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// May wait for anything else.
    Hotfix,
    /// Small.
    Minor,
    /// Large.
    Major,
    /// Overtakes everything.
    Critical,
}

/// What a release changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Files.
    File,
    /// Debian or RPM packages.
    Package,
    /// A container workload.
    Container,
    /// A whole operating system image.
    OsImage,
    /// A kernel live patch.
    LivePatch,
    /// Firmware of a microcontroller behind a gateway.
    LeafFirmware,
}

/// A file of a release, addressed by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its digest.
    pub sha256: Sha256Digest,
    /// Its length in bytes.
    pub length: u64,
}

impl Artifact {
    /// The path of the artifact in the package repository.
    pub fn target_path(&self) -> String {
        format!("artifacts/{}", self.sha256)
    }
}

/// How a running container gives way to its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Create the new one ahead, stop the old, start the new.
    Replace,
    /// As `replace`, with a CRIU checkpoint of the old one first, so that a rollback returns with its memory.
    Preserve,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "replace",
            Self::Preserve => "preserve",
        })
    }
}

/// A container workload. Texts in `env`, `command` and health checks may name device variables as `${name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The image archive (`docker save` form): one of the release's artifacts.
    pub archive: Sha256Digest,
    /// The image id that loading the archive must give: the SHA-256 of the image's configuration.
    pub image_id: Sha256Digest,
    /// Environment, beside what the image sets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Arguments instead of the image's own, if not empty.
    #[serde(default)]
    pub command: Vec<String>,
    /// Docker volumes as `name:/path`; they outlive releases.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// A memory limit in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Allowed strategies, best first; the agent uses the first that the device is able to do.
    pub strategies: Vec<Strategy>,
    /// How long the old container may take to stop before it is killed.
    #[serde(default = "stop_grace_secs_default")]
    pub stop_grace_secs: u32,
}

const fn stop_grace_secs_default() -> u32 {
    10
}

/// A question whose answer says whether the workload is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Probe {
    /// A plain HTTP GET (RFC 9110) whose status must be 200 to 299.
    Http(String),
    /// A TCP connection to `host:port` that must be accepted.
    Tcp(String),
    /// A command inside the container that must exit with 0.
    Exec(Vec<String>),
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => write!(f, "http {url}"),
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Exec(command) => write!(f, "exec {}", command.join(" ")),
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

/// A release manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// Component and version.
    pub release: ReleaseId,
    /// The release counter: later releases of a component have higher ones.
    pub counter: u64,
    /// How urgent it is.
    pub severity: Severity,
    /// What it changes.
    pub kind: Kind,
    /// Hardware it fits; empty for any.
    #[serde(default)]
    pub hardware: Vec<Name>,
    /// Every file it needs.
    pub artifacts: Vec<Artifact>,
    /// The workload, for kind `container`.
    #[serde(default)]
    pub container: Option<Container>,
    /// Health checks and probation.
    pub health: Health,
    /// Bytes of storage it takes once unpacked, beside its artifacts.
    #[serde(default)]
    pub unpacked_bytes: u64,
}

/// A manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON as expected.
    #[error("the manifest is unreadable")]
    Unreadable(#[from] StrictJsonError),
    /// From a later version of Takt.
    #[error("the manifest has format {0}, this version reads {MANIFEST_FORMAT}")]
    Format(u32),
    /// A field contradicts another or is out of bounds.
    #[error("the manifest's field '{field}' is not usable: {why}")]
    Field {
        /// Where.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Manifest {
    /// Reads a manifest and checks that its fields fit together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = strict_json::from_slice(bytes, MANIFEST_LENGTH_MAX)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as published.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest has only text keys");
        bytes.push(b'\n');
        bytes
    }

    /// The artifact with this digest.
    pub fn artifact(&self, sha256: &Sha256Digest) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.sha256 == *sha256)
    }

    /// Bytes of storage that its artifacts take together.
    pub fn download_bytes(&self) -> u64 {
        self.artifacts.iter().fold(0, |sum, artifact| sum.saturating_add(artifact.length))
    }

    /// Whether the fields fit together.
    pub fn check(&self) -> Result<(), ManifestError> {
        let field = |field, why: &str| Err(ManifestError::Field { field, why: why.to_owned() });
        if self.format != MANIFEST_FORMAT {
            return Err(ManifestError::Format(self.format));
        }
        if self.counter == 0 {
            return field("counter", "the first release of a component has counter 1");
        }
        match (&self.container, self.kind) {
            (None, Kind::Container) => return field("container", "missing in a release of kind container"),
            (Some(_), kind) if kind != Kind::Container => {
                return field("container", "only a release of kind container has one");
            }
            (Some(container), _) => {
                if self.artifact(&container.archive).is_none() {
                    return field("container.archive", "it names no artifact of the release");
                }
                if container.strategies.is_empty() {
                    return field("container.strategies", "at least one strategy must be allowed");
                }
            }
            (None, _) => {}
        }
        if self.health.probes.is_empty() {
            return field("health.probes", "a release without a health check can never be verified");
        }
        if self.health.interval_millis == 0
            || self.health.timeout_millis == 0
            || self.health.failures_max == 0
        {
            return field("health", "interval_millis, timeout_millis and failures_max must be at least 1");
        }
        Ok(())
    }
}
