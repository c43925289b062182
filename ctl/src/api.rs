//! The coordinator's HTTPS API as a client: one method a kind of request, errors that name the coordinator.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use takt_common::Sha256Digest;
use takt_common::api::Problem;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use crate::exit::Exit;
use crate::file::{self, FileError};
use crate::profile::Connection;

/// A coordinator that does not take the connection within this is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A coordinator that says nothing for so long is gone; it covers the slowest single answer. Uploads have
/// [`STALL_MAX`] instead, because nothing is answered before all of the file has arrived.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// An upload of which no further piece goes out for so long is given up. The last pieces fill the buffers of this
/// machine, about 4 MiB: at 25 kB/s that is how long they and the answer take.
const STALL_MAX: Duration = Duration::from_mins(3);

/// The longest answer that is read: a list of 20,000 devices has about 20 MiB.
const ANSWER_LENGTH_MAX: usize = 64 * 1024 * 1024;

/// As much of an answer that is no problem document as goes into an error text.
const SHOWN_CHARS_MAX: usize = 200;

/// The authority file has no limit of its own in practice; this one keeps a wrong path from filling the memory.
const CA_LENGTH_MAX: u64 = 1024 * 1024;

/// A request did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The authority's certificate cannot be read.
    #[error("read the coordinator's certificate authority")]
    CaUnreadable(#[source] FileError),
    /// The file holds no certificate.
    #[error("read the coordinator's certificate authority {}: no PEM block 'CERTIFICATE' in it", path.display())]
    CaNoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No client can be made of the settings.
    #[error("prepare the connection to {url} with the authority {}", ca.display())]
    Prepare {
        /// The coordinator.
        url: String,
        /// The authority's file.
        ca: PathBuf,
        /// Why.
        source: reqwest::Error,
    },
    /// Nothing answers, or the connection broke.
    #[error("reach the coordinator at {url}")]
    Unreachable {
        /// The coordinator.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An upload does not move.
    #[error("upload to the coordinator at {url}: nothing went out or came back for {} s", span.as_secs())]
    Stalled {
        /// The coordinator.
        url: String,
        /// For how long.
        span: Duration,
    },
    /// The coordinator refused and says why.
    #[error("{} (the coordinator at {url} answered {})", problem.detail, problem.status)]
    Refused {
        /// The coordinator.
        url: String,
        /// Its reason.
        problem: Box<Problem>,
    },
    /// An error without a problem document: perhaps another server.
    #[error("{method} {url}{path} was answered with {status}: {shown}")]
    Unexpected {
        /// The method.
        method: Method,
        /// The coordinator.
        url: String,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the answer.
        shown: String,
    },
    /// An answer that is too long or not what it should be: another version, or another server.
    #[error("read the answer of {url}{path}: {why}")]
    Unreadable {
        /// The coordinator.
        url: String,
        /// The path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The artifact that is to be uploaded cannot be read.
    #[error("read {}", path.display())]
    Artifact {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ApiError {
    /// What the shell gets.
    pub fn exit(&self) -> Exit {
        match self {
            Self::CaUnreadable(_) | Self::CaNoCertificate { .. } | Self::Prepare { .. } => Exit::BadInput,
            Self::Unreachable { .. }
            | Self::Stalled { .. }
            | Self::Unreadable { .. }
            | Self::Artifact { .. } => Exit::Failed,
            Self::Refused { problem, .. } => exit_of_status(problem.status),
            Self::Unexpected { status, .. } => exit_of_status(status.as_u16()),
        }
    }

    /// True when the same request may be answered later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } => true,
            Self::Refused { problem, .. } => problem.status >= 500,
            Self::Unexpected { status, .. } => status.is_server_error(),
            _ => false,
        }
    }
}

/// Refusals by status (RFC 9110): 4xx is ours, 5xx the server's.
const fn exit_of_status(status: u16) -> Exit {
    match status {
        400 | 413 | 415 => Exit::BadInput,
        404 | 410 => Exit::NotFound,
        401..=499 => Exit::Refused,
        _ => Exit::Failed,
    }
}

/// A coordinator that requests go to.
#[derive(Debug, Clone)]
pub struct Api {
    http: Client,
    /// For uploads, whose answer may take as long as the file does.
    uploads: Client,
    connection: Connection,
}

impl Api {
    /// Prepares requests to the coordinator of `connection`; connects to nothing yet.
    pub fn new(connection: Connection) -> Result<Self, ApiError> {
        let pem = file::read_bytes(&connection.ca, CA_LENGTH_MAX).map_err(ApiError::CaUnreadable)?;
        let prepare =
            |source| ApiError::Prepare { url: connection.url.clone(), ca: connection.ca.clone(), source };
        let authorities = Certificate::from_pem_bundle(&pem).map_err(prepare)?;
        if authorities.is_empty() {
            return Err(ApiError::CaNoCertificate { path: connection.ca });
        }
        // Only the first call of a process installs it; all calls install the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = || {
            Client::builder()
                .tls_certs_only(authorities.clone())
                .https_only(true)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(concat!("takt/", env!("CARGO_PKG_VERSION")))
        };
        let http = client().read_timeout(READ_TIMEOUT).build().map_err(prepare)?;
        let uploads = client().build().map_err(prepare)?;
        Ok(Self { http, uploads, connection })
    }

    /// The coordinator's address.
    pub fn url(&self) -> &str {
        &self.connection.url
    }

    /// The certificate authority that is trusted.
    pub fn ca(&self) -> &Path {
        &self.connection.ca
    }

    /// `GET` of a JSON document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let bytes = self.send(Method::GET, path, |request| request).await?;
        self.parse(path, &bytes)
    }

    /// `GET` of a document whose exact bytes matter; `None` when there is none.
    pub async fn get_bytes(&self, path: &str) -> Result<Option<Vec<u8>>, ApiError> {
        match self.send(Method::GET, path, |request| request).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.exit() == Exit::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `PUT` of a JSON document; what the answer holds is of no interest.
    pub async fn put<B: Serialize + Sync>(&self, path: &str, body: &B) -> Result<(), ApiError> {
        self.send(Method::PUT, path, |request| request.json(body)).await.map(drop)
    }

    /// `DELETE`; what the answer holds is of no interest.
    pub async fn delete(&self, path: &str) -> Result<(), ApiError> {
        self.send(Method::DELETE, path, |request| request).await.map(drop)
    }

    /// `POST` of a JSON document that is answered with another.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ApiError> {
        let bytes = self.send(Method::POST, path, |request| request.json(body)).await?;
        self.parse(path, &bytes)
    }

    /// `POST` without a body that is answered with nothing.
    pub async fn ask(&self, path: &str) -> Result<(), ApiError> {
        self.send(Method::POST, path, |request| request).await.map(drop)
    }

    /// `POST` without a body that is answered with a JSON document.
    pub async fn command<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let bytes = self.send(Method::POST, path, |request| request).await?;
        self.parse(path, &bytes)
    }

    /// Whether the coordinator holds the artifact.
    pub async fn has_artifact(&self, sha256: &Sha256Digest) -> Result<bool, ApiError> {
        match self.send(Method::HEAD, &artifact_path(sha256), |request| request).await {
            Ok(_) => Ok(true),
            Err(error) if error.exit() == Exit::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads a file as the artifact `sha256`, in pieces; `sent` hears how many bytes have gone out with each.
    pub async fn upload(
        &self,
        sha256: &Sha256Digest,
        path: &Path,
        length: u64,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), ApiError> {
        let file = tokio::fs::File::open(path)
            .await
            .map_err(|source| ApiError::Artifact { path: path.to_owned(), source })?;
        let moved = Arc::new(Notify::new());
        let moves = moved.clone();
        let pieces = ReaderStream::new(file).inspect_ok(move |piece| {
            sent(piece.len() as u64);
            moves.notify_one();
        });
        let body = reqwest::Body::wrap_stream(pieces);
        let request = |request: RequestBuilder| {
            request
                .header(reqwest::header::CONTENT_LENGTH, length)
                .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
                .body(body)
        };
        let path = artifact_path(sha256);
        let answer = self.send_by(&self.uploads, Method::PUT, &path, request);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                answer = answer.as_mut() => return answer.map(drop),
                moved = timeout(STALL_MAX, moved.notified()) => if moved.is_err() {
                    return Err(ApiError::Stalled { url: self.connection.url.clone(), span: STALL_MAX });
                },
            }
        }
    }

    /// Sends one small request and reads the answer of a success; anything else is an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Vec<u8>, ApiError> {
        self.send_by(&self.http, method, path, complete).await
    }

    async fn send_by(
        &self,
        http: &Client,
        method: Method,
        path: &str,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Vec<u8>, ApiError> {
        let mut request = http.request(method.clone(), format!("{}{path}", self.connection.url));
        if let Some(token) = &self.connection.token {
            request = request.bearer_auth(token);
        }
        let response = complete(request).send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        let bytes = self.read(path, response).await?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(self.refusal(method, path, status, &bytes))
    }

    async fn read(&self, path: &str, mut response: Response) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|source| self.unreachable(source))? {
            if bytes.len() + piece.len() > ANSWER_LENGTH_MAX {
                return Err(self.unreadable(path, format!("it has more than {ANSWER_LENGTH_MAX} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn refusal(&self, method: Method, path: &str, status: StatusCode, bytes: &[u8]) -> ApiError {
        let url = self.connection.url.clone();
        if let Ok(problem) = serde_json::from_slice::<Problem>(bytes) {
            return ApiError::Refused { url, problem: Box::new(problem) };
        }
        let text = String::from_utf8_lossy(bytes);
        let shown: String =
            text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN_CHARS_MAX).collect();
        let shown = if shown.is_empty() { "no text".to_owned() } else { shown };
        ApiError::Unexpected { method, url, path: path.to_owned(), status, shown }
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, ApiError> {
        serde_json::from_slice(bytes).map_err(|error| self.unreadable(path, error.to_string()))
    }

    fn unreadable(&self, path: &str, why: String) -> ApiError {
        ApiError::Unreadable { url: self.connection.url.clone(), path: path.to_owned(), why }
    }

    fn unreachable(&self, source: reqwest::Error) -> ApiError {
        ApiError::Unreachable { url: self.connection.url.clone(), source: source.without_url() }
    }
}

fn artifact_path(sha256: &Sha256Digest) -> String {
    format!("/api/v1/artifacts/{sha256}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_the_documented_exit_codes() {
        let cases: [(&[u16], Exit); 4] = [
            (&[400, 413, 415], Exit::BadInput),
            (&[404, 410], Exit::NotFound),
            (&[401, 403, 405, 409, 411, 412, 422, 429], Exit::Refused),
            (&[302, 500, 502, 503, 507], Exit::Failed),
        ];
        for (statuses, exit) in cases {
            for &status in statuses {
                assert_eq!(exit_of_status(status), exit, "{status}");
            }
        }
    }
}
