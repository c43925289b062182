//! What RAUC says of the device: its slots, which of them runs, and which boots next.

use std::fmt;

use serde::{Deserialize, Serialize};
use takt_common::release::OsImage;

/// When something was last done to a slot, as RAUC counts it. It is only ever compared for being another one: clocks of
/// devices step back, and counts begin again where RAUC keeps them within the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// RAUC's clock.
    pub time: String,
    /// How often it was done.
    pub count: u32,
}

/// What a slot is to the boot that is in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It was booted.
    Booted,
    /// It belongs to the one that was booted.
    Active,
    /// It may be written.
    Inactive,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its name, for example `rootfs.1`.
    pub name: String,
    /// Its class, for example `rootfs`: two slots of one class take turns.
    pub class: String,
    /// The slot that it belongs to.
    pub parent: Option<String>,
    /// The boot loader's name of it; none for a slot that is never booted itself.
    pub bootname: Option<String>,
    /// What it is now.
    pub part: Part,
    /// Whether the boot loader calls it good; RAUC leaves it out of slots that are never booted.
    pub good: Option<bool>,
    /// Whether all of it was written; RAUC's `ok`.
    pub whole: bool,
    /// `compatible` of the bundle that was written to it last.
    pub compatible: Option<String>,
    /// Version of the bundle that was written to it last.
    pub version: Option<String>,
    /// When that was.
    pub installed: Option<Stamp>,
    /// When it was last made the one that boots next.
    pub activated: Option<Stamp>,
}

impl Slot {
    /// True when RAUC says that the whole of `image` was written to it.
    pub(super) fn holds(&self, image: &OsImage) -> bool {
        self.whole
            && self.compatible.as_deref() == Some(&image.compatible)
            && self.version.as_deref() == Some(&image.version)
    }

    /// A slot that a boot loader starts.
    fn boots(&self) -> bool {
        self.parent.is_none() && self.bootname.is_some()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bootname {
            Some(bootname) => write!(f, "slot {} ({bootname})", self.name),
            None => write!(f, "slot {}", self.name),
        }
    }
}

/// All slots of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots {
    /// Them.
    pub all: Vec<Slot>,
    /// The name of the slot that boots next, or why that cannot be told. Where GRUB counts boots, a slot that runs and
    /// is not marked good yet is passed over here, although it has boots left: so this alone says nothing of what runs.
    pub primary: Result<String, String>,
}

impl Slots {
    /// The slot with this name.
    pub(super) fn named(&self, name: &str) -> Option<&Slot> {
        self.all.iter().find(|slot| slot.name == name)
    }

    /// The slot that was booted; none when the device was booted from elsewhere.
    pub(super) fn booted(&self) -> Option<&Slot> {
        self.all.iter().find(|slot| slot.part == Part::Booted)
    }

    /// The slots that may take turns with `slot`.
    pub(super) fn turns_with(&self, slot: &Slot) -> Vec<&Slot> {
        let other = |other: &&Slot| other.boots() && other.class == slot.class && other.name != slot.name;
        self.all.iter().filter(other).collect()
    }

    /// A slot that has nobody to take turns with: a rescue system.
    pub(super) fn is_rescue(&self, slot: &Slot) -> bool {
        self.turns_with(slot).is_empty()
    }

    /// True when `name` boots next.
    pub(super) fn boots_next(&self, name: &str) -> bool {
        self.primary.as_deref() == Ok(name)
    }
}

/// RAUC as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is at work, and says nothing of its slots meanwhile; what it is doing.
    Busy(String),
    /// It told of its slots.
    Slots(Slots),
}
