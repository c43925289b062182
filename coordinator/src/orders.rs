//! Makes and signs orders out of what the campaign asks for and what the publishers have signed.

use std::path::PathBuf;

use takt_common::envelope::PayloadType;
use takt_common::order::{Member, ORDER_FORMAT, Order, SnapshotRef};
use takt_common::release::{Manifest, ManifestError, ReleaseId};
use takt_common::{Envelope, Name, Sha256Digest, SigningKey, UnixTime};
use takt_coordinator_core::{OrderRequest, ReleaseFacts};
use takt_trust::{PackageTrust, TargetCustom, TrustError, VerifiedTarget};

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

/// A release as it is published and uploaded.
pub struct PublishedRelease {
    /// What campaigns must know.
    pub facts: ReleaseFacts,
    /// What orders carry.
    pub members: Vec<Member>,
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
        Ok(PublishedRelease { facts: ReleaseFacts::of(&manifest, target.sha256), members })
    }

    /// Makes and signs one order for `device`.
    pub fn seal(
        &self,
        request: &OrderRequest,
        device: &DeviceRecord,
        now: UnixTime,
    ) -> Result<SealedOrder, OrderError> {
        let members = match &request.release {
            Some(release) => self.release(release, now)?.members,
            None => Vec::new(),
        };
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
            members,
            mode: request.mode.clone(),
            window: None,
            deadline: request.deadline,
            policy: request.policy,
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

/// The hardware that the publisher has signed for a release.
fn hardware(target: &VerifiedTarget) -> Result<Vec<Name>, OrderError> {
    match &target.custom {
        TargetCustom::Manifest(about) => Ok(about.hardware.clone()),
        TargetCustom::Artifact(_) => Err(OrderError::WrongTarget(target.path.clone())),
    }
}
