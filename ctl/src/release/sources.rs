//! The local files that become the artifacts of a release.

use std::fs;
use std::path::{Path, PathBuf};

use takt_common::Sha256Digest;
use takt_common::release::Artifact;

use super::folder::ReleaseError;
use crate::file::{self, FileError};

/// Files up to this length are copied: people edit configuration files and hooks in place, and a link would change with
/// them. Image archives and bundles are large, and made anew for each release.
const COPIED_LENGTH_MAX: u64 = 1024 * 1024;

/// A file, once digested.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    artifact: Artifact,
}

/// The files of a release; each content once, however often it is named.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// Digests a file and takes it in.
    pub(super) fn add(&mut self, path: &Path) -> Result<Artifact, FileError> {
        let (sha256, length) = file::digest(path)?;
        let artifact = Artifact { sha256, length };
        if self.0.iter().all(|source| source.artifact.sha256 != sha256) {
            self.0.push(Source { path: path.to_owned(), artifact: artifact.clone() });
        }
        Ok(artifact)
    }

    /// As the manifest lists them.
    pub(super) fn artifacts(&self) -> Vec<Artifact> {
        self.0.iter().map(|source| source.artifact.clone()).collect()
    }

    /// Puts all of them where `place` says.
    pub(super) fn put(&self, place: impl Fn(&Sha256Digest) -> PathBuf) -> Result<(), ReleaseError> {
        self.0.iter().try_for_each(|source| put(source, &place(&source.artifact.sha256)))
    }
}

/// A hard link costs no space; where there should be none (a small file) or can be none (another file system), a copy.
fn put(source: &Source, to: &Path) -> Result<(), ReleaseError> {
    let from = &source.path;
    let copy = |source| ReleaseError::Copy { from: from.clone(), to: to.to_owned(), source };
    if to.exists() {
        fs::remove_file(to).map_err(copy)?;
    }
    // A link to a symbolic link would name the link and not the file.
    let real = fs::canonicalize(from).map_err(copy)?;
    if source.artifact.length <= COPIED_LENGTH_MAX || fs::hard_link(&real, to).is_err() {
        fs::copy(&real, to).map_err(copy)?;
    }
    Ok(())
}
