//! One request that the library does not know, over the engine's socket.

use std::io;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The longest answer that is read; the engine answers with a sentence.
const ANSWER_LENGTH_MAX: usize = 64 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// Nobody is there.
    #[error("connect to the engine's socket")]
    Connect(#[source] io::Error),
    /// The path cannot be asked for.
    #[error("form the request")]
    Form(#[source] http::Error),
    /// The conversation broke off.
    #[error("speak to the engine")]
    Speak(#[source] hyper::Error),
    /// The answer broke off or was too long.
    #[error("read the engine's answer")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Posts nothing to `path` and returns the status and the engine's words.
pub(super) async fn post(socket: &Path, path: &str) -> Result<(StatusCode, String), RawError> {
    let stream = UnixStream::connect(socket).await.map_err(RawError::Connect)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(RawError::Speak)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(http::header::HOST, "engine")
        .body(Empty::<Bytes>::new())
        .map_err(RawError::Form)?;
    let conversation = async {
        let response = sender.send_request(request).await.map_err(RawError::Speak)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LENGTH_MAX)
            .collect()
            .await
            .map_err(RawError::Answer)?;
        Ok((status, words(&body.to_bytes())))
    };
    tokio::pin!(connection, conversation);
    // The connection moves the bytes of the conversation; it may end first when the engine closes after answering.
    tokio::select! {
        answer = &mut conversation => answer,
        _closed = &mut connection => conversation.await,
    }
}

/// The engine's `{"message": …}`, or what it said instead.
fn words(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|answer| answer["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}
