//! `/api/v1/campaigns`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use takt_common::api::{CampaignPreview, CampaignRequest, CampaignView, DeviceStep, ResponseTimes};
use takt_common::audit::{Control as Did, What};
use takt_common::report::Outcome;
use takt_common::{Name, UnixTime};
use takt_coordinator_core::{
    Campaign, ControlError, Look, Others, abort, approve, close, pause, preview, resume, retry,
};
use takt_store::Batch;

use super::SMALL_BODY_MAX;
use super::extract::{JsonBody, Operator, Path};
use super::problem::Refused;
use crate::begin;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::planning::{self, Planned};
use crate::registry::{CONFLICT_RETRIES_MAX, CommitTogether, Happened, RegistryError, blocking};

/// What an operator does to a campaign.
type Control = fn(&Campaign, By<'_>, UnixTime) -> Result<Campaign, ControlError>;

/// Who does it, and beside which campaigns.
#[derive(Debug, Clone, Copy)]
struct By<'a> {
    operator: &'a str,
    others: &'a [&'a Campaign],
}

pub(super) async fn start(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    JsonBody(request): JsonBody<CampaignRequest, SMALL_BODY_MAX>,
) -> Result<(StatusCode, Json<CampaignView>), Refused> {
    let begun = blocking(move || {
        begin::begin(&state, &request, operator.name.as_str(), operator.who(), clock::now())
    });
    Ok((StatusCode::CREATED, Json(begun.await?.view())))
}

/// What a campaign would do; nothing is begun.
pub(super) async fn plan(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    JsonBody(request): JsonBody<CampaignRequest, SMALL_BODY_MAX>,
) -> Result<Json<CampaignPreview>, Refused> {
    let preview = blocking(move || {
        let now = clock::now();
        let campaign = begin::opened(&state, &request, operator.name.as_str(), now)?;
        foresee(&state, &campaign, now)
    });
    Ok(Json(preview.await?))
}

fn foresee(state: &Coordinator, campaign: &Campaign, now: UnixTime) -> Result<CampaignPreview, Refused> {
    let rules = state.rules_ranked(campaign.domain(), now)?;
    let fleet = state.fleet();
    let look = Look {
        fleet: &fleet,
        graph: &rules.graph,
        drm: &rules.drm,
        response: None,
        others: &Others::default(),
        identify: true,
        lease: 0,
        orders_max: usize::MAX,
        now,
    };
    let mut trouble = None;
    let preview = preview(campaign, &look, &mut |campaign, fleet, now| match planning::plan(
        state, campaign, fleet, &rules, now,
    ) {
        Ok(Planned::Changed(planned)) => Some(*planned),
        Ok(Planned::Failed(why)) => {
            trouble = Some(Refused::rule(why.to_string()));
            Some(campaign.with_no_timetable(&why.to_string(), now)).filter(|held| held != campaign)
        }
        Ok(Planned::Same) => None,
        Err(error) => {
            trouble = Some(error.into());
            None
        }
    });
    // It was never begun: what failed for it is not to be remembered.
    state.unplanned.forget(campaign.name());
    match trouble {
        Some(trouble) if preview.ends.is_none() => Err(trouble),
        _ => Ok(preview),
    }
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
    control(operator, state, campaign, Did::Pause, |campaign, _, now| pause(campaign, now)).await
}

pub(super) async fn go_on(
    operator: Operator,
    state: State<Arc<Coordinator>>,
    campaign: Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    control(operator, state, campaign, Did::Resume, |campaign, _, now| resume(campaign, now)).await
}

pub(super) async fn stop(
    operator: Operator,
    state: State<Arc<Coordinator>>,
    campaign: Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    control(operator, state, campaign, Did::Abort, |campaign, _, now| abort(campaign, now)).await
}

pub(super) async fn end(
    operator: Operator,
    state: State<Arc<Coordinator>>,
    campaign: Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    control(operator, state, campaign, Did::Close, |campaign, _, now| close(campaign, now)).await
}

pub(super) async fn allow(
    operator: Operator,
    state: State<Arc<Coordinator>>,
    campaign: Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    control(operator, state, campaign, Did::Approve, |campaign, by, now| approve(campaign, by.operator, now))
        .await
}

pub(super) async fn try_again(
    operator: Operator,
    state: State<Arc<Coordinator>>,
    campaign: Path<String>,
) -> Result<Json<CampaignView>, Refused> {
    control(operator, state, campaign, Did::Retry, |campaign, by, now| retry(campaign, by.others, now)).await
}

async fn control(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(campaign): Path<String>,
    did: Did,
    control: Control,
) -> Result<Json<CampaignView>, Refused> {
    let name = name(&campaign)?;
    let changed = blocking(move || control_now(&state, &name, &operator, did, control));
    Ok(Json(changed.await?))
}

fn control_now(
    state: &Coordinator,
    name: &Name,
    operator: &Operator,
    did: Did,
    control: Control,
) -> Result<CampaignView, Refused> {
    // No campaign takes devices meanwhile that this one may have again.
    let _alone = state.begin_alone();
    for _ in 0..CONFLICT_RETRIES_MAX {
        let stored = state.registry.campaign(name)?;
        let stored = stored.ok_or_else(|| Refused::not_found(format!("there is no campaign '{name}'")))?;
        let others = state.unsettled_campaigns()?;
        let others: Vec<&Campaign> = others.iter().map(|stored| &stored.campaign).collect();
        let (by, now) = (By { operator: operator.name.as_str(), others: &others }, clock::now());
        let changed = control(&stored.campaign, by, now)?;
        let what = What::CampaignControlled { campaign: name.clone(), control: did };
        let together = CommitTogether::new(Batch::new()).with_campaign(Some(&stored), &changed);
        match state.registry.commit(together.with_entry(Happened::new(now, operator.who(), what))) {
            Ok(()) => {
                // One that had ended may go on.
                state.campaign_opened(name.clone());
                return Ok(view(state, &changed));
            }
            // The engine has brought it on meanwhile: look again.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(RegistryError::Contended { what: format!("campaign {name}") }.into())
}

fn view(state: &Coordinator, campaign: &Campaign) -> CampaignView {
    let mut view = with_trouble(state, campaign.view());
    let component = &view.request.release.name;
    let answer = |is_one: fn(&DeviceStep) -> bool| {
        let devices = view.devices.iter().filter(|device| is_one(&device.step));
        ResponseTimes::of(
            devices.filter_map(|device| state.live.response_millis(device.device, component)).collect(),
        )
    };
    let upgraded = answer(|step| matches!(step, DeviceStep::Done { outcome: Outcome::Verified { .. }, .. }));
    let pending = answer(|step| matches!(step, DeviceStep::Pending));
    (view.upgraded_answer, view.pending_answer) = (upgraded, pending);
    view
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
