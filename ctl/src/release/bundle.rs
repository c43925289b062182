//! What an operating system bundle says of itself, where RAUC is installed to ask.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Bundle {
    /// The devices that it is for.
    pub(super) compatible: String,
    /// Its version.
    #[serde(default)]
    pub(super) version: String,
}

/// A file is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Out of reach.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// RAUC does not take it.
    #[error("{} is not a bundle that RAUC reads: {said}", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
        /// What RAUC says.
        said: String,
    },
    /// RAUC cannot be asked.
    #[error("start rauc")]
    Start(#[source] io::Error),
}

impl Bundle {
    /// Asks RAUC; `None` where it is not installed. Whose bundles are good is for each device's keyring to say.
    pub(super) fn ask(path: &Path) -> Result<Option<Self>, BundleError> {
        let real =
            fs::canonicalize(path).map_err(|source| BundleError::Read { path: path.to_owned(), source })?;
        let asked = Command::new("rauc")
            .args(["info", "--no-verify", "--output-format=json"])
            .arg(&real)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output();
        let output = match asked {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BundleError::Start(source)),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        // Some versions write words before the document.
        let begin = text.find('{').unwrap_or(text.len());
        serde_json::from_str(text[begin..].trim()).map(Some).map_err(|_| {
            let words = String::from_utf8_lossy(&output.stderr);
            let last = words.lines().rev().map(str::trim).find(|line| !line.is_empty());
            let said = last.unwrap_or("it says nothing of it").chars().take(200).collect();
            BundleError::NotOne { path: path.to_owned(), said }
        })
    }
}
