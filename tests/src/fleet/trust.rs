//! The ceremony that begins a fleet: the keys of root, publishers and snapshot, and the first documents.

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
        let [first, second] = ceremony.publisher_keys();
        for key in [&ceremony.root_key(), &first, &second, &ceremony.snapshot_key()] {
            takt.text(&["key", "new", "--out", key])?;
        }
        takt.text(&[
            "trust",
            "init",
            "--dir",
            &ceremony.documents(),
            "--root-key",
            &ceremony.root_key(),
            "--publisher-key",
            &first,
            "--publisher-key",
            &second,
            "--publisher-threshold",
            "2",
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

    /// The keys that sign releases: each release needs both.
    pub fn publisher_keys(&self) -> [String; 2] {
        ["publisher-1.key", "publisher-2.key"].map(|name| self.path(name))
    }

    /// Signs the release in the folder `out` with these publishers' keys, and with the snapshot's.
    pub fn sign(&self, takt: &Takt, out: &str, publishers: &[String]) -> Result<String, FleetError> {
        let (documents, snapshot) = (self.documents(), self.snapshot_key());
        let mut line =
            vec!["release", "sign", "--dir", out, "--trust", &documents, "--snapshot-key", &snapshot];
        for key in publishers {
            line.extend(["--publisher-key", key]);
        }
        takt.text(&line)
    }

    /// The key that signs snapshots.
    pub fn snapshot_key(&self) -> String {
        self.path("snapshot.key")
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}
