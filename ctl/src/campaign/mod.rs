//! `takt campaign`: bring the devices of a domain to a release, and watch it happen.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use clap::{Args, Subcommand};
use takt_common::Name;
use takt_common::api::{CampaignPreview, CampaignRequest, CampaignState, CampaignView};
use takt_common::id::IdError;
use takt_common::release::ReleaseId;

use crate::api::Api;
use crate::clock;
use crate::device;
use crate::failure::Failure;
use crate::output::Output;

mod follow;
mod how;
mod live;
mod news;
mod regulation;
mod terms;
mod view;
mod watch;

pub use follow::{FollowArgs, WhichNameError};
pub use how::HowArgs;
pub use regulation::RegulationArgs;
pub use terms::TermsArgs;
pub use watch::WatchError;

const START_EXAMPLE: &str = "Example:\n  takt campaign start week-47 --release counter@2.0.0 --domain line-7";

/// `takt campaign …`
#[derive(Debug, Subcommand)]
pub enum CampaignCommand {
    /// Starts a campaign
    #[command(after_help = START_EXAMPLE)]
    Start(StartArgs),
    /// Lets campaigns begin by themselves, or be proposed, as soon as a release of a component is published
    #[command(
        after_help = "Example:\n  takt campaign follow counter --domain line-7 --propose\n  takt campaign follow counter --domain line-7 --off"
    )]
    Follow(FollowArgs),
    /// Shows what a campaign would do if all went well: order, elements, end and disruption; nothing is begun
    #[command(after_help = "Example:\n  takt campaign plan week-47 --release counter@2.0.0 --domain line-7")]
    Plan(StartArgs),
    /// Follows a campaign until it ends: exit code 0 when finished, 3 when aborted
    #[command(after_help = "Example:\n  takt campaign watch week-47")]
    Watch(NameArgs),
    /// Lists the campaigns
    #[command(after_help = "Example:\n  takt campaign list")]
    List,
    /// Shows a campaign: state, devices, last decisions
    #[command(after_help = "Example:\n  takt campaign show week-47")]
    Show(NameArgs),
    /// Holds a campaign: devices that have their order go on, no other one gets one
    #[command(after_help = "Example:\n  takt campaign pause week-47")]
    Pause(NameArgs),
    /// Lets a held campaign go on
    #[command(after_help = "Example:\n  takt campaign resume week-47")]
    Resume(NameArgs),
    /// Stops a campaign for good: no other device begins, orders in hand are withdrawn where nothing has been switched
    #[command(after_help = "Example:\n  takt campaign abort week-47")]
    Abort(NameArgs),
    /// Lets a campaign begin that another operator has asked for with --approval
    #[command(after_help = "Example:\n  takt --profile second-operator.toml campaign approve week-47")]
    Approve(NameArgs),
    /// Takes no other devices into a campaign that was started with --stay-open
    #[command(after_help = "Example:\n  takt campaign close always-newest")]
    Close(NameArgs),
    /// Tries the devices of an ended campaign again that have failed
    #[command(after_help = "Example:\n  takt campaign retry week-47")]
    Retry(NameArgs),
}

/// `takt campaign start`
#[derive(Debug, Args)]
pub struct StartArgs {
    /// A new name
    #[arg(value_name = "NAME")]
    name: Name,
    /// Which release
    #[arg(long, value_name = "COMPONENT@VERSION")]
    release: ReleaseArg,
    /// Whose devices; not needed where --where means devices of one domain only
    #[arg(long, required_unless_present = "query")]
    domain: Option<Name>,
    /// Only these devices of the domain; may be given several times
    #[arg(long = "device", value_name = "NAME", conflicts_with = "query")]
    devices: Vec<Name>,
    #[command(flatten)]
    how: HowArgs,
}

/// A command on one campaign.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The campaign
    #[arg(value_name = "NAME")]
    name: Name,
}

/// `component@version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseArg(pub ReleaseId);

/// A text names no release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseArgError {
    /// No `@`.
    #[error("'{0}' names no release: COMPONENT@VERSION is expected, such as counter@2.0.0")]
    Form(String),
    /// One half is no name.
    #[error(transparent)]
    Name(#[from] IdError),
}

impl FromStr for ReleaseArg {
    type Err = ReleaseArgError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ReleaseArgError::Form(text.chars().take(160).collect());
        let (name, version) = text.split_once('@').ok_or_else(form)?;
        Ok(Self(ReleaseId { name: name.parse()?, version: version.parse()? }))
    }
}

impl fmt::Display for ReleaseArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.0.name, self.0.version)
    }
}

/// A query does not say whose campaign it is.
#[derive(Debug, thiserror::Error)]
pub enum WhichDomainError {
    /// It means nobody.
    #[error(
        "--where means no device that the coordinator knows now: say with --domain whose devices it is for"
    )]
    None,
    /// It means devices of several domains.
    #[error("--where means devices of {0}: a campaign is for one domain, say which with --domain")]
    Many(String),
}

/// Does what a `takt campaign` command asks for.
pub async fn run(command: CampaignCommand, api: &Api, output: Output) -> Result<(), Failure> {
    match command {
        CampaignCommand::Start(args) => start(args, api, output).await,
        CampaignCommand::Watch(args) => watch::run(&args.name, api, output).await,
        CampaignCommand::List => {
            let campaigns: Vec<CampaignView> = api.get(CAMPAIGNS).await?;
            Ok(output.give(&campaigns, || view::list(&campaigns))?)
        }
        CampaignCommand::Show(args) => {
            let campaign: CampaignView = api.get(&path(&args.name)).await?;
            Ok(output.give(&campaign, || view::show(&campaign, output))?)
        }
        CampaignCommand::Pause(args) => control(&args.name, "pause", api, output).await,
        CampaignCommand::Resume(args) => control(&args.name, "resume", api, output).await,
        CampaignCommand::Abort(args) => control(&args.name, "abort", api, output).await,
        CampaignCommand::Approve(args) => control(&args.name, "approve", api, output).await,
        CampaignCommand::Close(args) => control(&args.name, "close", api, output).await,
        CampaignCommand::Retry(args) => control(&args.name, "retry", api, output).await,
        CampaignCommand::Follow(args) => follow::run(args, api, output).await,
        CampaignCommand::Plan(args) => preview(args, api, output).await,
    }
}

const CAMPAIGNS: &str = "/api/v1/campaigns";

fn path(name: &Name) -> String {
    format!("{CAMPAIGNS}/{name}")
}

/// What is asked for.
async fn request(args: StartArgs, api: &Api) -> Result<CampaignRequest, Failure> {
    let domain = match (args.domain, &args.how.query) {
        (Some(domain), _) => domain,
        (None, Some(query)) => domain_of(query, &args.release.0, api).await?,
        (None, None) => unreachable!("clap asks for one of them"),
    };
    Ok(CampaignRequest { devices: args.devices, ..args.how.request(args.name, args.release.0, domain)? })
}

/// The domain of the devices that the query means, which must be one.
async fn domain_of(query: &str, release: &ReleaseId, api: &Api) -> Result<Name, Failure> {
    let devices = device::meant(query, Some(&release.name), api).await?;
    let domains: BTreeSet<Name> = devices.into_iter().map(|device| device.domain).collect();
    let mut all = domains.iter();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => Err(WhichDomainError::None.into()),
        (Some(_), Some(_)) => {
            let names: Vec<&str> = domains.iter().map(Name::as_str).collect();
            Err(WhichDomainError::Many(names.join(", ")).into())
        }
    }
}

async fn preview(args: StartArgs, api: &Api, output: Output) -> Result<(), Failure> {
    let request = request(args, api).await?;
    let preview: CampaignPreview = api.post(&format!("{CAMPAIGNS}/plan"), &request).await?;
    Ok(output.give(&preview, || view::preview(&request, &preview, clock::now()))?)
}

async fn start(args: StartArgs, api: &Api, output: Output) -> Result<(), Failure> {
    let request = request(args, api).await?;
    let campaign: CampaignView = api.post(CAMPAIGNS, &request).await?;
    Ok(output.give(&campaign, || {
        let order: Vec<&str> = campaign.devices.iter().map(|device| device.name.as_str()).collect();
        let remarks = campaign.events.iter().filter(|event| event.device.is_none());
        let mut lines: Vec<String> = remarks.map(|event| format!("note: {}", event.text)).collect();
        lines.extend([
            format!("campaign {} brings {} to {}", request.name, request.domain, request.release),
            if campaign.request.approval {
                format!(
                    "it waits until a second operator approves it: takt campaign approve {}",
                    request.name
                )
            } else {
                format!("upgrade order: {}", view::first_of(&order))
            },
            format!("follow it with: takt campaign watch {}", request.name),
        ]);
        lines
    })?)
}

async fn control(name: &Name, verb: &str, api: &Api, output: Output) -> Result<(), Failure> {
    let campaign: CampaignView = api.command(&format!("{}/{verb}", path(name))).await?;
    Ok(output.give(&campaign, || {
        // An abort takes effect at once, but what devices have in hand ends in its own time.
        let ending = verb == "abort" && campaign.state != CampaignState::Aborted;
        vec![if ending {
            format!(
                "campaign {name} will be aborted: no other device begins, orders in hand are withdrawn where nothing \
                 has been switched yet"
            )
        } else {
            format!("campaign {name} is {}: {}", view::state(campaign.state), campaign.reason)
        }]
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_named_by_component_and_version() {
        let release: ReleaseArg = "counter@2.0.0".parse().unwrap();
        assert_eq!(release.to_string(), "counter@2.0.0");
        for text in ["counter", "counter@", "@1", "a@b@c", "Counter@1"] {
            assert!(text.parse::<ReleaseArg>().is_err(), "{text}");
        }
    }
}
