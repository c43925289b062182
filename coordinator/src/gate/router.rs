//! One run of rumqttd's router, and what the gate publishes into it.
//!
//! The router is one thread. It keeps, for as long as it runs, every link name and every topic it has ever seen,
//! so links get names from a bounded pool (never the ids of clients), and only admitted devices on their own
//! topics get that far. Nothing in it is worth keeping: when it dies, [`watch`](super::watch) starts another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flume::TrySendError;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{Packet, PingReq, Publish};
use rumqttd::{Notification, RouterConfig};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::limits::GateLimits;
use super::link::Link;
use super::policy::SessionKind;

/// How much of each topic's past the router keeps, for ever. It lets go of whole segments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSize {
    segment_bytes: usize,
    segments: usize,
}

impl LogSize {
    /// At least the last eight messages of a topic, whatever their size: a device that is further behind gets
    /// the newer ones only, and the coordinator sends again what was not answered. About 25 KiB a device.
    pub(crate) const DEVICES: Self = Self { segment_bytes: 1_024, segments: 8 };
    /// The open gate serves few topics and must not lose anything in a burst.
    pub(crate) const OPEN: Self = Self { segment_bytes: 1_024 * 1_024, segments: 16 };
}

/// The router does not answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router is gone")]
pub(crate) struct RouterGone;

/// Why a message could not be handed to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandOver {
    QueueFull,
    Gone,
}

type Opened = (LinkTx, LinkRx, Notification);
/// rumqttd does not name the type of its router's channel for others; a closure need not name it.
type Open = Box<dyn Fn(&str, SessionKind) -> Result<Opened, RouterGone> + Send + Sync>;

/// A running router.
pub(crate) struct Router {
    open: Open,
    names: Mutex<Names>,
    publisher: Mutex<LinkTx>,
    opening: Arc<Semaphore>,
    /// Cancelled when the router is given up: every session on it ends.
    pub(crate) gone: CancellationToken,
}

/// The pool of link names.
#[derive(Debug)]
struct Names {
    free: Vec<usize>,
    next: usize,
    max: usize,
}

/// The name of a link in the router.
#[derive(Debug)]
pub(crate) enum LinkName {
    Pooled(usize),
    /// The id of a client whose session the router keeps, in hex: some characters must not reach the router.
    Kept(String),
}

/// Opening a link blocks a thread until the router answers. If it never does, no more than this many are lost.
const OPENING_MAX: usize = 8;
/// Links of the gate itself, and those that the router has not quite forgotten yet.
const SPARE_LINKS: usize = 64;
/// rumqttd pauses a link at 200 messages that were not taken yet; reading more at once makes no sense.
const READ_MAX: u64 = 200;

impl Router {
    /// Starts a router and opens the publisher's link, whose receiving end is for the watch.
    ///
    /// Blocks until the router answers; panics as rumqttd does when the system gives no thread.
    pub(crate) fn start(limits: &GateLimits, log: LogSize) -> Result<(Self, LinkRx), RouterGone> {
        let links_max = limits.connections_max + SPARE_LINKS;
        let config = RouterConfig {
            max_connections: links_max,
            max_outgoing_packet_count: READ_MAX,
            max_segment_size: log.segment_bytes,
            max_segment_count: log.segments,
            ..RouterConfig::default()
        };
        let sender = rumqttd::Router::new(0, config).spawn();
        let open: Open = Box::new(move |name, kind| {
            let clean = kind == SessionKind::Clean;
            LinkBuilder::new(name, sender.clone()).clean_session(clean).build().map_err(|_| RouterGone)
        });
        let (publisher, answers, _) = open("publisher", SessionKind::Clean)?;
        let router = Self {
            open,
            names: Mutex::new(Names { free: Vec::new(), next: 0, max: links_max - 1 }),
            publisher: Mutex::new(publisher),
            opening: Arc::new(Semaphore::new(OPENING_MAX)),
            gone: CancellationToken::new(),
        };
        Ok((router, answers))
    }

    /// Opens a link for a client. True when the router kept a session for it.
    pub(crate) async fn link(
        self: &Arc<Self>,
        id: &str,
        kind: SessionKind,
        deadline: Duration,
    ) -> Result<(Link, bool), RouterGone> {
        let kept_name = (kind == SessionKind::Kept).then(|| LinkName::Kept(hex(id)));
        let router = Arc::clone(self);
        let opening = async {
            let permit = Arc::clone(&self.opening).acquire_owned().await.map_err(|_| RouterGone)?;
            let open = move || {
                let _permit = permit;
                let pooled = || lock(&router.names).take().map(LinkName::Pooled).ok_or(RouterGone);
                let name = kept_name.map_or_else(pooled, Ok)?;
                let (tx, rx, answer) = (router.open)(&name.to_string(), kind)?;
                let answer: Option<Packet> = answer.into();
                let kept = matches!(answer, Some(Packet::ConnAck(ack, _)) if ack.session_present);
                Ok((Link::new(tx, rx, name, router), kept))
            };
            // If nobody waits for the link any more, it is dropped in the closure's place, which ends it.
            tokio::task::spawn_blocking(open).await.map_err(|_| RouterGone)?
        };
        timeout(deadline, opening).await.map_err(|_| RouterGone)?
    }

    /// Hands a message to the router without waiting.
    pub(crate) fn publish(
        &self,
        topic: Bytes,
        payload: Bytes,
        retain: bool,
        queue_max: usize,
    ) -> Result<(), HandOver> {
        let mut publisher = lock(&self.publisher);
        if publisher.buffer().len() >= queue_max {
            return Err(HandOver::QueueFull);
        }
        let packet = Packet::Publish(Publish::new(topic, payload, retain), None);
        match push(&mut publisher, packet) {
            // The router has more to do than fits its channel; it finds the message at the next heartbeat.
            Ok(()) | Err(Push::Full) => Ok(()),
            Err(Push::Gone) => Err(HandOver::Gone),
        }
    }

    /// Asks the router for a sign of life, which arrives at the publisher's receiving end.
    pub(crate) fn ping(&self) -> Result<(), RouterGone> {
        match push(&mut lock(&self.publisher), Packet::PingReq(PingReq)) {
            Ok(()) | Err(Push::Full) => Ok(()),
            Err(Push::Gone) => Err(RouterGone),
        }
    }

    /// Kills the thread; see [`Link::kill_router`].
    pub(crate) async fn kill(self: &Arc<Self>, deadline: Duration) -> Result<(), RouterGone> {
        let (link, _) = self.link("", SessionKind::Clean, deadline).await?;
        link.kill_router().await
    }

    /// Gives the name of a link back that the router has certainly forgotten.
    pub(crate) fn forgotten(&self, name: &LinkName) {
        if let LinkName::Pooled(name) = name {
            lock(&self.names).free.push(*name);
        }
    }
}

impl Names {
    fn take(&mut self) -> Option<usize> {
        self.free.pop().or_else(|| {
            let name = self.next;
            (name < self.max).then(|| self.next += 1).map(|()| name)
        })
    }
}

impl std::fmt::Display for LinkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pooled(name) => write!(f, "link-{name}"),
            Self::Kept(name) => write!(f, "kept-{name}"),
        }
    }
}

/// Why a packet is not on its way through a link.
pub(crate) enum Push {
    /// The packet is in the link's buffer, but the router has not been told.
    Full,
    Gone,
}

/// Puts `packet` into the link's buffer and tells the router, without ever blocking.
pub(crate) fn push(link: &mut LinkTx, packet: Packet) -> Result<(), Push> {
    link.buffer().push_back(packet);
    tell(link)
}

/// Tells the router that the link's buffer holds something.
///
/// Of rumqttd's public ways to do so only those of a whole packet neither block nor await; one that ends a
/// subscription nobody can have does nothing else.
pub(crate) fn tell(link: &mut LinkTx) -> Result<(), Push> {
    match link.try_unsubscribe("") {
        Ok(_) => Ok(()),
        Err(LinkError::TrySend(TrySendError::Full(_))) => Err(Push::Full),
        Err(_) => Err(Push::Gone),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hex(id: &str) -> String {
    id.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
