//! The rest of a refused request's body: read and thrown away, so that the client hears why.
//!
//! A server that answers and closes while the client still sends resets the connection, and the client sees that
//! instead of the answer. That holds for every refusal, also for those before a handler has seen the body.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// What is thrown away at the most; whoever sends more is cut off.
const BYTES_MAX: usize = 1024 * 1024 * 1024;

/// For how long that may go on; whoever sends more slowly is cut off.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Answers, and where that is a refusal, hears the client out first.
pub(super) async fn heard_out(request: Request, next: Next) -> Response {
    // Such a client sends nothing until it is asked to, which reading would do.
    let waits = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let (give_back, mut given_back) = oneshot::channel();
    let lent = Lent(Some(Rest { body, begun: false, give_back }));
    let response = next.run(Request::from_parts(parts, Body::new(lent))).await;
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if let (true, Ok((rest, begun))) = (refused, given_back.try_recv())
        && (begun || !waits)
    {
        throw_away(rest).await;
    }
    response
}

async fn throw_away(rest: Body) {
    let mut pieces = rest.into_data_stream();
    let read = async {
        let mut left = BYTES_MAX;
        while let (1.., Some(Ok(piece))) = (left, pieces.next().await) {
            left = left.saturating_sub(piece.len());
        }
    };
    // Cut off or not, the answer follows.
    let _ = tokio::time::timeout(TIME_MAX, read).await;
}

/// A body that comes back when the handler lets go of it; empty only while it is dropped.
struct Lent(Option<Rest>);

struct Rest {
    body: Body,
    begun: bool,
    give_back: oneshot::Sender<(Body, bool)>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(Rest { body, begun, give_back }) = self.0.take()
            && !body.is_end_stream()
        {
            // Nobody waits for it when the connection is gone.
            let _ = give_back.send((body, begun));
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(rest) = &mut self.0 else { return Poll::Ready(None) };
        rest.begun = true;
        Pin::new(&mut rest.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|rest| rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, |rest| rest.body.size_hint())
    }
}
