//! Starting a gate, and what its owner can do with it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ServerConfig;
use takt_common::DeviceId;
use takt_common::topic::{Down, Topic, Way};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{self, Security};
use super::census::Census;
use super::limits::GateLimits;
use super::metrics::{Closed, Counters, GateFigures};
use super::policy::{AUDIT_HEADS, DevicePolicy, OpenPolicy, Peer, Policy, Sink, inner_name};
use super::presence::{Claim, Presence, Reach};
use super::router::{HandOver, LogSize, RouterGone};
use super::watch::{Routers, Watch};

/// A gate cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The address cannot be listened on.
    #[error("listen for devices on {address}")]
    Listen {
        /// The address from the configuration.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The router did not start.
    #[error("start the gate's router: its thread did not answer")]
    Router,
}

/// A message cannot be sent to a device now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic leads from a device to the coordinator, or to all devices.
    #[error("publish to '{0}': not a topic towards one device")]
    NotDown(Topic),
    /// The message does not fit a packet.
    #[error("publish {length} bytes: {max} at most")]
    TooLarge {
        /// The length of the payload.
        length: usize,
        /// The longest payload.
        max: usize,
    },
    /// The device has no connection.
    #[error("publish to device {0}: not connected")]
    NotConnected(DeviceId),
    /// The device is connected but has not subscribed to the topic.
    #[error("publish to '{0}': the device has not subscribed")]
    NotSubscribed(Topic),
    /// More messages wait for the router than may.
    #[error("publish: {0} messages wait already")]
    QueueFull(usize),
    /// The router died; another one is being started and devices will reconnect.
    #[error("publish: the router is being restarted")]
    RouterGone,
}

/// Devices of so many connections are served by one router.
const CONNECTIONS_PER_ROUTER: usize = 256;
/// Each is a thread that sleeps while nothing happens.
const ROUTERS_MAX: usize = 64;

/// What all connections of a gate share.
pub(crate) struct Shared {
    pub(crate) limits: GateLimits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) census: Census,
    pub(crate) presence: Arc<Presence>,
    pub(crate) routers: Routers,
    pub(crate) shutdown: CancellationToken,
}

impl Shared {
    pub(crate) async fn claim(&self, id: &str, connection: u64) -> Result<Claim, Closed> {
        self.presence.claim(id, connection, &self.limits, &self.shutdown).await
    }
}

/// A running gate. Clones are the same gate; it runs until the token given at its start is cancelled.
#[derive(Clone)]
pub struct GateHandle {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<watch::Sender<Arc<ServerConfig>>>,
    tasks: TaskTracker,
}

/// Starts the gate for devices on `listen`: TLS by `tls` (see [`tls::server_config`](super::tls::server_config)),
/// messages to `sink`.
pub async fn serve_devices<S: Sink>(
    listen: SocketAddr,
    limits: GateLimits,
    tls: Arc<ServerConfig>,
    sink: Arc<S>,
    shutdown: CancellationToken,
) -> Result<GateHandle, GateError> {
    let (tls, configs) = watch::channel(tls);
    let policy = DevicePolicy { sink };
    let routers = limits.connections_max.div_ceil(CONNECTIONS_PER_ROUTER).min(ROUTERS_MAX);
    let start = Start { listen, limits, log: LogSize::DEVICES, routers, shutdown };
    let handle = start.serve(policy, Some(configs)).await?;
    Ok(GateHandle { tls: Some(tls), ..handle })
}

/// Starts the same engine for anybody on plain TCP, with all topics, retained messages and wills.
///
/// For conformance suites and fuzzers; never on a network that devices use.
pub async fn serve_open(
    listen: SocketAddr,
    limits: GateLimits,
    shutdown: CancellationToken,
) -> Result<GateHandle, GateError> {
    // Anybody may have subscribed to anything: all are on one router.
    Start { listen, limits, log: LogSize::OPEN, routers: 1, shutdown }.serve(OpenPolicy, None).await
}

struct Start {
    listen: SocketAddr,
    limits: GateLimits,
    log: LogSize,
    routers: usize,
    shutdown: CancellationToken,
}

impl Start {
    async fn serve<P: Policy>(self, policy: P, security: Security) -> Result<GateHandle, GateError> {
        let Self { listen, limits, log, routers, shutdown } = self;
        let listening = |source| GateError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let counters = Arc::new(Counters::new());
        let watch = Watch {
            limits: limits.clone(),
            log,
            counters: Arc::clone(&counters),
            shutdown: shutdown.clone(),
        };
        let started = watch.start(routers).await;
        let (routers, watching) = started.map_err(|RouterGone| GateError::Router)?;
        let shared = Arc::new(Shared {
            limits,
            counters,
            census: Census::new(),
            presence: Arc::default(),
            routers,
            shutdown,
        });
        let tasks = TaskTracker::new();
        for watching in watching {
            tasks.spawn(watching);
        }
        tasks.spawn(accept::run(listener, security, Arc::new(policy), Arc::clone(&shared), tasks.clone()));
        tracing::info!(%address, "gate opened");
        Ok(GateHandle { shared, address, tls: None, tasks })
    }
}

impl GateHandle {
    /// The address the gate listens on, with the port that was chosen for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Sends `payload` to the device of `topic`, with QoS 1 if it subscribed so.
    ///
    /// `Ok` means that the device is connected and subscribed, and that the message is with the router; it may
    /// still be lost with the connection. Nothing is retained. Does not wait. Audit heads are for all devices: see
    /// [`GateHandle::publish_audit_head`].
    pub fn publish(&self, topic: &Topic, payload: Bytes) -> Result<(), PublishError> {
        let Way::Down(Down::Order | Down::Ack | Down::Time) = topic.way else {
            return Err(PublishError::NotDown(topic.clone()));
        };
        let limits = &self.shared.limits;
        let text = topic.to_string();
        // Topic, its length, packet id.
        let max = limits.packet_max.saturating_sub(text.len() + 4);
        if payload.len() > max {
            return Err(PublishError::TooLarge { length: payload.len(), max });
        }
        let id = topic.device.to_string();
        match self.shared.presence.reach(topic.device, &text) {
            Reach::Subscribed => {}
            Reach::NotSubscribed => return Err(PublishError::NotSubscribed(topic.clone())),
            Reach::Absent => return Err(PublishError::NotConnected(topic.device)),
        }
        let router = self.shared.routers.current(&id).map_err(|RouterGone| PublishError::RouterGone)?;
        let handed_over =
            router.publish(Bytes::from(inner_name(topic)), payload, false, limits.publish_queue_max);
        handed_over.map_err(|error| match error {
            HandOver::QueueFull => PublishError::QueueFull(limits.publish_queue_max),
            HandOver::Gone => PublishError::RouterGone,
        })?;
        Counters::count(&self.shared.counters.published);
        Ok(())
    }

    /// Sends the signed head of the audit log to all devices that listen for it, and to each that does later, until there is
    /// another one or the device's router is started anew. Does not wait.
    pub fn publish_audit_head(&self, head: &Bytes) {
        for router in self.shared.routers.all() {
            let topic = Bytes::from_static(AUDIT_HEADS.as_bytes());
            let queue_max = self.shared.limits.publish_queue_max;
            if router.publish(topic, head.clone(), true, queue_max).is_ok() {
                Counters::count(&self.shared.counters.published);
            }
        }
    }

    /// Cuts the connection of `device` at once, also one that is being admitted. False when there is none.
    ///
    /// For a revocation: first let [`Sink::admit`] refuse the device, then call this.
    pub fn disconnect(&self, device: DeviceId) -> bool {
        self.shared.presence.end(device, Closed::Cut)
    }

    /// The devices that are in, in no order.
    pub fn connected(&self) -> Vec<Peer> {
        self.shared.presence.peers()
    }

    /// Uses another TLS configuration (certificate, fleet CAs) for connections from now on.
    ///
    /// Connections that are open stay. The open gate has no TLS and ignores this.
    pub fn set_tls(&self, tls: Arc<ServerConfig>) {
        if let Some(sender) = &self.tls {
            sender.send_replace(tls);
        }
    }

    /// The counters as they are now.
    pub fn figures(&self) -> GateFigures {
        self.shared.counters.figures(self.shared.census.open())
    }

    /// Kills the threads of all routers, as their own defects would, to see the gate recover: a drill.
    ///
    /// Every connection ends; devices come back by themselves. False when there was no router to kill.
    pub async fn kill_routers(&self) -> bool {
        let mut killed = false;
        for router in self.shared.routers.all() {
            killed |= router.kill(self.shared.limits.router_deadline).await.is_ok();
        }
        killed
    }

    /// Waits until the gate has shut down: no listener, no connection.
    pub async fn stopped(&self) {
        self.shared.shutdown.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}
