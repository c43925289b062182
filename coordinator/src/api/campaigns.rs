//! `/api/v1/campaigns`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use takt_common::api::{CampaignRequest, CampaignView};
use takt_common::{Name, UnixTime};
use takt_coordinator_core::{Campaign, ControlError, abort, open, pause, resume};
use takt_store::Batch;

use super::SMALL_BODY_MAX;
use super::extract::{JsonBody, Operator};
use super::problem::Refused;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::registry::{
    CAMPAIGN_DEVICES_MAX, CONFLICT_RETRIES_MAX, CommitTogether, DomainRules, RegistryError, blocking,
};

/// What an operator does to a campaign.
type Control = fn(&Campaign, UnixTime) -> Result<Campaign, ControlError>;

pub(super) async fn start(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    JsonBody(request): JsonBody<CampaignRequest, SMALL_BODY_MAX>,
) -> Result<(StatusCode, Json<CampaignView>), Refused> {
    let view = blocking(move || start_now(&state, &request, clock::now())).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

fn start_now(state: &Coordinator, request: &CampaignRequest, now: UnixTime) -> Result<CampaignView, Refused> {
    let published = state.repository.published();
    let release = state.order_book(&published).release(&request.release, now)?.facts;
    let DomainRules { graph, drm, .. } = state.rules_ranked(&request.domain, now)?;
    let _alone = state.begin_alone();
    let taken = || Refused::conflict(format!("there is a campaign '{}' already", request.name));
    if state.registry.campaign(&request.name)?.is_some() {
        return Err(taken());
    }
    let others = state.unsettled_campaigns()?;
    let others: Vec<&Campaign> = others.iter().map(|stored| &stored.campaign).collect();
    let campaign = open(request, &release, &state.fleet(), &graph, &drm, &others, now)?;
    let devices = campaign.devices();
    if devices > CAMPAIGN_DEVICES_MAX {
        return Err(Refused::rule(format!(
            "field 'devices': {devices} devices are too many for one campaign, {CAMPAIGN_DEVICES_MAX} are possible; start several"
        )));
    }
    match state.registry.commit(CommitTogether::new(Batch::new()).with_campaign(None, &campaign)) {
        Ok(()) => {}
        Err(error) if error.is_conflict() => return Err(taken()),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(campaign = %campaign.name(), release = %request.release, "campaign started");
    state.campaign_opened(campaign.name().clone());
    Ok(campaign.view())
}

pub(super) async fn list(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
) -> Result<Json<Vec<CampaignView>>, Refused> {
    let views = blocking(move || -> Result<Vec<CampaignView>, RegistryError> {
        let views = state.registry.campaign_views()?;
        Ok(views.into_iter().map(|view| with_trouble(&state, view)).collect())
    });
    let mut views = views.await?;
    views.sort_by(|a, b| (a.started, &a.request.name).cmp(&(b.started, &b.request.name)));
    Ok(Json(views))
}

pub(super) async fn show(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(campaign): Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    let name = name(&campaign)?;
    let stored = blocking(move || {
        let stored = state.registry.campaign(&name)?;
        Ok::<_, RegistryError>(stored.map(|stored| view(&state, &stored.campaign)))
    });
    stored.await?.map(Json).ok_or_else(|| Refused::not_found(format!("there is no campaign '{campaign}'")))
}

pub(super) async fn hold(
    operator: Operator,
    state: State<Arc<Coordinator>>,
    campaign: Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    control(operator, state, campaign, pause).await
}

pub(super) async fn go_on(
    operator: Operator,
    state: State<Arc<Coordinator>>,
    campaign: Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    control(operator, state, campaign, resume).await
}

pub(super) async fn stop(
    operator: Operator,
    state: State<Arc<Coordinator>>,
    campaign: Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    control(operator, state, campaign, abort).await
}

async fn control(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(campaign): Path<String>,
    control: Control,
) -> Result<Json<CampaignView>, Refused> {
    let name = name(&campaign)?;
    let changed = blocking(move || control_now(&state, &name, control).inspect(|_| state.wake.notify_one()));
    Ok(Json(changed.await?))
}

fn control_now(state: &Coordinator, name: &Name, control: Control) -> Result<CampaignView, Refused> {
    for _ in 0..CONFLICT_RETRIES_MAX {
        let stored = state.registry.campaign(name)?;
        let stored = stored.ok_or_else(|| Refused::not_found(format!("there is no campaign '{name}'")))?;
        let changed = control(&stored.campaign, clock::now())?;
        let together = CommitTogether::new(Batch::new()).with_campaign(Some(&stored), &changed);
        match state.registry.commit(together) {
            Ok(()) => return Ok(view(state, &changed)),
            // The engine has brought it on meanwhile: look again.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(RegistryError::Contended { what: format!("campaign {name}") }.into())
}

fn view(state: &Coordinator, campaign: &Campaign) -> CampaignView {
    with_trouble(state, campaign.view())
}

/// With what keeps the engine from bringing it on.
fn with_trouble(state: &Coordinator, mut view: CampaignView) -> CampaignView {
    if let Some(trouble) = state.trouble(&view.request.name) {
        view.reason = format!("{}; held: {trouble}", view.reason);
    }
    view
}

fn name(text: &str) -> Result<Name, Refused> {
    text.parse().map_err(|error| Refused::malformed(format!("{error}")))
}
