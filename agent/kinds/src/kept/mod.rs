//! Files as they are: looked at, kept as copies, replaced whole, and brought back with their attributes.
//!
//! A [`Place`] is a name in an open folder, so nobody can put another folder in its way between a check and a change.
//! Failpoints: `kept.write`, `place.write`, `place.rename`, `place.remove`, `place.rmdir`.

mod attributes;
mod digests;
mod place;

pub(crate) use attributes::{Attributes, Hex};
pub(crate) use digests::Digests;
pub(crate) use place::{Place, Seen, what};

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};
use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;
use takt_common::Sha256Digest;

use crate::disk::{self, DiskError, failed};
use crate::effect::effect;

/// What lay at a place when its way back was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Kept {
    /// Nothing.
    Absent,
    /// A file; its content is in the copy.
    File {
        /// Its content's digest.
        sha256: Sha256Digest,
        /// The rest of it.
        attributes: Attributes,
    },
}

/// A file cannot be kept, written or brought back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something else than a file is there.
    #[error("use '{path}' as a file: it is {what}")]
    NotAFile {
        /// Where.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// It was written to while it was read.
    #[error("keep a copy of '{path}': it changed while it was read")]
    Changing {
        /// Which.
        path: String,
    },
    /// Other content than expected.
    #[error("read '{path}': its content has the digest {found}, not {expected}")]
    Content {
        /// Of what.
        path: String,
        /// What it should be.
        expected: Sha256Digest,
        /// What it is.
        found: Sha256Digest,
    },
}

impl Natured for KeptError {
    fn nature(&self) -> Nature {
        match self {
            Self::Disk(error) => error.nature(),
            Self::NotAFile { .. } => Nature::Fatal,
            Self::Changing { .. } => Nature::Transient,
            Self::Content { .. } => Nature::Corrupt,
        }
    }
}

/// Keeps what lies at `place`, its content as the file `copy`. The folder of the copy is not synced.
pub(crate) fn keep(place: &Place, copy: &Path) -> Result<Kept, KeptError> {
    let Some(mut file) = place.open()? else { return Ok(Kept::Absent) };
    let before = Attributes::of(&file, place.path())?;
    let written = effect!("kept.write", {
        disk::create(copy).map_err(KeptError::from).and_then(|mut into| {
            let (sha256, _) = place::copy(&mut file, place.path(), &mut into, copy)?;
            into.sync_all().map_err(failed("write", copy))?;
            Ok(sha256)
        })
    });
    let sha256 = written?;
    let attributes = Attributes::of(&file, place.path())?;
    if attributes != before {
        return Err(KeptError::Changing { path: place.path().display().to_string() });
    }
    Ok(Kept::File { sha256, attributes })
}

/// Brings back what was kept of `place`, by way of the name `temp` beside it. Fine when it is back already. The folder of
/// the place is not synced.
pub(crate) fn restore(
    place: &Place,
    kept: &Kept,
    copy: &Path,
    temp: &str,
    digests: &Digests,
) -> Result<(), KeptError> {
    if kept.is_at(&place.look(digests)?) {
        return Ok(());
    }
    let Kept::File { sha256, attributes } = kept else { return place.remove() };
    let mut file = File::open(copy).map_err(failed("open the kept copy", copy))?;
    match place.lay(temp, &mut file, copy, sha256, attributes) {
        Ok(()) => place.swap(temp),
        // No room for one more copy: then the kept one itself goes back, which needs none. It is whole and synced.
        Err(KeptError::Disk(error)) if error.is_full() => {
            place.take(copy, sha256, attributes).map_err(|_no_way_around| error.into())
        }
        Err(error) => Err(error),
    }
}

impl Kept {
    /// True when it is what lies there now. Times are no part of this: some file systems round them.
    pub(crate) fn is_at(&self, seen: &Seen) -> bool {
        match (self, seen) {
            (Self::Absent, Seen::Absent) => true,
            (Self::File { sha256, attributes }, Seen::File { sha256: now, attributes: has }) => {
                sha256 == now && attributes.same(has)
            }
            _ => false,
        }
    }

    /// The attributes of the file, if there was one.
    pub(crate) const fn attributes(&self) -> Option<&Attributes> {
        match self {
            Self::Absent => None,
            Self::File { attributes, .. } => Some(attributes),
        }
    }
}
