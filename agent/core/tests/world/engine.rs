//! A container engine: images, containers, their memory and their checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use takt_agent_core::{ContainerFacts, ContainerName, ContainerState, Presence, Workload};
use takt_common::Sha256Digest;
use takt_common::release::Container;

/// One container.
#[derive(Debug, Clone)]
pub struct Sandbox {
    pub state: ContainerState,
    /// The engine restarts it.
    pub kept: bool,
    pub image: Sha256Digest,
    pub memory: u64,
    pub started_at: u64,
    pub checkpoint: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Engine {
    pub images: BTreeSet<Sha256Digest>,
    pub boxes: BTreeMap<ContainerName, Sandbox>,
}

impl Engine {
    pub fn create(&mut self, name: &ContainerName, container: &Container) {
        assert!(self.images.contains(&container.image_id), "a container without its image");
        self.boxes.entry(name.clone()).or_insert(Sandbox {
            state: ContainerState::Created,
            kept: false,
            image: container.image_id,
            memory: 0,
            started_at: 0,
            checkpoint: None,
        });
    }

    pub fn find(&mut self, name: &ContainerName) -> &mut Sandbox {
        self.boxes.get_mut(name).unwrap_or_else(|| panic!("container {name} does not exist"))
    }

    /// Starts it, with the memory that it has then.
    pub fn start(&mut self, name: &ContainerName, memory: u64, now: u64) {
        let container = self.find(name);
        container.state = ContainerState::Running;
        container.started_at = now;
        container.memory = memory;
    }

    /// True when it ran until now.
    pub fn stop(&mut self, name: &ContainerName) -> bool {
        let container = self.find(name);
        container.kept = false;
        let ran = container.state == ContainerState::Running;
        if ran {
            container.state = ContainerState::Exited(0);
            container.memory = 0;
        }
        ran
    }

    /// The machine has started anew; so has what is kept running.
    pub fn booted(&mut self, now: u64) {
        for container in self.boxes.values_mut() {
            if container.state == ContainerState::Running {
                container.memory = 0;
                container.started_at = now;
                if !container.kept {
                    container.state = ContainerState::Exited(137);
                }
            }
        }
    }

    pub fn facts(&self, name: &ContainerName) -> ContainerFacts {
        self.boxes
            .get(name)
            .map_or(ContainerFacts { state: ContainerState::Absent, kept_running: false }, |found| {
                ContainerFacts { state: found.state, kept_running: found.kept }
            })
    }

    pub fn presence(&self, image: &Sha256Digest) -> Presence {
        if self.images.contains(image) { Presence::Present } else { Presence::Absent }
    }

    fn runs(&self, name: &ContainerName) -> bool {
        self.boxes.get(name).is_some_and(|container| container.state == ContainerState::Running)
    }

    pub fn all_run(&self, workload: &Workload) -> bool {
        workload.containers().all(|(name, _)| self.runs(&name))
    }

    pub fn any_runs(&self, workload: &Workload) -> bool {
        workload.containers().any(|(name, _)| self.runs(&name))
    }

    /// What its containers that run have in memory.
    pub fn memory(&self, workload: &Workload) -> Vec<u64> {
        let running = workload.containers().filter(|(name, _)| self.runs(name));
        running.map(|(name, _)| self.boxes[&name].memory).collect()
    }
}
