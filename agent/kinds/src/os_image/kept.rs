//! What is kept of a step: which slot it came from, which one it goes to, and how far it has gone.

use serde::{Deserialize, Serialize};

use super::seen::Stamp;
use crate::note::{self, NoteError};
use crate::way_back::StepFolder;

/// The note's name in the step's folder.
const NOTE: &str = "os-image.json";

/// The format of the note. Both slots hold an agent, of two versions, and either reads what the other one wrote: fields
/// are only ever added.
pub(super) const FORMAT: u32 = 1;

/// The note of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// [`FORMAT`].
    pub format: u32,
    /// The two slots, noted before anything changes. A step that found its image in force has none.
    #[serde(default)]
    pub slots: Option<TwoSlots>,
    /// The boot in which the installation began last.
    #[serde(default)]
    pub begun: Option<String>,
    /// The slot that runs was marked good for this step.
    #[serde(default)]
    pub confirmed: bool,
    /// The step was taken back.
    #[serde(default)]
    pub reverted: bool,
    /// The boot in which that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted_in: Option<String>,
}

/// The slots of a step as they were before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TwoSlots {
    /// The slot that ran.
    pub old: String,
    /// When that was last made to boot next before the installation began.
    pub old_activated: Option<Stamp>,
    /// The slot that is written.
    pub new: String,
    /// When that was last written.
    pub new_installed: Option<Stamp>,
    /// When that was last made to boot next.
    pub new_activated: Option<Stamp>,
    /// The bundle's version.
    pub version: String,
    /// The boot in which this was noted.
    pub boot: String,
}

impl Kept {
    pub(super) const fn new(slots: Option<TwoSlots>) -> Self {
        Self { format: FORMAT, slots, begun: None, confirmed: false, reverted: false, reverted_in: None }
    }

    /// Whether a device at rest may mark this slot good: not the new one that was never confirmed.
    pub(super) fn lets_mark(&self, slot: &str) -> bool {
        self.slots.as_ref().is_none_or(|two| two.new != slot || (self.confirmed && !self.reverted))
    }

    /// The note in a step's folder.
    pub(super) fn read(folder: &StepFolder) -> Result<Option<Self>, NoteError> {
        note::read(folder, NOTE)
    }

    /// Keeps it durably.
    pub(super) fn write(&self, folder: &StepFolder) -> Result<(), NoteError> {
        note::write(folder, NOTE, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Agents of two versions read it: what an earlier one wrote must be read, and what a later one adds.
    #[test]
    fn the_note_is_read_by_every_version() {
        let golden = concat!(
            r#"{"format":1,"slots":{"old":"rootfs.0","old_activated":null,"new":"rootfs.1","#,
            r#""new_installed":{"time":"2026-01-02T03:04:05Z","count":2},"new_activated":null,"#,
            r#""version":"2.0","boot":"b1"},"begun":"b1","confirmed":false,"reverted":false}"#
        );
        let kept: Kept = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_string(&kept).unwrap(), golden);
        let golden = concat!(
            r#"{"format":1,"slots":null,"begun":null,"confirmed":false,"reverted":true,"#,
            r#""reverted_in":"b2"}"#
        );
        let back = Kept { reverted: true, reverted_in: Some("b2".to_owned()), ..Kept::new(None) };
        assert_eq!(serde_json::from_str::<Kept>(golden).unwrap(), back);
        assert_eq!(serde_json::to_string(&back).unwrap(), golden);
        let later = r#"{"format":1,"something":"new"}"#;
        assert_eq!(serde_json::from_str::<Kept>(later).unwrap(), Kept::new(None));
    }
}
