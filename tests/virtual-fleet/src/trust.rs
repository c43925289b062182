//! What all agents of the fleet have verified: the package repository and the director root.

use takt_agent_core::rules::{Target, TargetContent, Targets};
use takt_common::order::SnapshotRef;
use takt_common::{Name, Sha256Digest, UnixTime};
use takt_trust::{DirectorTrust, PackageTrust, TargetCustom};

use crate::error::DocumentError;

/// Both trusts, as a device has them.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) package: PackageTrust,
    pub(crate) director: DirectorTrust,
}

/// For `map_err`: documents of this set were refused.
pub(crate) fn refused(of: &'static str) -> impl Fn(takt_trust::TrustError) -> DocumentError {
    move |source| DocumentError::Refused { of, source }
}

impl Trust {
    /// Whether the package metadata on hand is at least what `wanted` names.
    pub(crate) fn knows(&self, wanted: SnapshotRef) -> bool {
        self.package.snapshot().is_some_and(|pin| pin.version >= wanted.version)
    }

    /// Whether new installs are allowed at `now`.
    pub(crate) fn check_fresh(&self, now: UnixTime) -> Result<(), DocumentError> {
        self.director.check_fresh(now).map_err(refused("director root"))?;
        self.package.check_fresh(now).map_err(refused("package repository"))
    }
}

impl Targets for Trust {
    fn snapshot(&self) -> SnapshotRef {
        // Version 0 never stands in a signed snapshot: who has no metadata knows no target either.
        self.package.snapshot().unwrap_or(SnapshotRef { version: 0, sha256: Sha256Digest::of(b"") })
    }

    fn target(&self, path: &str) -> Option<Target> {
        let target = self.package.target(path)?;
        let content = match target.custom {
            TargetCustom::Manifest(manifest) => TargetContent::Manifest {
                component: manifest.component,
                version: manifest.release,
                counter: manifest.counter,
                hardware: manifest.hardware,
            },
            TargetCustom::Artifact(artifact) => TargetContent::Artifact { releases: artifact.releases },
        };
        Some(Target { length: target.length, sha256: target.sha256, content })
    }

    fn floor(&self, component: &Name) -> u64 {
        self.package.floor(component)
    }
}
