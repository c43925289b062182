//! What an order says of a target against what the publishers have signed.

use takt_common::order::Member;
use takt_common::release::ReleaseId;
use takt_common::{Name, Sha256Digest};

use crate::package::{PackageTrust, VerifiedTarget};
use crate::targets::{ManifestCustom, TargetCustom};

/// An order and the publishers do not agree on a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Nobody has published it.
    #[error("'{path}' is not signed by the publishers")]
    Unknown {
        /// The path.
        path: String,
    },
    /// Another length.
    #[error("'{path}' has {ordered} bytes in the order but {signed} in the signed targets")]
    Length {
        /// The path.
        path: String,
        /// The order's length.
        ordered: u64,
        /// The publishers' length.
        signed: u64,
    },
    /// Another digest.
    #[error("'{path}' has sha256 {ordered} in the order but {signed} in the signed targets")]
    Digest {
        /// The path.
        path: String,
        /// The order's digest.
        ordered: Sha256Digest,
        /// The publishers' digest.
        signed: Sha256Digest,
    },
    /// Of another release.
    #[error("'{path}' does not belong to release '{ordered}' as the order says")]
    Release {
        /// The path.
        path: String,
        /// The order's release.
        ordered: ReleaseId,
    },
    /// For other hardware.
    #[error("'{path}' is for hardware '{ordered}' in the order but for '{signed}' in the signed targets")]
    Hardware {
        /// The path.
        path: String,
        /// The order's hardware; empty for any.
        ordered: String,
        /// The publishers' hardware; empty for any.
        signed: String,
    },
}

impl PackageTrust {
    /// Checks that `member` equals the signed target in length, digest, release and hardware, and gives the target.
    ///
    /// An artifact may belong to several releases; the one that the order names must be among them, and the hardware is
    /// that of this release. Whether the release is below a floor is not asked here: see [`Self::floor`].
    pub fn check_member(&self, member: &Member) -> Result<VerifiedTarget, MemberError> {
        let Member { path, length, sha256, release, hw } = member;
        let path = || path.clone();
        let target = self.target(&member.path).ok_or_else(|| MemberError::Unknown { path: path() })?;
        if target.length != *length {
            return Err(MemberError::Length { path: path(), ordered: *length, signed: target.length });
        }
        if target.sha256 != *sha256 {
            return Err(MemberError::Digest { path: path(), ordered: *sha256, signed: target.sha256 });
        }
        let belongs = match &target.custom {
            TargetCustom::Manifest(about) => about.id() == *release,
            TargetCustom::Artifact(artifact) => artifact.releases.contains(&release.target_path()),
        };
        let about = self.manifest(release).filter(|_| belongs);
        let about = about.ok_or_else(|| MemberError::Release { path: path(), ordered: release.clone() })?;
        if about.hardware != *hw {
            let (ordered, signed) = (joined(hw), joined(&about.hardware));
            return Err(MemberError::Hardware { path: path(), ordered, signed });
        }
        Ok(target)
    }

    /// What the publishers say of a release, if they have published it.
    pub fn manifest(&self, release: &ReleaseId) -> Option<ManifestCustom> {
        match self.target(&release.target_path())?.custom {
            TargetCustom::Manifest(about) if about.id() == *release => Some(about),
            _ => None,
        }
    }
}

fn joined(hardware: &[Name]) -> String {
    hardware.iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
}
