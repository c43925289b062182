//! `/api/v1/devices/{device}/checkpoint`: memory from a device that was asked for it to the standby that takes over.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, StatusCode, header};
use takt_common::DeviceId;
use takt_common::order::{Action, Takeover};
use takt_common::report::Outcome;
use tokio_util::io::ReaderStream;

use super::artifacts::{PIECE, content_length};
use super::extract::{Device, Path};
use super::problem::Refused;
use crate::coordinator::Coordinator;

/// Takes the memory of the calling device, which must have been asked for it.
pub(super) async fn put(
    Device(caller): Device,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
    request: Request<Body>,
) -> Result<StatusCode, Refused> {
    if id(&device)? != caller {
        return Err(Refused::forbidden(format!("device {caller} may only hand over its own memory")));
    }
    let record = state.registry.devices().get(caller);
    let order = record.as_ref().and_then(|record| record.state.order.as_ref());
    if !order.is_some_and(|order| matches!(order.action, Action::Checkpoint { .. })) {
        return Err(Refused::conflict(format!("the memory of device {caller} is not asked for")));
    }
    let length = content_length(&request, || format!("the memory of device {caller}"))?;
    state.checkpoints.store(caller, length, request.into_body().into_data_stream()).await?;
    Ok(StatusCode::CREATED)
}

/// Sends the memory of a device to the standby that takes over for it. Not there: it has not come yet. Gone: it does not
/// come.
pub(super) async fn get(
    Device(caller): Device,
    State(state): State<Arc<Coordinator>>,
    Path(device): Path<String>,
) -> Result<Response, Refused> {
    let device = id(&device)?;
    let devices = state.registry.devices();
    let standby = devices.get(caller);
    let takeover = standby.as_ref().and_then(|record| record.state.order.as_ref()).filter(|order| {
        matches!(order.action, Action::TakeOver { device: of, how: Takeover::Restore, .. } if of == device)
    });
    let Some(takeover) = takeover else {
        return Err(Refused::forbidden(format!("device {caller} does not take over for device {device}")));
    };
    if let Some((file, length)) = state.checkpoints.read(device).await? {
        let mut response = Body::from_stream(ReaderStream::with_capacity(file, PIECE)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    let Some(record) = devices.get(device) else {
        return Err(Refused::gone(format!("device {device} is not enrolled any more")));
    };
    let (name, open) = (&record.state.name, record.state.order.is_some());
    match record.state.ended.iter().rev().find(|ended| ended.at > takeover.issued) {
        Some(ended) if !open && ended.outcome == Outcome::Checkpointed => {
            Err(Refused::gone(format!("{name} has given it, and it was lost on its way")))
        }
        Some(ended) if !open => Err(Refused::gone(format!("{name} gives none: {}", ended.outcome))),
        _ => Err(Refused::not_found(format!("the memory of {name} has not come yet"))),
    }
}

fn id(text: &str) -> Result<DeviceId, Refused> {
    text.parse().map_err(|error| Refused::malformed(format!("{error}")))
}
