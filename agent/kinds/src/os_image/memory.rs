//! Which bundle Takt has put into which slot: RAUC records a version, and two bundles may claim the same one.
//!
//! `<way back>/os-images/slots.json` outlives the order. An entry counts as long as RAUC's record of the slot is the one
//! that was seen then: whoever has written the slot since, has changed that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use takt_common::Sha256Digest;
use takt_common::release::OsImage;

use super::seen::{Slot, Stamp};
use crate::note::{self, NoteError};
use crate::way_back::StepFolder;

/// The note's name.
const NOTE: &str = "slots.json";

/// What Takt has installed, by the name of the slot. Agents of two versions read it: fields are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory(BTreeMap<String, Content>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    bundle: Sha256Digest,
    /// RAUC's record of the installation.
    installed: Stamp,
}

impl Memory {
    /// What is remembered in `folder`, which is no step's.
    pub(super) fn read(folder: &StepFolder) -> Result<Self, NoteError> {
        note::read(folder, NOTE).map(Option::unwrap_or_default)
    }

    /// True when `slot` holds this very bundle.
    pub(super) fn holds(&self, image: &OsImage, slot: &Slot) -> bool {
        let same = |content: &Content| {
            content.bundle == image.bundle && slot.installed.as_ref() == Some(&content.installed)
        };
        slot.holds(image) && self.0.get(&slot.name).is_some_and(same)
    }

    /// Takt has written this bundle into `slot`. What RAUC has no record of is not remembered.
    pub(super) fn remember(
        mut self,
        image: &OsImage,
        slot: &Slot,
        folder: &StepFolder,
    ) -> Result<(), NoteError> {
        let Some(installed) = slot.installed.clone() else { return Ok(()) };
        self.0.insert(slot.name.clone(), Content { bundle: image.bundle, installed });
        note::write(folder, NOTE, &self)
    }

    #[cfg(test)]
    pub(super) fn of(image: &OsImage, slot: &str, installed: Stamp) -> Self {
        Self(BTreeMap::from([(slot.to_owned(), Content { bundle: image.bundle, installed })]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_read_by_every_version() {
        let golden = concat!(
            r#"{"rootfs.1":{"bundle":"2e2b4d2b6b3c1b0f0000000000000000000000000000000000000000000000ff","#,
            r#""installed":{"time":"2026-01-02T03:04:05Z","count":2}}}"#
        );
        let memory: Memory = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_string(&memory).unwrap(), golden);
        let later = golden.replace("}}}", "},\"something\":\"new\"}}");
        assert_eq!(serde_json::from_str::<Memory>(&later).unwrap(), memory);
    }
}
