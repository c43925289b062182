//! What must hold at every step, when an outcome is told, and at rest.

use takt_agent_core::{Action, Phase, Workload};
use takt_common::release::{HookPoint, Kind, Step, Strategy};
use takt_common::report::{Memory, Outcome};

use super::slots::Of;
use super::{OLD_NAME, World};

/// What has been done to what is in force, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    TurnedBack,
    Started { new: bool },
    Stopped { new: bool },
    Routed { new: bool },
    Applied(usize),
    Reverted(usize),
    Hook(HookPoint),
    Rebooted,
    AgentRestarted,
}

impl World {
    /// What must hold at every step, cut or not.
    pub(super) fn check_promises(&self) {
        let (old, new) = (self.old_workload(), self.new_workload());
        let runs =
            |workload: &Option<Workload>| workload.as_ref().is_some_and(|one| self.engine.any_runs(one));
        if runs(&old) && runs(&new) {
            let strategy = self.record.phase.swap().and_then(|swap| swap.strategy);
            assert!(
                strategy == Some(Strategy::Handover)
                    && matches!(self.record.phase, Phase::Switching { .. } | Phase::RollingBack { .. }),
                "one-running: two releases run at once in {}",
                self.record.phase.name()
            );
        }
        let is_new = |workload: &Workload| workload.name.0 != super::OLD_NAME;
        let verified = self.record.installed.values().any(is_new);
        if let (Some(old), false) = (&old, verified) {
            for (name, _) in old.containers() {
                assert!(
                    self.engine.boxes.contains_key(&name),
                    "way-back: container {name} went before the new release was verified"
                );
            }
        }
        if let (Some(new), false) = (&new, verified) {
            for (key, step) in new.steps().filter(|(_, step)| step.kind() != Kind::Container) {
                let back = self.slots.in_force(key.index, step) == Of::Old || self.slots.kept.contains(&key);
                assert!(back, "way-back: {key} has none");
            }
        }
        let highest = self.record.highest.values().max().copied().unwrap_or_default();
        let installed = self.record.installed.values().map(|workload| workload.manifest.counter).max();
        assert!(installed.unwrap_or(highest) >= highest, "never-older: an older release is installed");
        let mut told: Vec<u64> = self.outcomes.iter().map(|(generation, _)| *generation).collect();
        told.dedup();
        assert_eq!(told.len(), self.outcomes.len(), "told: an order ended twice: {:?}", self.outcomes);
    }

    /// The switch begins: nothing may speak against it.
    pub(super) fn check_begin(&self) {
        assert!(!self.locked(), "own-decision: a lock is held");
    }

    /// The phase on disk is one that says this is coming.
    pub(super) fn check_intent(&self, action: &Action) {
        let phase = &self.record.phase;
        let fits = match action {
            Action::Checkpoint { .. } => matches!(phase, Phase::Checkpointing { .. }),
            Action::GiveMemory { .. } => matches!(phase, Phase::GivingMemory { .. }),
            Action::TakeMemory { .. } => matches!(phase, Phase::Switching { .. }),
            Action::Restore { .. } if phase.swap().is_some_and(|swap| swap.memory.is_some()) => {
                matches!(phase, Phase::Switching { .. })
            }
            Action::Revert { .. } | Action::Restore { .. } => matches!(phase, Phase::RollingBack { .. }),
            Action::Restart { .. } => matches!(phase, Phase::Switching { .. } | Phase::RollingBack { .. }),
            Action::Confirm { .. } => matches!(phase, Phase::Confirming { .. }),
            Action::Stop { .. } => matches!(
                phase,
                Phase::Switching { .. } | Phase::RollingBack { .. } | Phase::HandingBack { .. }
            ),
            Action::Apply { key, step } => {
                let keeps = match phase {
                    Phase::Idle => true,
                    Phase::Fetching { .. } | Phase::Staged { .. } => key.workload.0 == OLD_NAME,
                    _ => false,
                };
                (keeps && matches!(**step, Step::LivePatch(_))) || matches!(phase, Phase::Switching { .. })
            }
            Action::Prepare { .. } => matches!(phase, Phase::Staged { .. } | Phase::Switching { .. }),
            Action::Settle { .. } | Action::Prune { .. } => matches!(phase, Phase::Ended { .. }),
            _ => true,
        };
        assert!(fits, "intent-first: {action:?} in {}", phase.name());
    }

    /// A hook runs when its point says so.
    pub(super) fn check_hook(&self, point: HookPoint) {
        let runs = |workload: Option<Workload>| workload.is_none_or(|one| self.engine.all_run(&one));
        let fits = match point {
            HookPoint::PreFetch => {
                matches!(self.record.phase, Phase::Fetching { .. }) && self.files.len() == 2
            }
            HookPoint::PreSwitch => matches!(self.record.phase, Phase::Staged { .. }) && !self.locked(),
            HookPoint::ExportState => runs(self.old_workload()),
            HookPoint::ImportState => runs(self.new_workload()),
            HookPoint::PostSwitch => self.not_new().is_none_or(|why| why.contains("is not confirmed")),
            HookPoint::Rollback => self.not_old().is_none() || self.record.phase.swap().is_some_and(stuck),
            HookPoint::HandBack => matches!(self.record.phase, Phase::HandingBack { .. }),
            HookPoint::Takeover | HookPoint::Healthy => false,
        };
        assert!(fits, "hook {point} in {}: {:?}", self.record.phase.name(), self.not_old());
    }

    /// Why the previous release is not back as it was.
    pub(super) fn not_old(&self) -> Option<String> {
        let (old, new) = (self.old_workload(), self.new_workload());
        if let Some(new) = &new {
            if self.engine.any_runs(new) {
                return Some("the new release still runs".to_owned());
            }
            let mut steps = new.steps().filter(|(_, step)| step.kind() != Kind::Container);
            if let Some(why) = steps.find_map(|(key, step)| self.slots.not_old(key.index, &key, step)) {
                return Some(why);
            }
        }
        let old = old?;
        (!self.engine.all_run(&old)).then(|| "the previous release does not run".to_owned())
    }

    /// Why the new release is not what there is, for good.
    pub(super) fn not_new(&self) -> Option<String> {
        let Some(new) = self.new_workload() else { return Some("there is none".to_owned()) };
        if !self.engine.all_run(&new) {
            return Some("the new release does not run".to_owned());
        }
        if self.old_workload().is_some_and(|old| self.engine.any_runs(&old)) {
            return Some("the previous release still runs".to_owned());
        }
        if self.publishes() && self.ports.to.as_ref() != Some(&new.name) {
            return Some("the ports do not lead to it".to_owned());
        }
        let steps = new.steps().filter(|(_, step)| step.kind() != Kind::Container).collect::<Vec<_>>();
        for (key, step) in &steps {
            if self.slots.in_force(key.index, step) != Of::New {
                return Some(format!("{key} is not in force"));
            }
        }
        let open = |(key, step): &&(takt_agent_core::StepKey, &Step)| {
            self.step_state(key, step) != takt_agent_core::StepState::Confirmed
        };
        steps.iter().find(open).map(|(key, _)| format!("{key} is not confirmed"))
    }

    /// An outcome is told: is it true?
    pub(super) fn check_told(&self) {
        let Some((generation, outcome)) = self.outcomes.last() else { return };
        let swap = self.record.phase.swap();
        let what = format!("order {generation} was told as {outcome:?}, and {:?}", self.effects);
        match outcome {
            Outcome::Verified { .. } if swap.is_some() => assert_eq!(self.not_new(), None, "{what}"),
            Outcome::Verified { .. } | Outcome::HandedBack => {}
            Outcome::Serving => {
                assert!(self.new_workload().is_some_and(|new| self.engine.all_run(&new)), "{what}");
            }
            Outcome::Failed { cause } | Outcome::GivenUp { cause } => {
                assert_eq!(self.not_old(), None, "{what}");
                assert!(!cause.is_empty(), "{what}");
            }
            Outcome::Withdrawn | Outcome::Checkpointed => assert_eq!(self.not_old(), None, "{what}"),
            Outcome::RolledBack { cause, memory } => {
                assert_eq!(self.not_old(), None, "{what}");
                assert!(!cause.is_empty(), "{what}");
                if self.publishes()
                    && let Some(old) = self.old_workload()
                {
                    assert_eq!(self.ports.to, Some(old.name), "{what}: the ports do not lead to it");
                }
                match memory {
                    Memory::Kept => {
                        let dumped: Vec<u64> = self.dumped.values().copied().collect();
                        assert_eq!(self.memory_when_told, dumped, "{what}");
                    }
                    Memory::Untouched => assert_eq!(self.memory_when_told, self.memory_at_begin, "{what}"),
                    Memory::Lost => {}
                }
            }
            Outcome::Stranded { cause } => {
                let cut_off = self.publishes() && self.ports.to != self.old_workload().map(|old| old.name);
                assert!(self.not_old().is_some() || cut_off, "{what}");
                assert!(cause.contains("; then "), "{what}");
            }
        }
        self.check_way_back();
    }

    /// What was done last is taken back first, and the old containers start once all of it is back. A reboot into the
    /// other slot finds the steps done there, and its way back begins anew.
    fn check_way_back(&self) {
        let Some(begin) = self.effects.iter().rposition(|effect| *effect == Effect::TurnedBack) else {
            return;
        };
        let steps = self.record.phase.swap().map(|swap| &swap.new.manifest.steps);
        let is_container = |step: &Step| step.kind() == Kind::Container;
        let place = steps.and_then(|steps| steps.iter().position(is_container)).unwrap_or_default();
        let (mut lowest, mut old_started) = (usize::MAX, false);
        for effect in &self.effects[begin..] {
            let index = match effect {
                Effect::Reverted(index) => *index,
                Effect::Stopped { new: true } => place,
                Effect::Started { new: false } => {
                    old_started = true;
                    continue;
                }
                Effect::Rebooted => {
                    (lowest, old_started) = (usize::MAX, false);
                    continue;
                }
                _ => continue,
            };
            assert!(index <= lowest, "step {index} was taken back after {lowest}: {:?}", self.effects);
            assert!(!old_started, "step {index} was taken back under the old containers: {:?}", self.effects);
            lowest = index;
        }
    }

    /// The version that is in force, and the memory of its first container; all of it must be there.
    pub fn at_rest(&self) -> (&'static str, u64) {
        let is_new = self.record.installed.values().any(|workload| workload.name.0 != super::OLD_NAME)
            || self.record.stand_in.is_some();
        let mut running: Vec<_> = self
            .engine
            .boxes
            .iter()
            .filter(|(_, container)| container.state == takt_agent_core::ContainerState::Running)
            .collect();
        running.sort_by_key(|(name, _)| name.0.len());
        let standing_in = self.record.stand_in.iter().map(|stand_in| &stand_in.workload);
        let should: Vec<_> = self
            .record
            .installed
            .values()
            .chain(standing_in)
            .flat_map(|workload| workload.containers().map(|(name, _)| name).collect::<Vec<_>>())
            .collect();
        assert_eq!(running.len(), should.len(), "at rest exactly one release runs: {running:?}");
        for (name, container) in &running {
            assert!(should.contains(name), "{name} runs, {should:?} should");
            assert!(container.kept, "what runs at rest comes back after a reboot");
        }
        let memory = running.first().map_or(0, |(_, container)| container.memory);
        let runs_old_image = |container: &super::Sandbox| {
            let old = self.releases.old.manifest.containers();
            old.is_some_and(|set| set.containers.iter().any(|one| one.image_id == container.image))
        };
        let version = match running.first() {
            Some((_, container)) if runs_old_image(container) => "1.0",
            Some(_) => "2.0",
            None if is_new => "2.0",
            None => "1.0",
        };
        if self.publishes()
            && let Some((name, _)) = running.first()
        {
            let to = self.ports.to.as_ref().expect("the ports lead somewhere");
            assert!(name.0.starts_with(&to.0), "the ports lead to {to}, and {name} runs");
        }
        for (index, step) in self.releases.new.manifest.steps.iter().enumerate() {
            if step.kind() == Kind::Container {
                continue;
            }
            let expected = if version == "2.0" { Of::New } else { Of::Old };
            assert_eq!(self.slots.in_force(index, step), expected, "step {index} of {version} at rest");
            if step.kind() == Kind::LivePatch && version == "1.0" && !self.record.installed.is_empty() {
                assert!(self.slots.old_patch, "the live patch of 1.0 is not in force at rest");
            }
        }
        (version, memory)
    }

    /// The containers of the old release run, and no others.
    pub(super) fn check_old_containers(&self, what: &str) {
        let old = self.old_workload().expect("it ran");
        let running =
            self.engine.boxes.iter().filter(|(name, _)| {
                self.engine.facts(name).state == takt_agent_core::ContainerState::Running
            });
        let running: Vec<_> = running.map(|(name, _)| name.clone()).collect();
        let mut expected: Vec<_> = old.containers().map(|(name, _)| name).collect();
        expected.sort();
        assert_eq!(running, expected, "{what}");
    }

    pub fn nothing_runs(&self) -> bool {
        self.engine
            .boxes
            .values()
            .all(|container| container.state != takt_agent_core::ContainerState::Running)
    }

    pub fn containers(&self) -> usize {
        self.engine.boxes.len()
    }

    pub fn images(&self) -> usize {
        self.engine.images.len()
    }

    pub fn has_checkpoint(&self) -> bool {
        self.engine.boxes.values().any(|container| container.checkpoint.is_some())
    }

    pub fn ways_back(&self) -> usize {
        self.slots.kept.len()
    }

    /// Connections that were cut, and how long after the ports had led away from them.
    pub fn cut_connections(&self) -> &[(u32, u64)] {
        &self.ports.cut
    }
}

fn stuck(swap: &takt_agent_core::Swap) -> bool {
    !swap.stuck.is_empty()
}
