//! From a release's container to what the engine is asked to create. Pure.

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, RestartPolicy, RestartPolicyNameEnum,
};
use serde_json::json;
use takt_agent_core::phase::Role;
use takt_common::release::{Container, Network};
use takt_common::{DeviceId, Name, Sha256Digest};

use super::error::EngineError;
use super::ports::DirectPorts;
use crate::variables::Variables;

/// Whose container it is.
pub(super) const LABEL_DEVICE: &str = "takt.device";
/// What it serves as.
pub(super) const LABEL_ROLE: &str = "takt.role";
/// Its direct ports.
pub(super) const LABEL_PORTS: &str = "takt.ports";
/// Digest of everything it was created from.
pub(super) const LABEL_SPEC: &str = "takt.spec";

/// A workload's log is kept by the engine in so many files of so many bytes: 10 MiB, which small storage bears.
const LOG_FILES: &str = "2";
const LOG_FILE_SIZE: &str = "5m";

const MIB: i64 = 1 << 20;

/// A container with all variables filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) image: Sha256Digest,
    role: Role,
    env: Vec<String>,
    command: Vec<String>,
    binds: Vec<String>,
    memory_bytes: Option<i64>,
    network: Network,
    direct: DirectPorts,
}

/// What the image itself says to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ImageCommand {
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
}

impl Spec {
    /// `direct` are the ports of this very container: in its own texts they stand for the published ones.
    pub(super) fn new(
        container: &Container,
        role: Role,
        device: &Name,
        variables: &Variables,
        direct: DirectPorts,
    ) -> Result<Self, EngineError> {
        let variables = &variables.with(&direct);
        let fill = |(name, value): (&String, &String)| Ok(format!("{name}={}", variables.fill(value)?));
        let env = container.env.iter().map(fill).collect::<Result<Vec<_>, EngineError>>()?;
        let command =
            container.command.iter().map(|argument| variables.fill(argument)).collect::<Result<_, _>>()?;
        let binds = container.volumes.iter().map(|volume| bind(volume, device)).collect::<Result<_, _>>()?;
        let memory_bytes =
            container.memory_mib.map(|mib| i64::try_from(mib).unwrap_or(i64::MAX).saturating_mul(MIB));
        let network = container.network;
        Ok(Self { image: container.image_id, role, env, command, binds, memory_bytes, network, direct })
    }

    /// Names everything the container is made from, so that one made from something else is told apart.
    pub(super) fn digest(&self) -> Sha256Digest {
        let all = json!({
            "image": self.image, "role": self.role, "env": self.env, "command": self.command,
            "binds": self.binds, "memory": self.memory_bytes, "network": self.network, "direct": self.direct,
        });
        Sha256Digest::of(all.to_string().as_bytes())
    }

    /// What the engine is asked for. `latch` is the mount of the latch and where its program is in the container.
    pub(super) fn body(
        &self,
        device: &DeviceId,
        image: ImageCommand,
        latch: Option<(String, String)>,
    ) -> Result<ContainerCreateBody, EngineError> {
        let command = if self.command.is_empty() { image.command } else { self.command.clone() };
        if image.entrypoint.is_empty() && command.is_empty() {
            return Err(EngineError::NoCommand { image: self.image });
        }
        let mut entrypoint = image.entrypoint;
        let mut binds = self.binds.clone();
        if let Some((bind, program)) = latch {
            binds.push(bind);
            entrypoint.insert(0, program);
        }
        let ports = serde_json::to_string(&self.direct).expect("names and numbers have a text");
        let labels = [
            (LABEL_DEVICE, device.to_string()),
            (LABEL_ROLE, role_label(self.role).to_owned()),
            (LABEL_PORTS, ports),
            (LABEL_SPEC, self.digest().to_string()),
        ];
        let log = [("max-file", LOG_FILES), ("max-size", LOG_FILE_SIZE)];
        Ok(ContainerCreateBody {
            image: Some(format!("sha256:{}", self.image)),
            env: Some(self.env.clone()),
            cmd: Some(command),
            entrypoint: Some(entrypoint),
            labels: Some(labels.map(|(label, value)| (label.to_owned(), value)).into()),
            host_config: Some(HostConfig {
                network_mode: Some(
                    match self.network {
                        Network::Host => "host",
                        Network::Bridge => "bridge",
                    }
                    .to_owned(),
                ),
                binds: Some(binds),
                memory: self.memory_bytes,
                // As much swap as memory is the engine's default; a limit that may be doubled is none.
                memory_swap: self.memory_bytes,
                restart_policy: Some(restart_policy(false)),
                log_config: Some(HostConfigLogConfig {
                    typ: Some("json-file".to_owned()),
                    config: Some(log.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        })
    }
}

/// A role as a label holds it.
pub(super) const fn role_label(role: Role) -> &'static str {
    match role {
        Role::Own => "own",
        Role::StandIn => "stand-in",
    }
}

/// Whether the engine restarts the container by itself.
pub(super) const fn restart_policy(keep_running: bool) -> RestartPolicy {
    let name = if keep_running { RestartPolicyNameEnum::UNLESS_STOPPED } else { RestartPolicyNameEnum::NO };
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

/// `name:/path` as a bind of the volume `takt-<device>-<name>`, so that devices on one engine do not share it.
fn bind(volume: &str, device: &Name) -> Result<String, EngineError> {
    let refuse = |why| EngineError::Volume { volume: volume.to_owned(), why };
    let (name, path) = volume.split_once(':').ok_or_else(|| refuse("'name:/path' expected"))?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(refuse("its name may hold a-z, A-Z, 0-9, '-', '.' and '_' only"));
    }
    if !path.starts_with('/') || path.contains(':') || path.split('/').any(|part| part == "..") {
        return Err(refuse("its path must be absolute, without ':' and '..'"));
    }
    let place: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if place.is_empty() || place.first().copied() == takt_latch::MOUNT.strip_prefix('/') {
        return Err(refuse("its path is taken"));
    }
    Ok(format!("takt-{device}-{name}:{path}"))
}

/// The command of an inspected image.
pub(super) fn image_command(config: Option<super::answers::Config>) -> ImageCommand {
    let config = config.unwrap_or_default();
    ImageCommand {
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        Container {
            archive: Sha256Digest::of(b"archive"),
            image_id: Sha256Digest::of(b"image"),
            env: [("PORT".to_owned(), "${port}".to_owned())].into(),
            command: Vec::new(),
            volumes: vec!["data:/var/lib/data".to_owned()],
            memory_mib: Some(64),
            name: None,
            network: Network::Host,
            ports: Vec::new(),
            stop_grace_secs: 1,
        }
    }

    fn spec(container: &Container) -> Result<Spec, EngineError> {
        let variables = Variables([("port".to_owned(), "8081".to_owned())].into());
        Spec::new(container, Role::Own, &"camera-1".parse().unwrap(), &variables, DirectPorts::new())
    }

    fn body(container: &Container, latch: Option<(String, String)>) -> ContainerCreateBody {
        let image = ImageCommand { entrypoint: vec!["/serve".into()], command: vec!["--quietly".into()] };
        let device = "00112233445566778899aabbccddeeff".parse().unwrap();
        spec(container).unwrap().body(&device, image, latch).unwrap()
    }

    #[test]
    fn the_engine_is_asked_for_what_the_release_says() {
        let body = body(&container(), None);
        let host = body.host_config.unwrap();
        assert_eq!(body.image.unwrap(), format!("sha256:{}", Sha256Digest::of(b"image")));
        assert_eq!(body.env.unwrap(), ["PORT=8081"]);
        assert_eq!(body.entrypoint.unwrap(), ["/serve"]);
        assert_eq!(body.cmd.unwrap(), ["--quietly"]);
        assert_eq!(host.binds.unwrap(), ["takt-camera-1-data:/var/lib/data"]);
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        assert_eq!(body.labels.unwrap()[LABEL_DEVICE], "00112233445566778899aabbccddeeff");
    }

    #[test]
    fn a_container_with_published_ports_is_told_its_direct_ones() {
        let variables = Variables([("port".to_owned(), "8081".to_owned())].into());
        let direct = DirectPorts::from([("port".parse().unwrap(), 61_001)]);
        let with = Container { network: Network::Bridge, ..container() };
        let spec = Spec::new(&with, Role::Own, &"camera-1".parse().unwrap(), &variables, direct).unwrap();
        let image = ImageCommand { entrypoint: vec!["/serve".into()], command: Vec::new() };
        let device = "00112233445566778899aabbccddeeff".parse().unwrap();
        let body = spec.body(&device, image, None).unwrap();
        assert_eq!(body.env.unwrap(), ["PORT=61001"]);
        assert_eq!(body.labels.unwrap()[LABEL_PORTS], "{\"port\":61001}");
        assert_eq!(body.host_config.unwrap().network_mode.as_deref(), Some("bridge"));
    }

    #[test]
    fn the_latch_comes_before_the_command_and_is_no_part_of_the_spec() {
        let latch = Some(("/l/a:/.takt:ro".to_owned(), "/.takt/run".to_owned()));
        let with = Container { command: vec!["--port".into(), "${port}".into()], ..container() };
        let held = body(&with, latch);
        assert_eq!(held.entrypoint.unwrap(), ["/.takt/run", "/serve"]);
        assert_eq!(held.cmd.unwrap(), ["--port", "8081"]);
        assert_eq!(held.host_config.unwrap().binds.unwrap().last().unwrap(), "/l/a:/.takt:ro");
        assert_eq!(held.labels.unwrap()[LABEL_SPEC], body(&with, None).labels.unwrap()[LABEL_SPEC]);
    }

    #[test]
    fn every_part_counts_in_the_digest() {
        let base = spec(&container()).unwrap().digest();
        for other in [
            Container { image_id: Sha256Digest::of(b"other"), ..container() },
            Container { env: [("PORT".to_owned(), "1".to_owned())].into(), ..container() },
            Container { command: vec!["x".into()], ..container() },
            Container { volumes: Vec::new(), ..container() },
            Container { memory_mib: None, ..container() },
        ] {
            assert_ne!(spec(&other).unwrap().digest(), base);
        }
    }

    #[test]
    fn volumes_that_would_reach_the_host_or_the_latch_are_refused() {
        for volume in [
            "",
            "data",
            ":/a",
            "/etc:/a",
            "../x:/a",
            "a:b",
            "a:/b:rw",
            "a:/",
            "a:/../b",
            "a:/.takt",
            "a://.takt/x",
        ] {
            let container = Container { volumes: vec![volume.to_owned()], ..container() };
            assert!(matches!(spec(&container), Err(EngineError::Volume { .. })), "{volume}");
        }
    }

    #[test]
    fn an_unknown_variable_and_an_image_without_command_are_refused() {
        let container = Container { env: [("A".to_owned(), "${b}".to_owned())].into(), ..container() };
        assert!(spec(&container).unwrap_err().to_string().contains("no variable 'b'"));
        let container = Container { env: [].into(), ..container };
        let device = "00112233445566778899aabbccddeeff".parse().unwrap();
        let refused = spec(&container).unwrap().body(&device, ImageCommand::default(), None);
        assert!(matches!(refused, Err(EngineError::NoCommand { .. })));
    }
}
