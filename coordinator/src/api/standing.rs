//! How devices stand: `/api/v1/devices/{device}/revocation`, `approval` and `decommission`.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use takt_common::api::RevocationRequest;
use takt_common::audit::{What, cut};

use super::SMALL_BODY_MAX;
use super::devices::{change, find};
use super::extract::{JsonBody, Operator};
use super::problem::Refused;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::registry::{DeviceRecord, Happened, blocking};

/// Revokes a device: from now on neither gate nor API take its certificate, and its session is cut.
pub(super) async fn revoke(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
    JsonBody(request): JsonBody<RevocationRequest, SMALL_BODY_MAX>,
) -> Result<StatusCode, Refused> {
    if request.why.trim().is_empty() {
        return Err(Refused::rule("field 'why': a reason is needed"));
    }
    let (id, now) = (find(&state, &device)?.state.id, clock::now());
    let (why, by) = (request.why.clone(), operator.who());
    let revoke = move |record: &mut DeviceRecord| {
        record.revoke(&why, now);
        let (device, name) = (record.state.id, record.state.name.clone());
        Happened::new(now, by.clone(), What::DeviceRevoked { device, name, why: cut(&why) })
    };
    let done = change(state.clone(), &id.to_string(), revoke).await?;
    // In this order: whoever comes in between is refused already, or cut.
    state.cut(id);
    tracing::warn!(device = %id, operator = %operator.name, why = request.why, "device revoked");
    Ok(done)
}

/// Lets a revoked device in again.
pub(super) async fn reinstate(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<StatusCode, Refused> {
    let record = find(&state, &device)?;
    let (id, name) = (record.state.id, &record.state.name);
    if let Some(revocation) = record.state.revoked.as_ref().filter(|revocation| revocation.for_ever) {
        return Err(Refused::conflict(format!("{name} {revocation}; it does not come back")));
    }
    let (now, by) = (clock::now(), operator.who());
    let reinstate = move |record: &mut DeviceRecord| {
        // One that is decommissioned meanwhile stays so.
        if !record.state.is_decommissioned() {
            record.state.revoked = None;
        }
        let (device, name) = (record.state.id, record.state.name.clone());
        Happened::new(now, by.clone(), What::DeviceReinstated { device, name })
    };
    let done = change(state, &id.to_string(), reinstate).await?;
    tracing::warn!(device = %id, operator = %operator.name, "device is let in again");
    Ok(done)
}

/// Approves the enrolment of a device: from now on it is told of orders.
pub(super) async fn approve(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<StatusCode, Refused> {
    let (id, now, by) = (find(&state, &device)?.state.id, clock::now(), operator.who());
    let approve = move |record: &mut DeviceRecord| {
        record.state.unapproved = None;
        let (device, name) = (record.state.id, record.state.name.clone());
        Happened::new(now, by.clone(), What::DeviceApproved { device, name })
    };
    let done = change(state, &id.to_string(), approve).await?;
    tracing::info!(device = %id, operator = %operator.name, "enrolment approved");
    Ok(done)
}

/// Decommissions a device: it is refused for ever, its session is cut and its name is free.
pub(super) async fn decommission(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<StatusCode, Refused> {
    let (id, now) = (find(&state, &device)?.state.id, clock::now());
    let (why, by) = (format!("{} has said so", operator.name), operator.who());
    let coordinator = state.clone();
    let done = blocking(move || coordinator.registry.decommission(id, &why, &by, now)).await?;
    done.ok_or_else(|| Refused::not_found(id.to_string()))?;
    state.cut(id);
    state.wake.notify_one();
    tracing::warn!(device = %id, operator = %operator.name, "device decommissioned");
    Ok(StatusCode::NO_CONTENT)
}
