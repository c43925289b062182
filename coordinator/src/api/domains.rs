//! `/api/v1/domains/{domain}/graph`, `/drm` and `/schedule`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use takt_common::Name;
use takt_common::api::{DrmSpec, GraphSpec, ScheduleSpec};

use super::extract::{JsonBody, Operator};
use super::problem::Refused;
use crate::coordinator::Coordinator;
use crate::registry::blocking;

/// What the store takes as one value; about a thousand edges.
const DOCUMENT_MAX: usize = 120 * 1024;

pub(super) async fn graph(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
) -> Result<Json<GraphSpec>, Refused> {
    let domain = name(&domain)?;
    Ok(Json(blocking(move || state.registry.graph(&domain)).await?))
}

pub(super) async fn set_graph(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
    JsonBody(graph): JsonBody<GraphSpec, DOCUMENT_MAX>,
) -> Result<StatusCode, Refused> {
    let domain = name(&domain)?;
    blocking(move || state.registry.set_graph(&domain, &graph).map(|()| state.wake.notify_one())).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn drm(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
) -> Result<Json<DrmSpec>, Refused> {
    let domain = name(&domain)?;
    Ok(Json(blocking(move || state.registry.drm(&domain)).await?))
}

pub(super) async fn set_drm(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
    JsonBody(drm): JsonBody<DrmSpec, DOCUMENT_MAX>,
) -> Result<StatusCode, Refused> {
    let domain = name(&domain)?;
    blocking(move || state.registry.set_drm(&domain, &drm).map(|()| state.wake.notify_one())).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn schedule(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
) -> Result<Json<ScheduleSpec>, Refused> {
    let domain = name(&domain)?;
    let asked = domain.clone();
    let schedule = blocking(move || state.registry.schedule(&asked)).await?;
    schedule.map(Json).ok_or_else(|| {
        Refused::not_found(format!(
            "the domain {domain} has no schedule: its devices begin as soon as they can"
        ))
    })
}

pub(super) async fn set_schedule(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
    JsonBody(schedule): JsonBody<ScheduleSpec, DOCUMENT_MAX>,
) -> Result<StatusCode, Refused> {
    put_schedule(state, &domain, Some(schedule)).await
}

pub(super) async fn clear_schedule(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
) -> Result<StatusCode, Refused> {
    put_schedule(state, &domain, None).await
}

async fn put_schedule(
    state: Arc<Coordinator>,
    domain: &str,
    schedule: Option<ScheduleSpec>,
) -> Result<StatusCode, Refused> {
    let domain = name(domain)?;
    blocking(move || {
        state.registry.set_schedule(&domain, schedule.as_ref()).map(|()| state.wake.notify_one())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn name(text: &str) -> Result<Name, Refused> {
    text.parse().map_err(|error| Refused::malformed(format!("{error}")))
}
