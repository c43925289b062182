//! Direct ports: each container whose ports the agent publishes has ports of its own, which it keeps for its life.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use takt_agent_core::ContainerName;
use takt_agent_core::phase::Role;
use takt_common::release::Container;
use takt_common::{Name, Sha256Digest};

use super::Engine;
use super::answers::Listed;
use super::error::EngineError;
use super::spec::{LABEL_DEVICE, LABEL_PORTS};

/// Direct ports by the device variable that names the published one.
pub type DirectPorts = BTreeMap<Name, u16>;

/// What is known of a container whose ports are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// What it serves as; chooses the device variables.
    pub role: Role,
    /// Its direct ports.
    pub direct: DirectPorts,
    /// Its address, if it runs on a bridge.
    pub address: Option<Ipv4Addr>,
    /// Its first process, if it runs.
    pub pid: Option<u32>,
}

/// Direct ports as a label holds them.
pub(super) fn from_label(label: &str) -> DirectPorts {
    serde_json::from_str(label).unwrap_or_default()
}

impl Engine {
    /// What is known of a container of this device whose ports are published; `None` if there is none.
    pub async fn port_facts(&self, name: &ContainerName) -> Result<Option<PortFacts>, EngineError> {
        Ok(self.ours(name).await?.map(|seen| PortFacts {
            role: seen.role,
            address: seen.address.filter(|_| seen.runs()),
            pid: u32::try_from(seen.pid).ok().filter(|pid| *pid > 0 && seen.runs()),
            direct: seen.direct,
        }))
    }

    /// Direct ports for a container that is to be created.
    pub(super) async fn allocate(
        &self,
        name: &ContainerName,
        container: &Container,
    ) -> Result<DirectPorts, EngineError> {
        if container.ports.is_empty() {
            return Ok(DirectPorts::new());
        }
        let failed = |source| EngineError::DirectPorts { name: name.clone(), source };
        let avoid = self.taken_ports().await?;
        let seed = Sha256Digest::of(name.0.as_bytes()).to_string();
        let seed = u64::from_str_radix(&seed[..16], 16).unwrap_or_default();
        let found = takt_traffic::allocate(container.ports.len(), &avoid, seed).map_err(failed)?;
        Ok(container.ports.iter().map(|port| port.variable.clone()).zip(found).collect())
    }

    /// Published ports, by all variables that could name one, and the direct ports of all containers of ours, whether
    /// they listen yet or not.
    async fn taken_ports(&self) -> Result<BTreeSet<u16>, EngineError> {
        let variables = [&self.settings.variables.own, &self.settings.variables.stand_in];
        let mut taken: BTreeSet<u16> =
            variables.iter().flat_map(|all| all.0.values()).filter_map(|value| value.parse().ok()).collect();
        let filter = Some(("label", LABEL_DEVICE));
        let list: Vec<Listed> =
            self.connection.list("list the ports of containers", "containers", filter).await?;
        let labels = list.into_iter().filter_map(|found| found.labels?.remove(LABEL_PORTS));
        taken.extend(labels.flat_map(|label| from_label(&label).into_values()));
        Ok(taken)
    }
}
