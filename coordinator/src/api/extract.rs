//! What handlers take out of a request: who calls, and JSON bodies of a limited size.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts};
use http::request::Parts;
use http::{Request, header};
use serde::de::DeserializeOwned;
use takt_common::audit::Who;
use takt_common::{DeviceId, Name, Sha256Digest, strict_json};

use super::problem::Refused;
use crate::caller::Caller;
use crate::coordinator::Coordinator;
use crate::registry::blocking;
use crate::token;

/// The time for a JSON body: 8 MiB at 1 Mbit/s, rounded up.
const BODY_TIME_MAX: Duration = Duration::from_secs(90);

/// The caller has the token of an operator.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    /// Whose.
    pub(super) name: Name,
}

impl Operator {
    /// How the one is called whose token the coordinator wrote at its first start.
    pub(super) const FIRST: &str = "operator";

    /// Only the first operator may do it.
    pub(super) fn is_first(&self) -> Result<(), Refused> {
        if self.name.as_str() == Self::FIRST {
            return Ok(());
        }
        Err(Refused::forbidden("only the first operator may add and remove operators".to_owned()))
    }

    /// As entries of the audit log name them.
    pub(super) fn who(&self) -> Who {
        Who::operator(self.name.clone())
    }
}

/// The caller has the certificate of an enrolled device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device(pub(super) DeviceId);

/// The caller is the operator or an enrolled device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader;

/// What stands in the place of the path's names. It takes the place of axum's own, whose refusals are no problem documents.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

/// A JSON body of at most `MAX` bytes, without duplicate keys.
#[derive(Debug)]
pub(super) struct JsonBody<T, const MAX: usize>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Coordinator>> for Path<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Coordinator>) -> Result<Self, Refused> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        let refused = |error: PathRejection| {
            Refused::malformed(format!("the path cannot be read: {}", error.body_text()))
        };
        read.map(|axum::extract::Path(read)| Self(read)).map_err(refused)
    }
}

impl FromRequestParts<Arc<Coordinator>> for Operator {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Coordinator>) -> Result<Self, Refused> {
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
            return Err(Refused::unauthorized(
                "the operator's token is needed (header Authorization: Bearer ...)",
            ));
        };
        let given = value.to_str().ok().and_then(|value| {
            let (scheme, given) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(given.trim())
        });
        let refused = || Refused::unauthorized("the token is not the operator's");
        let given = given.ok_or_else(refused)?;
        if token::is(given, &state.operator) {
            let name = Self::FIRST.parse().expect("the first operator's name is one");
            return Ok(Self { name });
        }
        let (digest, state) = (Sha256Digest::of(given.as_bytes()), state.clone());
        let name = blocking(move || state.registry.operator_of(&digest)).await?.ok_or_else(refused)?;
        Ok(Self { name })
    }
}

impl FromRequestParts<Arc<Coordinator>> for Device {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Coordinator>) -> Result<Self, Refused> {
        let caller = parts.extensions.get::<Caller>().and_then(|caller| caller.device.as_ref());
        let Some(subject) = caller else {
            return Err(Refused::unauthorized("a device's certificate is needed"));
        };
        match state.registry.devices().get(subject.device) {
            Some(record) if record.state.domain == subject.domain => match &record.state.revoked {
                None => Ok(Self(subject.device)),
                Some(revocation) => {
                    Err(Refused::forbidden(format!("device {} {revocation}", subject.device)))
                }
            },
            _ => Err(Refused::forbidden(format!("device {} is not enrolled here", subject.device))),
        }
    }
}

impl FromRequestParts<Arc<Coordinator>> for Reader {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Coordinator>) -> Result<Self, Refused> {
        let device = Device::from_request_parts(parts, state).await;
        if device.is_ok() {
            return Ok(Self);
        }
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Operator::from_request_parts(parts, state).await.map(|_| Self);
        }
        // Who has shown a certificate hears what is wrong with it.
        if parts.extensions.get::<Caller>().is_some_and(|caller| caller.device.is_some()) {
            device?;
        }
        Err(Refused::unauthorized("a device's certificate or the operator's token is needed"))
    }
}

impl<T: DeserializeOwned, const MAX: usize> FromRequest<Arc<Coordinator>> for JsonBody<T, MAX> {
    type Rejection = Refused;

    async fn from_request(request: Request<Body>, _: &Arc<Coordinator>) -> Result<Self, Refused> {
        let read = tokio::time::timeout(BODY_TIME_MAX, axum::body::to_bytes(request.into_body(), MAX));
        let Ok(read) = read.await else {
            return Err(Refused::too_slow(format!(
                "the body did not come within {} seconds",
                BODY_TIME_MAX.as_secs()
            )));
        };
        let bytes = read.map_err(|error| {
            // The library says both in one type; a length limit is by far the likelier one.
            Refused::too_large(format!("the body could not be read up to its limit of {MAX} bytes: {error}"))
        })?;
        let body = strict_json::from_slice(&bytes, MAX);
        body.map(Self).map_err(|error| Refused::malformed(format!("the body is not as expected: {error}")))
    }
}
