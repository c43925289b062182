//! Why ports could not be moved or looked at.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// Ports could not be moved or looked at.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The name of the device does not fit into that of a table.
    #[error("name a table after '{0}': 1 to 64 letters, digits and '-' are possible")]
    Name(String),
    /// More ports than the table takes.
    #[error("publish {count} ports: at most {max} are possible")]
    Count {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The program cannot be run.
    #[error("run '{}' (Debian package nftables)", program.display())]
    Program {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program does not end. Whether it has changed anything is not known.
    #[error("{doing}: nft has not ended within {} s", limit.as_secs_f64())]
    Slow {
        /// What it was to do.
        doing: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The program refused.
    #[error("{doing}: nft says: {said}")]
    Refused {
        /// What it was to do.
        doing: &'static str,
        /// What it said, shortened.
        said: String,
    },
    /// What the program says of tables cannot be understood.
    #[error("understand what nft says of tables: {0}")]
    Strange(String),
    /// A container's address lies on no network of this device.
    #[error("find the network of {address}: no interface of this device is on it")]
    NoBridge {
        /// The address.
        address: Ipv4Addr,
    },
    /// The interfaces cannot be listed.
    #[error("list the interfaces of this device")]
    Interfaces(#[source] io::Error),
    /// Clients of other devices would not reach a container.
    #[error("let clients of other devices reach {address}: net.ipv4.ip_forward is 0")]
    NotForwarding {
        /// The container's address.
        address: Ipv4Addr,
    },
    /// A setting of the kernel cannot be read or written.
    #[error("{doing} {}", path.display())]
    Setting {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not answer over netlink.
    #[error("ask the kernel for {what}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The network of a process cannot be entered.
    #[error("enter the network of process {pid}")]
    Enter {
        /// Which.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl TrafficError {
    /// Whether the same may go well a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Slow { .. }
            | Self::Refused { .. }
            | Self::NoBridge { .. }
            | Self::Netlink { .. }
            | Self::Enter { .. }
            | Self::Interfaces(_)
            | Self::Setting { .. } => true,
            Self::Name(_)
            | Self::Count { .. }
            | Self::Program { .. }
            | Self::Strange(_)
            | Self::NotForwarding { .. } => false,
        }
    }
}

/// No direct ports could be found.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A setting of the kernel cannot be read.
    #[error("read {}", path.display())]
    Setting {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A setting of the kernel is not as ip(7) says.
    #[error("understand {}: it holds '{text}'", path.display())]
    Strange {
        /// Which.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
    /// Too few are free.
    #[error(
        "find {wanted} free direct ports: {found} found of {tried} tried outside {low}-{high}, the ports of outgoing \
         connections; reserve some of those in net.ipv4.ip_local_reserved_ports"
    )]
    TooFew {
        /// How many are needed.
        wanted: usize,
        /// How many were found.
        found: usize,
        /// How many were tried.
        tried: usize,
        /// The first port of outgoing connections.
        low: u16,
        /// The last one.
        high: u16,
    },
    /// The kernel gives no socket to try a port with.
    #[error("make a socket to try port {port}")]
    Socket {
        /// Which port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
}
