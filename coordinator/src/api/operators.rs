//! `/api/v1/operators`: people beside the first one, who can approve what others have asked for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use takt_common::api::{OperatorRequest, OperatorResponse};
use takt_common::{Name, Sha256Digest};

use super::SMALL_BODY_MAX;
use super::extract::{JsonBody, Operator, Path};
use super::problem::Refused;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::registry::blocking;
use crate::token;

pub(super) async fn add(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    JsonBody(request): JsonBody<OperatorRequest, SMALL_BODY_MAX>,
) -> Result<(StatusCode, Json<OperatorResponse>), Refused> {
    let OperatorRequest { name } = request;
    operator.is_first()?;
    if name.as_str() == Operator::FIRST {
        return Err(Refused::conflict(format!("the first operator is called '{name}'")));
    }
    let token = token::make().map_err(|error| Refused::internal(&error))?;
    let digest = Sha256Digest::of(token.as_bytes());
    let (kept, now) = (name.clone(), clock::now());
    if !blocking(move || state.registry.add_operator(&digest, &kept, operator.who(), now)).await? {
        let why = format!("there is an operator '{name}' already, or there are too many");
        return Err(Refused::conflict(why));
    }
    tracing::info!(operator = %name, "operator added");
    Ok((StatusCode::CREATED, Json(OperatorResponse { name, token })))
}

pub(super) async fn list(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
) -> Result<Json<Vec<Name>>, Refused> {
    Ok(Json(blocking(move || state.registry.operator_names()).await?))
}

pub(super) async fn remove(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refused> {
    operator.is_first()?;
    let none = || Refused::not_found(format!("there is no operator '{name}'"));
    let named: Name = name.parse().map_err(|_| none())?;
    let now = clock::now();
    if !blocking(move || state.registry.remove_operator(&named, operator.who(), now)).await? {
        return Err(none());
    }
    tracing::info!(operator = %name, "operator removed");
    Ok(StatusCode::NO_CONTENT)
}
