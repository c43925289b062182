//! A release folder: `manifest.json` and `artifacts/<sha256>`.

use std::path::{Path, PathBuf};

use takt_common::Sha256Digest;
use takt_common::release::{Artifact, HookPoint, MANIFEST_LENGTH_MAX, Manifest, ManifestError};

use super::description::DescriptionError;
use super::image::ImageError;
use super::sources::Sources;
use crate::exit::Exit;
use crate::file::{self, FileError, Readers};

/// The manifest's name in the folder.
const MANIFEST_FILE: &str = "manifest.json";

/// A release folder cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Out of reach, or in the way.
    #[error(transparent)]
    File(#[from] FileError),
    /// The image archive.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The description.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The archive holds another image than was said.
    #[error("{} holds the image {found}, not {expected}", path.display())]
    OtherImage {
        /// The archive.
        path: PathBuf,
        /// What it holds.
        found: Sha256Digest,
        /// What it should hold.
        expected: Sha256Digest,
    },
    /// Nobody can say how much space the image takes.
    #[error("{} has compressed layers: say what they take once unpacked with --unpacked-bytes N", path.display())]
    CompressedLayers {
        /// The archive.
        path: PathBuf,
    },
    /// The manifest is no good.
    #[error("{}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// A manifest that devices would not read.
    #[error("the manifest would have {length} bytes, more than the {MANIFEST_LENGTH_MAX} that devices read")]
    ManifestTooLong {
        /// Its length.
        length: usize,
    },
    /// A file cannot be put into the folder.
    #[error("copy {} to {}", from.display(), to.display())]
    Copy {
        /// The file.
        from: PathBuf,
        /// The artifact.
        to: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An artifact is not what the manifest says.
    #[error("{} has {found_length} bytes and sha256 {found}; the manifest says {length} bytes and {expected}", path.display())]
    Artifact {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: Sha256Digest,
        /// Its length.
        found_length: u64,
        /// The digest in the manifest.
        expected: Sha256Digest,
        /// The length in the manifest.
        length: u64,
    },
    /// The release is not in the newest targets.
    #[error("release {release} is not in {}; sign it first: takt release sign", targets.display())]
    NotSigned {
        /// Which.
        release: String,
        /// The targets.
        targets: PathBuf,
    },
    /// Neither an image nor a description.
    #[error("--image FILE or --from RELEASE.toml is needed")]
    NoImage,
    /// Two hooks at one point.
    #[error("--hook {point} is given twice: a release has one hook a point")]
    HookTwice {
        /// Which.
        point: HookPoint,
    },
    /// Nothing says which counter comes next.
    #[error(
        "the release counter is not known: give --counter N, or --trust DIR to count on from what is published"
    )]
    NoCounter,
}

impl ReleaseError {
    /// What the shell gets.
    pub fn exit(&self) -> Exit {
        match self {
            Self::File(FileError::Exists { .. }) | Self::NotSigned { .. } => Exit::Refused,
            Self::File(FileError::Write { .. }) | Self::Copy { .. } => Exit::Failed,
            Self::File(_)
            | Self::Image(_)
            | Self::Description(_)
            | Self::OtherImage { .. }
            | Self::CompressedLayers { .. }
            | Self::Manifest { .. }
            | Self::ManifestTooLong { .. }
            | Self::Artifact { .. }
            | Self::NoImage
            | Self::HookTwice { .. }
            | Self::NoCounter => Exit::BadInput,
        }
    }
}

/// A release folder and the manifest in it.
#[derive(Debug)]
pub(super) struct ReleaseFolder {
    folder: PathBuf,
    /// What the manifest says.
    pub(super) manifest: Manifest,
    /// Its exact bytes, which are what is signed.
    pub(super) manifest_bytes: Vec<u8>,
}

impl ReleaseFolder {
    /// Reads the manifest of a folder.
    pub(super) fn open(folder: &Path) -> Result<Self, ReleaseError> {
        let path = folder.join(MANIFEST_FILE);
        let manifest_bytes = file::read_bytes(&path, MANIFEST_LENGTH_MAX as u64)?;
        let manifest = Manifest::from_bytes(&manifest_bytes)
            .map_err(|source| ReleaseError::Manifest { path, source })?;
        Ok(Self { folder: folder.to_owned(), manifest, manifest_bytes })
    }

    /// Where the manifest is.
    pub(super) fn manifest_path(&self) -> PathBuf {
        self.folder.join(MANIFEST_FILE)
    }

    /// Where an artifact is.
    pub(super) fn artifact_path(&self, artifact: &Artifact) -> PathBuf {
        artifact_path(&self.folder, &artifact.sha256)
    }

    /// Reads every artifact again: whoever signs, signs for their bytes.
    pub(super) fn check_artifacts(&self) -> Result<(), ReleaseError> {
        for artifact in &self.manifest.artifacts {
            let path = self.artifact_path(artifact);
            let (found, found_length) = file::digest(&path)?;
            if (found, found_length) != (artifact.sha256, artifact.length) {
                let (expected, length) = (artifact.sha256, artifact.length);
                return Err(ReleaseError::Artifact { path, found, found_length, expected, length });
            }
        }
        Ok(())
    }
}

/// Refuses a folder that holds a release already.
pub(super) fn check_free(folder: &Path) -> Result<(), ReleaseError> {
    let path = folder.join(MANIFEST_FILE);
    if path.exists() { Err(FileError::Exists { path }.into()) } else { Ok(()) }
}

/// Makes a release folder. The manifest comes last: with it, the folder is whole.
pub(super) fn write(folder: &Path, sources: &Sources, manifest: &Manifest) -> Result<PathBuf, ReleaseError> {
    let path = folder.join(MANIFEST_FILE);
    manifest.check().map_err(|source| ReleaseError::Manifest { path: path.clone(), source })?;
    let bytes = manifest.to_bytes();
    if bytes.len() > MANIFEST_LENGTH_MAX {
        return Err(ReleaseError::ManifestTooLong { length: bytes.len() });
    }
    check_free(folder)?;
    file::create_folder(&folder.join("artifacts"))?;
    sources.put(|sha256| artifact_path(folder, sha256))?;
    file::create(&path, &bytes, Readers::Everyone)?;
    Ok(path)
}

fn artifact_path(folder: &Path, sha256: &Sha256Digest) -> PathBuf {
    folder.join("artifacts").join(sha256.to_string())
}
