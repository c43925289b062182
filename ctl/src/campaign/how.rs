//! How a campaign is to be, as options.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use takt_common::Name;
use takt_common::api::CampaignRequest;
use takt_common::order::{AtDeadline, Policy};
use takt_common::release::ReleaseId;

use super::{RegulationArgs, TermsArgs};
use crate::file::{self, FileError};
use crate::span;

/// Options of `takt campaign start`, `plan` and `follow`.
#[derive(Debug, Args)]
pub struct HowArgs {
    /// Only devices that a query means: 'model = "cam-x" and version >= "1.1"'; see docs/campaigns.md
    #[arg(long = "where", value_name = "QUERY", id = "query")]
    pub(super) query: Option<String>,
    /// How many devices are upgraded at the same time; then regulation only takes away from it [default: begins with a few]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    element_size: Option<u32>,
    /// How long a device may take for its order, waiting included: 90s, 10m, 1h
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = span::parse_secs)]
    deadline: u64,
    /// What a device does that still waits when its deadline passes
    #[arg(long, value_enum, default_value_t = DeadlineArg::GiveUp)]
    at_deadline: DeadlineArg,
    /// Try the release again on devices where it failed before
    #[arg(long)]
    retry: bool,
    /// Bring devices to the release that have verified a later one as well
    #[arg(long)]
    downgrade: bool,
    /// How many verified releases keep their images beside the running one
    #[arg(long, value_name = "N", default_value_t = Policy::default().retain)]
    retain: u32,
    /// A permission for what the coordinator may not order by itself, as `takt trust permit` makes it
    #[arg(long, value_name = "FILE")]
    permission: Option<PathBuf>,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    regulation: RegulationArgs,
}

/// What happens at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeadlineArg {
    /// Report it; nothing has changed
    GiveUp,
    /// Switch in spite of soft blockers (load, window)
    GoAhead,
}

impl HowArgs {
    /// A campaign that is to be so.
    pub(super) fn request(
        self,
        name: Name,
        release: ReleaseId,
        domain: Name,
    ) -> Result<CampaignRequest, FileError> {
        Ok(CampaignRequest {
            permission: self.permission.as_deref().map(file::read_text).transpose()?,
            element_size: self.element_size,
            deadline_secs: self.deadline,
            policy: Policy {
                at_deadline: match self.at_deadline {
                    DeadlineArg::GiveUp => AtDeadline::GiveUp,
                    DeadlineArg::GoAhead => AtDeadline::GoAhead,
                },
                retry: self.retry,
                retain: self.retain,
                downgrade: self.downgrade,
            },
            regulation: self.regulation.into(),
            query: self.query,
            ..self.terms.request(name, release, domain)
        })
    }
}
