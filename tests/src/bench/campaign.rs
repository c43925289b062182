//! One release brought to the one device of a benchmark, and how it went.

use std::time::Duration;

use takt_common::api::{CampaignView, DeviceStep};
use takt_common::report::Outcome;

use super::error::BenchError;
use crate::fleet::{CampaignSpec, Fleet, ReleaseSpec};

/// How long a campaign over one device may take.
const CAMPAIGN_LIMIT: Duration = Duration::from_mins(1);

/// Brings the device to a release that is published, and waits until the campaign has ended.
pub(super) fn bring(fleet: &Fleet, release: &ReleaseSpec) -> Result<CampaignView, BenchError> {
    let name = format!("to-{}", release.version);
    let spec = CampaignSpec { name: &name, release: &release.name(), element_size: 1, deadline: "50s" };
    fleet.start_campaign(spec)?;
    Ok(fleet.wait_campaign(&name, CAMPAIGN_LIMIT)?)
}

/// Publishes the first release and brings the device to it.
pub(super) fn install(fleet: &Fleet, release: &ReleaseSpec) -> Result<(), BenchError> {
    fleet.publish(release)?;
    let end = bring(fleet, release)?;
    match outcome(&end) {
        Some(Outcome::Verified { .. }) => Ok(()),
        other => Err(went_other(&format!("the installation of {}", release.version), other, &end)),
    }
}

/// How the device ended.
pub(super) fn outcome(end: &CampaignView) -> Option<&Outcome> {
    match &end.devices.first()?.step {
        DeviceStep::Done { outcome, .. } => Some(outcome),
        _ => None,
    }
}

/// It ended in another way than the one to be measured.
pub(super) fn went_other(what: &str, outcome: Option<&Outcome>, end: &CampaignView) -> BenchError {
    let went = outcome.map_or_else(|| end.reason.clone(), Outcome::to_string);
    BenchError::OtherWay { what: what.to_owned(), went }
}
