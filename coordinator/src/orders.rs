//! Makes and signs orders out of what the campaign asks for and what the publishers have signed.

use std::path::PathBuf;

use takt_common::envelope::PayloadType;
use takt_common::order::{Action, AtDeadline, Member, ORDER_FORMAT, Order, SnapshotRef};
use takt_common::release::{Manifest, ManifestError, ReleaseId};
use takt_common::{Envelope, Name, Sha256Digest, SigningKey, UnixTime};
use takt_coordinator_core::{OrderRequest, ReleaseFacts};
use takt_trust::{ManifestCustom, PackageTrust, TargetCustom, TrustError, VerifiedTarget};

use crate::artifacts::ArtifactStore;
use crate::registry::{DeviceRecord, IssuedOrder};
use crate::repository::Published;

/// An order cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Nothing is published.
    #[error("no {0} is published yet; run `takt trust init` and publish it")]
    NotPublished(&'static str),
    /// What is published is too old to install from.
    #[error("nothing new may be installed")]
    Stale(#[source] TrustError),
    /// The release is not in the signed targets.
    #[error("release {0} is not published")]
    UnknownRelease(ReleaseId),
    /// The target at a release's path is something else.
    #[error("the published target '{0}' does not describe that release")]
    WrongTarget(String),
    /// A file of the release is not here.
    #[error("release {release} is incomplete: artifact {sha256} has not been uploaded")]
    Missing {
        /// The release.
        release: ReleaseId,
        /// The digest.
        sha256: Sha256Digest,
    },
    /// An artifact of the manifest is not signed, or with another length.
    #[error("artifact {sha256} of release {release} is not among the signed targets with its length")]
    Unsigned {
        /// The release.
        release: ReleaseId,
        /// The digest.
        sha256: Sha256Digest,
    },
    /// The manifest's file.
    #[error("read the manifest of release {release} from '{}'", .file.display())]
    ManifestFile {
        /// The release.
        release: ReleaseId,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The manifest itself.
    #[error("read the manifest of release {release}")]
    Manifest {
        /// The release.
        release: ReleaseId,
        /// Why.
        #[source]
        source: ManifestError,
    },
}

/// Why a release should not be installed although it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outdated {
    /// Its counter is below the floor.
    Revoked {
        /// The lowest counter that may be installed.
        floor: u64,
    },
    /// There is a later one for the same hardware.
    Superseded {
        /// Which.
        by: ReleaseId,
    },
}

/// A release as it is published and uploaded.
pub struct PublishedRelease {
    /// What campaigns must know.
    pub facts: ReleaseFacts,
    /// What orders carry.
    pub members: Vec<Member>,
    /// The domains whose devices may install it; none means any.
    pub domains: Vec<Name>,
}

/// A signed order.
pub struct SealedOrder {
    /// What travels.
    pub envelope: Vec<u8>,
    /// How it is remembered.
    pub issued: IssuedOrder,
}

/// Makes orders.
pub struct OrderBook<'a> {
    /// Verified metadata.
    pub published: &'a Published,
    /// Where manifests are read.
    pub artifacts: &'a ArtifactStore,
    /// Signs.
    pub key: &'a SigningKey,
}

impl OrderBook<'_> {
    /// Looks a release up: signed, uploaded, complete, and not out of date.
    pub fn release(&self, id: &ReleaseId, now: UnixTime) -> Result<PublishedRelease, OrderError> {
        let trust = self.packages()?;
        trust.check_fresh(now).map_err(OrderError::Stale)?;
        let path = id.target_path();
        let target = trust.target(&path).ok_or_else(|| OrderError::UnknownRelease(id.clone()))?;
        let hw = hardware(&target)?;
        let manifest = self.manifest(id, &target)?;
        let member = |target: VerifiedTarget| Member {
            path: target.path,
            length: target.length,
            sha256: target.sha256,
            release: id.clone(),
            hw: hw.clone(),
        };
        let domains = target.domains.clone();
        let mut members = vec![member(target.clone())];
        for artifact in &manifest.artifacts {
            let sha256 = artifact.sha256;
            let signed = trust
                .target(&artifact.target_path())
                .filter(|signed| signed.length == artifact.length && signed.sha256 == sha256);
            let signed = signed.ok_or_else(|| OrderError::Unsigned { release: id.clone(), sha256 })?;
            if !self.artifacts.holds(&sha256) {
                return Err(OrderError::Missing { release: id.clone(), sha256 });
            }
            members.push(member(signed));
        }
        Ok(PublishedRelease { facts: ReleaseFacts::of(&manifest, target.sha256), members, domains })
    }

    /// Releases of the component with a lower counter that could be installed now.
    pub fn earlier(&self, than: &ReleaseFacts, now: UnixTime) -> Result<Vec<ReleaseFacts>, OrderError> {
        let trust = self.packages()?;
        let floor = trust.floor(&than.id.name);
        let usable = |about: ManifestCustom| {
            let fits = (floor..than.counter).contains(&about.counter);
            // One whose files are not here leads nowhere.
            fits.then(|| self.release(&about.id(), now).ok()).flatten()
        };
        Ok(Self::releases_of(trust, &than.id.name).filter_map(usable).map(|release| release.facts).collect())
    }

    /// The latest release of a component that can be installed now.
    pub fn newest(&self, component: &Name, now: UnixTime) -> Option<ReleaseId> {
        let trust = self.packages().ok()?;
        let mut all: Vec<ManifestCustom> = Self::releases_of(trust, component).collect();
        all.retain(|about| about.counter >= trust.floor(component));
        all.sort_by_key(|about| std::cmp::Reverse(about.counter));
        // Of one whose files are still being uploaded the campaign begins later; an earlier one would be superseded at once.
        let newest = all.first()?.id();
        self.release(&newest, now).ok().map(|release| release.facts.id)
    }

    /// A release that takes the place of this one, or why it must not be installed any more.
    pub fn outdated(&self, release: &ReleaseFacts) -> Result<Option<Outdated>, OrderError> {
        let trust = self.packages()?;
        let floor = trust.floor(&release.id.name);
        if release.counter < floor {
            return Ok(Some(Outdated::Revoked { floor }));
        }
        let same = |hardware: &[Name]| {
            let any = hardware.is_empty() || release.hardware.is_empty();
            any || hardware.iter().any(|hardware| release.hardware.contains(hardware))
        };
        let later = Self::releases_of(trust, &release.id.name);
        let later = later.filter(|about| about.counter > release.counter && same(&about.hardware));
        Ok(later.max_by_key(|about| about.counter).map(|about| Outdated::Superseded { by: about.id() }))
    }

    /// All releases of a component that the publishers have signed.
    fn releases_of<'t>(
        trust: &'t PackageTrust,
        component: &Name,
    ) -> impl Iterator<Item = ManifestCustom> + use<'t> {
        let folder = format!("releases/{component}/");
        let paths = trust.target_paths().filter(move |path| path.starts_with(&folder));
        paths.filter_map(|path| match trust.target(path)?.custom {
            TargetCustom::Manifest(about) => Some(about),
            TargetCustom::Artifact(_) => None,
        })
    }

    /// Makes and signs one order for `device`; `members` are those of the release that is asked for, `permission` that of the campaign.
    pub fn seal(
        &self,
        request: &OrderRequest,
        members: &[Member],
        permission: Option<&str>,
        device: &DeviceRecord,
        now: UnixTime,
    ) -> Result<SealedOrder, OrderError> {
        let snapshot = self.packages()?.snapshot().ok_or(OrderError::NotPublished("snapshot"))?;
        let order = Order {
            format: ORDER_FORMAT,
            device: request.device,
            epoch: request.position.epoch,
            generation: request.position.generation,
            nonce: None,
            issued: now,
            not_after: request.deadline,
            previous_order_digest: device.issued.as_ref().map(|issued| issued.payload),
            snapshot: SnapshotRef { version: snapshot.version, sha256: snapshot.sha256 },
            action: request.action.clone(),
            members: members.to_vec(),
            mode: request.mode.clone(),
            window: None,
            deadline: request.deadline,
            policy: request.policy,
            permission: permission.filter(|_| needs_permission(request)).map(str::to_owned),
        };
        let payload = order.to_bytes();
        let envelope = Envelope::seal(PayloadType::Order, &payload, &[self.key]).to_bytes();
        let issued = IssuedOrder {
            position: request.position,
            payload: Sha256Digest::of(&payload),
            envelope: Sha256Digest::of(&envelope),
        };
        Ok(SealedOrder { envelope, issued })
    }

    fn packages(&self) -> Result<&PackageTrust, OrderError> {
        self.published.packages.as_deref().ok_or(OrderError::NotPublished("package root"))
    }

    fn manifest(&self, id: &ReleaseId, target: &VerifiedTarget) -> Result<Manifest, OrderError> {
        let file = self.artifacts.path(&target.sha256);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(OrderError::Missing { release: id.clone(), sha256: target.sha256 });
            }
            Err(source) => return Err(OrderError::ManifestFile { release: id.clone(), file, source }),
        };
        let manifest = Manifest::from_bytes(&bytes)
            .map_err(|source| OrderError::Manifest { release: id.clone(), source })?;
        if manifest.release == *id { Ok(manifest) } else { Err(OrderError::WrongTarget(target.path.clone())) }
    }
}

/// Agents of versions that know no permissions refuse what carries one, so only what may need it does.
fn needs_permission(request: &OrderRequest) -> bool {
    let asks = request.policy.downgrade || request.policy.at_deadline == AtDeadline::GoAhead;
    request.action == Action::Install && asks
}

/// The hardware that the publisher has signed for a release.
fn hardware(target: &VerifiedTarget) -> Result<Vec<Name>, OrderError> {
    match &target.custom {
        TargetCustom::Manifest(about) => Ok(about.hardware.clone()),
        TargetCustom::Artifact(_) => Err(OrderError::WrongTarget(target.path.clone())),
    }
}
