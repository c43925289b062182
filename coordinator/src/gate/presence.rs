//! Which client ids are present, each at most once, and how a newer connection takes over from an older one.
//!
//! A newcomer tells the older connection to end and waits until it has ended, link included. Only then it comes
//! in. When one id is taken over too often, newcomers are refused instead: two clones would otherwise throw each
//! other out for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use takt_common::DeviceId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::clock::now;
use super::limits::{Bucket, GateLimits};
use super::metrics::Closed;
use super::policy::Peer;

/// Everybody who is inside or about to be.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<String, Entry>,
    /// Takeovers by id. Ids that were quiet long enough are forgotten, so this stays as small as `entries`.
    takeovers: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Entry {
    connection: u64,
    end: watch::Sender<Option<Closed>>,
    peer: Option<Peer>,
    subscriptions: Vec<String>,
}

/// The right of one connection to its id; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    presence: Arc<Presence>,
    id: String,
    connection: u64,
    ended: watch::Receiver<Option<Closed>>,
    shutdown: CancellationToken,
}

/// How many forgotten takeovers are worth a sweep.
const TAKEOVERS_SWEEP: usize = 1_024;

/// What stands between a publish and its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Subscribed,
    NotSubscribed,
    Absent,
}

impl Presence {
    /// Claims `id` for `connection`, after the older connection of that id has ended.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        id: &str,
        connection: u64,
        limits: &GateLimits,
        shutdown: &CancellationToken,
    ) -> Result<Claim, Closed> {
        let deadline = now() + limits.takeover_deadline;
        loop {
            let older = match self.try_claim(id, connection, limits)? {
                Attempt::Claimed(ended) => {
                    return Ok(Claim {
                        presence: Arc::clone(self),
                        id: id.to_owned(),
                        connection,
                        ended,
                        shutdown: shutdown.clone(),
                    });
                }
                Attempt::Older(older) => older,
            };
            older.send_replace(Some(Closed::TakenOver));
            // The older connection lets go of the receiver in the same moment as of the id.
            timeout_at(deadline, older.closed()).await.map_err(|_| Closed::TakeoverDeadline)?;
        }
    }

    fn try_claim(&self, id: &str, connection: u64, limits: &GateLimits) -> Result<Attempt, Closed> {
        let now = now();
        let mut state = self.lock();
        if let Some(entry) = state.entries.get(id) {
            let older = entry.end.clone();
            // One that is ending already, whatever for, needs no takeover: wait for it.
            if older.borrow().is_none() {
                state.allow_takeover(id, limits, now)?;
            }
            return Ok(Attempt::Older(older));
        }
        let (end, ended) = watch::channel(None);
        let entry = Entry { connection, end, peer: None, subscriptions: Vec::new() };
        state.entries.insert(id.to_owned(), entry);
        Ok(Attempt::Claimed(ended))
    }

    /// Ends the connection of `device`, even while it is being admitted. False when there is none.
    pub(crate) fn end(&self, device: DeviceId, why: Closed) -> bool {
        let state = self.lock();
        let entry = state.entries.get(&device.to_string());
        entry.map(|entry| entry.end.send_replace(Some(why))).is_some()
    }

    /// The devices that are in.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.lock().entries.values().filter_map(|entry| entry.peer.clone()).collect()
    }

    /// Would a publish to `topic` reach `device` now?
    pub(crate) fn reach(&self, device: DeviceId, topic: &str) -> Reach {
        match self.lock().entries.get(&device.to_string()) {
            Some(entry) if entry.subscriptions.iter().any(|filter| filter == topic) => Reach::Subscribed,
            Some(Entry { peer: Some(_), .. }) => Reach::NotSubscribed,
            Some(_) | None => Reach::Absent,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Attempt {
    Claimed(watch::Receiver<Option<Closed>>),
    Older(watch::Sender<Option<Closed>>),
}

impl State {
    fn allow_takeover(&mut self, id: &str, limits: &GateLimits, now: Instant) -> Result<(), Closed> {
        if self.takeovers.len() >= TAKEOVERS_SWEEP {
            self.takeovers.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = self
            .takeovers
            .entry(id.to_owned())
            .or_insert_with(|| Bucket::new(limits.takeovers_burst, limits.takeover_interval, now));
        bucket.take(now).map_err(|_| Closed::Cloned)
    }
}

impl Claim {
    /// Resolves when this connection has to end: somebody wants it, or the gate shuts down.
    pub(crate) async fn ended(&mut self) -> Closed {
        let wanted = self.shutdown.run_until_cancelled(self.ended.wait_for(Option::is_some)).await;
        // The sender lives in the entry, which lives as long as this claim: its end is a shutdown, too.
        wanted.and_then(Result::ok).and_then(|why| *why).unwrap_or(Closed::Shutdown)
    }

    /// The client is in.
    pub(crate) fn admitted(&self, peer: Option<&Peer>) {
        self.with_entry(|entry| entry.peer = peer.cloned());
    }

    /// The client now has exactly these subscriptions.
    pub(crate) fn subscribed<'a>(&self, filters: impl Iterator<Item = &'a String>) {
        self.with_entry(|entry| entry.subscriptions = filters.cloned().collect());
    }

    fn with_entry(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.presence.lock().entries.get_mut(&self.id) {
            change(entry);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.presence.lock();
        if state.entries.get(&self.id).is_some_and(|entry| entry.connection == self.connection) {
            state.entries.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn claim(presence: &Arc<Presence>, id: &str, connection: u64) -> Result<Claim, Closed> {
        presence.claim(id, connection, &limits(), &CancellationToken::new()).await
    }

    fn limits() -> GateLimits {
        GateLimits {
            takeovers_burst: 2,
            takeover_interval: Duration::from_mins(1),
            takeover_deadline: Duration::from_millis(200),
            ..GateLimits::default()
        }
    }

    #[tokio::test]
    async fn a_newcomer_waits_until_the_older_connection_has_ended() {
        let presence = Arc::new(Presence::default());
        let mut older = claim(&presence, "a", 1).await.unwrap();
        let newer = tokio::spawn({
            let presence = Arc::clone(&presence);
            async move { claim(&presence, "a", 2).await }
        });
        assert_eq!(older.ended().await, Closed::TakenOver);
        assert!(!newer.is_finished());
        drop(older);
        let newer = newer.await.unwrap().unwrap();
        assert_eq!(presence.lock().entries["a"].connection, 2);
        drop(newer);
        assert!(presence.lock().entries.is_empty());
    }

    #[tokio::test]
    async fn a_newcomer_gives_up_on_one_that_does_not_end() {
        let presence = Arc::new(Presence::default());
        let _stuck = claim(&presence, "a", 1).await.unwrap();
        assert_eq!(claim(&presence, "a", 2).await.unwrap_err(), Closed::TakeoverDeadline);
        assert_eq!(presence.lock().entries["a"].connection, 1);
    }

    #[tokio::test]
    async fn takeovers_in_a_row_are_limited() {
        let presence = Arc::new(Presence::default());
        let mut current = claim(&presence, "a", 0).await.unwrap();
        for connection in 1..=2 {
            let next = tokio::spawn({
                let presence = Arc::clone(&presence);
                async move { claim(&presence, "a", connection).await }
            });
            current.ended().await;
            drop(current);
            current = next.await.unwrap().unwrap();
        }
        assert_eq!(claim(&presence, "a", 3).await.unwrap_err(), Closed::Cloned);
        assert!(claim(&presence, "b", 4).await.is_ok());
    }
}
