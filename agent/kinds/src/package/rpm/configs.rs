//! The policy for configuration files that the device has changed. rpm leaves it to each package; here the release says
//! it, as it does for dpkg: the device's stays, and the package's lies beside it, or the other way round.

use std::fs::File;
use std::path::{Path, PathBuf};

use takt_common::release::Conffiles;

use super::super::config::{self, beside};
use super::super::error::PackageError;
use super::super::record::{FileRecord, Record};
use super::Rpms;
use super::database::configs_of_file;
use crate::disk::failed;
use crate::kept::{Digests, KeptError, Place, Seen};

/// The package's file beside the device's, and the device's beside the package's.
const NEW: &str = ".rpmnew";
const SAVED: &str = ".rpmsave";

/// The name of a copy before it is whole.
const TEMP: &str = ".takt-config";

impl Rpms<'_> {
    /// Settles the configuration files that the device had changed, after the packages have been installed.
    pub(super) fn settle_configs(&self, record: &Record) -> Result<(), PackageError> {
        let mut delivered: Vec<PathBuf> = Vec::new();
        for package in &self.work.set.packages {
            let paths = configs_of_file(&self.work.file(package))?;
            delivered.extend(paths.iter().map(|path| self.rpm.on(path)));
        }
        let both = record.files.iter().filter(|file| record.changed.contains(&file.path));
        for file in both.filter(|file| delivered.contains(&file.path)) {
            match self.work.set.conffiles {
                Conffiles::Keep => self.keep_ours(file, record)?,
                Conffiles::Take => self.take_theirs(file, record)?,
            }
        }
        Ok(())
    }

    /// The device's file goes back to its place, after the package's has been copied beside it.
    fn keep_ours(&self, file: &FileRecord, record: &Record) -> Result<(), PackageError> {
        let Some(place) = Place::at(&file.path)? else { return Ok(()) };
        let digests = self.work.digests;
        if !file.kept.is_at(&place.look(digests)?) {
            copy(&place, &beside(&file.path, NEW), digests)?;
            config::bring_back(file, self.work.folder, digests)?;
        }
        // What rpm saved is what stands in its place again.
        let saved = record.files.iter().find(|other| other.path == beside(&file.path, SAVED));
        saved.map_or(Ok(()), |saved| config::bring_back(saved, self.work.folder, digests))
    }

    /// The package's file, which rpm has put beside the device's, takes its place.
    fn take_theirs(&self, file: &FileRecord, record: &Record) -> Result<(), PackageError> {
        let (new, digests) = (beside(&file.path, NEW), self.work.digests);
        let old = record.files.iter().find(|other| other.path == new);
        let (Some(place), Some(from)) = (Place::at(&file.path)?, Place::at(&new)?) else { return Ok(()) };
        let brought = from.look(digests)?;
        if brought == Seen::Absent || old.is_some_and(|old| old.kept.is_at(&brought)) {
            return Ok(());
        }
        // After a cut the package's may stand there already.
        if file.kept.is_at(&place.look(digests)?) {
            copy(&place, &beside(&file.path, SAVED), digests)?;
        }
        copy(&from, &file.path, digests)?;
        from.remove()?;
        Ok(from.sync()?)
    }
}

/// Copies a file with all its attributes to another name.
fn copy(from: &Place, to: &Path, digests: &Digests) -> Result<(), PackageError> {
    let (Seen::File { sha256, attributes }, Some(place)) = (from.look(digests)?, Place::at(to)?) else {
        return Ok(());
    };
    let mut content = File::open(from.path()).map_err(failed("open", from.path()))?;
    let laid = place.lay(TEMP, &mut content, from.path(), &sha256, &attributes);
    laid.and_then(|()| place.swap(TEMP)).and_then(|()| place.sync().map_err(KeptError::from))?;
    Ok(())
}
