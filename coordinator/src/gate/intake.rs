//! A connection's messages on their way into the sink: one at a time, in the order of arrival.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use takt_common::topic::Up;
use tokio::time::timeout;

use super::policy::{Policy, SinkError};

/// Messages that wait for the sink, and the one it has in hand.
pub(crate) struct Intake {
    waiting: VecDeque<ForSink>,
    in_hand: Option<InHand>,
}

/// A message for the sink.
pub(crate) struct ForSink {
    pub(crate) up: Up,
    pub(crate) payload: Bytes,
    /// Of the PUBACK; `None` with QoS 0.
    pub(crate) packet_id: Option<u16>,
}

struct InHand {
    up: Up,
    packet_id: Option<u16>,
    result: Pin<Box<dyn Future<Output = Result<(), TakeError>> + Send>>,
}

/// What became of a message.
pub(crate) struct Taken {
    pub(crate) up: Up,
    pub(crate) packet_id: Option<u16>,
    pub(crate) result: Result<(), TakeError>,
}

/// Why the sink did not take a message.
pub(crate) enum TakeError {
    Sink(SinkError),
    Deadline,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::new(), in_hand: None }
    }

    /// How many messages are not done.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.in_hand.is_some())
    }

    pub(crate) fn add(&mut self, message: ForSink) {
        self.waiting.push_back(message);
    }

    /// Gives the sink its next message, if it is free.
    pub(crate) fn start<P: Policy>(&mut self, policy: &Arc<P>, client: &P::Client, deadline: Duration) {
        if self.in_hand.is_some() {
            return;
        }
        let Some(ForSink { up, payload, packet_id }) = self.waiting.pop_front() else { return };
        let (policy, client) = (Arc::clone(policy), client.clone());
        let result = Box::pin(async move {
            let taking = timeout(deadline, policy.take(&client, up, payload)).await;
            taking.map_err(|_| TakeError::Deadline)?.map_err(TakeError::Sink)
        });
        self.in_hand = Some(InHand { up, packet_id, result });
    }

    /// Waits for the message in hand, for ever if there is none. May be dropped and called again.
    pub(crate) async fn done(&mut self) -> Taken {
        let result = match &mut self.in_hand {
            Some(in_hand) => in_hand.result.as_mut().await,
            None => pending().await,
        };
        let InHand { up, packet_id, .. } = self.in_hand.take().expect("its result has just come");
        Taken { up, packet_id, result }
    }
}
