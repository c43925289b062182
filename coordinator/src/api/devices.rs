//! `/api/v1/devices`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;
use takt_common::api::{DeviceView, ForecastView, QuarantineRequest, WhyView};
use takt_common::audit::{What, cut};
use takt_common::{DeviceId, Name};
use takt_coordinator_core::{DeviceState, Query as TargetQuery, Subject, why};
use takt_store::Batch;

use super::SMALL_BODY_MAX;
use super::extract::{Device, JsonBody, Operator, Path};
use super::problem::Refused;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::planning;
use crate::registry::{Change, CommitTogether, DeviceRecord, Happened, blocking};

/// Which devices are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// A query in the words of campaigns.
    r#where: Option<String>,
    /// What it means by `version` and `counter`.
    component: Option<String>,
}

/// All devices, or those that a query means, by name.
pub(super) async fn list(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Vec<DeviceView>>, Refused> {
    let Query(which) = which.map_err(|error| Refused::malformed(error.body_text()))?;
    let query = which.r#where.as_deref().map(str::parse::<TargetQuery>).transpose();
    let query = query.map_err(|error| Refused::rule(format!("field 'where': {error}")))?;
    let component = which.component.as_deref().map(str::parse::<Name>).transpose();
    let component = component.map_err(|error| Refused::malformed(format!("'component': {error}")))?;
    let meant = |device: &DeviceState| {
        query
            .as_ref()
            .is_none_or(|query| query.means(Subject { device, component: component.as_ref() }) == Some(true))
    };
    let records = state.registry.devices().all();
    let meant = records.iter().filter(|record| query.is_none() || meant(&state.live.look_at(&record.state)));
    let mut views: Vec<DeviceView> = meant.map(|record| view(&state, record)).collect();
    views.sort_by(|a, b| (&a.domain, &a.name).cmp(&(&b.domain, &b.name)));
    Ok(Json(views))
}

pub(super) async fn show(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<Json<DeviceView>, Refused> {
    Ok(Json(view(&state, &*find(&state, &device)?)))
}

/// Why a device waits.
pub(super) async fn waits(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<Json<WhyView>, Refused> {
    let record = find(&state, &device)?;
    let id = record.state.id;
    let answer = blocking(move || -> Result<WhyView, Refused> {
        let (open, settled) = (state.unsettled_campaigns()?, state.registry.last_settled(id)?);
        let open = open.iter().map(|stored| &stored.campaign);
        let campaigns: Vec<_> = open.chain(settled.iter().map(|stored| &stored.campaign)).collect();
        let fleet = state.fleet();
        // One that is decommissioned is not there for campaigns, and can be asked about all the same.
        let device = fleet.devices.get(&id).unwrap_or(&record.state);
        let now = clock::now();
        let rules = state.registry.rules_declared(&device.domain)?;
        let mut answer = why(device, &campaigns, &fleet, &rules.graph, &rules.drm, now);
        for campaign in campaigns.iter().filter(|campaign| !campaign.is_settled() && campaign.has_device(id))
        {
            if let Some(trouble) = state.trouble(campaign.name()) {
                answer.waiting = true;
                answer.reasons.push(format!("campaign {} is held: {trouble}", campaign.name()));
            }
        }
        Ok(answer)
    });
    Ok(Json(answer.await?))
}

/// Puts a device into quarantine: it is asked to begin nothing until it is released.
pub(super) async fn quarantine(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
    JsonBody(request): JsonBody<QuarantineRequest, SMALL_BODY_MAX>,
) -> Result<StatusCode, Refused> {
    if request.why.trim().is_empty() {
        return Err(Refused::rule("field 'why': a reason is needed".to_owned()));
    }
    let now = clock::now();
    let change = move |record: &mut DeviceRecord| {
        record.quarantine(&request.why, now);
        let (device, name) = (record.state.id, record.state.name.clone());
        let quarantined = What::DeviceQuarantined { device, name, why: cut(&request.why) };
        Happened::new(now, operator.who(), quarantined)
    };
    self::change(state, &device, change).await
}

/// Ends the quarantine of a device.
pub(super) async fn release(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<StatusCode, Refused> {
    let now = clock::now();
    let change = move |record: &mut DeviceRecord| {
        record.state.quarantine = None;
        let (device, name) = (record.state.id, record.state.name.clone());
        Happened::new(now, operator.who(), What::DeviceReleased { device, name })
    };
    self::change(state, &device, change).await
}

/// Changes a device; what has changed is told in the audit log.
pub(super) async fn change(
    state: Arc<Coordinator>,
    device: &str,
    change: impl Fn(&mut DeviceRecord) -> Happened + Send + 'static,
) -> Result<StatusCode, Refused> {
    let id = find(&state, device)?.state.id;
    let changed = blocking(move || {
        let changed = state.registry.change(id, |record| {
            let mut changed = record.clone();
            let told = change(&mut changed);
            if changed == *record {
                return Ok(Change::Nothing(()));
            }
            let together = CommitTogether::new(Batch::new()).with_entry(told);
            Ok(Change::To(Box::new(changed), together, ()))
        });
        state.wake.notify_one();
        changed
    });
    changed.await?.map(|()| StatusCode::NO_CONTENT).ok_or_else(|| Refused::not_found(id.to_string()))
}

/// How busy a device will be.
pub(super) async fn forecast(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<Json<ForecastView>, Refused> {
    let record = find(&state, &device)?;
    let asked = record.clone();
    let forecast = blocking(move || planning::forecast(&state, &asked.state, clock::now())).await?;
    forecast.map(Json).ok_or_else(|| {
        Refused::not_found(format!("nothing is known of the load of {} yet", record.state.name))
    })
}

/// The order in hand of the calling device, in the same bytes as over MQTT.
pub(super) async fn order(
    Device(caller): Device,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<Response, Refused> {
    let asked = find(&state, &device).ok().filter(|record| record.state.id == caller);
    let Some(record) = asked else {
        return Err(Refused::forbidden(format!("device {caller} may only ask for its own order")));
    };
    state.heard(caller, clock::now());
    if !record.state.order.as_ref().is_some_and(|order| record.state.may_be_told(&order.action)) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let envelope = blocking(move || state.registry.order_envelope(caller)).await?;
    Ok(envelope.map_or(StatusCode::NO_CONTENT.into_response(), |envelope| {
        ([(header::CONTENT_TYPE, "application/json")], envelope).into_response()
    }))
}

fn view(state: &Coordinator, record: &DeviceRecord) -> DeviceView {
    record.view(&state.live.of(record.state.id))
}

/// A device by its id, or by its name where only one domain has it. Of several with one name in a domain, all but one are decommissioned.
pub(super) fn find(state: &Coordinator, text: &str) -> Result<Arc<DeviceRecord>, Refused> {
    let devices = state.registry.devices();
    let by_id = text.parse::<DeviceId>().ok().and_then(|id| devices.get(id));
    if let Some(record) = by_id {
        return Ok(record);
    }
    let mut named = devices.all();
    named.retain(|record| record.state.name.as_str() == text);
    if named.iter().any(|record| !record.state.is_decommissioned()) {
        named.retain(|record| !record.state.is_decommissioned());
    }
    match named.as_slice() {
        [] => {
            let text: String = text.chars().take(80).collect();
            Err(Refused::not_found(format!("there is no device '{text}'")))
        }
        [record] => Ok(record.clone()),
        several => {
            let places: Vec<String> = several
                .iter()
                .map(|record| format!("{} in {}", record.state.id, record.state.domain))
                .collect();
            Err(Refused::conflict(format!("several devices are named '{text}': {}", places.join(", "))))
        }
    }
}
