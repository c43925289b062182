//! Why an os-image step cannot be taken.

use std::io;
use std::path::PathBuf;

use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;

use super::identity::IdentityError;
use super::rauc::RaucError;
use crate::note::NoteError;

/// An action of kind `os-image` failed, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum OsImageError {
    /// RAUC.
    #[error(transparent)]
    Rauc(#[from] RaucError),
    /// The note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The identity file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The boot cannot be told from others.
    #[error("read the boot id from '{}'", path.display())]
    Boot {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// RAUC does not take the bundle.
    #[error("RAUC refuses the bundle (its journal says why): {said}")]
    Bundle {
        /// RAUC's words.
        said: String,
    },
    /// The bundle is for other devices.
    #[error("the bundle is for '{bundle}', but {whose} says '{expected}'")]
    Compatible {
        /// What the bundle says.
        bundle: String,
        /// Who says otherwise.
        whose: &'static str,
        /// What it says.
        expected: String,
    },
    /// The bundle is another one.
    #[error("the bundle says it is version '{bundle}', but the release says '{expected}'")]
    Version {
        /// What the bundle says.
        bundle: String,
        /// What the manifest says.
        expected: String,
    },
    /// Something else marks slots good.
    #[error(
        "{unit} would mark a new system good at its boot, before it is verified: disable it ('systemctl disable \
         {unit}'), Takt marks what is verified"
    )]
    MarksGood {
        /// The unit.
        unit: String,
    },
    /// Whether something else marks slots good cannot be told.
    #[error("ask '{program}' whether {unit} is enabled")]
    Units {
        /// The program.
        program: String,
        /// The unit.
        unit: String,
        /// Why.
        source: io::Error,
    },
    /// The agent would forget the order.
    #[error(
        "the agent's folder '{}' lies within the slot that runs: the system in the other slot would know nothing of \
         this order; put it on storage that all slots share",
        path.display()
    )]
    StateInSlot {
        /// The folder.
        path: PathBuf,
    },
    /// The new system would not know what the device is.
    #[error(
        "the identity file '{}' would lie within the slot that runs: the system in the other slot would not find it; \
         put it on storage that all slots share",
        path.display()
    )]
    IdentityInSlot {
        /// The file.
        path: PathBuf,
    },
    /// A folder cannot be looked at.
    #[error("look at '{}'", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The device was booted from elsewhere.
    #[error("RAUC does not know which slot runs: the device was not booted from one")]
    NoSlotRuns,
    /// The rescue system runs.
    #[error("the device runs its rescue system in slot {slot}: bring it into one of its slots first")]
    Rescue {
        /// In which slot.
        slot: String,
    },
    /// It cannot be told which slot is written.
    #[error("slot {slot} has {count} slots to take turns with, but exactly one is expected")]
    Slots {
        /// The slot that runs.
        slot: String,
        /// How many others.
        count: usize,
    },
    /// The boot loader cannot be asked.
    #[error("RAUC cannot tell which slot boots next: {said}")]
    NoChoice {
        /// RAUC's words.
        said: String,
    },
    /// RAUC does something for others.
    #[error("RAUC is at work for others: {what}")]
    Busy {
        /// What.
        what: String,
    },
    /// The way back is not kept.
    #[error("the step is not one to be applied: {stands}")]
    NotPrepared {
        /// Where it stands.
        stands: String,
    },
    /// The slots are not what was prepared for.
    #[error("slot {runs} runs, but the step is to be applied from slot {expected}")]
    OtherSlotRuns {
        /// Which runs.
        runs: String,
        /// Which should.
        expected: String,
    },
    /// The way back has led nowhere.
    #[error(
        "slot {runs} runs again, although slot {old} was to boot: the old system does not come up either"
    )]
    OldDoesNotBoot {
        /// Which runs.
        runs: String,
        /// Which should.
        old: String,
    },
    /// RAUC said so.
    #[error("RAUC failed to install: {said}")]
    Install {
        /// RAUC's words.
        said: String,
    },
    /// Nothing moves.
    #[error("the installation has not moved for {secs} s: {at}")]
    Stalled {
        /// The limit.
        secs: u64,
        /// Where it stands.
        at: String,
    },
    /// It never ends.
    #[error("the installation has not ended within {secs} s: {at}")]
    Endless {
        /// The limit.
        secs: u64,
        /// Where it stands.
        at: String,
    },
    /// RAUC ended and has no record of success.
    #[error(
        "RAUC ended its installation, but slot {slot} is not what was asked for: {stands}; if it is whole, RAUC keeps \
         no record of it ('statusfile=' in its system.conf, outside the slots)"
    )]
    NotThere {
        /// The slot.
        slot: String,
        /// Where the step stands.
        stands: String,
    },
    /// The step is not in force.
    #[error("the new system does not run: {stands}")]
    NotInForce {
        /// Where the step stands.
        stands: String,
    },
    /// A mark is without effect.
    #[error("RAUC was told to mark slot {slot} {mark}, but still says otherwise: {said}")]
    Unmarked {
        /// The slot.
        slot: String,
        /// The mark.
        mark: &'static str,
        /// What it says.
        said: String,
    },
}

impl Natured for OsImageError {
    fn nature(&self) -> Nature {
        match self {
            Self::Rauc(error) => error.nature(),
            Self::Note(error) => error.nature(),
            Self::Identity(error) => error.nature(),
            Self::Boot { .. }
            | Self::Units { .. }
            | Self::Folder { .. }
            | Self::Busy { .. }
            | Self::Install { .. }
            | Self::Stalled { .. }
            | Self::Endless { .. }
            | Self::NotThere { .. }
            | Self::Unmarked { .. } => Nature::Transient,
            Self::Bundle { .. }
            | Self::Compatible { .. }
            | Self::Version { .. }
            | Self::MarksGood { .. }
            | Self::StateInSlot { .. }
            | Self::IdentityInSlot { .. }
            | Self::NoSlotRuns
            | Self::Rescue { .. }
            | Self::Slots { .. }
            | Self::NoChoice { .. }
            | Self::NotPrepared { .. }
            | Self::OtherSlotRuns { .. }
            | Self::OldDoesNotBoot { .. }
            | Self::NotInForce { .. } => Nature::Fatal,
        }
    }
}
