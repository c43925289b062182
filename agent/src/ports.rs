//! Published ports: where they lead, and moving them from one release to the next (`takt_traffic`).

use std::collections::{BTreeMap, BTreeSet};

use takt_agent_core::facts::Routed;
use takt_agent_core::failure::Natured;
use takt_agent_core::phase::Role;
use takt_agent_core::{ActionFailure, ContainerName, Nature, Workload};
use takt_common::DeviceId;
use takt_common::release::{ContainerSet, Port};
use takt_traffic::{Backend, Lead, Leads, Sockets, Traffic, TrafficError};
use tokio::sync::OnceCell;

use crate::engine::{Engine, EngineError, PortFacts};
use crate::failure::{failure, sentence};
use crate::variables::Variables;

/// How much of a device's id names its table: enough that devices on one machine differ.
const TABLE_ID_LENGTH: usize = 12;

/// The published ports of a device.
pub struct Ports {
    traffic: Traffic,
    able: OnceCell<()>,
}

/// Published ports cannot be moved.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// The kernel's rules.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The container is not there or does not run.
    #[error("publish ports of container {name}: it does not run")]
    NotRunning {
        /// Which.
        name: ContainerName,
    },
    /// The device has no such port.
    #[error("publish a port of container {name}: the device's variable '{variable}' is no port")]
    NoPort {
        /// For which container.
        name: ContainerName,
        /// The variable.
        variable: String,
    },
    /// It was created without direct ports.
    #[error("publish ports of container {name}: it was created without a direct port for '{variable}'")]
    NoDirectPort {
        /// Which.
        name: ContainerName,
        /// The variable.
        variable: String,
    },
}

impl Natured for PortsError {
    fn nature(&self) -> Nature {
        match self {
            Self::Traffic(error) if error.is_transient() => Nature::Transient,
            Self::Engine(error) => error.nature(),
            Self::NotRunning { .. } => Nature::Transient,
            Self::Traffic(_) | Self::NoPort { .. } | Self::NoDirectPort { .. } => Nature::Fatal,
        }
    }
}

impl Ports {
    /// The ports of a device. Nothing is touched.
    pub fn new(device: DeviceId) -> Result<Self, TrafficError> {
        let traffic = Traffic::new(&device.to_string()[..TABLE_ID_LENGTH])?;
        Ok(Self { traffic, able: OnceCell::new() })
    }

    /// Able to move published ports, or why not.
    pub async fn ability(&self) -> Result<(), String> {
        self.able.get_or_try_init(|| self.traffic.ability()).await.copied()
    }

    /// Whether the published ports of `workload` lead to it.
    pub async fn look(&self, engine: &Engine, workload: &Workload) -> Routed {
        let wanted = match self.leads(engine, workload).await {
            Ok(wanted) => wanted,
            Err(PortsError::NotRunning { .. }) => return Routed::No,
            Err(error) => return Routed::Unknown(sentence(&error)),
        };
        match self.traffic.look().await {
            Ok(looked) if looked.leads_to(&wanted) => Routed::Yes,
            Ok(_) => Routed::No,
            Err(error) => Routed::Unknown(sentence(&error)),
        }
    }

    /// How many clients the containers of `workload` serve; 0 of those that do not run.
    pub async fn connections(&self, engine: &Engine, workload: &Workload) -> u32 {
        let mut count: u32 = 0;
        for (name, container) in workload.containers() {
            let Ok(Some(facts)) = engine.port_facts(&name).await else { continue };
            for port in &container.ports {
                let (sockets, number) = match (port.container_port, facts.pid) {
                    (Some(number), Some(pid)) => (Sockets::OfProcess(pid), Some(number)),
                    (Some(_), None) => continue,
                    (None, _) => (Sockets::OfDevice, facts.direct.get(&port.variable).copied()),
                };
                // Where that cannot be told, somebody may still be served: the limit of draining ends the wait.
                let served = number.map(|number| takt_traffic::connections(sockets, number).unwrap_or(1));
                count = count.saturating_add(served.unwrap_or_default());
            }
        }
        count
    }

    /// Lets all published ports of `workload` lead to it at once.
    pub async fn route(&self, engine: &Engine, workload: &Workload) -> Result<(), ActionFailure> {
        let routed = async {
            let leads = self.leads(engine, workload).await?;
            Ok::<_, PortsError>(self.traffic.route(&leads).await?)
        };
        routed.await.map_err(|error| failure(&error))
    }

    /// Lets the published ports of `old` lead nowhere that `new`, which has taken its place, does not publish: it may listen
    /// there itself, and would neither be found by clients nor by its health checks. Should `old` come back, its ports are
    /// led to it again.
    pub async fn give_up(
        &self,
        engine: &Engine,
        old: &Workload,
        new: &Workload,
        role: Role,
    ) -> Result<(), PortsError> {
        let variables = engine.variables().of(role);
        let published = |workload: &Workload| -> BTreeSet<u16> {
            let ports = workload.containers().flat_map(|(_, container)| &container.ports);
            ports.filter_map(|port| variables.0.get(port.variable.as_str())?.parse().ok()).collect()
        };
        let mut stale = published(old);
        let kept = published(new);
        stale.retain(|port| !kept.contains(port));
        if !stale.is_empty() {
            self.traffic.forget(&stale).await?;
        }
        Ok(())
    }

    /// Lets every port lead nowhere that none of `serving` has: of containers that are gone. What cannot be told now is
    /// told the next time.
    pub async fn tidy(&self, engine: &Engine, serving: &[Workload]) -> Result<(), PortsError> {
        let looked = self.traffic.look().await?;
        if looked.leads.is_empty() {
            return Ok(());
        }
        let mut wanted = Leads::new();
        for workload in serving {
            wanted.extend(self.leads(engine, workload).await?);
        }
        let stale: BTreeSet<u16> =
            looked.leads.keys().copied().filter(|port| !wanted.contains_key(port)).collect();
        if !stale.is_empty() {
            self.traffic.forget(&stale).await?;
        }
        Ok(())
    }

    /// A container has started: on a bridge its direct ports must lead to it before it is asked how it is.
    pub async fn attach(&self, engine: &Engine, workload: &Workload) -> Result<(), PortsError> {
        let mut leads = Leads::new();
        for (name, container) in workload.containers() {
            let bridged = container.ports.iter().any(|port| port.container_port.is_some());
            if bridged && let Some(facts) = engine.port_facts(&name).await? {
                leads.extend(direct_leads(&name, &facts, &container.ports)?);
            }
        }
        if !leads.is_empty() && !self.traffic.look().await?.leads_to(&leads) {
            self.traffic.route(&leads).await?;
        }
        Ok(())
    }

    /// The device's variables as the health checks of `workload` see them: published ports are its own direct ones.
    pub async fn variables(&self, engine: &Engine, workload: &Workload, role: Role) -> Variables {
        if workload.manifest.containers().is_some_and(ContainerSet::publishes)
            && let Err(error) = self.attach(engine, workload).await
        {
            tracing::debug!(workload = %workload.name, error = %sentence(&error), "direct ports do not lead to it");
        }
        self.variables_now(engine, workload, role).await
    }

    /// The same as its direct ports are now: none is led anywhere.
    pub async fn variables_now(&self, engine: &Engine, workload: &Workload, role: Role) -> Variables {
        let mut variables = engine.variables().of(role).clone();
        if !workload.manifest.containers().is_some_and(ContainerSet::publishes) {
            return variables;
        }
        for (name, _) in workload.containers() {
            if let Ok(Some(facts)) = engine.port_facts(&name).await {
                variables = variables.with(&facts.direct);
            }
        }
        variables
    }

    async fn leads(&self, engine: &Engine, workload: &Workload) -> Result<Leads, PortsError> {
        let mut leads = Leads::new();
        for (name, container) in workload.containers().filter(|(_, container)| !container.ports.is_empty()) {
            let facts = engine.port_facts(&name).await?;
            let facts = facts.ok_or_else(|| PortsError::NotRunning { name: name.clone() })?;
            let variables = engine.variables().of(facts.role);
            leads.extend(direct_leads(&name, &facts, &container.ports)?);
            leads.extend(published_leads(&name, &facts, &container.ports, &variables.0)?);
        }
        Ok(leads)
    }
}

fn published_leads(
    name: &ContainerName,
    facts: &PortFacts,
    ports: &[Port],
    variables: &BTreeMap<String, String>,
) -> Result<Leads, PortsError> {
    let lead = |port: &Port| {
        let number = variables.get(port.variable.as_str()).and_then(|value| value.parse().ok());
        let number = number
            .filter(|number: &u16| *number > 0)
            .ok_or_else(|| PortsError::NoPort { name: name.clone(), variable: port.variable.to_string() })?;
        Ok((number, Lead::everyone(backend(name, facts, port)?)))
    };
    ports.iter().map(lead).collect()
}

/// A container on the host's network listens on its direct ports itself.
fn direct_leads(name: &ContainerName, facts: &PortFacts, ports: &[Port]) -> Result<Leads, PortsError> {
    let bridged = ports.iter().filter(|port| port.container_port.is_some());
    bridged
        .map(|port| Ok((direct(name, facts, port)?, Lead::this_device(backend(name, facts, port)?))))
        .collect()
}

fn backend(name: &ContainerName, facts: &PortFacts, port: &Port) -> Result<Backend, PortsError> {
    match port.container_port {
        None => Ok(Backend::Host { port: direct(name, facts, port)? }),
        Some(number) => {
            let address = facts.address.ok_or_else(|| PortsError::NotRunning { name: name.clone() })?;
            Ok(Backend::Bridge { address, port: number })
        }
    }
}

fn direct(name: &ContainerName, facts: &PortFacts, port: &Port) -> Result<u16, PortsError> {
    facts
        .direct
        .get(&port.variable)
        .copied()
        .ok_or_else(|| PortsError::NoDirectPort { name: name.clone(), variable: port.variable.to_string() })
}
