//! The command line: global options, groups of commands, and the way from one to the other.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use takt_common::Name;

use crate::api::Api;
use crate::audit::{self, AuditCommand};
use crate::campaign::{self, CampaignCommand};
use crate::device::{self, DeviceCommand};
use crate::drm::{self, DrmCommand};
use crate::enrol::{self, EnrolCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::graph::{self, GraphCommand};
use crate::key::{self, KeyCommand};
use crate::lock::{self, LockArgs, UnlockArgs};
use crate::operator::{self, OperatorCommand};
use crate::output::Output;
use crate::plan::{self, PlanCommand};
use crate::profile::Overrides;
use crate::release::{self, ReleaseCommand};
use crate::schedule::{self, ScheduleCommand};
use crate::sim::{self, SimArgs};
use crate::trust::{self, TrustCommand};
use crate::why::{self, WhyArgs};

/// Upgrades fleets of Linux edge devices: keys, trust, releases, devices and campaigns
///
/// Which coordinator is meant, and as whom, stands in a profile, a TOML file with `url`, `ca` and `token`; the
/// coordinator writes one at its first start. Without --profile and TAKT_PROFILE it is ~/.config/takt/profile.toml.
#[derive(Debug, Parser)]
#[command(name = "takt", version, max_term_width = 100, after_help = Exit::table())]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
struct Global {
    /// The profile: a TOML file with url, ca and token of the coordinator
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TAKT_PROFILE",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    profile: Option<PathBuf>,
    /// The coordinator, instead of the profile's: https://HOST:PORT
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TAKT_URL",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    url: Option<String>,
    /// The certificate authority to trust, instead of the profile's; no other one is
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TAKT_CA",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    ca: Option<PathBuf>,
    /// The operator's token, instead of the profile's; others can see it here, so prefer TAKT_TOKEN
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "TAKT_TOKEN",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    token: Option<String>,
    /// Results as JSON on standard output, errors as problem documents (RFC 9457) on standard error
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ed25519 keys in files
    #[command(subcommand)]
    Key(KeyCommand),
    /// The documents that say who may publish and who may order
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Make, sign and publish releases
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// People beside the first operator
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Tokens with which devices join
    #[command(subcommand)]
    Enrol(EnrolCommand),
    /// The fleet as the coordinator knows it
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Who depends on whom
    #[command(subcommand)]
    Graph(GraphCommand),
    /// Who can stand in for whom
    #[command(subcommand)]
    Drm(DrmCommand),
    /// When devices may be upgraded
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Bring devices to a release
    #[command(subcommand)]
    Campaign(CampaignCommand),
    /// What was decided and done, in a log that nobody can change unseen
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Plan upgrades from files, without a coordinator
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Simulate a campaign: how an upgrade of a whole fleet would go, before it is begun
    #[command(after_help = sim::EXAMPLE)]
    Sim(SimArgs),
    /// Says in sentences what a device waits for
    #[command(after_help = "Example:\n  takt why camera-1")]
    Why(WhyArgs),
    /// Holds the upgrades of the device that it runs on: as long as a command runs, or until `takt unlock`
    #[command(
        after_help = "Example:\n  takt lock surgery -- /usr/local/bin/operate --patient 7\n  takt lock --for 2h maintenance\n  takt lock --list"
    )]
    Lock(LockArgs),
    /// Gives back a lock that `takt lock` holds without a command
    #[command(after_help = "Example:\n  takt unlock maintenance")]
    Unlock(UnlockArgs),
}

/// A domain, for commands that only need that.
#[derive(Debug, Args)]
pub struct DomainArgs {
    /// Whose
    #[arg(long)]
    pub(crate) domain: Name,
}

/// How to reach a coordinator, for commands that need one only sometimes.
#[derive(Debug, Clone)]
pub struct Online(Overrides);

impl Online {
    /// Prepares the connection; says what is missing when it is not known whom to reach.
    pub fn api(&self) -> Result<Api, Failure> {
        Ok(Api::new(self.0.clone().resolve()?)?)
    }

    /// The certificate authority that the command line or the environment names.
    pub fn ca(&self) -> Option<&Path> {
        self.0.ca.as_deref()
    }
}

/// The whole command, for the reference and its test.
pub fn command() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// Whether results are for a program.
    pub const fn json(&self) -> bool {
        self.global.json
    }

    /// Does what the command line asks for.
    ///
    /// Returns the exit code of success; only the command under a lock has one that is not 0.
    pub async fn run(self) -> Result<u8, Failure> {
        let Global { profile, url, ca, token, json } = self.global;
        let output = Output::of_process(json);
        let home = std::env::home_dir();
        let online = Online(Overrides { profile, url, ca, token, home });
        match self.command {
            Command::Key(command) => Ok(key::run(&command, output)?),
            Command::Trust(command) => trust::run(command, online, output).await,
            Command::Release(command) => release::run(command, online, output).await,
            Command::Operator(command) => operator::run(command, &online.api()?, output).await,
            Command::Enrol(command) => enrol::run(command, &online.api()?, output).await,
            Command::Device(command) => device::run(command, &online.api()?, output).await,
            Command::Graph(command) => graph::run(command, &online, output).await,
            Command::Drm(command) => drm::run(command, &online, output).await,
            Command::Schedule(command) => schedule::run(command, &online, output).await,
            Command::Campaign(command) => campaign::run(command, &online.api()?, output).await,
            Command::Audit(command) => audit::run(command, &online, output).await,
            Command::Plan(command) => plan::run(command, output),
            Command::Sim(args) => sim::run(&args, output),
            Command::Why(args) => why::run(args, &online.api()?, output).await,
            Command::Lock(args) => return Ok(lock::lock(args, output).await?),
            Command::Unlock(args) => Ok(lock::unlock(args, output).await?),
        }?;
        Ok(Exit::Done.code())
    }
}
