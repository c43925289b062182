//! Keeping what a set will replace. Nothing in force changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use takt_common::release::FileSpec;

use super::error::FileError;
use super::record::{FileRecord, RECORD, Record, copy};
use super::work::{BEGAN, Work, is_temp};
use crate::disk::{self, failed, marked};
use crate::kept::{KeptError, Place, keep, what};

/// Blocks of the usual file systems: a file takes up whole ones.
const BLOCK_BYTES: u64 = 4096;

/// More names than folders of configuration have; beyond them nothing is cleaned.
const NAMES_MAX: usize = 65536;

impl Work<'_> {
    /// Keeps the way back; `artifacts` are the files of the new contents, in the order of the set.
    pub(super) fn prepare(&self, artifacts: &[Option<PathBuf>]) -> Result<(), FileError> {
        if marked(self.folder, BEGAN) && Record::read(self.folder, self.set)?.is_some() {
            return Err(FileError::Begun);
        }
        let files = || self.set.files.iter().zip(artifacts);
        let (mut needs, mut folders) = (Needs::default(), Vec::new());
        for (spec, artifact) in files() {
            self.check(spec, artifact.as_deref(), &mut needs)?;
            for folder in self.allowed.missing_folders(Path::new(&spec.path))? {
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
        }
        disk::remove_folder(self.folder, RECORD)?;
        disk::make_folder(self.folder)?;
        needs.check(self.folder)?;
        let mut kept = Vec::new();
        for (index, spec) in self.set.files.iter().enumerate() {
            let path = PathBuf::from(&spec.path);
            kept.push(FileRecord { kept: self.keep(&path, index)?, path });
        }
        Record::new(kept, folders).write(self.folder)
    }

    fn check(&self, spec: &FileSpec, artifact: Option<&Path>, needs: &mut Needs) -> Result<(), FileError> {
        let path = Path::new(&spec.path);
        let missing = self.allowed.missing_folders(path)?;
        let place = self.allowed.find(path)?;
        let mut old = 0;
        if let Some(place) = &place {
            usable(place)?;
            sweep(place);
            old = fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        }
        let mut new = 0;
        if let (Some(sha256), Some(artifact)) = (spec.content, artifact) {
            let missing = |_| FileError::NoArtifact { path: path.to_owned(), sha256 };
            new = fs::metadata(artifact).map_err(missing)?.len();
        }
        let there = missing.first().map_or(path, PathBuf::as_path).parent().unwrap_or(path);
        needs.add(there, path, old, new)
    }

    fn keep(&self, path: &Path, index: usize) -> Result<crate::kept::Kept, FileError> {
        let kept = match self.allowed.find(path)? {
            Some(place) => keep(&place, &copy(self.folder, index))?,
            None => crate::kept::Kept::Absent,
        };
        Ok(kept)
    }
}

/// Refuses what is no file, and a file whose name cannot go to another one.
pub(super) fn usable(place: &Place) -> Result<(), FileError> {
    match place.kind()? {
        None | Some(FileType::RegularFile) => {}
        Some(kind) => {
            let path = place.path().display().to_string();
            return Err(KeptError::NotAFile { path, what: what(kind) }.into());
        }
    }
    place.fixed().map_or(Ok(()), |why| Err(FileError::Fixed { path: place.path().to_owned(), why }))
}

/// Removes names beside a place that an agent left that never came back to its way back. One order at a time changes
/// files, so at this moment nobody needs them.
fn sweep(place: &Place) {
    let Some(folder) = place.path().parent() else { return };
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.take(NAMES_MAX).flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| is_temp(name)) {
            // What stays costs room and nothing else.
            let _ = place.remove_beside(name);
        }
    }
}

/// The room that is needed, by file system.
#[derive(Debug, Default)]
struct Needs {
    /// Device number → a folder there, the first file there, the bytes.
    there: BTreeMap<u64, (PathBuf, PathBuf, u64)>,
    /// For the kept copies.
    kept: u64,
}

impl Needs {
    fn add(&mut self, folder: &Path, path: &Path, old: u64, new: u64) -> Result<(), FileError> {
        let device = fs::metadata(folder).map_err(failed("examine", folder))?.dev();
        let need = self.there.entry(device).or_insert_with(|| (folder.to_owned(), path.to_owned(), 0));
        need.2 += in_blocks(new);
        self.kept += in_blocks(old);
        Ok(())
    }

    fn check(mut self, way_back: &Path) -> Result<(), FileError> {
        let device = fs::metadata(way_back).map_err(failed("examine", way_back))?.dev();
        let at = || (way_back.to_owned(), way_back.to_owned(), 0);
        self.there.entry(device).or_insert_with(at).2 += self.kept;
        for (folder, path, needed) in self.there.into_values() {
            let free = disk::free_bytes(&folder)?;
            if needed > free {
                return Err(FileError::NoRoom { path, needed, free });
            }
        }
        Ok(())
    }
}

const fn in_blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}
