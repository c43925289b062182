//! What was there before: the record of a way back. It is written last, so a way back that has one is whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use takt_common::release::FileSet;

use super::error::FileError;
use crate::disk::{self, failed};
use crate::kept::Kept;

/// The name of the record; of a way back that goes, it goes first.
pub(super) const RECORD: &str = "record.json";

/// The format written here; others are refused.
const FORMAT: u32 = 1;

/// A record with more in it is none of ours: a manifest has 64 KiB.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    /// In the order of the set.
    pub(super) files: Vec<FileRecord>,
    /// Folders that were not there, each after the one that it lies in.
    pub(super) folders: Vec<PathBuf>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRecord {
    pub(super) path: PathBuf,
    pub(super) kept: Kept,
}

impl Record {
    pub(super) const fn new(files: Vec<FileRecord>, folders: Vec<PathBuf>) -> Self {
        Self { format: FORMAT, files, folders }
    }

    /// The record in `folder` of the way back of `set`; `None` when there is none, or that of another set.
    pub(super) fn read(folder: &Path, set: &FileSet) -> Result<Option<Self>, FileError> {
        let path = folder.join(RECORD);
        let wrong = |what: String| FileError::Record { path: path.clone(), what };
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
        let paths = record.files.iter().map(|file| file.path.as_path());
        Ok(paths.eq(set.files.iter().map(|file| Path::new(&file.path))).then_some(record))
    }

    /// Writes it, with which the way back is whole.
    pub(super) fn write(&self, folder: &Path) -> Result<(), FileError> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| FileError::Record { path: folder.join(RECORD), what: error.to_string() })?;
        Ok(disk::write(&folder.join(RECORD), &bytes)?)
    }
}

/// Where the content of the `index`th file is kept.
pub(super) fn copy(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("{index}.kept"))
}

#[cfg(test)]
mod tests {
    use takt_common::release::FileSpec;

    use super::*;

    const GOLDEN: &str = include_str!("../../tests/golden/file-record.json");

    fn set(paths: &[&str]) -> FileSet {
        let spec = |path: &&str| FileSpec {
            path: (*path).to_owned(),
            content: None,
            mode: None,
            owner: None,
            xattrs: std::collections::BTreeMap::new(),
        };
        FileSet { files: paths.iter().map(spec).collect() }
    }

    #[test]
    fn the_format_on_disk_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RECORD), GOLDEN).unwrap();
        let set = set(&["/etc/app/app.conf", "/etc/app/new/extra.conf"]);
        let record = Record::read(folder.path(), &set).unwrap().unwrap();
        record.write(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(RECORD)).unwrap() + "\n", GOLDEN);
    }

    #[test]
    fn the_record_of_another_set_is_none_and_one_of_another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(folder.path(), &set(&["/etc/x"])).unwrap(), None);
        fs::write(folder.path().join(RECORD), GOLDEN).unwrap();
        assert_eq!(Record::read(folder.path(), &set(&["/etc/x"])).unwrap(), None);
        let other = GOLDEN.replace("\"format\": 1", "\"format\": 2");
        fs::write(folder.path().join(RECORD), other).unwrap();
        let error = Record::read(folder.path(), &set(&["/etc/x"])).unwrap_err();
        assert!(error.to_string().ends_with("record.json': its format is 2, this agent knows 1"), "{error}");
    }
}
