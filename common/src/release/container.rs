//! Steps of kind `container`: the workload's containers, which swap as one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ManifestError, wrong};
use crate::digest::Sha256Digest;
use crate::id::Name;

/// How running containers give way to their successors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Create the new ones ahead, stop the old, start the new.
    Replace,
    /// Both run; once the new ones are well, the published ports move to them at once, and the old ones stop when
    /// their connections have ended.
    Handover,
    /// As `replace`, with a CRIU checkpoint of the old ones first, so that a rollback returns with their memory.
    Preserve,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "replace",
            Self::Handover => "handover",
            Self::Preserve => "preserve",
        })
    }
}

/// The containers of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSet {
    /// They start in this order and stop in the reverse one.
    pub containers: Vec<Container>,
    /// Allowed strategies, best first; the agent uses the first that the device is able to do.
    pub strategies: Vec<Strategy>,
    /// Strategy `handover`: how many seconds established connections of the old ones may take to end.
    #[serde(default = "drain_secs_default")]
    pub drain_secs: u32,
}

/// One container. Texts in `env`, `command` and health checks may name device variables as `${name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// What it is called within the workload; may be absent in one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The image archive (`docker save` form): one of the release's artifacts.
    pub archive: Sha256Digest,
    /// The image id that loading the archive must give: the SHA-256 of the image's configuration.
    pub image_id: Sha256Digest,
    /// Environment, beside what the image sets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Arguments instead of the image's own, if not empty.
    #[serde(default)]
    pub command: Vec<String>,
    /// Docker volumes as `name:/path`; they outlive releases.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// A memory limit in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Which network it uses.
    #[serde(default, skip_serializing_if = "Network::is_host")]
    pub network: Network,
    /// TCP ports that the agent publishes for it, and moves between releases without a gap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// How long it may take to stop before it is killed.
    #[serde(default = "stop_grace_secs_default")]
    pub stop_grace_secs: u32,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The device's own.
    #[default]
    Host,
    /// The engine's default bridge: an address of its own.
    Bridge,
}

impl Network {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference.
    const fn is_host(&self) -> bool {
        matches!(self, Self::Host)
    }
}

/// A TCP port that the agent publishes.
///
/// The device variable named here holds the port that clients use. In the container's own texts and in the health checks
/// the same variable stands for a port of this very container, so that a new release is asked before clients reach it:
/// on the host's network the container must listen there, on the bridge network it leads to `container_port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The device variable.
    pub variable: Name,
    /// Where the container listens, if its network is `bridge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_port: Option<u16>,
}

const fn stop_grace_secs_default() -> u32 {
    Container::STOP_GRACE_SECS_DEFAULT
}

const fn drain_secs_default() -> u32 {
    ContainerSet::DRAIN_SECS_DEFAULT
}

impl Container {
    /// [`Container::stop_grace_secs`] where nothing else is said: the engine's own usual time.
    pub const STOP_GRACE_SECS_DEFAULT: u32 = 10;
}

/// More containers than one workload has.
const CONTAINERS_MAX: usize = 16;

impl ContainerSet {
    /// [`ContainerSet::drain_secs`] where nothing else is said.
    pub const DRAIN_SECS_DEFAULT: u32 = 30;

    /// A workload of one container.
    pub fn of_one(container: Container, strategies: Vec<Strategy>) -> Self {
        Self { containers: vec![container], strategies, drain_secs: Self::DRAIN_SECS_DEFAULT }
    }

    /// True when the agent publishes ports for it.
    pub fn publishes(&self) -> bool {
        self.containers.iter().any(|container| !container.ports.is_empty())
    }

    /// What all memory limits add up to, in MiB.
    pub fn memory_mib(&self) -> u64 {
        self.containers.iter().filter_map(|container| container.memory_mib).fold(0, u64::saturating_add)
    }

    /// The longest time that stopping one of them may take, in seconds.
    pub fn stop_grace_secs(&self) -> u32 {
        self.containers.iter().map(|container| container.stop_grace_secs).max().unwrap_or_default()
    }

    pub(super) fn check(&self, has: &impl Fn(&Sha256Digest) -> bool) -> Result<(), ManifestError> {
        if self.containers.is_empty() || self.containers.len() > CONTAINERS_MAX {
            return Err(wrong("containers", format!("1 to {CONTAINERS_MAX} containers are expected")));
        }
        if self.strategies.is_empty() {
            return Err(wrong("strategies", "at least one strategy must be allowed"));
        }
        if self.strategies.contains(&Strategy::Handover) && !self.publishes() {
            return Err(wrong("strategies", "handover moves published ports, and no container has 'ports'"));
        }
        let names: BTreeSet<_> = self.containers.iter().map(|container| &container.name).collect();
        if names.len() != self.containers.len() {
            return Err(wrong("containers", "their names must differ"));
        }
        let mut variables = BTreeSet::new();
        for container in &self.containers {
            if !has(&container.archive) {
                return Err(wrong("container.archive", "it names no artifact of the release"));
            }
            for port in &container.ports {
                if port.container_port.is_some() != (container.network == Network::Bridge)
                    || port.container_port == Some(0)
                {
                    let why = "'container_port' belongs to network 'bridge', and to that only";
                    return Err(wrong("container.ports", why));
                }
                if !variables.insert(&port.variable) {
                    return Err(wrong("container.ports", format!("'{}' is published twice", port.variable)));
                }
            }
        }
        Ok(())
    }
}
