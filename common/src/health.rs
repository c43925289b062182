//! Health samples: how a device and its workloads fare now. The next sample replaces the last.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, Name};
use crate::release::ReleaseId;
use crate::report::PhaseName;
use crate::time::UnixTime;

/// The format this code writes.
pub const HEALTH_FORMAT: u32 = 1;

/// What the machine says of itself (paper 1, workload table; storage as free bytes).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Share of all processors that was busy since the last sample, 0 to 1.
    pub cpu_busy: f64,
    /// Number of processors.
    pub cpus: u32,
    /// Load average over one minute.
    pub load_1m: f64,
    /// Memory in bytes.
    pub memory_total_bytes: u64,
    /// Memory that new work can have without swapping, in bytes.
    pub memory_available_bytes: u64,
    /// Size of the storage of the agent's state, in bytes.
    pub storage_total_bytes: u64,
    /// Free bytes there.
    pub storage_free_bytes: u64,
    /// Seconds since boot.
    pub uptime_secs: u64,
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// Charge in percent of a device that runs on its battery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery_percent: Option<u8>,
    /// Over which kind of link it reaches others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
}

/// A kind of link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// A cable.
    Wired,
    /// A wireless local network.
    Wifi,
    /// A mobile network, where bytes cost.
    Cellular,
}

impl Link {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wired => "wired",
            Self::Wifi => "wifi",
            Self::Cellular => "cellular",
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one workload fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadFacts {
    /// The component.
    pub component: Name,
    /// Its container.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
    /// Share of one processor, 0 and up.
    pub cpu: Option<f64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// How often Docker has restarted it.
    pub restarts: u64,
}

/// A release that runs and is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwell {
    /// Which.
    pub release: ReleaseId,
    /// Which of its health checks fails, and how; cut after [`Unwell::WHY_CHARS_MAX`].
    pub why: String,
}

impl Unwell {
    /// Longer reasons are cut.
    pub const WHY_CHARS_MAX: usize = 400;
}

/// The most peers in one sample.
pub const PEERS_MAX: usize = 64;
/// The most addresses of its own that a device tells.
pub const ADDRESSES_MAX: usize = 16;

/// How much was said over connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talk {
    /// How many there were that had not been counted before.
    pub connections: u64,
    /// Bytes, both ways, as far as the kernel has counted them.
    pub bytes: u64,
}

impl Talk {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            connections: self.connections.saturating_add(other.connections),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl Talk {
    /// How much it was beside others: the logarithms of both together, as edges are weighed (DESIGN: graph).
    pub fn amount(self) -> f64 {
        (self.connections as f64).ln_1p() + (self.bytes as f64).ln_1p()
    }
}

/// What a device has said to one other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSeen {
    /// Where the other is.
    pub address: IpAddr,
    /// Over connections that this device began.
    pub outgoing: Talk,
    /// Over those that the other began.
    pub incoming: Talk,
}

impl PeerSeen {
    /// How much both have said, see [`Talk::amount`].
    pub fn amount(&self) -> f64 {
        self.outgoing.and(self.incoming).amount()
    }
}

/// With whom a device has talked over TCP since it last told so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersSeen {
    /// Where others reach this device; at most [`ADDRESSES_MAX`].
    pub own: Vec<IpAddr>,
    /// With whom; at most [`PEERS_MAX`].
    pub peers: Vec<PeerSeen>,
    /// Connections that were not counted, because there were too many.
    pub left_out: u64,
}

/// A health sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthSample {
    /// [`HEALTH_FORMAT`].
    pub format: u32,
    /// Whose.
    pub device: DeviceId,
    /// By the device's trusted time.
    pub made: UnixTime,
    /// Version of the agent.
    pub agent: String,
    /// Where it is in its order.
    pub phase: PhaseName,
    /// What it waits on.
    pub waiting_on: Option<String>,
    /// The machine.
    pub host: HostFacts,
    /// The workloads.
    pub workloads: Vec<WorkloadFacts>,
    /// Able to checkpoint containers, or why not.
    pub checkpoint: Result<(), String>,
    /// With whom the device talks; in some samples only, and in none where it is not to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<PeersSeen>,
    /// How many milliseconds the last round of health checks of a component took, where all of them passed (paper 1, figure 13:
    /// response time). Nothing while an order is in hand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_millis: BTreeMap<Name, u64>,
    /// Releases whose health checks have failed as often in a row as ends a probation, while no order is in hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwell: Vec<Unwell>,
    /// What the device is used for and has, by its settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, String>,
}
