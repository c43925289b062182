//! Refusals as problem documents (RFC 9457) with stable types.

use std::error::Error;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use takt_common::api::Problem;
use takt_coordinator_core::{ControlError, OpenError};

use crate::artifacts::UploadError;
use crate::begin::BeginError;
use crate::checkpoints::CarryError;
use crate::enrol::EnrolError;
use crate::files::FileError;
use crate::orders::OrderError;
use crate::registry::{DomainError, RegistryError};
use crate::renew::RenewError;
use crate::repository::RepositoryError;
use crate::sentence::sentence;

/// A refused request.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
}

impl Refused {
    /// Nothing there, or nothing for this caller.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    /// No or wrong credentials.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Credentials are missing or wrong", detail)
    }

    /// Good credentials of somebody else.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "These credentials do not allow that", detail)
    }

    /// A body, field or path that cannot be read.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request is malformed", detail)
    }

    /// Readable, but refused by a rule.
    pub(super) fn rule(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", "A rule refuses the request", detail)
    }

    /// It contradicts the state of things.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "The state of things does not allow that", detail)
    }

    /// It was to be there and will not be.
    pub(super) fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", "There is no such thing any more", detail)
    }

    /// A body larger than is taken.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large", detail)
    }

    /// A body that does not come.
    pub(super) fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The request took too long", detail)
    }

    /// `Content-Length` is missing.
    pub(super) fn length_required(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::LENGTH_REQUIRED, "length-required", "The length must be stated", detail)
    }

    /// No byte of the range exists.
    pub(super) fn unsatisfiable(length: u64) -> Response {
        let detail = format!("the range begins behind the end, the artifact has {length} bytes");
        let refused =
            Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", "The range cannot be satisfied", detail);
        let mut response = refused.into_response();
        let range = HeaderValue::from_str(&format!("bytes */{length}")).expect("digits are a header value");
        response.headers_mut().insert(header::CONTENT_RANGE, range);
        response
    }

    /// Another method than the path has.
    pub(super) fn method(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "The path does not have this method", detail)
    }

    fn storage_full(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage-full", "The disk is full", detail)
    }

    /// Try again.
    fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The coordinator is busy", detail)
    }

    /// Our fault; the log says it too.
    pub(super) fn internal(error: &dyn Error) -> Self {
        let detail = sentence(error);
        tracing::error!(error = detail, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The coordinator failed", detail)
    }

    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, title, detail: detail.into() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: format!("urn:takt:problem:{}", self.kind),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let mut response = (self.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::PAYLOAD_TOO_LARGE || self.status == StatusCode::LENGTH_REQUIRED {
            // The body was not read: the connection cannot be used for another request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Contended { .. } => Self::busy(sentence(&error)),
            error => Self::internal(&error),
        }
    }
}

impl From<FileError> for Refused {
    fn from(error: FileError) -> Self {
        if error.is_storage_full() { Self::storage_full(sentence(&error)) } else { Self::internal(&error) }
    }
}

impl From<DomainError> for Refused {
    fn from(error: DomainError) -> Self {
        match error {
            DomainError::Registry(error) => error.into(),
            DomainError::Graph(_) | DomainError::Drm(_) | DomainError::Schedule(_) => {
                Self::rule(sentence(&error))
            }
        }
    }
}

impl From<RepositoryError> for Refused {
    fn from(error: RepositoryError) -> Self {
        match error {
            RepositoryError::File(error) => error.into(),
            RepositoryError::Registry(error) => error.into(),
            RepositoryError::Published(_) => Self::conflict(sentence(&error)),
            error => Self::rule(sentence(&error)),
        }
    }
}

impl From<EnrolError> for Refused {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Token(error) => Self::unauthorized(sentence(&error)),
            EnrolError::Proof(_) | EnrolError::Revoked { .. } => Self::forbidden(sentence(&error)),
            EnrolError::NameTaken { .. } | EnrolError::Known { .. } | EnrolError::NoRoot(_) => {
                Self::conflict(sentence(&error))
            }
            EnrolError::Ca(error) => Self::internal(&error),
            EnrolError::Registry(error) => error.into(),
        }
    }
}

impl From<RenewError> for Refused {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::Ca(error) => Self::internal(&error),
            error => Self::forbidden(sentence(&error)),
        }
    }
}

impl From<UploadError> for Refused {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::TooLarge { .. } => Self::too_large(sentence(&error)),
            UploadError::Interrupted { .. } => Self::malformed(sentence(&error)),
            UploadError::Digest { .. } => Self::rule(sentence(&error)),
            UploadError::Full { .. } => Self::storage_full(sentence(&error)),
            UploadError::File(error) => error.into(),
        }
    }
}

impl From<CarryError> for Refused {
    fn from(error: CarryError) -> Self {
        match error {
            CarryError::TooLarge { .. } => Self::too_large(sentence(&error)),
            CarryError::Interrupted { .. } => Self::malformed(sentence(&error)),
            CarryError::Twice { .. } => Self::conflict(sentence(&error)),
            CarryError::Slow { .. } => Self::too_slow(sentence(&error)),
            CarryError::Full { .. } => Self::storage_full(sentence(&error)),
            CarryError::File(error) => error.into(),
        }
    }
}

impl From<OrderError> for Refused {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::ManifestFile { .. } => Self::internal(&error),
            error => Self::rule(sentence(&error)),
        }
    }
}

impl From<OpenError> for Refused {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NameTaken(_) | OpenError::Busy { .. } => Self::conflict(sentence(&error)),
            error => Self::rule(sentence(&error)),
        }
    }
}

impl From<BeginError> for Refused {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Taken(_) => Self::conflict(sentence(&error)),
            BeginError::Outdated(_)
            | BeginError::ForeignDomain { .. }
            | BeginError::Permission { .. }
            | BeginError::TooMany(_) => Self::rule(sentence(&error)),
            BeginError::Release(error) => error.into(),
            BeginError::Domain(error) => error.into(),
            BeginError::Open(error) => error.into(),
            BeginError::Registry(error) => error.into(),
        }
    }
}

impl From<ControlError> for Refused {
    fn from(error: ControlError) -> Self {
        Self::conflict(sentence(&error))
    }
}
