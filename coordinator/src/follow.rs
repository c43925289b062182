//! Campaigns that begin by themselves (paper 2, "Operation Generation"): a component that a domain follows gets a campaign, or a proposal
//! of one, as soon as a release of it is published that devices of the domain can take.

use takt_common::Name;
use takt_common::UnixTime;
use takt_common::api::{CampaignRequest, FollowMode, FollowSpec};
use takt_common::audit::{Control, What, Who};
use takt_common::id::IdError;
use takt_common::release::ReleaseId;
use takt_coordinator_core::{Campaign, close};
use takt_store::Batch;

use crate::begin::{self, BeginError};
use crate::coordinator::Coordinator;
use crate::registry::{CommitTogether, Happened, RegistryError};
use crate::sentence::sentence;

/// A campaign cannot begin by itself.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It has no usable name.
    #[error("the name of its campaign")]
    Name(#[from] IdError),
    /// It cannot be opened.
    #[error(transparent)]
    Begin(#[from] Box<BeginError>),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Begins what is to begin; what cannot is tried again at the next look.
pub fn look(coordinator: &Coordinator, now: UnixTime) -> Result<(), RegistryError> {
    for (domain, component, spec) in coordinator.registry.followed()? {
        let done = follow(coordinator, &domain, &component, &spec, now);
        let trouble = done.err().map(|error| sentence(&error));
        if let (true, Some(trouble)) =
            (coordinator.set_unfollowed(&domain, &component, trouble.as_deref()), trouble)
        {
            tracing::info!(%domain, %component, %trouble, "no campaign begins by itself");
        }
    }
    Ok(())
}

fn follow(
    coordinator: &Coordinator,
    domain: &Name,
    component: &Name,
    spec: &FollowSpec,
    now: UnixTime,
) -> Result<(), FollowError> {
    let published = coordinator.repository.published();
    let Some(release) = coordinator.order_book(&published).newest(component, now) else { return Ok(()) };
    let name = campaign_name(&spec.campaign.name, &release)?;
    if coordinator.registry.has_campaign(&name)? {
        return Ok(());
    }
    close_earlier(coordinator, spec, domain, now)?;
    let request = CampaignRequest {
        name,
        release,
        domain: domain.clone(),
        approval: spec.mode == FollowMode::Propose,
        ..spec.campaign.clone()
    };
    let campaign = begin::begin(coordinator, &request, FOLLOWER, Who::Coordinator, now).map_err(Box::new)?;
    tracing::info!(campaign = %campaign.name(), mode = ?spec.mode, "campaign began by itself");
    Ok(())
}

/// Who asks for campaigns that begin by themselves; any operator may approve them.
const FOLLOWER: &str = "follow";

/// `PREFIX-VERSION`.
fn campaign_name(prefix: &Name, release: &ReleaseId) -> Result<Name, IdError> {
    format!("{prefix}-{}", release.version).parse()
}

/// A campaign to an earlier release that stays open would keep its devices for ever.
fn close_earlier(
    coordinator: &Coordinator,
    spec: &FollowSpec,
    domain: &Name,
    now: UnixTime,
) -> Result<(), RegistryError> {
    let prefix = format!("{}-", spec.campaign.name);
    for stored in coordinator.unsettled_campaigns()? {
        let earlier: &Campaign = &stored.campaign;
        let own = earlier.domain() == domain && earlier.name().as_str().starts_with(&prefix);
        let Some(closed) = own.then(|| close(earlier, now).ok()).flatten() else { continue };
        let what = What::CampaignControlled { campaign: closed.name().clone(), control: Control::Close };
        let together = CommitTogether::new(Batch::new()).with_campaign(Some(&stored), &closed);
        coordinator.registry.commit(together.with_entry(Happened::new(now, Who::Coordinator, what)))?;
    }
    Ok(())
}
