//! Signed heads on their way to devices: once a device has one, the log behind it cannot be written anew without somebody who knows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use takt_common::audit::{End, Head};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::coordinator::Coordinator;
use crate::gate::GateHandle;
use crate::registry::blocking;

/// Heads are published at most so often: every device writes each of them to its disk.
pub const HEAD_EVERY: Duration = Duration::from_mins(1);

/// The same one is published again after so long, for devices whose router was started anew meanwhile.
const REPEAT_EVERY: Duration = Duration::from_hours(1);

/// The end of the log is looked at so often.
const TICK: Duration = Duration::from_secs(1);

/// Publishes heads until `shutdown`: the first at once, and then one when there are new entries.
pub async fn publish_heads(coordinator: Arc<Coordinator>, gate: GateHandle, shutdown: CancellationToken) {
    let mut last: Option<(End, Instant)> = None;
    loop {
        let looked = coordinator.clone();
        let end = blocking(move || looked.registry.audit_end()).await;
        let now = clock::instant();
        if is_due(last, end, now) {
            let head = Head::new(end, clock::now()).seal(&coordinator.order_key);
            gate.publish_audit_head(&Bytes::from(head.to_bytes()));
            last = Some((end, now));
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = clock::pause(TICK) => {}
        }
    }
}

fn is_due(last: Option<(End, Instant)>, end: End, now: Instant) -> bool {
    let Some((published, at)) = last else { return end.number > 0 };
    let every = if published == end { REPEAT_EVERY } else { HEAD_EVERY };
    now.saturating_duration_since(at) >= every
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_published_when_there_is_news_and_not_too_often() {
        let (begin, end) = (clock::instant(), |number| End::at(number, b"entry"));
        assert!(!is_due(None, End::start(), begin), "there is nothing to tell");
        assert!(is_due(None, end(1), begin));
        let last = Some((end(1), begin));
        assert!(!is_due(last, end(2), begin + HEAD_EVERY / 2));
        assert!(is_due(last, end(2), begin + HEAD_EVERY));
        assert!(!is_due(last, end(1), begin + HEAD_EVERY));
        assert!(is_due(last, end(1), begin + REPEAT_EVERY));
    }
}
