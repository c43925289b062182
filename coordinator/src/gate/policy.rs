//! Who may come in and what they may do: devices by their certificates, or anybody in the open gate.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rumqttd::protocol::{Connect, LastWill, QoS};
use takt_common::topic::{Down, Topic, Up, Way};
use takt_common::{DeviceId, Name};

use super::metrics::Closed;
use super::tls::Subject;

/// A device on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The device, as its certificate says.
    pub device: DeviceId,
    /// The domain, as its certificate says.
    pub domain: Name,
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// The connection; a number that this gate never uses again.
    pub connection: u64,
}

/// Why the coordinator does not take a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such device is enrolled.
    #[error("the device is not enrolled")]
    Unknown,
    /// The device was revoked.
    #[error("the device is revoked")]
    Revoked,
    /// The device is enrolled in another domain than its certificate says.
    #[error("the device belongs to another domain")]
    WrongDomain,
    /// The coordinator cannot tell now; the device comes back later.
    #[error("the registry of devices is not available")]
    Unavailable,
}

/// A message could not be made durable; the device sends it again.
#[derive(Debug, thiserror::Error)]
#[error("make a device's message durable")]
pub struct SinkError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl SinkError {
    /// Wraps the error of a store.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// What the coordinator does with devices and their messages.
///
/// The messages of one connection come one at a time and in order. The futures run under
/// [`sink_deadline`](super::GateLimits::sink_deadline) and may be dropped at any of their awaits when the
/// connection ends: what must happen whole belongs into one commit or a task of its own.
pub trait Sink: Send + Sync + 'static {
    /// May this device come in? Asked before the router hears of it.
    fn admit(&self, peer: &Peer) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Takes a report. `Ok` means durable: the device gets its PUBACK and deletes the report. On `Err` the
    /// connection is closed without one. Nonsense that will never become better is the sink's to count and `Ok`.
    fn report(&self, peer: &Peer, payload: Bytes) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Takes a health sample; the same rules.
    fn health(&self, peer: &Peer, payload: Bytes) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// The device is in. Short and not blocking.
    fn connected(&self, peer: &Peer);

    /// The device listens to `what`: from now on a publish reaches it. Short and not blocking.
    fn subscribed(&self, peer: &Peer, what: Down);

    /// The device that was reported as connected is gone. Short and not blocking.
    fn disconnected(&self, peer: &Peer, why: Closed);

    /// Two connections with this device's certificate take turns: its key was copied, or the device is broken.
    /// `peer` is the one that was refused. Short and not blocking.
    fn cloned(&self, peer: &Peer);
}

/// Where an accepted publish goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Sink(Up),
    Router,
}

/// The life of a session on the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind {
    /// Forgotten when the connection ends.
    Clean,
    /// Kept by the router under the client's id (open gate only).
    Kept,
}

/// What one kind of client may do.
pub(crate) trait Policy: Send + Sync + 'static {
    type Client: Clone + Send + Sync + fmt::Display + 'static;

    /// Who is this, from its certificate and its CONNECT?
    fn identify(&self, arrival: &Arrival<'_>) -> Result<Identified<Self::Client>, Closed>;
    fn admit(&self, client: &Self::Client) -> impl Future<Output = Result<(), Closed>> + Send;
    /// The QoS granted for a subscription, or none.
    fn grant(&self, client: &Self::Client, filter: &str, asked: QoS) -> Option<QoS>;
    fn route(&self, client: &Self::Client, topic: &str, qos: QoS, retain: bool) -> Result<Route, Closed>;
    /// What a topic or filter that the client may use is called inside the router.
    fn inner(filter: &str) -> String;
    /// What the client calls a topic that has this name inside the router.
    fn outer(client: &Self::Client, inner: Bytes) -> Bytes;
    fn take(
        &self,
        client: &Self::Client,
        up: Up,
        payload: Bytes,
    ) -> impl Future<Output = Result<(), SinkError>> + Send;
    fn connected(&self, client: &Self::Client);
    fn subscribed(&self, client: &Self::Client, filter: &str);
    fn disconnected(&self, client: &Self::Client, why: Closed);
    fn cloned(&self, client: &Self::Client);
    fn peer(client: &Self::Client) -> Option<&Peer>;
}

/// What is known when a CONNECT has come.
pub(crate) struct Arrival<'a> {
    pub(crate) subject: Option<&'a Subject>,
    pub(crate) address: SocketAddr,
    pub(crate) connection: u64,
    pub(crate) connect: &'a Connect,
    pub(crate) will: Option<&'a LastWill>,
}

/// A client and the id under which it is present once.
pub(crate) struct Identified<Client> {
    pub(crate) client: Client,
    pub(crate) id: String,
    pub(crate) kind: SessionKind,
}

/// What every device's topic of audit heads is called inside the router: all get the same, so it is one topic there.
pub(crate) const AUDIT_HEADS: &str = "audit";

/// What a topic is called inside the router: the device first, and all in one segment.
///
/// The router holds each topic that is new to it against all filters, and each filter that is new against all topics: segment by segment
/// up to the first that differs. With topics as devices know them, that would be the fourth, and it would take most of a processor while
/// ten thousand devices come in.
pub(crate) fn inner_name(topic: &Topic) -> String {
    let what = match topic.way {
        Way::Down(Down::Order) => 'o',
        Way::Down(Down::Ack) => 'a',
        Way::Down(Down::Time) => 't',
        Way::Down(Down::Audit) => return AUDIT_HEADS.to_owned(),
        Way::Up(Up::Report) => 'r',
        Way::Up(Up::Health) => 'h',
    };
    format!("{}{what}", topic.device)
}

/// Devices of the fleet, on their own topics.
pub(crate) struct DevicePolicy<S> {
    pub(crate) sink: Arc<S>,
}

impl<S: Sink> Policy for DevicePolicy<S> {
    type Client = Peer;

    fn identify(&self, arrival: &Arrival<'_>) -> Result<Identified<Peer>, Closed> {
        let subject = arrival.subject.ok_or(Closed::SubjectUnusable)?;
        let id = subject.device.to_string();
        if arrival.connect.client_id != id {
            return Err(Closed::ClientId);
        }
        if arrival.will.is_some() {
            return Err(Closed::Will);
        }
        let client = Peer {
            device: subject.device,
            domain: subject.domain.clone(),
            address: arrival.address,
            connection: arrival.connection,
        };
        Ok(Identified { client, id, kind: SessionKind::Clean })
    }

    async fn admit(&self, client: &Peer) -> Result<(), Closed> {
        self.sink.admit(client).await.map_err(|refusal| {
            tracing::info!(device = %client.device, address = %client.address, %refusal, "device refused");
            match refusal {
                Refusal::Unavailable => Closed::SinkUnavailable,
                Refusal::Unknown | Refusal::Revoked | Refusal::WrongDomain => Closed::NotAdmitted,
            }
        })
    }

    fn grant(&self, client: &Peer, filter: &str, asked: QoS) -> Option<QoS> {
        // A topic of Takt has no wildcard, no share and no `$`, so neither has a filter that parses as one.
        let topic: Topic = filter.parse().ok()?;
        let own = topic.device == client.device && topic.domain == client.domain;
        match topic.way {
            Way::Down(_) if own && asked == QoS::AtMostOnce => Some(QoS::AtMostOnce),
            Way::Down(_) if own => Some(QoS::AtLeastOnce),
            Way::Down(_) | Way::Up(_) => None,
        }
    }

    fn route(&self, client: &Peer, topic: &str, qos: QoS, retain: bool) -> Result<Route, Closed> {
        let topic: Topic = topic.parse().map_err(|_| Closed::ForeignTopic)?;
        let Way::Up(up) = topic.way else { return Err(Closed::ForeignTopic) };
        if topic.device != client.device || topic.domain != client.domain {
            return Err(Closed::ForeignTopic);
        }
        if retain {
            return Err(Closed::Retained);
        }
        if qos == QoS::ExactlyOnce {
            return Err(Closed::QosTwo);
        }
        Ok(Route::Sink(up))
    }

    fn inner(filter: &str) -> String {
        filter.parse().map_or_else(|_| filter.to_owned(), |topic: Topic| inner_name(&topic))
    }

    fn outer(client: &Peer, inner: Bytes) -> Bytes {
        let what = match inner.last() {
            _ if inner == AUDIT_HEADS => Down::Audit,
            Some(b'o') => Down::Order,
            Some(b'a') => Down::Ack,
            Some(b't') => Down::Time,
            _ => return inner,
        };
        Bytes::from(Topic::down(&client.domain, client.device, what).to_string())
    }

    async fn take(&self, client: &Peer, up: Up, payload: Bytes) -> Result<(), SinkError> {
        match up {
            Up::Report => self.sink.report(client, payload).await,
            Up::Health => self.sink.health(client, payload).await,
        }
    }

    fn connected(&self, client: &Peer) {
        self.sink.connected(client);
    }

    fn subscribed(&self, client: &Peer, filter: &str) {
        if let Ok(Topic { way: Way::Down(what), .. }) = filter.parse() {
            self.sink.subscribed(client, what);
        }
    }

    fn disconnected(&self, client: &Peer, why: Closed) {
        self.sink.disconnected(client, why);
    }

    fn cloned(&self, client: &Peer) {
        self.sink.cloned(client);
    }

    fn peer(client: &Peer) -> Option<&Peer> {
        Some(client)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.device)
    }
}

/// Anybody, on any topic: for conformance suites and fuzzers.
pub(crate) struct OpenPolicy;

/// A client of the open gate.
#[derive(Debug, Clone)]
pub(crate) struct OpenClient(String);

impl fmt::Display for OpenClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Policy for OpenPolicy {
    type Client = OpenClient;

    fn identify(&self, arrival: &Arrival<'_>) -> Result<Identified<OpenClient>, Closed> {
        let Connect { client_id, clean_session, .. } = arrival.connect;
        let kind = if *clean_session { SessionKind::Clean } else { SessionKind::Kept };
        let id = match (client_id.as_str(), kind) {
            ("", SessionKind::Kept) => return Err(Closed::ClientId),
            // The name is only ever seen here: MQTT 3.1.1 has no way to tell the client.
            ("", SessionKind::Clean) => format!("#{}", arrival.connection),
            (id, _) => id.to_owned(),
        };
        Ok(Identified { client: OpenClient(id.clone()), id, kind })
    }

    async fn admit(&self, _: &OpenClient) -> Result<(), Closed> {
        Ok(())
    }

    fn grant(&self, _: &OpenClient, filter: &str, asked: QoS) -> Option<QoS> {
        // Shared subscriptions are not in MQTT 3.1.1, and the router ends links that ask for other `$` topics.
        (!filter.starts_with('$')).then_some(asked)
    }

    fn route(&self, _: &OpenClient, _: &str, _: QoS, _: bool) -> Result<Route, Closed> {
        Ok(Route::Router)
    }

    fn inner(filter: &str) -> String {
        filter.to_owned()
    }

    fn outer(_: &OpenClient, inner: Bytes) -> Bytes {
        inner
    }

    async fn take(&self, _: &OpenClient, _: Up, _: Bytes) -> Result<(), SinkError> {
        Ok(())
    }

    fn connected(&self, _: &OpenClient) {}

    fn subscribed(&self, _: &OpenClient, _: &str) {}

    fn disconnected(&self, _: &OpenClient, _: Closed) {}

    fn cloned(&self, _: &OpenClient) {}

    fn peer(_: &OpenClient) -> Option<&Peer> {
        None
    }
}
