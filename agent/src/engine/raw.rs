//! Requests over the engine's socket without the library: what it does not know, and what it reads more of than we do.

use std::io;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The longest answer that is read: a list of thousands of images.
const ANSWER_LENGTH_MAX: usize = 16 * 1024 * 1024;

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
    /// It is not what was asked for.
    #[error("understand the engine's answer")]
    Understand(#[source] serde_json::Error),
}

/// Posts nothing to `path` and returns the status and the engine's words.
pub(super) async fn post(socket: &Path, path: &str) -> Result<(StatusCode, String), RawError> {
    let (status, body) = ask(socket, Method::POST, path).await?;
    Ok((status, words(&body)))
}

/// Gets `path` and returns the status and the answer.
pub(super) async fn get(socket: &Path, path: &str) -> Result<(StatusCode, Bytes), RawError> {
    ask(socket, Method::GET, path).await
}

async fn ask(socket: &Path, method: Method, path: &str) -> Result<(StatusCode, Bytes), RawError> {
    let stream = UnixStream::connect(socket).await.map_err(RawError::Connect)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(RawError::Speak)?;
    let request = Request::builder()
        .method(method)
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
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(connection, conversation);
    // The connection moves the bytes of the conversation; it may end first when the engine closes after answering.
    tokio::select! {
        answer = &mut conversation => answer,
        _closed = &mut connection => conversation.await,
    }
}

/// The engine's `{"message": …}`, or what it said instead.
pub(super) fn words(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|answer| answer["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

/// A text as part of a query.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() {
            all.push(char::from(byte));
        } else {
            write!(all, "%{byte:02X}").expect("a String takes any text");
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_the_query_it_is_part_of() {
        assert_eq!(encoded(r#"{"label":["a=b&c d"]}"#), "%7B%22label%22%3A%5B%22a%3Db%26c%20d%22%5D%7D");
    }
}
