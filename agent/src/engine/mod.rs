//! The container engine: Docker, by its API over a Unix socket.
//!
//! Every call has a name and a time-out, and may be repeated. An error of a call says nothing about what the engine
//! did with it: what is true is looked at afterwards, here or in the next round of the agent's loop.
//!
//! Workloads use the host's network or the engine's bridge. The engine publishes no port and its proxy is not used: what
//! clients reach is `takt_traffic`'s business, and each container with published ports has direct ones of its own.
//! A container is created ahead of its turn, started, and held at its latch (`takt_latch`) before its command:
//! [`Engine::state`] calls it created until [`Engine::start`] opens the latch.

mod answers;
mod archive;
mod checkpoint;
mod connection;
mod create;
mod error;
mod exec;
mod image;
mod latch;
mod leftover;
mod look;
mod ports;
mod process;
mod raw;
mod run;
mod spec;
mod stats;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use takt_agent_core::ContainerName;
use takt_common::{DeviceId, Name};

pub use self::archive::{ArchiveFault, check_source};
use self::connection::Connection;
pub use self::error::EngineError;
pub use self::exec::ExecError;
pub use self::latch::{LatchFileError, LatchSettings};
pub use self::look::EngineFacts;
pub use self::ports::{DirectPorts, PortFacts};
pub use self::raw::RawError;
pub use self::stats::Usage;
use crate::variables::RoleVariables;

/// Where the engine listens unless the settings say otherwise.
pub const SOCKET_DEFAULT: &str = "/var/run/docker.sock";

/// What the adapter is told.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// The engine's Unix socket.
    pub socket: PathBuf,
    /// The device: containers carry it as a label, and only those that do are touched.
    pub device: DeviceId,
    /// Its name: volumes carry it in theirs.
    pub name: Name,
    /// What `${name}` in releases stands for.
    pub variables: RoleVariables,
    /// Where the latch is; without it containers are started in their turn, which takes longer.
    pub latch: Option<LatchSettings>,
}

/// The container engine. It is reached when first asked, and again after it was away.
pub struct Engine {
    settings: EngineSettings,
    connection: Connection,
    /// Containers whose first process was seen to end, until the engine has noticed too.
    ended: Mutex<HashMap<ContainerName, run::Ended>>,
    /// Containers that wait at their latch, with the process that does.
    held: Mutex<HashMap<ContainerName, process::Process>>,
    /// Processor time of containers when last asked.
    used: Mutex<HashMap<ContainerName, stats::Used>>,
}

impl Engine {
    /// An engine that need not run yet.
    pub fn new(settings: EngineSettings) -> Self {
        let connection = Connection::new(settings.socket.clone());
        Self { settings, connection, ended: Mutex::default(), held: Mutex::default(), used: Mutex::default() }
    }

    /// What `${name}` in releases stands for.
    pub const fn variables(&self) -> &RoleVariables {
        &self.settings.variables
    }

    fn latch(&self, name: &ContainerName) -> Option<latch::Latch> {
        self.settings.latch.as_ref().map(|settings| settings.of(name))
    }
}
