//! Putting a set in force, and taking it back.

use std::fs::File;
use std::path::PathBuf;

use takt_common::release::FileSpec;

use super::error::FileError;
use super::prepare::usable;
use super::record::{Record, copy};
use super::wanted::Wanted;
use super::work::{AS_FOUND, BEGAN, CONFIRMED, Standing, Work, temp};
use crate::disk::{failed, mark, marked, unmark};
use crate::kept::{Kept, restore};

impl Work<'_> {
    /// Puts the set in force, or completes what was begun. First every new file is written beside its place, which may fail
    /// for many reasons; only then the first name changes, and the rest is renaming.
    pub(super) fn apply(&self, artifacts: &[Option<PathBuf>]) -> Result<(), FileError> {
        let record = Record::read(self.folder, self.set)?.ok_or(FileError::NoWayBack)?;
        let wanted = self.set.files.iter().map(Wanted::of).collect::<Result<Vec<_>, _>>()?;
        let standings = self.standings(&record)?;
        let began = marked(self.folder, BEGAN);
        let changed = standings.iter().zip(&wanted).find(|(file, _)| !file.new && !file.old);
        if let Some((_, wanted)) = changed.filter(|_| !began) {
            return Err(FileError::Changed { path: wanted.path.clone() });
        }
        let laid = self.lay(&record, &wanted, &standings, artifacts);
        let ready = laid.and_then(|()| if began { Ok(()) } else { Ok(mark(self.folder, BEGAN)?) });
        if let Err(error) = ready {
            if !began {
                // Nothing is in force yet; what is left in the way is seen by the next look.
                let _ = self.clear(&record);
            }
            return Err(error);
        }
        self.swap(&wanted, &standings)
    }

    fn lay(
        &self,
        record: &Record,
        wanted: &[Wanted],
        standings: &[Standing],
        artifacts: &[Option<PathBuf>],
    ) -> Result<(), FileError> {
        for (index, _, file) in self.numbered(record) {
            let wanted = &wanted[index];
            let Some(sha256) = wanted.content.filter(|_| !standings[index].new) else { continue };
            let missing = || FileError::NoArtifact { path: file.path.clone(), sha256 };
            let artifact = artifacts.get(index).and_then(Option::as_ref).ok_or_else(missing)?;
            let mut content = File::open(artifact).map_err(failed("open", artifact))?;
            let place = self.allowed.make_way(&file.path)?;
            usable(&place)?;
            let attributes = wanted.attributes(file.kept.attributes());
            place.lay(&temp(self.folder, index), &mut content, artifact, &sha256, &attributes)?;
        }
        Ok(())
    }

    fn swap(&self, wanted: &[Wanted], standings: &[Standing]) -> Result<(), FileError> {
        for (index, wanted) in wanted.iter().enumerate().filter(|(index, _)| !standings[*index].new) {
            let Some(place) = self.allowed.find(&wanted.path)? else { continue };
            if wanted.content.is_some() {
                place.swap(&temp(self.folder, index))?;
            } else {
                usable(&place)?;
                place.remove()?;
            }
            place.sync()?;
        }
        Ok(())
    }

    /// Brings back what was there, the last file first, and as much of it as can be brought back: the first error is
    /// returned in the end.
    pub(super) fn revert(&self) -> Result<(), FileError> {
        let Some(record) = Record::read(self.folder, self.set)? else {
            // It was in force before its order, so this is what was there.
            return Ok(mark(self.folder, AS_FOUND)?);
        };
        let mut first = self.clear(&record);
        for (index, spec, file) in self.numbered(&record).rev() {
            let back = self.bring_back(index, spec, &file.kept);
            first = first.and(back);
        }
        first?;
        self.clear(&record)?;
        unmark(self.folder, CONFIRMED)?;
        Ok(unmark(self.folder, BEGAN)?)
    }

    fn bring_back(&self, index: usize, spec: &FileSpec, kept: &Kept) -> Result<(), FileError> {
        let path = PathBuf::from(&spec.path);
        let place = match kept {
            Kept::Absent => self.allowed.find(&path)?,
            Kept::File { .. } => Some(self.allowed.make_way(&path)?),
        };
        let Some(place) = place else { return Ok(()) };
        restore(&place, kept, &copy(self.folder, index), &temp(self.folder, index), self.digests)?;
        Ok(place.sync()?)
    }
}
