//! `takt release new`: a release folder from an image archive.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::Serialize;
use takt_common::release::{
    Artifact, BaselineLimits, Container, ContainerSet, Health, MANIFEST_FORMAT, Manifest, Network, ReleaseId,
    Severity, Step, Strategy,
};
use takt_common::{Name, Sha256Digest};

use super::folder::{self, ReleaseError};
use super::image::Image;
use super::probe::ProbeArg;
use crate::cli::Online;
use crate::clock;
use crate::failure::Failure;
use crate::file;
use crate::output::Output;
use crate::trust::{self, TrustDir};

/// `takt release new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The component; releases of one component replace each other
    #[arg(long, value_name = "COMPONENT")]
    name: Name,
    /// The version for people
    #[arg(long = "version", value_name = "VERSION", id = "release_version")]
    release_version: Name,
    /// The release counter, higher than any before; without it, the next after what --trust says is published
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    counter: Option<u64>,
    /// The trust folder, for counting on
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    trust: Option<PathBuf>,
    /// Count on from the trust folder as it is, without asking the coordinator
    #[arg(long)]
    offline: bool,
    /// How urgent it is
    #[arg(long, value_enum, default_value_t = SeverityArg::Minor)]
    severity: SeverityArg,
    /// Hardware it fits, as devices name theirs; may be given several times; any when absent
    #[arg(long = "hardware", value_name = "NAME")]
    hardware: Vec<Name>,
    /// The image, as `docker save` writes it
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// The image id that the archive must hold (64 hex digits); read from the archive when absent
    #[arg(long, value_name = "SHA256", value_parser = image_id)]
    image_id: Option<Sha256Digest>,
    /// Allowed swap strategies, best first
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", default_value = "replace")]
    strategy: Vec<StrategyArg>,
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
    /// How long the old container may take to stop before it is killed
    #[arg(long, value_name = "N", default_value_t = 10)]
    stop_grace_secs: u32,
    /// A health check: http=URL, tcp=HOST:PORT or exec='COMMAND ARG'; all must pass
    #[arg(long = "probe", value_name = "PROBE", required = true)]
    probes: Vec<ProbeArg>,
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
    /// Where the release folder goes; it must not hold a release yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

const MILLIS: u32 = 1_000;

/// The longest span in seconds whose milliseconds fit the manifest.
const SECS_MAX: u32 = u32::MAX / MILLIS;

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
    /// As replace, with a checkpoint first, so that a rollback keeps the memory
    Preserve,
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

/// An image id with or without the `sha256:` that Docker writes before it.
fn image_id(text: &str) -> Result<Sha256Digest, takt_common::digest::DigestError> {
    text.strip_prefix("sha256:").unwrap_or(text).parse()
}

/// What a program gets.
#[derive(Serialize)]
struct Made<'a> {
    manifest: PathBuf,
    sha256: Sha256Digest,
    release: &'a ReleaseId,
    counter: u64,
    image_id: Sha256Digest,
    artifacts: &'a [Artifact],
}

/// Makes a release folder.
pub(super) async fn run(args: NewArgs, online: Online, output: Output) -> Result<(), Failure> {
    folder::check_free(&args.out)?;
    let image = Image::of_archive(&args.image).map_err(ReleaseError::from)?;
    if let Some(expected) = args.image_id.filter(|expected| *expected != image.id) {
        return Err(ReleaseError::OtherImage { path: args.image, found: image.id, expected }.into());
    }
    let compressed = || ReleaseError::CompressedLayers { path: args.image.clone() };
    let unpacked_bytes = args.unpacked_bytes.or(image.unpacked_bytes).ok_or_else(compressed)?;
    let counter = match (args.counter, &args.trust) {
        (Some(counter), _) => counter,
        (None, Some(trust)) => {
            let dir = TrustDir::open(trust)?;
            if !args.offline {
                trust::fetch(&dir, &online.api()?, clock::now()).await?;
            }
            next_counter(&dir, &args.name)?
        }
        (None, None) => return Err(ReleaseError::NoCounter.into()),
    };
    let (sha256, length) = file::digest(&args.image)?;
    let manifest = manifest(&args, counter, &image, Artifact { sha256, length }, unpacked_bytes);
    let path = folder::write(&args.out, &args.image, &manifest)?;
    let made = Made {
        manifest: path,
        sha256: Sha256Digest::of(&manifest.to_bytes()),
        release: &manifest.release,
        counter,
        image_id: image.id,
        artifacts: &manifest.artifacts,
    };
    Ok(output.give(&made, || {
        vec![
            format!("release   {} (counter {counter})", manifest.release),
            format!("image     {} {}", image.id, image.tags.join(" ")),
            format!("artifact  {sha256} ({length} bytes)"),
            format!("manifest  {}", made.manifest.display()),
        ]
    })?)
}

/// One more than the highest counter of the component in the newest targets.
fn next_counter(dir: &TrustDir, component: &Name) -> Result<u64, Failure> {
    let (_, targets) = dir.targets()?;
    let highest = targets.releases(component).map(|release| release.counter).max().unwrap_or(0);
    Ok(highest.saturating_add(1))
}

fn manifest(args: &NewArgs, counter: u64, image: &Image, archive: Artifact, unpacked_bytes: u64) -> Manifest {
    let env: BTreeMap<String, String> =
        args.env.iter().map(|EnvArg(name, value)| (name.clone(), value.clone())).collect();
    let container = Container {
        name: None,
        archive: archive.sha256,
        image_id: image.id,
        env,
        command: args.command.clone(),
        volumes: args.volumes.clone(),
        memory_mib: args.memory_mib,
        network: Network::Host,
        ports: Vec::new(),
        stop_grace_secs: args.stop_grace_secs,
    };
    let health = Health {
        probes: args.probes.iter().map(|probe| probe.0.clone()).collect(),
        interval_millis: args.interval_millis,
        timeout_millis: args.timeout_millis,
        start_millis: args.start_secs * MILLIS,
        probation_millis: args.probation_secs * MILLIS,
        failures_max: args.failures_max,
        baseline: BaselineLimits::default(),
    };
    Manifest {
        format: MANIFEST_FORMAT,
        release: ReleaseId { name: args.name.clone(), version: args.release_version.clone() },
        counter,
        severity: match args.severity {
            SeverityArg::Hotfix => Severity::Hotfix,
            SeverityArg::Minor => Severity::Minor,
            SeverityArg::Major => Severity::Major,
            SeverityArg::Critical => Severity::Critical,
        },
        hardware: args.hardware.clone(),
        artifacts: vec![archive],
        steps: vec![Step::Container(ContainerSet::of_one(container, strategies(&args.strategy)))],
        hooks: BTreeMap::new(),
        health,
        unpacked_bytes,
    }
}

/// The strategies in the order given, each once.
fn strategies(args: &[StrategyArg]) -> Vec<Strategy> {
    let mut strategies = Vec::new();
    for arg in args {
        let strategy = match arg {
            StrategyArg::Replace => Strategy::Replace,
            StrategyArg::Preserve => Strategy::Preserve,
        };
        if !strategies.contains(&strategy) {
            strategies.push(strategy);
        }
    }
    strategies
}
