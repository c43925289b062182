//! What was installed before: the record of a way back. It is written last, so a way back that has one is whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use takt_common::Sha256Digest;
use takt_common::release::PackageSet;

use super::error::PackageError;
use crate::disk::{self, failed};
use crate::kept::Kept;

/// The name of the record; of a way back that goes, it goes first.
pub(super) const RECORD: &str = "record.json";

/// The format written here; others are refused.
const FORMAT: u32 = 1;

/// A record with more in it is none of ours.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    /// In the order of the set.
    pub(super) packages: Vec<PackageRecord>,
    /// Configuration files of the previous and of the new packages, and the names beside them that a package manager uses.
    pub(super) files: Vec<FileRecord>,
    /// Configuration files that the device had changed (rpm only: dpkg knows by itself).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) changed: Vec<PathBuf>,
    /// Packages, of the set or not, that were not well before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unwell: Vec<String>,
    /// The program of the agent that ran, when its own package is in the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) runs: Option<Sha256Digest>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PackageRecord {
    pub(super) name: String,
    pub(super) before: Before,
}

/// What was installed of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Before {
    /// Nothing.
    Absent,
    /// Only its configuration files: it had been removed, and not purged (dpkg only).
    Removed {
        /// dpkg's list of them, with the digests of what was delivered.
        conffiles: String,
    },
    /// It.
    Installed {
        /// Its version.
        version: String,
        /// Its architecture.
        architecture: String,
        /// The name of its file in the way back.
        file: String,
        /// dpkg's list of its configuration files, with the digests of what was delivered.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        conffiles: String,
    },
}

/// One configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRecord {
    pub(super) path: PathBuf,
    pub(super) kept: Kept,
    /// The name of its copy in the way back.
    pub(super) copy: String,
}

impl Record {
    pub(super) const fn new(packages: Vec<PackageRecord>, files: Vec<FileRecord>) -> Self {
        Self { format: FORMAT, packages, files, changed: Vec::new(), unwell: Vec::new(), runs: None }
    }

    /// The record in `folder` of the way back of `set`; `None` when there is none, or that of another set.
    pub(super) fn read(folder: &Path, set: &PackageSet) -> Result<Option<Self>, PackageError> {
        let path = folder.join(RECORD);
        let wrong = |what: String| PackageError::Record { path: path.clone(), what };
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > RECORD_BYTES_MAX => {
                return Err(wrong(format!("it has more than {RECORD_BYTES_MAX} bytes")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if record.format != FORMAT {
            return Err(wrong(format!("its format is {}, this agent knows {FORMAT}", record.format)));
        }
        let names = record.packages.iter().map(|package| &package.name);
        Ok(names.eq(set.packages.iter().map(|package| &package.name)).then_some(record))
    }

    /// Writes it, with which the way back is whole.
    pub(super) fn write(&self, folder: &Path) -> Result<(), PackageError> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| PackageError::Record { path: folder.join(RECORD), what: error.to_string() })?;
        Ok(disk::write(&folder.join(RECORD), &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use takt_common::Sha256Digest;
    use takt_common::release::{Conffiles, Package, PackageFormat};

    use super::*;

    const GOLDEN: &str = include_str!("../../tests/golden/package-record.json");

    #[test]
    fn the_format_on_disk_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RECORD), GOLDEN).unwrap();
        let package = |name: &str| Package {
            file: Sha256Digest::of(b""),
            name: name.to_owned(),
            version: "2".to_owned(),
            architecture: "all".to_owned(),
        };
        let set = |names: [&str; 3]| PackageSet {
            format: PackageFormat::Deb,
            packages: names.map(package).to_vec(),
            conffiles: Conffiles::Keep,
        };
        let record = Record::read(folder.path(), &set(["app", "lib", "gone"])).unwrap().unwrap();
        record.write(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(RECORD)).unwrap() + "\n", GOLDEN);
        assert_eq!(Record::read(folder.path(), &set(["app", "other", "gone"])).unwrap(), None);
    }
}
