//! Bringing a trust folder up to what is published, verified from its own root on.

use takt_common::UnixTime;
use takt_trust::document::DOCUMENT_LENGTH_MAX;
use takt_trust::names::TIMESTAMP_FILE;
use takt_trust::{Document, DocumentError, PackageTrust, TrustError};

use super::dir::{Role, TrustDir, TrustDirError};
use crate::api::{Api, ApiError};
use crate::exit::Exit;
use crate::file::{self, FileError};

/// Whether anything was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The folder holds what is published.
    UpToDate,
    /// The coordinator has no metadata yet.
    NothingPublished,
}

/// The folder cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The coordinator.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The folder.
    #[error(transparent)]
    Dir(#[from] TrustDirError),
    /// A file in it.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is published cannot be trusted.
    #[error("verify what the coordinator at {url} has published")]
    Trust {
        /// The coordinator.
        url: String,
        /// Why.
        source: Box<TrustError>,
    },
    /// A document that came is none.
    #[error("read {file} of the coordinator")]
    Document {
        /// Its name.
        file: String,
        /// Why.
        source: DocumentError,
    },
    /// Somebody else published first.
    #[error(
        "not as published: {paths}; another publisher was first, so delete what is named here and sign again"
    )]
    Overtaken {
        /// The local files.
        paths: String,
    },
}

impl FetchError {
    /// What the shell gets.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Api(error) => error.exit(),
            Self::Dir(error) => error.exit(),
            Self::File(_) | Self::Document { .. } => Exit::Failed,
            Self::Trust { .. } | Self::Overtaken { .. } => Exit::Refused,
        }
    }
}

/// Fetches roots, snapshot and targets that are newer than what the folder holds, and verifies them with TUF's rules.
pub async fn fetch(dir: &TrustDir, api: &Api, now: UnixTime) -> Result<Fetched, FetchError> {
    let refused = |error| FetchError::Trust { url: api.url().to_owned(), source: Box::new(error) };
    let root = dir.demand(&Role::Root)?;
    let root_bytes = file::read_bytes(&root.path, DOCUMENT_LENGTH_MAX as u64)?;
    let trust = PackageTrust::from_root(&root_bytes).map_err(refused)?;
    let mut refresh = trust.begin_refresh(now);
    let mut came = Vec::new();
    while let Some(need) = refresh.need() {
        let bytes = api.get_bytes(&format!("/api/v1/repository/{}", need.name)).await?;
        match &bytes {
            None if need.name == TIMESTAMP_FILE => return Ok(Fetched::NothingPublished),
            Some(bytes) if need.name != TIMESTAMP_FILE => came.push((need.name.clone(), bytes.clone())),
            _ => {}
        }
        refresh.provide(bytes).map_err(refused)?;
    }
    refresh.finish().map_err(refused)?;
    let mut overtaken = Vec::new();
    for (name, bytes) in &came {
        if !is_ours(dir, name, bytes)? {
            overtaken.push(dir.path(name).display().to_string());
        }
    }
    if !overtaken.is_empty() {
        return Err(FetchError::Overtaken { paths: overtaken.join(", ") });
    }
    for (name, bytes) in &came {
        file::replace(&dir.path(name), bytes)?;
    }
    Ok(Fetched::UpToDate)
}

/// Whether a verified document may take the place of the local one, which may only differ from it in its signatures.
fn is_ours(dir: &TrustDir, name: &str, bytes: &[u8]) -> Result<bool, FetchError> {
    let path = dir.path(name);
    if !path.exists() {
        return Ok(true);
    }
    let document = |bytes: &[u8]| {
        Document::from_bytes(bytes).map_err(|source| FetchError::Document { file: name.to_owned(), source })
    };
    let local = file::read_bytes(&path, DOCUMENT_LENGTH_MAX as u64)?;
    Ok(local == bytes || document(bytes)?.join(&document(&local)?).is_ok())
}
