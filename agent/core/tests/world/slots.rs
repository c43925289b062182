//! What the steps that are no containers change: files and packages in the slot that runs, the slots themselves with a
//! boot loader that counts, the agent's own package with a launcher, and the running kernel.
//!
//! Each step obeys the drawing in `step.rs` of the crate.

use std::collections::{BTreeMap, BTreeSet};

use takt_agent_core::{StepKey, StepState};
use takt_common::release::{Kind, Step};

use super::natures::Nature;
use super::releases::{Part, Releases};

/// How often the boot loader tries a slot that is not marked good.
const BOOT_TRIES: u32 = 3;

/// Which release something is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Of {
    #[default]
    Old,
    /// Some of it is, and some is not.
    Mixed,
    New,
}

/// One of the two slots.
#[derive(Debug, Default)]
struct Slot {
    os: Of,
    good: bool,
    tries: u32,
    /// Files and packages, by the step that changes them.
    holds: BTreeMap<usize, Of>,
}

#[derive(Debug, Default)]
pub struct Slots {
    both: [Slot; 2],
    runs: usize,
    /// Which one the boot loader starts.
    first: usize,
    /// The agent that runs, which may be another one than that on disk.
    agent: Of,
    patch: Of,
    /// The live patch of the old release is in force.
    pub old_patch: bool,
    /// Ways back, on a disk of their own.
    pub kept: BTreeSet<StepKey>,
    confirmed: BTreeSet<StepKey>,
    fell: BTreeMap<StepKey, &'static str>,
}

/// What is done to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Prepare,
    Apply,
    Revert,
    Confirm,
}

fn part(step: &Step) -> Part {
    match step {
        Step::File(_) => Part::File,
        Step::Package(set) if set.packages[0].name == "takt-agent" => Part::Agent,
        Step::Package(_) => Part::Package,
        Step::OsImage(_) => Part::OsImage,
        Step::LivePatch(_) => Part::LivePatch,
        Step::Container(_) => panic!("containers are the engine's"),
    }
}

impl Slots {
    fn holds(&self, index: usize) -> Of {
        self.both[self.runs].holds.get(&index).copied().unwrap_or_default()
    }

    fn hold(&mut self, index: usize, of: Of) {
        self.both[self.runs].holds.insert(index, of);
    }

    /// What of a step is in force.
    pub fn in_force(&self, index: usize, step: &Step) -> Of {
        match part(step) {
            Part::OsImage => self.both[self.runs].os,
            Part::LivePatch => self.patch,
            Part::Agent if self.agent != self.holds(index) => Of::Mixed,
            _ => self.holds(index),
        }
    }

    pub fn look(&self, key: &StepKey, step: &Step) -> StepState {
        let index = key.index;
        let is_new = || if self.confirmed.contains(key) { StepState::Confirmed } else { StepState::Applied };
        let fell = self.fell.get(key).map(|why| StepState::FellBack((*why).to_owned()));
        let is_old = || {
            let kept = self.kept.contains(key);
            fell.unwrap_or(if kept { StepState::Prepared } else { StepState::Untouched })
        };
        match part(step) {
            Part::OsImage => match (self.both[self.runs].os, self.both[self.first].os) {
                (Of::New, Of::New) => is_new(),
                (Of::New, _) => StepState::OldAfterReboot,
                (_, Of::New) => StepState::NewAfterReboot,
                _ => is_old(),
            },
            Part::LivePatch => match self.patch {
                Of::New => is_new(),
                Of::Mixed => StepState::Half("the transition has stalled".to_owned()),
                Of::Old => is_old(),
            },
            Part::Agent => match (self.holds(index), self.agent) {
                (Of::Mixed, _) => StepState::Half("the package is half configured".to_owned()),
                (Of::New, Of::New) => is_new(),
                (Of::New, _) => StepState::NewAfterReboot,
                (Of::Old, Of::New) => StepState::OldAfterReboot,
                (Of::Old, _) => is_old(),
            },
            _ => match self.holds(index) {
                Of::New => is_new(),
                Of::Mixed => StepState::Half("1 of 2".to_owned()),
                Of::Old => is_old(),
            },
        }
    }

    /// Does it, as a whole or only half of it.
    pub fn perform(&mut self, deed: Deed, key: &StepKey, step: &Step, whole: bool) {
        let index = key.index;
        let to = |of| if whole { of } else { Of::Mixed };
        match deed {
            // A folder that is not whole is not there.
            Deed::Prepare | Deed::Confirm if !whole => {}
            Deed::Prepare => {
                let before = self.in_force(index, step);
                assert!(before == Of::Old || self.kept.contains(key), "{key}: a way back to what is not old");
                self.kept.insert(key.clone());
            }
            Deed::Apply => match part(step) {
                Part::OsImage => {
                    let other = 1 - self.runs;
                    assert_eq!(self.both[self.runs].os, Of::Old, "{key}: the other slot is the way back");
                    self.both[other] =
                        Slot { os: to(Of::New), good: false, tries: BOOT_TRIES, holds: BTreeMap::new() };
                    if whole {
                        self.first = other;
                    }
                }
                Part::LivePatch => self.patch = to(Of::New),
                _ => self.hold(index, to(Of::New)),
            },
            Deed::Revert => {
                assert!(self.kept.contains(key), "{key}: taken back without a way back");
                if whole {
                    self.confirmed.remove(key);
                    self.fell.remove(key);
                }
                match part(step) {
                    Part::OsImage if !whole => {}
                    Part::OsImage => {
                        let old = usize::from(self.both[0].os == Of::New);
                        self.first = old;
                    }
                    Part::LivePatch => self.patch = to(Of::Old),
                    _ => self.hold(index, to(Of::Old)),
                }
            }
            Deed::Confirm => {
                assert_eq!(self.look(key, step), StepState::Applied, "{key} is confirmed");
                self.confirmed.insert(key.clone());
                if part(step) == Part::OsImage {
                    let runs = self.runs;
                    self.both[runs].good = true;
                }
            }
        }
    }

    /// The machine starts: the boot loader chooses the slot.
    pub fn booted(&mut self, releases: &Releases, key: impl Fn(usize) -> Option<StepKey>, nature: Nature) {
        self.patch = Of::Old;
        self.old_patch = false;
        if matches!(nature, Nature::StaysOut(Kind::OsImage) | Nature::StaysIn(Kind::OsImage)) {
            let runs_new = self.both[self.runs].os == Of::New;
            let stays = matches!(nature, Nature::StaysOut(_)) || runs_new;
            if stays && self.first != self.runs {
                return self.started(releases, key, nature);
            }
        }
        let first = &mut self.both[self.first];
        if first.os == Of::New && !first.good {
            let boots = !matches!(nature, Nature::DoesNotBoot(Kind::OsImage));
            let left = first.tries;
            first.tries = if boots { left.saturating_sub(1) } else { 0 };
            if left == 0 || !boots {
                self.first = 1 - self.first;
                let is_os = |step: &Step| matches!(step, Step::OsImage(_));
                let index = releases.new.manifest.steps.iter().position(is_os).expect("it has one");
                let key = key(index).expect("an order is in hand");
                self.fell.insert(key, "slot B did not boot, the loader took slot A");
            }
        }
        self.runs = self.first;
        self.started(releases, key, nature);
    }

    /// The agent starts: the launcher chooses which.
    pub fn started(&mut self, releases: &Releases, key: impl Fn(usize) -> Option<StepKey>, nature: Nature) {
        let is_agent = |step: &Step| !matches!(step, Step::Container(_)) && part(step) == Part::Agent;
        let Some(index) = releases.new.manifest.steps.iter().position(is_agent) else { return };
        let key = key(index);
        let confirmed = key.as_ref().is_some_and(|key| self.confirmed.contains(key));
        let will_not = matches!(nature, Nature::DoesNotBoot(Kind::Package));
        if self.holds(index) == Of::New && !confirmed && will_not {
            self.hold(index, Of::Old);
            self.fell.insert(
                key.expect("an order is in hand"),
                "three starts failed, the launcher took the old one",
            );
        }
        if nature == Nature::StaysOut(Kind::Package)
            || (nature == Nature::StaysIn(Kind::Package) && self.agent == Of::New)
        {
            return;
        }
        // Half a package is unpacked beside: the old agent still starts.
        self.agent = if self.holds(index) == Of::New { Of::New } else { Of::Old };
    }

    /// Why the old state is not in force, or will not be after the next boot.
    pub fn not_old(&self, index: usize, key: &StepKey, step: &Step) -> Option<String> {
        match self.look(key, step) {
            StepState::Untouched | StepState::Prepared | StepState::FellBack(_)
                if self.in_force(index, step) == Of::Old =>
            {
                None
            }
            other => Some(format!("step {key} is {other:?}")),
        }
    }
}
