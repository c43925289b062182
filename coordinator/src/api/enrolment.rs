//! `/api/v1/tokens`, `/api/v1/enrol`, `/api/v1/renewal` and `/api/v1/keys`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use takt_common::Sha256Digest;
use takt_common::api::{
    CoordinatorKeys, EnrolRequest, EnrolResponse, RenewalChallenge, RenewalRequest, RenewalResponse,
    TokenRequest, TokenResponse,
};

use super::SMALL_BODY_MAX;
use super::extract::{JsonBody, Operator};
use super::problem::Refused;
use crate::clock;
use crate::coordinator::Coordinator;
use crate::enrol::Enrolment;
use crate::registry::{StoredToken, blocking};
use crate::{renew, token};

/// Tokens for longer than this would be passwords.
const VALID_SECS_MAX: u64 = 90 * 86_400;

/// The online keys, for the ceremony that makes the roots.
pub(super) async fn keys(_: Operator, State(state): State<Arc<Coordinator>>) -> Json<CoordinatorKeys> {
    Json(CoordinatorKeys { order: state.order_key.public(), timestamp: state.repository.timestamp_public() })
}

/// Makes an enrolment token; only its digest stays here.
pub(super) async fn token(
    operator: Operator,
    State(state): State<Arc<Coordinator>>,
    JsonBody(request): JsonBody<TokenRequest, SMALL_BODY_MAX>,
) -> Result<(StatusCode, Json<TokenResponse>), Refused> {
    if request.uses == 0 {
        return Err(Refused::rule("field 'uses': a token must be good for at least 1 device"));
    }
    if !(1..=VALID_SECS_MAX).contains(&request.valid_secs) {
        let (given, max) = (request.valid_secs, VALID_SECS_MAX);
        return Err(Refused::rule(format!("field 'valid_secs': {given} is not between 1 and {max}")));
    }
    let now = clock::now();
    let not_after = now + Duration::from_secs(request.valid_secs);
    let secret = token::make().map_err(|error| Refused::internal(&error))?;
    let answer = format!("takt1.{secret}.{}", state.ca.fingerprint());
    let TokenRequest { domain, uses: uses_left, approval, .. } = request;
    let stored = StoredToken { domain, uses_left, not_after, approval, used_by: Vec::new() };
    let digest = Sha256Digest::of(secret.as_bytes());
    blocking(move || state.registry.add_token(&digest, &stored, operator.who(), now)).await?;
    Ok((StatusCode::CREATED, Json(TokenResponse { token: answer, not_after })))
}

/// Enrols a device.
pub(super) async fn enrol(
    State(state): State<Arc<Coordinator>>,
    JsonBody(request): JsonBody<EnrolRequest, SMALL_BODY_MAX>,
) -> Result<Json<EnrolResponse>, Refused> {
    let enrolled = blocking(move || {
        let published = state.repository.published();
        let (registry, ca) = (&state.registry, &state.ca);
        let broker = state.broker.get().expect("the gate listens before the HTTPS server does");
        let _alone = state.enrol_alone();
        Enrolment { registry, ca, published: &published, broker }.enrol(&request, clock::now())
    });
    Ok(Json(enrolled.await?))
}

/// Something fresh to sign, for anybody.
pub(super) async fn challenge(State(state): State<Arc<Coordinator>>) -> Json<RenewalChallenge> {
    Json(RenewalChallenge { challenge: state.challenges.give(clock::now()) })
}

/// Gives a device its next certificate. Its signature is all that counts, so it may have an expired one, or none at hand.
pub(super) async fn renew(
    State(state): State<Arc<Coordinator>>,
    JsonBody(request): JsonBody<RenewalRequest, SMALL_BODY_MAX>,
) -> Result<Json<RenewalResponse>, Refused> {
    let renewed =
        blocking(move || renew::renew(&state.registry, &state.ca, &state.challenges, &request, clock::now()));
    Ok(Json(renewed.await?))
}
