//! One set of files at work: what every verb of the kind has in hand, and where the set stands.

use std::fs;
use std::path::{Path, PathBuf};

use takt_agent_core::StepState;
use takt_agent_core::failure::sentence;
use takt_common::Sha256Digest;
use takt_common::digest::to_hex;
use takt_common::release::{FileSet, FileSpec};

use super::allowed::Allowed;
use super::error::FileError;
use super::record::{FileRecord, Record};
use super::wanted::Wanted;
use crate::disk::marked;
use crate::kept::{Digests, Kept, KeptError, Seen};

/// Noted before the first file is replaced, and no longer once all are back: only then is a difference from what was kept
/// somebody else's doing.
pub(super) const BEGAN: &str = "began";

/// Noted when nothing takes the set back by itself any more.
pub(super) const CONFIRMED: &str = "confirmed";

/// Noted when a set was taken back that had been in force before its order: there was nothing to bring back.
pub(super) const AS_FOUND: &str = "as-found";

/// What names of files that are not yet in place begin with.
const TEMP_BEGINNING: &str = ".takt-";

/// Digits of the step in such a name.
const TEMP_DIGITS: usize = 16;

/// One set, its way back, and what the device allows.
pub(super) struct Work<'a> {
    pub(super) allowed: &'a Allowed,
    pub(super) digests: &'a Digests,
    pub(super) folder: &'a Path,
    pub(super) set: &'a FileSet,
}

/// Where one file stands. It may be both: then the release changes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// All that the release states.
    pub(super) new: bool,
    /// As it was kept.
    pub(super) old: bool,
}

/// The name beside its place of a new file before it is in force, for the `index`th file of this step.
pub(super) fn temp(folder: &Path, index: usize) -> String {
    let step = folder.file_name().unwrap_or_default();
    let digest = Sha256Digest::of(step.as_encoded_bytes());
    format!("{TEMP_BEGINNING}{}-{index}", to_hex(&digest.as_bytes()[..TEMP_DIGITS / 2]))
}

/// True for names that [`temp`] gives, whatever the step.
pub(super) fn is_temp(name: &str) -> bool {
    let parts = name.strip_prefix(TEMP_BEGINNING).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(step, index)| {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        step.len() == TEMP_DIGITS
            && step.bytes().all(hex)
            && !index.is_empty()
            && index.bytes().all(|byte| byte.is_ascii_digit())
    })
}

impl Work<'_> {
    /// Where the set stands.
    pub(super) fn look(&self) -> StepState {
        self.state().unwrap_or_else(|error| StepState::Unknown(sentence(&error)))
    }

    fn state(&self) -> Result<StepState, FileError> {
        let in_force =
            || if marked(self.folder, CONFIRMED) { StepState::Confirmed } else { StepState::Applied };
        let Some(record) = Record::read(self.folder, self.set)? else {
            let specs = self.set.files.iter().map(|spec| Ok(self.stand(spec, None)?.new));
            let all_new = specs.collect::<Result<Vec<_>, FileError>>()?.into_iter().all(|new| new);
            let taken_back = marked(self.folder, AS_FOUND);
            return Ok(if all_new && !taken_back { in_force() } else { StepState::Untouched });
        };
        let standings = self.standings(&record)?;
        let began = marked(self.folder, BEGAN);
        let all_new = standings.iter().all(|file| file.new);
        let all_old = standings.iter().all(|file| file.old);
        Ok(match (all_new, all_old) {
            // The release changes nothing: only what was begun tells which of the two is meant.
            (true, true) if began => in_force(),
            (true, false) => in_force(),
            (_, true) => match self.left_over(&record) {
                Some(what) => StepState::Half(what),
                None => StepState::Prepared,
            },
            (false, false) if began => StepState::Half(self.half(&standings)),
            // Somebody else has changed a file since it was kept.
            (false, false) => StepState::Untouched,
        })
    }

    /// Where each file stands.
    pub(super) fn standings(&self, record: &Record) -> Result<Vec<Standing>, FileError> {
        let pairs = self.set.files.iter().zip(&record.files);
        pairs.map(|(spec, file)| self.stand(spec, Some(&file.kept))).collect()
    }

    fn stand(&self, spec: &FileSpec, kept: Option<&Kept>) -> Result<Standing, FileError> {
        let seen = self.see(Path::new(&spec.path))?;
        Ok(Standing {
            new: Wanted::of(spec).is_ok_and(|wanted| wanted.is_met(&seen)),
            old: kept.is_some_and(|kept| kept.is_at(&seen)),
        })
    }

    fn see(&self, path: &Path) -> Result<Seen, FileError> {
        match self.allowed.find(path) {
            Ok(Some(place)) => Ok(place.look(self.digests)?),
            Ok(None) => Ok(Seen::Absent),
            Err(error @ (FileError::Disk(_) | FileError::Kept(KeptError::Disk(_)))) => Err(error),
            // What may not be used is neither the old nor the new file; why is said by whoever wants to use it.
            Err(_refused) => Ok(Seen::Other("out of bounds")),
        }
    }

    /// What is left of a try to put the set in force, beside files: names not yet in place, folders with nothing in them.
    fn left_over(&self, record: &Record) -> Option<String> {
        for (index, file) in record.files.iter().enumerate() {
            let Ok(Some(place)) = self.allowed.find(&file.path) else { continue };
            let temp = temp(self.folder, index);
            if place.has_beside(&temp) {
                let temp = file.path.with_file_name(temp);
                return Some(format!("'{}' is not in place yet", temp.display()));
            }
        }
        let is_empty =
            |folder: &&PathBuf| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        let empty = record.folders.iter().find(is_empty);
        empty.map(|folder| format!("folder '{}' was made and is empty", folder.display()))
    }

    fn half(&self, standings: &[Standing]) -> String {
        let of = |wanted: fn(&Standing) -> bool| {
            let mut files = standings.iter().zip(&self.set.files);
            files.find(|(standing, _)| wanted(standing)).map(|(_, spec)| spec.path.as_str())
        };
        let missing = of(|standing| !standing.new).unwrap_or_default();
        match of(|standing| !standing.new && !standing.old) {
            Some(other) => format!("'{other}' is neither the new nor the previous file"),
            None => format!("'{missing}' is still the previous file"),
        }
    }

    /// Removes what a try to put the set in force leaves beside files.
    pub(super) fn clear(&self, record: &Record) -> Result<(), FileError> {
        for (index, file) in record.files.iter().enumerate() {
            if let Ok(Some(place)) = self.allowed.find(&file.path) {
                place.remove_beside(&temp(self.folder, index))?;
            }
        }
        for folder in record.folders.iter().rev() {
            if let Ok(Some(place)) = self.allowed.find(folder) {
                place.remove_folder()?;
            }
        }
        Ok(())
    }

    /// The files of the record with their number.
    pub(super) fn numbered<'r>(
        &self,
        record: &'r Record,
    ) -> impl DoubleEndedIterator<Item = (usize, &FileSpec, &'r FileRecord)> + ExactSizeIterator {
        let pairs = self.set.files.iter().zip(&record.files);
        pairs.enumerate().map(|(index, (spec, file))| (index, spec, file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_new_files_are_known_again_and_no_others() {
        let name = temp(Path::new("/var/lib/takt-agent/way-back/takt-00-app-g1-7.2"), 11);
        assert!(is_temp(&name), "{name}");
        assert_ne!(name, temp(Path::new("/var/lib/takt-agent/way-back/takt-00-app-g1-8.2"), 11));
        for other in [
            ".takt-",
            ".takt-0123456789abcdef",
            ".takt-0123456789abcdef-",
            ".takt-0123456789abcdeg-1",
            ".takt-0123456789abcdef-1~",
            "x.takt-0123456789abcdef-1",
        ] {
            assert!(!is_temp(other), "{other}");
        }
    }
}
