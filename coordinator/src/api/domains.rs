//! `/api/v1/domains/{domain}/graph`, `/graph/observed`, `/drm` and `/schedule`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use takt_common::Name;
use takt_common::api::{DrmSpec, FollowSpec, GraphSpec, ObservedEdgeView, ObservedGraphView, ScheduleSpec};
use takt_common::order::AtDeadline;
use takt_coordinator_core::Query;
use takt_planner::ObservedEdge;

use super::extract::{JsonBody, Operator, Path};
use super::problem::Refused;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::registry::{PEER_DAYS_KEPT, RegistryError, blocking};

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
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
    JsonBody(graph): JsonBody<GraphSpec, DOCUMENT_MAX>,
) -> Result<StatusCode, Refused> {
    let domain = name(&domain)?;
    let (by, now) = (operator.who(), clock::now());
    blocking(move || state.registry.set_graph(&domain, &graph, by, now).map(|()| state.wake.notify_one()))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn observed_graph(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
) -> Result<Json<ObservedGraphView>, Refused> {
    let domain = name(&domain)?;
    Ok(Json(blocking(move || observed_view(&state, &domain)).await?))
}

fn observed_view(state: &Coordinator, domain: &Name) -> Result<ObservedGraphView, RegistryError> {
    let declared = state.registry.graph(domain)?.edges;
    let declared: BTreeMap<_, _> =
        declared.into_iter().map(|edge| ((edge.source, edge.target), edge.requires)).collect();
    let seen = state.peers.all(&state.registry, domain, clock::now())?;
    let edge = |edge: ObservedEdge| {
        let ends = (edge.source, edge.target);
        let requires = declared.get(&ends).copied();
        let (source, target) = ends;
        let (connections, bytes) = (edge.talk.connections, edge.talk.bytes);
        ObservedEdgeView { source, target, connections, bytes, requires }
    };
    Ok(ObservedGraphView {
        days: u32::try_from(PEER_DAYS_KEPT).unwrap_or(u32::MAX),
        edges: seen.edges().into_iter().map(edge).collect(),
        devices: u32::try_from(seen.telling.len()).unwrap_or(u32::MAX),
        strangers: u32::try_from(seen.strangers.len()).unwrap_or(u32::MAX),
        ambiguous: seen.ambiguous,
        left_out: seen.left_out,
    })
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
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
    JsonBody(drm): JsonBody<DrmSpec, DOCUMENT_MAX>,
) -> Result<StatusCode, Refused> {
    let domain = name(&domain)?;
    let (by, now) = (operator.who(), clock::now());
    blocking(move || state.registry.set_drm(&domain, &drm, by, now).map(|()| state.wake.notify_one()))
        .await?;
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
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
    JsonBody(schedule): JsonBody<ScheduleSpec, DOCUMENT_MAX>,
) -> Result<StatusCode, Refused> {
    put_schedule(&operator, state, &domain, Some(schedule)).await
}

pub(super) async fn clear_schedule(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(domain): Path<String>,
) -> Result<StatusCode, Refused> {
    put_schedule(&operator, state, &domain, None).await
}

async fn put_schedule(
    operator: &Operator,
    state: Arc<Coordinator>,
    domain: &str,
    schedule: Option<ScheduleSpec>,
) -> Result<StatusCode, Refused> {
    let domain = name(domain)?;
    let (by, now) = (operator.who(), clock::now());
    blocking(move || {
        let set = state.registry.set_schedule(&domain, schedule.as_ref(), by, now);
        set.map(|()| state.wake.notify_one())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How the domain follows a component.
pub(super) async fn followed(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path((domain, component)): Path<(String, String)>,
) -> Result<Json<FollowSpec>, Refused> {
    let (domain, component) = (name(&domain)?, name(&component)?);
    let none = Refused::not_found(format!("the domain {domain} does not follow {component}"));
    blocking(move || state.registry.follow(&domain, &component)).await?.map(Json).ok_or(none)
}

pub(super) async fn follow(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path((domain, component)): Path<(String, String)>,
    JsonBody(spec): JsonBody<FollowSpec, DOCUMENT_MAX>,
) -> Result<StatusCode, Refused> {
    if let Some(query) = &spec.campaign.query {
        let read: Result<Query, _> = query.parse();
        read.map_err(|error| Refused::rule(format!("field 'campaign.where': {error}")))?;
    }
    let counter_signed =
        state.repository.published().director.is_some_and(|root| root.counter_signers().is_some());
    if counter_signed && spec.campaign.policy.at_deadline == AtDeadline::GoAhead {
        let why = "to go ahead needs a permission for each release, so such campaigns are started one by one";
        return Err(Refused::rule(format!("field 'campaign.policy.at_deadline': {why}")));
    }
    set_follow(&operator, state, &domain, &component, Some(spec)).await
}

pub(super) async fn unfollow(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path((domain, component)): Path<(String, String)>,
) -> Result<StatusCode, Refused> {
    set_follow(&operator, state, &domain, &component, None).await
}

async fn set_follow(
    operator: &Operator,
    state: Arc<Coordinator>,
    domain: &str,
    component: &str,
    spec: Option<FollowSpec>,
) -> Result<StatusCode, Refused> {
    let (domain, component) = (name(domain)?, name(component)?);
    let (by, now) = (operator.who(), clock::now());
    blocking(move || {
        let set = state.registry.set_follow(&domain, &component, spec.as_ref(), by, now);
        set.map(|()| state.wake.notify_one())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn name(text: &str) -> Result<Name, Refused> {
    text.parse().map_err(|error| Refused::malformed(format!("{error}")))
}
