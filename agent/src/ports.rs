//! Published ports: where they lead, and moving them from one release to the next.

use takt_agent_core::facts::Routed;
use takt_agent_core::phase::Role;
use takt_agent_core::{ActionFailure, Nature, Workload};
use takt_common::release::ContainerSet;

use crate::engine::Engine;
use crate::variables::Variables;

/// The published ports of a device.
#[derive(Debug, Default)]
pub struct Ports {}

/// Why no port is published.
const NOT_YET: &str = "this agent cannot publish ports yet";

impl Ports {
    /// Able to move published ports, or why not.
    pub async fn ability(&self) -> Result<(), String> {
        Err(NOT_YET.to_owned())
    }

    /// True when the agent publishes ports for this workload.
    pub fn publishes(&self, workload: &Workload) -> bool {
        workload.manifest.containers().is_some_and(ContainerSet::publishes)
    }

    /// Whether its published ports lead to it, and how many clients it serves.
    pub async fn look(&self, _: &Engine, _: &Workload) -> (Routed, u32) {
        (Routed::Unknown(NOT_YET.to_owned()), 0)
    }

    /// Lets all its published ports lead to it at once.
    pub async fn route(&self, _: &Engine, _: &Workload) -> Result<(), ActionFailure> {
        Err(ActionFailure { nature: Nature::Fatal, text: NOT_YET.to_owned() })
    }

    /// The device's variables as its containers and health checks see them.
    pub async fn variables(&self, engine: &Engine, _: &Workload, role: Role) -> Variables {
        engine.variables().of(role).clone()
    }
}
