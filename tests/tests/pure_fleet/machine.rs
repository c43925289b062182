//! The machine of a device: its files, its container engine, and what a loss of power does to them.

use std::collections::{BTreeMap, BTreeSet};

use takt_agent_core::{Action, ActionFailure, ContainerName, ContainerState, Nature as Kind, Presence, Role};
use takt_common::Sha256Digest;

use crate::plan::{Criu, Sabotage, Temper};
use crate::releases::{NEW, Nature, OLD};

/// When a release that dies in probation does so, in milliseconds after its start.
const DIES_AFTER_MILLIS: u64 = 1_100;

/// A container as it is.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    pub(crate) image: Sha256Digest,
    pub(crate) role: Role,
    pub(crate) state: ContainerState,
    pub(crate) kept: bool,
    /// Names this memory among all that ever were on the machine.
    pub(crate) memory: u64,
    pub(crate) checkpoint: Option<u64>,
    /// Whether it has answered a probe well since it was created.
    pub(crate) ever_well: bool,
    started_at: u64,
}

/// Files, images and containers; all of it outlives the agent and the power, but for what runs.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    temper: Temper,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) files: BTreeSet<Sha256Digest>,
    pub(crate) images: BTreeSet<Sha256Digest>,
    pub(crate) boxes: BTreeMap<ContainerName, Sandbox>,
    /// Containers that the engine starts at the next boot.
    at_boot: Vec<ContainerName>,
    memories: u64,
    /// How often the nature of the new release has shown.
    pub(crate) shown: u32,
}

impl Machine {
    pub(crate) fn new(temper: Temper) -> Self {
        Self {
            temper,
            sabotage: None,
            files: BTreeSet::new(),
            images: BTreeSet::new(),
            boxes: BTreeMap::new(),
            at_boot: vec![],
            memories: 0,
            shown: 0,
        }
    }

    /// A container that has been running for long.
    pub(crate) fn install(&mut self, name: ContainerName, image: Sha256Digest) {
        self.images.insert(image);
        self.memories += 1;
        let sandbox = Sandbox {
            image,
            role: Role::Own,
            state: ContainerState::Running,
            kept: true,
            memory: self.memories,
            checkpoint: None,
            ever_well: true,
            started_at: 0,
        };
        self.boxes.insert(name, sandbox);
    }

    pub(crate) fn state(&self, name: &ContainerName) -> ContainerState {
        self.boxes.get(name).map_or(ContainerState::Absent, |sandbox| sandbox.state)
    }

    pub(crate) fn is_kept(&self, name: &ContainerName) -> bool {
        self.boxes.get(name).is_some_and(|sandbox| sandbox.kept)
    }

    pub(crate) fn presence(&self, image: &Sha256Digest) -> Presence {
        if self.images.contains(image) { Presence::Present } else { Presence::Absent }
    }

    /// What runs of the device's own workload, or of those it stands in for.
    pub(crate) fn running(&self, role: Role) -> Vec<(&ContainerName, &Sandbox)> {
        let runs = |sandbox: &Sandbox| sandbox.role == role && sandbox.state == ContainerState::Running;
        self.boxes.iter().filter(|(_, sandbox)| runs(sandbox)).collect()
    }

    /// The power goes.
    pub(crate) fn lose_power(&mut self) {
        for (name, sandbox) in &mut self.boxes {
            if sandbox.state == ContainerState::Running {
                sandbox.state = ContainerState::Exited(137);
                if sandbox.kept {
                    self.at_boot.push(name.clone());
                }
            }
        }
    }

    /// It comes back: the engine starts what it keeps running.
    pub(crate) fn boot(&mut self, now: u64) {
        for name in std::mem::take(&mut self.at_boot) {
            let broken = self.will_not_start(&name);
            self.memories += 1;
            let memory = self.memories;
            if let Some(sandbox) = self.boxes.get_mut(&name).filter(|_| !broken) {
                sandbox.state = ContainerState::Running;
                (sandbox.started_at, sandbox.memory) = (now, memory);
            }
        }
    }

    /// Time has passed: what is to die dies.
    pub(crate) fn age(&mut self, now: u64) {
        if self.temper.nature != Nature::DiesInProbation {
            return;
        }
        for sandbox in self.boxes.values_mut().filter(|sandbox| is_new(sandbox)) {
            let dies = now.saturating_sub(sandbox.started_at) > DIES_AFTER_MILLIS;
            if sandbox.state == ContainerState::Running && dies {
                sandbox.state = ContainerState::Exited(1);
                self.shown += 1;
            }
        }
    }

    /// One round of probes of a running container.
    pub(crate) fn probe(&mut self, name: &ContainerName) -> Result<(), String> {
        let temper = self.temper;
        let sandbox = self.boxes.get_mut(name).expect("only what runs is probed");
        let sick = match (sandbox.role, temper.nature) {
            (Role::StandIn, _) if temper.stand_in_sick => Some("the status is 503"),
            (Role::Own, Nature::Sick) if is_new(sandbox) => Some("the status is 500"),
            (Role::Own, Nature::Mute) if is_new(sandbox) => Some("no answer within 500 ms"),
            _ => None,
        };
        if let Some(why) = sick {
            self.shown += 1;
            return Err(why.to_owned());
        }
        sandbox.ever_well = true;
        Ok(())
    }

    fn will_not_start(&self, name: &ContainerName) -> bool {
        self.boxes.get(name).is_some_and(|sandbox| {
            let own = sandbox.role == Role::Own;
            let old_broken = self.temper.old_breaks && sandbox.image == OLD.image;
            own && (old_broken || (is_new(sandbox) && self.temper.nature == Nature::WillNotStart))
        })
    }

    pub(crate) fn perform(&mut self, action: &Action, now: u64) -> Result<(), ActionFailure> {
        self.sabotage(action);
        let fail = |nature, text: &str| Err(ActionFailure { nature, text: text.to_owned() });
        match action {
            Action::Fetch { sha256, .. } => {
                let of_new = NEW.members.iter().any(|member| member.sha256 == *sha256);
                if of_new && self.temper.nature == Nature::WillNotFetch {
                    self.shown += 1;
                    return fail(Kind::Transient, "connection reset");
                }
                self.files.insert(*sha256);
            }
            Action::LoadImage { archive, image } => {
                assert!(self.files.contains(archive), "an image is loaded from an archive that is not there");
                self.images.insert(*image);
            }
            Action::Create { name, container, role } => {
                assert!(self.images.contains(&container.image_id), "a container without its image");
                let created = Sandbox {
                    image: container.image_id,
                    role: *role,
                    state: ContainerState::Created,
                    kept: false,
                    memory: 0,
                    checkpoint: None,
                    ever_well: false,
                    started_at: 0,
                };
                self.boxes.entry(name.clone()).or_insert(created);
            }
            Action::Start { name } => {
                if self.will_not_start(name) {
                    self.shown += 1;
                    return fail(Kind::Fatal, "no such file in the image");
                }
                self.memories += 1;
                let memory = self.memories;
                let sandbox = self.sandbox(name);
                sandbox.state = ContainerState::Running;
                (sandbox.started_at, sandbox.memory) = (now, memory);
            }
            Action::Stop { name, .. } => {
                let sandbox = self.sandbox(name);
                sandbox.kept = false;
                if sandbox.state == ContainerState::Running {
                    sandbox.state = ContainerState::Exited(0);
                }
            }
            Action::Checkpoint { name, .. } => {
                if self.temper.criu == Criu::RefusesToDump {
                    return fail(Kind::Fatal, "criu refuses");
                }
                let sandbox = self.sandbox(name);
                sandbox.kept = false;
                sandbox.checkpoint = Some(sandbox.memory);
                sandbox.state = ContainerState::Exited(137);
            }
            Action::Restore { name, .. } => {
                if self.temper.criu == Criu::RefusesToRestore {
                    return fail(Kind::Transient, "content already exists");
                }
                let sandbox = self.sandbox(name);
                let Some(memory) = sandbox.checkpoint else {
                    return fail(Kind::Transient, "no such checkpoint");
                };
                sandbox.state = ContainerState::Running;
                (sandbox.started_at, sandbox.memory) = (now, memory);
            }
            Action::GiveMemory { workload, .. } => {
                if self.temper.criu == Criu::RefusesToDump {
                    return fail(Kind::Fatal, "criu refuses");
                }
                let state = self.sandbox(&workload.name.container(None)).state;
                assert_eq!(state, ContainerState::Running, "what does not run has no memory");
            }
            Action::TakeMemory { workload, .. } => {
                if self.temper.criu == Criu::RefusesToDump {
                    return fail(Kind::Transient, "it has not come");
                }
                self.memories += 1;
                let memory = self.memories;
                self.sandbox(&workload.name.container(None)).checkpoint = Some(memory);
            }
            Action::KeepRunning { name } => self.sandbox(name).kept = true,
            Action::Remove { name } => drop(self.boxes.remove(name)),
            Action::DeleteCheckpoint { name, .. } => {
                if let Some(sandbox) = self.boxes.get_mut(name) {
                    sandbox.checkpoint = None;
                }
            }
            Action::Prune { keep_images, keep_files } => {
                self.images.retain(|image| keep_images.contains(image));
                self.files.retain(|file| keep_files.contains(file));
            }
            other => panic!("releases of one container without ports and hooks do not {other}"),
        }
        Ok(())
    }

    fn sabotage(&mut self, action: &Action) {
        match (self.sabotage, action) {
            (Some(Sabotage::SecondRuns), Action::Stop { name, .. } | Action::Checkpoint { name, .. }) => {
                let second = self.sandbox(name).clone();
                self.boxes.insert(ContainerName(format!("{name}-second")), second);
            }
            (Some(Sabotage::PreviousGoes), Action::Start { name }) => {
                self.boxes.retain(|other, sandbox| other == name || sandbox.role == Role::StandIn);
            }
            _ => {}
        }
    }

    fn sandbox(&mut self, name: &ContainerName) -> &mut Sandbox {
        self.boxes.get_mut(name).expect("the agent acts on containers that it saw")
    }
}

fn is_new(sandbox: &Sandbox) -> bool {
    sandbox.role == Role::Own && sandbox.image == NEW.image
}
