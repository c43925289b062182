//! What this device trusts: the package repository and the director root, verified and kept in files of their own
//! (a targets document may be larger than any value of the journal).

use takt_agent_core::rules::{Target, TargetContent, Targets};
use takt_common::order::SnapshotRef;
use takt_common::{Name, Sha256Digest, UnixTime};
use takt_trust::{DirectorTrust, Need, PackageTrust, StoredDirector, StoredTrust, TargetCustom, TrustError};

use crate::identity::{IdentityError, IdentityFolder, Membership};
use crate::service;

const PACKAGE_FILE: &str = "package-trust.json";
const DIRECTOR_FILE: &str = "director-trust.json";

/// Trust cannot be loaded, refreshed or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A document was refused.
    #[error("verify the {of}")]
    Refused {
        /// Which set of documents.
        of: &'static str,
        /// Which rule, document, role and key.
        source: Box<TrustError>,
    },
    /// A document could not be had; nothing is known to be wrong with it.
    #[error("fetch '{document}': {why}")]
    Unreachable {
        /// Its name in the repository.
        document: String,
        /// Why.
        why: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] IdentityError),
}

/// Both trusts of a device.
pub struct Keeper {
    folder: IdentityFolder,
    package: PackageTrust,
    director: DirectorTrust,
}

impl Keeper {
    /// What was kept, or else the roots of the enrolment.
    pub fn load(folder: IdentityFolder, membership: &Membership) -> Result<Self, KeeperError> {
        takt_trust::provider::install();
        let refused = |of| move |source| KeeperError::Refused { of, source: Box::new(source) };
        let package = match folder.document::<StoredTrust>(PACKAGE_FILE)? {
            Some(stored) => PackageTrust::from_stored(&stored),
            None => PackageTrust::from_root(membership.package_root.as_bytes()),
        };
        let director = match folder.document::<StoredDirector>(DIRECTOR_FILE)? {
            Some(stored) => DirectorTrust::from_stored(&stored),
            None => DirectorTrust::from_root(membership.director_root.as_bytes()),
        };
        Ok(Self {
            folder,
            package: package.map_err(refused("package repository"))?,
            director: director.map_err(refused("director root"))?,
        })
    }

    /// The director root and its order keys.
    pub const fn director(&self) -> &DirectorTrust {
        &self.director
    }

    /// Whether the package metadata on hand is at least what `wanted` names.
    pub fn knows(&self, wanted: SnapshotRef) -> bool {
        self.package.snapshot().is_some_and(|pin| pin.version >= wanted.version)
    }

    /// Whether new installs are allowed at `now`: expired documents stop them, and nothing else.
    pub fn check_fresh(&self, now: UnixTime) -> Result<(), KeeperError> {
        self.director
            .check_fresh(now)
            .map_err(|source| KeeperError::Refused { of: "director root", source: Box::new(source) })?;
        self.package
            .check_fresh(now)
            .map_err(|source| KeeperError::Refused { of: "package repository", source: Box::new(source) })
    }

    /// The package repository.
    pub const fn package(&self) -> &PackageTrust {
        &self.package
    }

    /// Walks to the newest director root that the repository has, which is for [`Self::keep_director`], and says how far it came. One
    /// that is newer counts whatever follows it.
    pub async fn walk_director(
        &self,
        fetch: impl AsyncFn(&Need) -> Result<Option<Vec<u8>>, String>,
    ) -> Result<(DirectorTrust, Result<(), KeeperError>), KeeperError> {
        let refused = |source| KeeperError::Refused { of: "director root", source: Box::new(source) };
        let mut refresh = self.director.begin_refresh();
        let mut walked = Ok(());
        while let (Ok(()), Some(need)) = (&walked, refresh.need()) {
            walked = match fetched(&need, &fetch).await {
                Ok(bytes) => refresh.provide(bytes).map_err(refused),
                Err(error) => Err(error),
            };
        }
        Ok((refresh.keep_root().map_err(refused)?, walked))
    }

    /// Keeps a director root that was walked to.
    pub fn keep_director(&mut self, director: DirectorTrust) -> Result<(), KeeperError> {
        if director.epoch() != self.director.epoch() {
            self.folder.keep_document(DIRECTOR_FILE, &director.to_stored())?;
            self.director = director;
        }
        Ok(())
    }

    /// Looks at the package repository anew (TUF client workflow), for [`Self::keep_package`], and says how far it came. A newer root
    /// counts at once, even when what stands below it is refused.
    pub async fn look_at_package(
        &self,
        now: UnixTime,
        fetch: impl AsyncFn(&Need) -> Result<Option<Vec<u8>>, String>,
    ) -> Result<(PackageTrust, Result<(), KeeperError>), KeeperError> {
        let refused = |source| KeeperError::Refused { of: "package repository", source: Box::new(source) };
        let mut refresh = self.package.begin_refresh(now);
        while let Some(need) = refresh.need() {
            if let Err(error) = refresh.provide(fetched(&need, &fetch).await?) {
                return Ok((refresh.keep_root().map_err(refused)?, Err(refused(error))));
            }
        }
        Ok((refresh.finish().map_err(refused)?, Ok(())))
    }

    /// Keeps what was found in the package repository.
    pub fn keep_package(&mut self, package: PackageTrust) -> Result<(), KeeperError> {
        self.folder.keep_document(PACKAGE_FILE, &package.to_stored())?;
        self.package = package;
        Ok(())
    }
}

async fn fetched(
    need: &Need,
    fetch: impl AsyncFn(&Need) -> Result<Option<Vec<u8>>, String>,
) -> Result<Option<Vec<u8>>, KeeperError> {
    let document = fetch(need).await;
    // The loop waits for the whole walk, which may have many documents; each one, within its limit, shows that it goes on.
    service::alive();
    document.map_err(|why| KeeperError::Unreachable { document: need.name.clone(), why })
}

impl Targets for Keeper {
    fn snapshot(&self) -> SnapshotRef {
        PackageTargets(&self.package).snapshot()
    }

    fn target(&self, path: &str) -> Option<Target> {
        PackageTargets(&self.package).target(path)
    }

    fn floor(&self, component: &Name) -> u64 {
        PackageTargets(&self.package).floor(component)
    }
}

/// What the package repository signs, in the form in which the device rules ask for it.
#[derive(Debug, Clone, Copy)]
pub struct PackageTargets<'a>(pub &'a PackageTrust);

impl Targets for PackageTargets<'_> {
    fn snapshot(&self) -> SnapshotRef {
        // Version 0 never stands in a signed snapshot: a device without metadata knows no target either.
        self.0.snapshot().unwrap_or(SnapshotRef { version: 0, sha256: Sha256Digest::of(b"") })
    }

    fn target(&self, path: &str) -> Option<Target> {
        let target = self.0.target(path)?;
        let content = match target.custom {
            TargetCustom::Manifest(manifest) => TargetContent::Manifest {
                component: manifest.component,
                version: manifest.release,
                counter: manifest.counter,
                hardware: manifest.hardware,
                domains: target.domains,
            },
            TargetCustom::Artifact(artifact) => TargetContent::Artifact { releases: artifact.releases },
        };
        Some(Target { length: target.length, sha256: target.sha256, content })
    }

    fn floor(&self, component: &Name) -> u64 {
        self.0.floor(component)
    }
}
