//! `/api/v1/repository`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use takt_common::api::RepositoryUpload;

use super::extract::{JsonBody, Operator, Path};
use super::problem::Refused;
use crate::audit;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::registry::blocking;

/// Room for the largest targets document, as JSON in JSON, with everything else.
const UPLOAD_MAX: usize = 8 * 1024 * 1024;

/// Checks and publishes documents.
pub(super) async fn put(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    JsonBody(upload): JsonBody<RepositoryUpload, UPLOAD_MAX>,
) -> Result<StatusCode, Refused> {
    if upload.documents.is_empty() {
        return Err(Refused::rule("field 'documents': at least one document is expected"));
    }
    let names: Vec<String> = upload.documents.keys().cloned().collect();
    let publish = state.clone();
    blocking(move || {
        let documents = upload.documents.iter().map(|(name, text)| (name.as_str(), text.as_bytes()));
        let (by, now) = (operator.who(), clock::now());
        let note = |documents| publish.registry.note(audit::published(documents, &by, now));
        publish.repository.publish(documents, note, now)
    })
    .await?;
    tracing::info!(documents = names.join(", "), "repository published");
    state.wake.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a document; anybody may read what is signed.
pub(super) async fn get(
    State(state): State<Arc<Coordinator>>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    let asked = name.clone();
    if let Some(bytes) = blocking(move || state.repository.read(&asked)).await? {
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
        return Ok((headers, bytes).into_response());
    }
    let name: String = name.chars().take(80).collect();
    Err(Refused::not_found(format!("document '{name}' is not published")))
}
