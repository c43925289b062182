//! `/api/v1/audit`: the audit log in the exact bytes in which it is stored, and its signed head.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Deserialize;
use takt_common::audit::Head;

use super::extract::Operator;
use super::problem::Refused;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::registry::blocking;

/// Entries of one answer, where the request does not say.
const LIMIT_DEFAULT: usize = 1_000;

/// The longest answer; at most one entry more than fits.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Which entries are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Those behind the one with this number; all when absent.
    #[serde(default)]
    after: u64,
    /// At most so many.
    limit: Option<usize>,
}

/// A page of entries, one a line.
pub(super) async fn entries(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(Which { after, limit }) = which.map_err(|error| Refused::malformed(error.body_text()))?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_DEFAULT);
    let entries = blocking(move || state.registry.audit_entries(after, limit, ANSWER_BYTES_MAX)).await?;
    let mut body = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 1).sum());
    for entry in entries {
        body.extend(entry);
        body.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}

/// The end of the log, signed now.
pub(super) async fn head(_: Operator, State(state): State<Arc<Coordinator>>) -> Response {
    let head = blocking(move || {
        let end = state.registry.audit_end();
        Head::new(end, clock::now()).seal(&state.order_key).to_bytes()
    });
    ([(header::CONTENT_TYPE, "application/json")], head.await).into_response()
}
