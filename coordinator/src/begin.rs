//! A campaign begins: what is asked is held against what is published, what runs and what other campaigns have.

use takt_common::api::CampaignRequest;
use takt_common::audit::Who;
use takt_common::order::AtDeadline;
use takt_common::permission::{Marked, Permission, Use};
use takt_common::release::ReleaseId;
use takt_common::{Name, UnixTime};
use takt_coordinator_core::{Campaign, OpenError, Opening, open};
use takt_store::Batch;

use crate::audit;
use crate::coordinator::Coordinator;
use crate::orders::{OrderError, Outdated, PublishedRelease};
use crate::registry::{CAMPAIGN_DEVICES_MAX, CommitTogether, DomainError, DomainRules, RegistryError};
use crate::repository::Published;
use crate::sentence::sentence;

/// A campaign cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Its name is not new.
    #[error("there is a campaign '{0}' already")]
    Taken(Name),
    /// Its release cannot be installed.
    #[error(transparent)]
    Release(#[from] OrderError),
    /// Its release should not be installed any more.
    #[error("field 'release': {0}")]
    Outdated(String),
    /// Its publishers have nothing to say where it is to go.
    #[error(
        "field 'domain': {release} is published for {domains} only, devices of '{domain}' would refuse it"
    )]
    ForeignDomain {
        /// The release.
        release: ReleaseId,
        /// Where it may go.
        domains: String,
        /// Where it was to go.
        domain: Name,
    },
    /// It asks for what a coordinator may not order by itself.
    #[error(
        "field 'permission': the campaign asks for a {action} to {release}: {why}; see `takt trust permit`"
    )]
    Permission {
        /// For what.
        action: Marked,
        /// The release.
        release: ReleaseId,
        /// What is wrong.
        why: String,
    },
    /// Graph, DRM or schedule of its domain.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// It makes no sense as it is asked for.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It has more devices than one campaign can have.
    #[error(
        "field 'devices': {0} devices are too many for one campaign, {CAMPAIGN_DEVICES_MAX} are possible; start several"
    )]
    TooMany(usize),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Begins a campaign that `operator` has asked for; the audit log names `by`.
pub fn begin(
    state: &Coordinator,
    request: &CampaignRequest,
    operator: &str,
    by: Who,
    now: UnixTime,
) -> Result<Campaign, BeginError> {
    let _alone = state.begin_alone();
    if state.registry.has_campaign(&request.name)? {
        return Err(BeginError::Taken(request.name.clone()));
    }
    let campaign = opened(state, request, operator, now)?;
    if campaign.devices() > CAMPAIGN_DEVICES_MAX {
        return Err(BeginError::TooMany(campaign.devices()));
    }
    let together = CommitTogether::new(Batch::new()).with_campaign(None, &campaign);
    match state.registry.commit(together.with_entry(audit::started(&campaign, request, by, now))) {
        Ok(()) => {}
        Err(error) if error.is_conflict() => return Err(BeginError::Taken(request.name.clone())),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(campaign = %campaign.name(), release = %request.release, "campaign started");
    state.campaign_opened(campaign.name().clone());
    Ok(campaign)
}

/// The campaign that a request would begin now.
pub fn opened(
    state: &Coordinator,
    request: &CampaignRequest,
    operator: &str,
    now: UnixTime,
) -> Result<Campaign, BeginError> {
    let published = state.repository.published();
    let book = state.order_book(&published);
    let PublishedRelease { facts: release, domains, .. } = book.release(&request.release, now)?;
    if !domains.is_empty() && !domains.contains(&request.domain) {
        let domains = domains.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let (release, domain) = (release.id, request.domain.clone());
        return Err(BeginError::ForeignDomain { release, domains, domain });
    }
    check_permission(&published, request, now)?;
    let superseded = match book.outdated(&release)? {
        Some(Outdated::Revoked { floor }) => {
            let (id, counter) = (&release.id, release.counter);
            return Err(BeginError::Outdated(format!(
                "{id} has release counter {counter}, and the publishers have revoked all below {floor}"
            )));
        }
        Some(Outdated::Superseded { by }) => {
            let text = format!("{} is superseded by {by}, which is published", release.id);
            if !(request.superseded || request.policy.downgrade) {
                return Err(BeginError::Outdated(format!("{text}; 'superseded' allows it all the same")));
            }
            Some(text)
        }
        None => None,
    };
    let earlier = book.earlier(&release, now)?;
    let DomainRules { graph, drm, .. } = state.rules_ranked(&request.domain, now)?;
    let others = state.unsettled_campaigns()?;
    let others: Vec<&Campaign> = others.iter().map(|stored| &stored.campaign).collect();
    let fleet = &state.fleet();
    let campaign = open(&Opening {
        request,
        release: &release,
        earlier: &earlier,
        fleet,
        graph: &graph,
        drm: &drm,
        others: &others,
        operator,
        now,
    })?;
    // There may be reasons for it: to go on step by step, to wait with the later one, or to go back.
    Ok(match superseded {
        Some(text) => campaign.with_remark(text, now),
        None => campaign,
    })
}

/// Devices would refuse what no permission allows, so it is said before anything begins. A downgrade without one is possible: it brings
/// devices back to what they have verified.
fn check_permission(
    published: &Published,
    request: &CampaignRequest,
    now: UnixTime,
) -> Result<(), BeginError> {
    let signers = published.director.as_ref().and_then(|director| director.counter_signers());
    let forced = request.policy.at_deadline == AtDeadline::GoAhead && signers.is_some();
    let refused = |action, why| BeginError::Permission { action, release: request.release.clone(), why };
    let Some(envelope) = &request.permission else {
        let why = "that needs a permission".to_owned();
        return if forced { Err(refused(Marked::GoAhead, why)) } else { Ok(()) };
    };
    let wanted = [(Marked::Downgrade, request.policy.downgrade), (Marked::GoAhead, forced)];
    if wanted.iter().all(|(_, wanted)| !wanted) {
        let why = "a permission is given, and nothing is asked for that needs one".to_owned();
        return Err(refused(Marked::Downgrade, why));
    }
    for (action, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
        let (release, domain) = (&request.release, &request.domain);
        Permission::open(envelope, signers.as_ref())
            .and_then(|permission| permission.check(&Use { action, release, domain, device: None, now }))
            .map_err(|error| refused(action, sentence(&error)))?;
    }
    Ok(())
}
