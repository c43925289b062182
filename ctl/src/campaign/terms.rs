//! How long a campaign goes on, how often it tries, and beside which others, as options.

use clap::Args;
use takt_common::Name;
use takt_common::api::{CampaignRequest, RetryPolicy, StepLimits};
use takt_common::release::ReleaseId;

use crate::span;

/// Options of `takt campaign start`.
#[derive(Debug, Args)]
pub struct TermsArgs {
    /// How often a device is ordered to upgrade whose order fails before anything is switched there
    #[arg(long, value_name = "N", default_value_t = RetryPolicy::default().attempts, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// How long the second attempt is waited for, twice as long each other one
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = span::parse_secs)]
    backoff: u64,
    /// Bytes that a device may be sent, all attempts together [default: as many as they take]
    #[arg(long, value_name = "BYTES")]
    retry_bytes: Option<u64>,
    /// How long the campaign may begin devices: 12h, 7d [default: until all have ended]
    #[arg(long, value_name = "SPAN", value_parser = span::parse_secs)]
    expires: Option<u64>,
    /// When it is to be done at the latest: from then on devices begin outside their slots as well: 12h, 7d
    #[arg(long, value_name = "SPAN", value_parser = span::parse_secs)]
    complete_by: Option<u64>,
    /// How long a standby may take until it serves [default: as long as the deadline and the release allow]
    #[arg(long, value_name = "SPAN", value_parser = span::parse_secs)]
    take_over_within: Option<u64>,
    /// How long a device may take until it has fetched the release [default: as the deadline allows]
    #[arg(long, value_name = "SPAN", value_parser = span::parse_secs)]
    fetch_within: Option<u64>,
    /// How long a standby may take until it has handed back [default: as long as the deadline and the release allow]
    #[arg(long, value_name = "SPAN", value_parser = span::parse_secs)]
    hand_back_within: Option<u64>,
    /// Its share of what the coordinator can do at a time, beside that of other campaigns
    #[arg(long, value_name = "N", default_value_t = 1)]
    weight: u32,
    /// Go on for devices that become targets later, until it is closed or expires
    #[arg(long)]
    stay_open: bool,
    /// Wait until a second operator approves it
    #[arg(long)]
    approval: bool,
    /// Although a later release is published for the same hardware (`--downgrade` allows that too)
    #[arg(long)]
    superseded: bool,
}

impl TermsArgs {
    /// A campaign on these terms.
    pub(super) fn request(&self, name: Name, release: ReleaseId, domain: Name) -> CampaignRequest {
        CampaignRequest {
            retry: RetryPolicy {
                attempts: self.attempts,
                backoff_secs: self.backoff,
                bytes: self.retry_bytes,
            },
            steps: StepLimits {
                take_over_secs: self.take_over_within,
                fetch_secs: self.fetch_within,
                hand_back_secs: self.hand_back_within,
            },
            expires_secs: self.expires,
            complete_by_secs: self.complete_by,
            weight: self.weight,
            stays_open: self.stay_open,
            approval: self.approval,
            superseded: self.superseded,
            ..CampaignRequest::new(name, release, domain)
        }
    }
}
