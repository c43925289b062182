//! Looking: what the engine says of itself and of containers.

use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use takt_agent_core::phase::Role;
use takt_agent_core::{ContainerFacts, ContainerName, ContainerState, Presence};
use takt_common::Sha256Digest;
use tracing::debug;

use super::answers::{Container, Image, Info, Listed};
use super::error::EngineError;
use super::ports::{DirectPorts, from_label};
use super::spec::{LABEL_DEVICE, LABEL_PORTS, LABEL_ROLE, LABEL_SPEC, role_label};
use super::{Engine, process::Process};

/// How long the engine may take to answer a question.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// How many of a container's last lines are shown, and how much of them.
const LAST_LINES: &str = "3";
const LAST_WORDS_LENGTH_MAX: usize = 400;

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// Its version.
    pub version: String,
    /// Whether it was started with its experimental functions, checkpoints among them.
    pub experimental: bool,
    /// Where it keeps its data.
    pub root: String,
}

/// A container as the engine shows it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) image: String,
    /// In the engine's words.
    status: String,
    pub(super) pid: i64,
    pub(super) exit_code: i64,
    /// Why the engine could not start it.
    pub(super) error: String,
    pub(super) kept_running: bool,
    pub(super) restarts: u64,
    /// What its own health check says; absent if it has none.
    health: Option<String>,
    pub(super) stop_signal: Option<String>,
    pub(super) device: Option<String>,
    pub(super) spec: Option<String>,
    pub(super) role: Role,
    pub(super) direct: DirectPorts,
    /// On the engine's bridge.
    pub(super) address: Option<Ipv4Addr>,
}

impl Seen {
    fn new(found: Container) -> Self {
        let state = found.state.unwrap_or_default();
        let config = found.config.unwrap_or_default();
        let mut labels = config.labels.unwrap_or_default();
        let bridge = found.network_settings.and_then(|network| network.networks?.remove("bridge"));
        let address = bridge.and_then(|bridge| bridge.address?.parse().ok());
        let health = state.health.and_then(|health| health.status);
        let policy = found.host_config.and_then(|host| host.restart_policy).and_then(|policy| policy.name);
        Self {
            id: found.id.unwrap_or_default(),
            image: found.image.unwrap_or_default(),
            status: state.status.unwrap_or_default(),
            pid: state.pid.unwrap_or_default(),
            exit_code: state.exit_code.unwrap_or_default(),
            error: state.error.unwrap_or_default(),
            kept_running: matches!(policy.as_deref(), Some("always" | "unless-stopped")),
            restarts: found.restart_count.unwrap_or_default(),
            health: health.filter(|health| !health.is_empty() && health != "none"),
            stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
            device: labels.remove(LABEL_DEVICE),
            spec: labels.remove(LABEL_SPEC),
            role: match labels.remove(LABEL_ROLE).as_deref() {
                Some(role) if role == role_label(Role::StandIn) => Role::StandIn,
                _ => Role::Own,
            },
            direct: labels.remove(LABEL_PORTS).map(|label| from_label(&label)).unwrap_or_default(),
            address,
        }
    }

    /// Whether it has a process. A paused one has; one that the engine will restart has not.
    pub(super) fn runs(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused" | "stopping")
    }

    pub(super) fn process(&self) -> Option<Process> {
        (self.pid > 0).then(|| Process::find(self.pid)).flatten()
    }
}

impl Engine {
    /// Whether the engine answers.
    pub async fn ping(&self) -> Result<(), EngineError> {
        self.connection
            .call("ask whether the engine is there", LOOK_LIMIT, |docker| async move { docker.ping().await })
            .await
            .map(drop)
    }

    /// What the engine says of itself.
    pub async fn info(&self) -> Result<EngineFacts, EngineError> {
        let info: Info =
            self.connection.get("ask the engine about itself", "/info").await?.unwrap_or_default();
        Ok(EngineFacts {
            version: info.server_version.unwrap_or_default(),
            experimental: info.experimental_build.unwrap_or_default(),
            root: info.docker_root_dir.unwrap_or_default(),
        })
    }

    /// The names of this device's containers, whatever their state.
    pub async fn containers(&self) -> Result<Vec<ContainerName>, EngineError> {
        let label = format!("{LABEL_DEVICE}={}", self.settings.device);
        let filter = Some(("label", label.as_str()));
        let list: Vec<Listed> =
            self.connection.list("list the containers of this device", "containers", filter).await?;
        let names = list.into_iter().filter_map(|found| found.names?.into_iter().next());
        Ok(names.map(|name| ContainerName(name.trim_start_matches('/').to_owned())).collect())
    }

    /// The state of a container; unknown when the engine does not answer.
    pub async fn state(&self, name: &ContainerName) -> ContainerState {
        self.container_facts(name).await.state
    }

    /// What the engine says of a container.
    pub async fn container_facts(&self, name: &ContainerName) -> ContainerFacts {
        if let Some(code) = self.ended_code(name) {
            return ContainerFacts { state: ContainerState::Exited(code), kept_running: false };
        }
        match self.inspect(name).await {
            Ok(None) => ContainerFacts { state: ContainerState::Absent, kept_running: false },
            Ok(Some(seen)) => {
                ContainerFacts { state: self.state_of(name, &seen), kept_running: seen.kept_running }
            }
            Err(error) => {
                debug!(%name, error = crate::failure::sentence(&error), "could not look at a container");
                ContainerFacts { state: ContainerState::Unknown, kept_running: false }
            }
        }
    }

    /// How often the engine has restarted a container; 0 when it does not say.
    pub async fn restarts(&self, name: &ContainerName) -> u64 {
        self.inspect(name).await.ok().flatten().map_or(0, |seen| seen.restarts)
    }

    /// What the engine says of a container whose own health check does not pass; one without a health check passes.
    pub async fn unhealthy(&self, name: &ContainerName) -> Result<Option<String>, EngineError> {
        let seen = self.ours_present(name).await?;
        Ok(seen.health.filter(|health| health != "healthy"))
    }

    /// The state in the words of the decision: what waits at its latch has not been started.
    pub(super) fn state_of(&self, name: &ContainerName, seen: &Seen) -> ContainerState {
        if self.latch(name).is_some_and(|latch| latch.is_closed()) {
            return ContainerState::Created;
        }
        match seen.status.as_str() {
            "created" | "" => ContainerState::Created,
            _ if seen.runs() => ContainerState::Running,
            _ => ContainerState::Exited(seen.exit_code),
        }
    }

    /// A container, whoever made it.
    pub(super) async fn inspect(&self, name: &ContainerName) -> Result<Option<Seen>, EngineError> {
        let path = format!("/containers/{name}/json");
        Ok(self.connection.get(format!("inspect container {name}"), &path).await?.map(Seen::new))
    }

    /// A container of this device; an error if it is somebody else's.
    pub(super) async fn ours(&self, name: &ContainerName) -> Result<Option<Seen>, EngineError> {
        let Some(seen) = self.inspect(name).await? else { return Ok(None) };
        if seen.device.as_deref() == Some(self.settings.device.to_string().as_str()) {
            Ok(Some(seen))
        } else {
            Err(EngineError::Foreign { name: name.clone() })
        }
    }

    /// As [`Self::ours`]; an error if there is none.
    pub(super) async fn ours_present(&self, name: &ContainerName) -> Result<Seen, EngineError> {
        self.ours(name).await?.ok_or_else(|| EngineError::NoContainer { name: name.clone() })
    }

    /// Whether the engine has an image.
    pub async fn image_presence(&self, image: &Sha256Digest) -> Presence {
        match self.inspect_image(&format!("sha256:{image}")).await {
            Ok(Some(_)) => Presence::Present,
            Ok(None) => Presence::Absent,
            Err(error) => {
                debug!(%image, error = crate::failure::sentence(&error), "could not look at an image");
                Presence::Unknown
            }
        }
    }

    /// An image by its id or its name.
    pub(super) async fn inspect_image(&self, image: &str) -> Result<Option<Image>, EngineError> {
        self.connection.get(format!("inspect image {image}"), &format!("/images/{image}/json")).await
    }

    /// The last lines a container wrote, in one line; never an error, for they only explain another one.
    pub(super) async fn last_words(&self, name: &ContainerName) -> String {
        let options =
            LogsOptions { stdout: true, stderr: true, tail: LAST_LINES.to_owned(), ..LogsOptions::default() };
        let read = self.connection.call("read a log", LOOK_LIMIT, |docker| async move {
            let mut lines = docker.logs(&name.0, Some(options));
            let mut words = String::new();
            while let Some(line) = lines.next().await {
                if words.len() > LAST_WORDS_LENGTH_MAX {
                    break;
                }
                words.push_str(line?.to_string().trim());
                words.push(' ');
            }
            Ok(words)
        });
        let words = read.await.unwrap_or_default();
        let words: String = words.trim().chars().take(LAST_WORDS_LENGTH_MAX).collect();
        if words.is_empty() { "it wrote nothing".to_owned() } else { words }
    }
}
