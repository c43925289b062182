//! What all agents of the fleet have verified: the package repository and the director root.

use takt_agent::trust::PackageTargets;
use takt_common::UnixTime;
use takt_common::order::SnapshotRef;
use takt_trust::{DirectorTrust, PackageTrust};

use crate::error::DocumentError;

/// Both trusts, as a device has them.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) package: PackageTrust,
    pub(crate) director: DirectorTrust,
}

/// For `map_err`: documents of this set were refused.
pub(crate) fn refused(of: &'static str) -> impl Fn(takt_trust::TrustError) -> DocumentError {
    move |source| DocumentError::Refused { of, source: Box::new(source) }
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

    /// What is signed, in the form in which the device rules ask for it.
    pub(crate) const fn targets(&self) -> PackageTargets<'_> {
        PackageTargets(&self.package)
    }
}
