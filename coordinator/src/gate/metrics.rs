//! Why connections end, and how often: the gate's counters.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! closed {
    ($($(#[doc = $doc:literal])+ $variant:ident => $text:literal,)+) => {
        /// Why the gate ended a connection, or did not take it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Closed {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Closed {
            /// Every reason, in the order of the connection's life.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The reason as a word for logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

closed! {
    /// `connections_max` was reached.
    Full => "full",
    /// `connections_per_source_max` was reached.
    SourceFull => "source-full",
    /// `unproven_max` or `unproven_per_source_max` was reached.
    UnprovenFull => "unproven-full",
    /// The TLS handshake took too long.
    TlsDeadline => "tls-deadline",
    /// The TLS handshake failed: no certificate, a foreign one, an old TLS version, or no TLS at all.
    TlsFailed => "tls-failed",
    /// The certificate's subject does not name a device and a domain.
    SubjectUnusable => "subject-unusable",
    /// No complete CONNECT in time.
    ConnectDeadline => "connect-deadline",
    /// Another protocol version than MQTT 3.1.1.
    ProtocolVersion => "protocol-version",
    /// The client id is not the certificate's subject, or is no id.
    ClientId => "client-id",
    /// A will, which devices do not have.
    Will => "will",
    /// The coordinator does not know the device, or not any more.
    NotAdmitted => "not-admitted",
    /// The coordinator could not say whether it knows the device.
    SinkUnavailable => "sink-unavailable",
    /// Two connections with one id take turns too often.
    Cloned => "cloned",
    /// The older connection of this id did not end in time.
    TakeoverDeadline => "takeover-deadline",
    /// The router did not answer, or died.
    RouterGone => "router-gone",
    /// Not MQTT, or a packet that the standard forbids.
    Malformed => "malformed",
    /// A packet larger than `packet_max`.
    PacketTooLarge => "packet-too-large",
    /// A publish to a topic that is not the device's.
    ForeignTopic => "foreign-topic",
    /// A retained publish.
    Retained => "retained",
    /// A publish with QoS 2.
    QosTwo => "qos-two",
    /// The coordinator could not make a message durable; the device sends it again.
    SinkFailed => "sink-failed",
    /// The coordinator did not finish with a message in time.
    SinkDeadline => "sink-deadline",
    /// Silence for longer than the keep-alive allows.
    KeepAlive => "keep-alive",
    /// The peer did not read what was sent to it.
    WriteDeadline => "write-deadline",
    /// A newer connection with the same id took over.
    TakenOver => "taken-over",
    /// The coordinator cut the device off.
    Cut => "cut",
    /// The gate shuts down.
    Shutdown => "shutdown",
    /// The peer said goodbye.
    Disconnected => "disconnected",
    /// The peer closed or reset the connection.
    PeerClosed => "peer-closed",
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The live counters; they only grow.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) admitted: AtomicU64,
    pub(crate) reports: AtomicU64,
    pub(crate) health: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) filters_refused: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) routers_replaced: AtomicU64,
    closed: Vec<AtomicU64>,
}

/// The counters at one moment, for `/metrics` and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateFigures {
    /// TCP connections taken from the listener.
    pub accepted: u64,
    /// Connections that got a CONNACK with success.
    pub admitted: u64,
    /// Connections that are open now, in whatever state.
    pub open: usize,
    /// Reports that the sink made durable.
    pub reports: u64,
    /// Health samples that the sink took.
    pub health: u64,
    /// Messages handed to the router for a device.
    pub published: u64,
    /// Messages that sessions wrote to their peers.
    pub delivered: u64,
    /// Subscriptions answered with failure (0x80).
    pub filters_refused: u64,
    /// Times that a connection was read more slowly because of its packet rate.
    pub throttled: u64,
    /// Routers that died and were replaced.
    pub routers_replaced: u64,
    /// How many connections ended or were refused, by reason. Reasons that never happened are there with 0.
    pub closed: Vec<(Closed, u64)>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            health: AtomicU64::new(0),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            filters_refused: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            routers_replaced: AtomicU64::new(0),
            closed: Closed::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self, why: Closed) {
        Self::count(&self.closed[why as usize]);
    }

    pub(crate) fn figures(&self, open: usize) -> GateFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GateFigures {
            accepted: read(&self.accepted),
            admitted: read(&self.admitted),
            open,
            reports: read(&self.reports),
            health: read(&self.health),
            published: read(&self.published),
            delivered: read(&self.delivered),
            filters_refused: read(&self.filters_refused),
            throttled: read(&self.throttled),
            routers_replaced: read(&self.routers_replaced),
            closed: Closed::ALL.iter().map(|why| (*why, read(&self.closed[*why as usize]))).collect(),
        }
    }
}

impl GateFigures {
    /// How many connections ended for this reason.
    pub fn closed_for(&self, why: Closed) -> u64 {
        self.closed.iter().find(|(reason, _)| *reason == why).map_or(0, |(_, count)| *count)
    }
}
