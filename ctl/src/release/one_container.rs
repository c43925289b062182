//! The short form of `takt release new`: one container, described by options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use takt_common::release::{
    BaselineLimits, Container, ContainerSet, Health, Hook, HookPoint, Network, Port, Probe, Requirements,
    Severity, Step, Strategy,
};
use takt_common::{Name, Sha256Digest};

use super::draft::{Draft, MILLIS, SECS_MAX};
use super::folder::ReleaseError;
use super::hook::HookArg;
use super::image::{self, Image};
use super::port;
use super::probe::ProbeArg;
use super::sources::Sources;

/// A release of one container.
#[derive(Debug, Args)]
#[group(id = "one_container", multiple = true, conflicts_with = "from")]
pub(super) struct OneContainerArgs {
    /// How urgent it is
    #[arg(long, value_enum, default_value_t = SeverityArg::Minor)]
    severity: SeverityArg,
    /// Hardware it fits, as devices name theirs; may be given several times; any when absent
    #[arg(long = "hardware", value_name = "NAME")]
    hardware: Vec<Name>,
    /// The image of a release of one container, as `docker save` writes it; required without --from
    #[arg(long, value_name = "FILE", required_unless_present = "from")]
    image: Option<PathBuf>,
    /// The image id that the archive must hold (64 hex digits); read from the archive when absent
    #[arg(long, value_name = "SHA256", value_parser = image::parse_id)]
    image_id: Option<Sha256Digest>,
    /// Allowed swap strategies, best first
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", default_value = "replace")]
    strategy: Vec<StrategyArg>,
    /// Strategy handover: seconds that established connections of the old container may take to end
    #[arg(long, value_name = "N", default_value_t = ContainerSet::DRAIN_SECS_DEFAULT)]
    drain_secs: u32,
    /// A variable of the container's environment; may name device variables as ${name}
    #[arg(long, value_name = "K=V")]
    env: Vec<EnvArg>,
    /// An argument instead of the image's own; once for each argument
    #[arg(long = "arg", value_name = "TEXT", allow_hyphen_values = true)]
    command: Vec<String>,
    /// A Docker volume that outlives releases
    #[arg(long = "volume", value_name = "NAME:/PATH")]
    volumes: Vec<String>,
    /// A memory limit in MiB
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    memory_mib: Option<u64>,
    /// The container's network: the device's own, or an address of its own on the engine's bridge
    #[arg(long, value_enum, default_value_t = NetworkArg::Host)]
    network: NetworkArg,
    /// A TCP port that the agent publishes: the device variable that holds it and, on the bridge, where the container listens
    #[arg(long = "port", value_name = "VARIABLE[:CONTAINER_PORT]", value_parser = port::parse)]
    ports: Vec<Port>,
    /// How long the old container may take to stop before it is killed
    #[arg(long, value_name = "N", default_value_t = Container::STOP_GRACE_SECS_DEFAULT)]
    stop_grace_secs: u32,
    /// A health check: http=URL, tcp=HOST:PORT, exec='COMMAND ARG', unit=NAME or healthcheck; all must pass
    #[arg(long = "probe", value_name = "PROBE", required_unless_present_any = ["from", "healthcheck", "hooks"])]
    probes: Vec<ProbeArg>,
    /// Also ask the health check that the image itself brings
    #[arg(long)]
    healthcheck: bool,
    /// A program that runs at a point of the upgrade; may be given several times (docs/releases.md names the points)
    #[arg(long = "hook", value_name = "POINT=FILE")]
    hooks: Vec<HookArg>,
    /// Seconds within which all probes must have passed once
    #[arg(long, value_name = "N", default_value_t = Health::default().start_millis / MILLIS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SECS_MAX)))]
    start_secs: u32,
    /// Seconds during which it must stay well before it is verified
    #[arg(long, value_name = "N", default_value_t = Health::default().probation_millis / MILLIS,
          value_parser = clap::value_parser!(u32).range(..=i64::from(SECS_MAX)))]
    probation_secs: u32,
    /// Milliseconds from one round of probes to the next
    #[arg(long, value_name = "N", default_value_t = Health::default().interval_millis,
          value_parser = clap::value_parser!(u32).range(1..))]
    interval_millis: u32,
    /// Milliseconds after which an unanswered probe has failed
    #[arg(long, value_name = "N", default_value_t = Health::default().timeout_millis,
          value_parser = clap::value_parser!(u32).range(1..))]
    timeout_millis: u32,
    /// Failed rounds in a row that end the probation
    #[arg(long, value_name = "N", default_value_t = Health::default().failures_max,
          value_parser = clap::value_parser!(u32).range(1..))]
    failures_max: u32,
    /// Bytes that the image takes once unpacked; read from the archive when its layers are not compressed
    #[arg(long, value_name = "N")]
    unpacked_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SeverityArg {
    Hotfix,
    Minor,
    Major,
    Critical,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyArg {
    /// Stop the old one, start the new one
    Replace,
    /// Both run, the published ports move to the new one at once, and the old one stops when its connections have ended
    Handover,
    /// As replace, with a checkpoint first, so that a rollback keeps the memory
    Preserve,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NetworkArg {
    /// The device's own
    Host,
    /// An address of its own on the engine's bridge
    Bridge,
}

/// `K=V`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EnvArg(String, String);

impl FromStr for EnvArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self(name.to_owned(), value.to_owned())),
            _ => Err("NAME=VALUE is expected"),
        }
    }
}

impl OneContainerArgs {
    /// The release that the options describe.
    pub(super) fn draft(&self) -> Result<Draft, ReleaseError> {
        // Without --from clap has asked for it.
        let path = self.image.as_ref().ok_or(ReleaseError::NoImage)?;
        let image = Image::of_archive(path)?;
        if let Some(expected) = self.image_id.filter(|expected| *expected != image.id) {
            return Err(ReleaseError::OtherImage { path: path.clone(), found: image.id, expected });
        }
        let compressed = || ReleaseError::CompressedLayers { path: path.clone() };
        let unpacked_bytes = self.unpacked_bytes.or(image.unpacked_bytes).ok_or_else(compressed)?;
        let mut sources = Sources::default();
        let container = self.container(image.id, sources.add(path)?.sha256);
        let set = ContainerSet {
            containers: vec![container],
            strategies: strategies(&self.strategy),
            drain_secs: self.drain_secs,
        };
        let hooks = self.read_hooks(&mut sources)?;
        Ok(Draft {
            name: None,
            version: None,
            counter: None,
            severity: match self.severity {
                SeverityArg::Hotfix => Severity::Hotfix,
                SeverityArg::Minor => Severity::Minor,
                SeverityArg::Major => Severity::Major,
                SeverityArg::Critical => Severity::Critical,
            },
            hardware: self.hardware.clone(),
            steps: vec![Step::Container(set)],
            hooks,
            health: self.health(),
            unpacked_bytes,
            requires: Requirements::default(),
            sources,
            notes: Vec::new(),
        })
    }

    fn container(&self, image_id: Sha256Digest, archive: Sha256Digest) -> Container {
        Container {
            name: None,
            archive,
            image_id,
            env: self.env.iter().map(|EnvArg(name, value)| (name.clone(), value.clone())).collect(),
            command: self.command.clone(),
            volumes: self.volumes.clone(),
            memory_mib: self.memory_mib,
            network: match self.network {
                NetworkArg::Host => Network::Host,
                NetworkArg::Bridge => Network::Bridge,
            },
            ports: self.ports.clone(),
            stop_grace_secs: self.stop_grace_secs,
        }
    }

    fn read_hooks(&self, sources: &mut Sources) -> Result<BTreeMap<HookPoint, Hook>, ReleaseError> {
        let mut hooks = BTreeMap::new();
        for HookArg { point, program } in &self.hooks {
            let program = sources.add(program)?.sha256;
            let hook = Hook { program, args: Vec::new(), timeout_secs: Hook::TIMEOUT_SECS_DEFAULT };
            if hooks.insert(*point, hook).is_some() {
                return Err(ReleaseError::HookTwice { point: *point });
            }
        }
        Ok(hooks)
    }

    fn health(&self) -> Health {
        let own = self.healthcheck.then_some(Probe::Healthcheck);
        let mut probes: Vec<Probe> = self.probes.iter().map(|probe| probe.0.clone()).collect();
        probes.extend(own.filter(|own| !probes.contains(own)));
        Health {
            probes,
            interval_millis: self.interval_millis,
            timeout_millis: self.timeout_millis,
            start_millis: self.start_secs * MILLIS,
            probation_millis: self.probation_secs * MILLIS,
            failures_max: self.failures_max,
            baseline: BaselineLimits::default(),
        }
    }
}

/// The strategies in the order given, each once.
fn strategies(args: &[StrategyArg]) -> Vec<Strategy> {
    let mut strategies = Vec::new();
    for arg in args {
        let strategy = match arg {
            StrategyArg::Replace => Strategy::Replace,
            StrategyArg::Handover => Strategy::Handover,
            StrategyArg::Preserve => Strategy::Preserve,
        };
        if !strategies.contains(&strategy) {
            strategies.push(strategy);
        }
    }
    strategies
}
