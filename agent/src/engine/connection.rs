//! The way to the engine: connected when first needed, every call with a name and a time-out.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::EngineError;
use super::look::LOOK_LIMIT;
use super::raw::{self, RawError};

/// The library's own time-out in seconds: longer than any of ours, so that ours, which have names, come first.
const LIBRARY_LIMIT_SECS: u64 = 3_600;

/// How long the engine may take to say which versions of its API it speaks.
const HELLO_LIMIT: Duration = Duration::from_secs(5);

/// A connection that comes and goes with the engine.
pub(super) struct Connection {
    socket: PathBuf,
    /// `None` until the engine has said which version of its API it speaks, and after it broke off: it may return
    /// as another version.
    docker: Mutex<Option<Docker>>,
}

impl Connection {
    pub(super) const fn new(socket: PathBuf) -> Self {
        Self { socket, docker: Mutex::new(None) }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A connection in the version of the API that both sides speak.
    pub(super) async fn docker(&self) -> Result<Docker, EngineError> {
        let known = self.docker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = known {
            return Ok(docker);
        }
        let unreachable = |source: Error| self.unreachable(source.into());
        let path = self.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, LIBRARY_LIMIT_SECS, bollard::API_DEFAULT_VERSION)
            .map_err(unreachable)?;
        let docker = match timeout(HELLO_LIMIT, docker.negotiate_version()).await {
            Ok(answer) => answer.map_err(unreachable)?,
            Err(_elapsed) => return Err(unreachable(Error::RequestTimeoutError)),
        };
        *self.docker.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    fn unreachable(&self, source: Box<dyn std::error::Error + Send + Sync>) -> EngineError {
        EngineError::Unreachable { socket: self.socket.clone(), source }
    }

    /// Asks the engine for what it shows at `path`, of which only what `T` names is read; what it does not know is
    /// `None`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        call: impl Into<String>,
        path: &str,
    ) -> Result<Option<T>, EngineError> {
        let call = call.into();
        let (status, body) = match timeout(LOOK_LIMIT, raw::get(&self.socket, path)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(RawError::Connect(source))) => return Err(self.unreachable(source.into())),
            Ok(Err(source)) => return Err(EngineError::BrokenRaw { call, source }),
            Err(_elapsed) => return Err(EngineError::Silent { call, limit: LOOK_LIMIT }),
        };
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| EngineError::BrokenRaw { call, source: RawError::Understand(error) }),
            status => Err(EngineError::Refused { call, status: status.as_u16(), message: raw::words(&body) }),
        }
    }

    /// As [`Self::get`], of lists: there is always one. `filter` is a key and its value.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        call: impl Into<String>,
        what: &str,
        filter: Option<(&str, &str)>,
    ) -> Result<Vec<T>, EngineError> {
        let mut path = format!("/{what}/json?all=true");
        if let Some((key, value)) = filter {
            let filters = serde_json::json!({ key: [value] }).to_string();
            path = format!("{path}&filters={}", raw::encoded(&filters));
        }
        Ok(self.get(call, &path).await?.unwrap_or_default())
    }

    /// Asks the engine something. `call` names it, after "failed to".
    pub(super) async fn call<T, A>(
        &self,
        call: impl Into<String>,
        limit: Duration,
        ask: impl FnOnce(Docker) -> A,
    ) -> Result<T, EngineError>
    where
        A: Future<Output = Result<T, Error>>,
    {
        let docker = self.docker().await?;
        match timeout(limit, ask(docker)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Error::DockerResponseServerError { status_code, message })) => {
                Err(EngineError::Refused { call: call.into(), status: status_code, message })
            }
            Ok(Err(source)) => {
                self.forget();
                Err(EngineError::Broken { call: call.into(), source })
            }
            Err(_elapsed) => Err(EngineError::Silent { call: call.into(), limit }),
        }
    }

    /// As [`Self::call`]; what the engine does not know is `None`.
    pub(super) async fn find<T, A>(
        &self,
        call: impl Into<String>,
        limit: Duration,
        ask: impl FnOnce(Docker) -> A,
    ) -> Result<Option<T>, EngineError>
    where
        A: Future<Output = Result<T, Error>>,
    {
        match self.call(call, limit, ask).await {
            Ok(answer) => Ok(Some(answer)),
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn forget(&self) {
        *self.docker.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
