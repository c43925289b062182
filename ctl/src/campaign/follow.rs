//! `takt campaign follow`: campaigns that begin by themselves.

use clap::Args;
use takt_common::Name;
use takt_common::api::{FollowMode, FollowSpec};
use takt_common::id::IdError;
use takt_common::release::ReleaseId;

use super::HowArgs;
use crate::api::Api;
use crate::failure::Failure;
use crate::output::Output;

/// `takt campaign follow`
#[derive(Debug, Args)]
pub struct FollowArgs {
    /// The component
    #[arg(value_name = "COMPONENT")]
    component: Name,
    /// Whose devices
    #[arg(long)]
    domain: Name,
    /// Let campaigns wait until an operator approves them
    #[arg(long)]
    propose: bool,
    /// Follow it no longer
    #[arg(long, conflicts_with = "propose")]
    off: bool,
    #[command(flatten)]
    how: HowArgs,
}

/// Sets or ends it.
pub(super) async fn run(args: FollowArgs, api: &Api, output: Output) -> Result<(), Failure> {
    let FollowArgs { component, domain, propose, off, how } = args;
    let path = format!("/api/v1/domains/{domain}/follow/{component}");
    if off {
        api.delete(&path).await?;
        return Ok(output.give(&component, || vec![format!("{domain} follows {component} no longer")])?);
    }
    let prefix = prefix(&domain, &component)?;
    let release = ReleaseId { name: component.clone(), version: newest()? };
    let mode = if propose { FollowMode::Propose } else { FollowMode::Start };
    let spec = FollowSpec { mode, campaign: how.request(prefix.clone(), release, domain.clone())? };
    api.put(&path, &spec).await?;
    Ok(output.give(&spec, || {
        let what = if propose { "is proposed" } else { "begins" };
        vec![format!(
            "{domain} follows {component}: when a release of it is published, campaign {prefix}-VERSION {what}"
        )]
    })?)
}

/// `DOMAIN-COMPONENT`: the beginning of the names of its campaigns.
fn prefix(domain: &Name, component: &Name) -> Result<Name, WhichNameError> {
    format!("{domain}-{component}").parse().map_err(WhichNameError)
}

/// Stands where a version is expected that nobody knows yet.
fn newest() -> Result<Name, WhichNameError> {
    "newest".parse().map_err(WhichNameError)
}

/// The names of the domain and the component do not make one for campaigns.
#[derive(Debug, thiserror::Error)]
#[error("name the campaigns after the domain and the component")]
pub struct WhichNameError(#[source] IdError);
