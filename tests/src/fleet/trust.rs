//! The ceremony that begins a fleet: the keys of root, publisher and snapshot, and the first documents.

use std::path::{Path, PathBuf};

use super::command::Takt;
use super::error::FleetError;

/// The keys and the folder of trust documents.
#[derive(Debug, Clone)]
pub struct Ceremony {
    folder: PathBuf,
}

impl Ceremony {
    /// Makes the keys in `folder` and publishes the first documents.
    pub fn hold(takt: &Takt, folder: &Path) -> Result<Self, FleetError> {
        std::fs::create_dir_all(folder).map_err(FleetError::file("make the folder", folder))?;
        let ceremony = Self { folder: folder.to_owned() };
        for key in [ceremony.root_key(), ceremony.publisher_key(), ceremony.snapshot_key()] {
            takt.text(&["key", "new", "--out", &key])?;
        }
        takt.text(&[
            "trust",
            "init",
            "--dir",
            &ceremony.documents(),
            "--root-key",
            &ceremony.root_key(),
            "--publisher-key",
            &ceremony.publisher_key(),
            "--snapshot-key",
            &ceremony.snapshot_key(),
        ])?;
        Ok(ceremony)
    }

    /// The folder of documents, for `--trust` and `--dir`.
    pub fn documents(&self) -> String {
        self.path("documents")
    }

    /// The key that says who may sign what.
    pub fn root_key(&self) -> String {
        self.path("root.key")
    }

    /// The key that signs releases.
    pub fn publisher_key(&self) -> String {
        self.path("publisher.key")
    }

    /// The key that signs snapshots.
    pub fn snapshot_key(&self) -> String {
        self.path("snapshot.key")
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}
