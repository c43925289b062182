//! The launcher: starts the agent, and brings the old one back when a new one does not start.
//!
//! While an agent upgrades itself there is a **trial**, in a folder of its own:
//!
//! ```text
//! /var/lib/takt-agent/launcher/
//!   trial-v1,new=1.1.0,previous=1.0.0,starts=2,forgiven=0    the trial: its name is all of it
//!   previous/takt-agent                                      the agent to come back to
//!   previous/origin                                          where it came from, for people
//! ```
//!
//! The trial is the *name* of an empty file, and every change of it is one rename: that is whole or not at all, and
//! needs no space, so a start is counted on a full disk too.
//!
//! * The agent's package adapter calls [`TrialFolder::begin`] before the package is replaced, [`TrialFolder::alive`]
//!   after [`ALIVE_AFTER`] in good health, [`TrialFolder::confirm`] after a full round trip with the coordinator, and
//!   [`TrialFolder::withdraw`] once the package is rolled back.
//! * The program `takt-launcher` looks at the trial, asks [`decide`], remembers, and becomes the agent that it is told.
//!
//! Everything here blocks for as long as the disk takes. Why it is as it is:
//! `docs/decisions/0004-a-launcher-brings-the-agent-back.md`.

mod decide;
mod error;
mod folder;
mod launch;
mod protocol;
mod trial;

use std::time::Duration;

pub use decide::{Facts, Program, Step, decide};
pub use error::TrialError;
pub use folder::TrialFolder;
pub use launch::{Launch, Request, UsageError, launch};
pub use trial::{FellBack, OnTrial, Trial, Version, VersionError, Versions, Why};

/// So many starts of a new agent without a confirmation, and the previous one comes back. One can be bad luck and two
/// can be a power cut; systemd's pause between them keeps the device without an agent for some seconds only.
pub const STARTS_MAX: u8 = 3;

/// How long an agent on trial runs in good health before it calls [`TrialFolder::alive`]: longer than a
/// recovery of its journal, and than systemd's watchdog (two minutes) lets a stuck loop go on.
pub const ALIVE_AFTER: Duration = Duration::from_mins(5);

/// How often [`TrialFolder::alive`] forgives the starts of one trial: a device that is switched off every night and
/// cut off for a month. So no trial has more than `STARTS_MAX * (FORGIVEN_MAX + 1)` starts.
pub const FORGIVEN_MAX: u8 = 32;

/// Set for an agent that was started from the copy, to the new version that was given up: who finds it is the
/// previous one, and rolls the package back. [`FELL_BACK_UNKNOWN`] where no trial tells the version.
pub const FELL_BACK_VARIABLE: &str = "TAKT_AGENT_FELL_BACK";

/// See [`FELL_BACK_VARIABLE`]; no version looks like this.
pub const FELL_BACK_UNKNOWN: &str = "?";

/// Exit code: the command line is wrong.
pub const CODE_USAGE: u8 = 125;

/// Exit code: neither the installed agent nor the previous one can be run. All other codes are the agent's own.
pub const CODE_NO_AGENT: u8 = 126;
