//! `/api/v1/artifacts/{sha256}`.

use std::io::SeekFrom;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use takt_common::Sha256Digest;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::extract::{Operator, Path, Reader};
use super::problem::Refused;
use super::range::{self, Part};
use crate::artifacts::Stored;
use crate::coordinator::Coordinator;
use crate::files::FileError;

/// What is read from the disk at a time; few connections need much memory.
pub(super) const PIECE: usize = 64 * 1024;

/// Takes an upload, piece by piece to the disk.
pub(super) async fn put(
    _: Operator,
    State(state): State<Arc<Coordinator>>,
    Path(sha256): Path<String>,
    request: Request<Body>,
) -> Result<StatusCode, Refused> {
    let sha256 = digest(&sha256)?;
    let length = content_length(&request, || format!("the upload of artifact {sha256}"))?;
    match state.artifacts.store(sha256, length, request.into_body().into_data_stream()).await? {
        Stored::New => Ok(StatusCode::CREATED),
        Stored::Known => Ok(StatusCode::OK),
    }
}

/// What the body of `what` is stated to have.
pub(super) fn content_length(request: &Request<Body>, what: impl Fn() -> String) -> Result<u64, Refused> {
    let Some(length) = request.headers().get(header::CONTENT_LENGTH) else {
        return Err(Refused::length_required(format!("{} needs a Content-Length", what())));
    };
    let length = length.to_str().ok().and_then(|length| length.parse().ok());
    length.ok_or_else(|| Refused::malformed("the header Content-Length is not a number"))
}

/// Sends an artifact or a part of it; `HEAD` comes here too, and the body is left out then.
pub(super) async fn get(
    _: Reader,
    State(state): State<Arc<Coordinator>>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let sha256 = digest(&sha256)?;
    let Some((file, length)) = state.artifacts.read(&sha256).await? else {
        return Err(Refused::not_found(format!("artifact {sha256} is not here")));
    };
    let etag = format!("\"{sha256}\"");
    if range::is_known(&headers, &etag) {
        return Ok(with_tag(StatusCode::NOT_MODIFIED.into_response(), &etag));
    }
    let (status, start, sent) = match range::part(&headers, &etag, length) {
        Part::Whole => (StatusCode::OK, 0, length),
        Part::From { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Part::Unsatisfiable => return Ok(Refused::unsatisfiable(length)),
    };
    let path = state.artifacts.path(&sha256);
    let body = body(file, start, sent).await.map_err(FileError::of("read artifact", &path))?;
    let mut response = (status, body).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from(sent));
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{length}", start + sent - 1);
        answer
            .insert(header::CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are a header value"));
    }
    Ok(with_tag(response, &etag))
}

async fn body(mut file: File, start: u64, length: u64) -> std::io::Result<Body> {
    file.seek(SeekFrom::Start(start)).await?;
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(length), PIECE)))
}

fn with_tag(mut response: Response, etag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_str(etag).expect("hex digits are a header value"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // What a digest names never changes.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    response
}

fn digest(text: &str) -> Result<Sha256Digest, Refused> {
    text.parse().map_err(|error| Refused::malformed(format!("{error}")))
}
