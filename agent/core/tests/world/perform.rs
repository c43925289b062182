//! What actions do to the world.

use takt_agent_core::action::Restarted;
use takt_agent_core::{Action, ActionFailure, ContainerName, ContainerState, Nature as Kind, Phase, StepKey};
use takt_common::release::{Hook, HookPoint, Step};

use super::natures::{Criu, Nature};
use super::promises::Effect;
use super::slots::{Deed, Of};
use super::{OLD_NAME, World};

type Done = Result<String, ActionFailure>;

fn fail(nature: Kind, text: &str) -> Done {
    Err(ActionFailure { nature, text: text.to_owned() })
}

const DONE: Done = Ok(String::new());

fn is_new(name: &ContainerName) -> bool {
    !name.0.starts_with(OLD_NAME)
}

impl World {
    pub(super) fn perform(&mut self, action: &Action) -> Done {
        self.check_intent(action);
        let now = self.millis;
        match action {
            Action::Fetch { sha256, .. } => match self.nature {
                Nature::WillNotFetch => return fail(Kind::Transient, "connection reset"),
                Nature::CorruptArtifact if *sha256 != self.releases.new.sha256 => {
                    return fail(Kind::Corrupt, "the digest is another");
                }
                _ => {
                    self.files.insert(*sha256);
                }
            },
            Action::LoadImage { archive, image } => {
                assert!(self.files.contains(archive), "an image is loaded from an archive that is not there");
                if self.nature != Nature::ArchiveHoldsAnotherImage {
                    self.engine.images.insert(*image);
                }
            }
            Action::Create { name, container, .. } => self.engine.create(name, container),
            Action::Start { name } => {
                let image = self.engine.find(name).image;
                let last = Some(image) == self.releases.new.last_image();
                if last && self.nature == Nature::WillNotStart {
                    return fail(Kind::Fatal, "no such file in the image");
                }
                self.engine.start(name, 0, now);
                if last && self.nature == Nature::DiesAtOnce {
                    self.engine.find(name).state = ContainerState::Exited(1);
                }
                let new = is_new(name);
                self.effects.push(Effect::Started { new });
            }
            Action::Stop { name, .. } => {
                if self.engine.stop(name) {
                    let new = is_new(name);
                    self.effects.push(Effect::Stopped { new });
                    let of = if new { self.new_workload() } else { self.old_workload() };
                    let they_stay = self.nature == Nature::ClientsStay;
                    if let Some(of) = of {
                        self.ports.stopped(&of.name, now, they_stay);
                    }
                }
            }
            Action::Checkpoint { name, .. } => {
                if self.criu == Criu::RefusesToDump {
                    return fail(Kind::Fatal, "criu refuses");
                }
                let container = self.engine.find(name);
                container.kept = false;
                container.checkpoint = Some(container.memory);
                container.state = ContainerState::Exited(137);
                self.dumped.insert(name.clone(), container.memory);
                self.effects.push(Effect::Stopped { new: false });
            }
            Action::Restore { name, .. } => {
                if self.criu == Criu::RefusesToRestore {
                    return fail(Kind::Transient, "content already exists");
                }
                let Some(memory) = self.engine.find(name).checkpoint else {
                    return fail(Kind::Transient, "no such checkpoint");
                };
                self.engine.start(name, memory, now);
                self.effects.push(Effect::Started { new: is_new(name) });
            }
            Action::GiveMemory { workload, checkpoint: _, .. } => {
                if self.criu == Criu::RefusesToDump {
                    return fail(Kind::Fatal, "criu refuses");
                }
                assert!(self.engine.all_run(workload), "what does not run has no memory");
            }
            Action::TakeMemory { workload, .. } => {
                if self.criu == Criu::RefusesToDump {
                    return fail(Kind::Transient, "it has not come");
                }
                for (name, _) in workload.containers() {
                    let container = self.engine.find(&name);
                    assert_eq!(container.state, ContainerState::Created, "{name} has begun already");
                    container.checkpoint = Some(super::MEMORY);
                }
            }
            Action::KeepRunning { name } => self.engine.find(name).kept = true,
            Action::Remove { name } => {
                self.engine.boxes.remove(name);
            }
            Action::DeleteCheckpoint { name, .. } => {
                if let Some(container) = self.engine.boxes.get_mut(name) {
                    container.checkpoint = None;
                }
            }
            Action::Route { to } => {
                if self.nature == Nature::PortsFailBack
                    && matches!(self.record.phase, Phase::RollingBack { .. })
                {
                    return fail(Kind::Transient, "nft: device or resource busy");
                }
                assert!(self.engine.all_run(to), "ports are led to what does not run");
                self.ports.route(&to.name, now);
                self.effects.push(Effect::Routed { new: to.name.0 != OLD_NAME });
            }
            Action::Prepare { key, step } => return self.step(Deed::Prepare, key, step),
            Action::Apply { key, step } => return self.step(Deed::Apply, key, step),
            Action::Revert { key, step } => return self.step(Deed::Revert, key, step),
            Action::Confirm { key, step } => return self.step(Deed::Confirm, key, step),
            Action::Settle { key } => {
                self.slots.kept.remove(key);
            }
            Action::Hook { point, hook, .. } => return self.hook(*point, hook),
            Action::Restart { what, .. } => return self.restart(*what),
            Action::Prune { keep_images, keep_files } => {
                self.engine.images.retain(|image| keep_images.contains(image));
                self.files.retain(|file| keep_files.contains(file));
            }
        }
        DONE
    }

    /// An effect that was cut off in the middle.
    pub(super) fn begin_only(&mut self, action: &Action) {
        // A checkpoint is there before it has been given away.
        if let Action::GiveMemory { workload, .. } = action {
            for (name, _) in workload.containers() {
                let container = self.engine.find(&name);
                container.checkpoint = Some(container.memory);
            }
        }
        let (deed, key, step) = match action {
            Action::Prepare { key, step } => (Deed::Prepare, key, step),
            Action::Apply { key, step } => (Deed::Apply, key, step),
            Action::Revert { key, step } => (Deed::Revert, key, step),
            _ => return,
        };
        self.check_intent(action);
        if key.workload.0 != OLD_NAME {
            self.slots.perform(deed, key, step, false);
        }
    }

    fn step(&mut self, deed: Deed, key: &StepKey, step: &Step) -> Done {
        // At rest: the live patch of the old release, after a reboot.
        if key.workload.0 == OLD_NAME {
            assert!(deed == Deed::Apply && matches!(step, Step::LivePatch(_)), "{deed:?} of {key}");
            self.slots.old_patch = true;
            return DONE;
        }
        let kind = step.kind();
        match (self.nature, deed) {
            (Nature::PrepareFails(bad), Deed::Prepare) if bad == kind => {
                return fail(Kind::Fatal, "no space for the way back");
            }
            (Nature::ApplyFails(bad), Deed::Apply) if bad == kind => {
                return fail(Kind::Fatal, "it is refused");
            }
            (Nature::StopsHalfWay(bad), Deed::Apply) if bad == kind => {
                self.slots.perform(deed, key, step, false);
                return fail(Kind::Transient, "the disk is full");
            }
            (Nature::RevertFails(bad), Deed::Revert) if bad == kind => {
                return fail(Kind::Transient, "read-only file system");
            }
            (Nature::RevertsLate(times), Deed::Revert) => {
                let tried = self.reverts.entry(key.index).or_default();
                *tried += 1;
                if *tried <= times {
                    return fail(Kind::Transient, "text file busy");
                }
            }
            (Nature::DiesApplying(bad), Deed::Apply) | (Nature::DiesReverting(bad), Deed::Revert)
                if bad == kind =>
            {
                self.slots.perform(deed, key, step, false);
                self.kill_agent();
                return DONE;
            }
            (Nature::ConfirmFails(bad), Deed::Confirm) if bad == kind => {
                return fail(Kind::Transient, "the loader's variables are read-only");
            }
            _ => {}
        }
        if deed == Deed::Apply && !matches!(self.record.phase, Phase::Idle) {
            assert!(self.slots.kept.contains(key), "{key} is applied without a way back");
        }
        let before = self.slots.in_force(key.index, step);
        self.slots.perform(deed, key, step, true);
        if deed == Deed::Apply && before != Of::New {
            self.effects.push(Effect::Applied(key.index));
        }
        if deed == Deed::Revert {
            self.effects.push(Effect::Reverted(key.index));
        }
        DONE
    }

    fn hook(&mut self, point: HookPoint, hook: &Hook) -> Done {
        assert!(self.files.contains(&hook.program), "the program of hook {point} is not there");
        self.check_hook(point);
        let asked = self.asked.entry(point).or_default();
        *asked += 1;
        match self.nature {
            Nature::HookFails(bad) if bad == point => return fail(Kind::Fatal, "it ended with exit code 1"),
            Nature::RollbackHookFails if point == HookPoint::Rollback => {
                return fail(Kind::Fatal, "it ended with exit code 1");
            }
            Nature::NotNow(bad, times) if bad == point && *asked <= times => {
                return fail(Kind::NotNow, "the line is running");
            }
            _ => {}
        }
        self.effects.push(Effect::Hook(point));
        Ok(format!("{point} was here"))
    }

    fn restart(&mut self, what: Restarted) -> Done {
        let back = matches!(self.record.phase, Phase::RollingBack { .. });
        if self.nature == Nature::WillNotRestart || (back && self.nature == Nature::WillNotRestartBack) {
            return fail(Kind::Transient, "a job for shutdown is held up");
        }
        match what {
            Restarted::Machine => self.reboot(),
            Restarted::Agent => self.restart_agent(),
        }
        DONE
    }
}
