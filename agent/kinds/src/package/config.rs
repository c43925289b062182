//! Configuration files: kept before packages change, brought back after they have been taken back.

use std::path::{Path, PathBuf};

use super::error::PackageError;
use super::record::FileRecord;
use crate::kept::{Digests, Kept, KeptError, Place, Seen, keep, restore};

/// The name beside its place of a file that is brought back.
const TEMP: &str = ".takt-config";

/// Two names for copies: what is kept anew must not touch the copies that the record still speaks of.
const GENERATIONS: [&str; 2] = ["config", "config-again"];

/// Keeps what lies at each of these paths, contents in `folder`, beside those of `before`. What is no file is passed over:
/// no package manager changes it as a configuration file.
pub(super) fn keep_all(
    paths: &[PathBuf],
    folder: &Path,
    before: &[FileRecord],
) -> Result<Vec<FileRecord>, PackageError> {
    let first = format!("{}-0.kept", GENERATIONS[0]);
    let generation = usize::from(before.iter().any(|file| file.copy == first));
    let mut all: Vec<FileRecord> = Vec::new();
    for path in paths {
        let copy = format!("{}-{}.kept", GENERATIONS[generation], all.len());
        let kept = match Place::at(path)? {
            None => Kept::Absent,
            Some(place) => match keep(&place, &folder.join(&copy)) {
                Err(KeptError::NotAFile { .. }) => continue,
                kept => kept?,
            },
        };
        all.push(FileRecord { path: path.clone(), kept, copy });
    }
    Ok(all)
}

/// The first file that is not as it was kept.
pub(super) fn first_changed<'a>(
    files: &'a [FileRecord],
    digests: &Digests,
) -> Result<Option<&'a Path>, PackageError> {
    for file in files {
        let seen = match Place::at(&file.path)? {
            Some(place) => place.look(digests)?,
            None => Seen::Absent,
        };
        if !file.kept.is_at(&seen) {
            return Ok(Some(&file.path));
        }
    }
    Ok(None)
}

/// Brings all of them back.
pub(super) fn restore_all(
    files: &[FileRecord],
    folder: &Path,
    digests: &Digests,
) -> Result<(), PackageError> {
    for file in files {
        bring_back(file, folder, digests)?;
    }
    Ok(())
}

/// Brings one of them back.
pub(super) fn bring_back(file: &FileRecord, folder: &Path, digests: &Digests) -> Result<(), PackageError> {
    // Without its folder there is nothing that could be read.
    let Some(place) = Place::at(&file.path)? else { return Ok(()) };
    restore(&place, &file.kept, &folder.join(&file.copy), TEMP, digests)?;
    Ok(place.sync()?)
}

/// The path with something added to its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(ending);
    PathBuf::from(path)
}
