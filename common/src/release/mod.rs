//! The release manifest: what a publisher signs (as a TUF target), and all that a device needs to run it.

mod container;
mod health;
mod hook;
mod requirements;
mod settle;
mod step;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::id::Name;
use crate::strict_json::{self, StrictJsonError};

pub use container::{Container, ContainerSet, Network, Port, Strategy};
pub use health::{BaselineLimits, Health, Probe};
pub use hook::{Hook, HookPoint, NOT_NOW};
pub use requirements::Requirements;
pub use settle::{AGENT_HEAR, AGENT_PACKAGE};
pub use step::{
    Conffiles, FileSet, FileSpec, Kind, LivePatch, OsImage, Package, PackageFormat, PackageSet, Step,
};

/// The format this code writes and reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// The largest manifest that is read, in bytes: a few of them must fit into one record of a device's journal.
pub const MANIFEST_LENGTH_MAX: usize = 16 * 1024;

/// More steps than one release has.
const STEPS_MAX: usize = 16;

/// The longest a health check may take, in milliseconds: the agent waits for a round of them, and its service is taken for
/// hung after two minutes of silence.
const HEALTH_TIMEOUT_MILLIS_MAX: u32 = 30_000;

/// The longest a hook may take.
const HOOK_SECS_MAX: u32 = 3_600;

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

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hotfix => "hotfix",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        })
    }
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
    /// Hardware it fits; empty for any.
    #[serde(default)]
    pub hardware: Vec<Name>,
    /// Every file it needs.
    pub artifacts: Vec<Artifact>,
    /// What it changes, in the order of applying; a rollback goes the reverse way.
    pub steps: Vec<Step>,
    /// Programs that run at stated points.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<HookPoint, Hook>,
    /// Health checks and probation.
    pub health: Health,
    /// Bytes of storage it takes once unpacked, beside its artifacts.
    #[serde(default)]
    pub unpacked_bytes: u64,
    /// What a device must have and run.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub requires: Requirements,
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

fn wrong(field: &'static str, why: impl Into<String>) -> ManifestError {
    ManifestError::Field { field, why: why.into() }
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

    /// The containers, if it has such a step.
    pub fn containers(&self) -> Option<&ContainerSet> {
        self.steps.iter().find_map(|step| match step {
            Step::Container(set) => Some(set),
            _ => None,
        })
    }

    /// The kinds of its steps, for people.
    pub fn kinds(&self) -> String {
        let kinds: Vec<String> = self.steps.iter().map(|step| step.kind().to_string()).collect();
        kinds.join(", ")
    }

    /// Whether the fields fit together.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.format != MANIFEST_FORMAT {
            return Err(ManifestError::Format(self.format));
        }
        if self.counter == 0 {
            return Err(wrong("counter", "the first release of a component has counter 1"));
        }
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            return Err(wrong("steps", format!("1 to {STEPS_MAX} steps are expected")));
        }
        self.requires.check(self.counter).map_err(|why| wrong("requires", why))?;
        let count = |kind| self.steps.iter().filter(|step| step.kind() == kind).count();
        if count(Kind::Container) > 1 || count(Kind::OsImage) > 1 {
            return Err(wrong("steps", "at most one step of kind container and one of kind os-image"));
        }
        let has = |sha256: &Sha256Digest| self.artifact(sha256).is_some();
        for step in &self.steps {
            step.check(&has)?;
        }
        for (point, hook) in &self.hooks {
            if !has(&hook.program) {
                return Err(wrong("hooks", format!("'{point}' names no artifact of the release")));
            }
            if hook.timeout_secs == 0 || hook.timeout_secs > HOOK_SECS_MAX {
                return Err(wrong("hooks", format!("'{point}' may take 1 to {HOOK_SECS_MAX} seconds")));
            }
        }
        if self.health.probes.is_empty() && !self.hooks.contains_key(&HookPoint::Healthy) {
            return Err(wrong("health.probes", "a release without a health check can never be verified"));
        }
        if self.health.interval_millis == 0
            || self.health.timeout_millis == 0
            || self.health.failures_max == 0
        {
            let why = "interval_millis, timeout_millis and failures_max must be at least 1";
            return Err(wrong("health", why));
        }
        if self.health.timeout_millis > HEALTH_TIMEOUT_MILLIS_MAX {
            let why = format!("timeout_millis must be at most {HEALTH_TIMEOUT_MILLIS_MAX}");
            return Err(wrong("health", why));
        }
        Ok(())
    }
}
