//! The gate: the MQTT 3.1.1 server that devices talk to.
//!
//! An accept loop of our own stands in front of the router, the links and the codec of `rumqttd`, because that
//! crate's own network server must not face a network (`docs/decisions/0002-gate-over-rumqttd-router.md`).
//!
//! ```text
//!  device ── TCP ── accept ── TLS 1.3 ── CONNECT ── session ── link ── router (a thread of rumqttd)
//!                   census    tls        policy     frame               watch: restarted when it dies
//!                   limits               presence     │
//!                                                     └── reports, health ── Sink ── PUBACK when durable
//! ```
//!
//! * What a device may do is decided in [`policy`]: its own topics, nothing else.
//! * What any connection may cost is decided in [`limits`].
//! * Messages down to devices go through the router; a device that is not connected does not get them, nothing
//!   is retained but the last head of the audit log, and every session is clean. Orders live in the store and are sent again by the coordinator.
//! * Messages up from devices never reach the router: the [`Sink`] takes them.

mod accept;
mod acks;
mod census;
mod clock;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod intake;
pub mod limits;
mod link;
pub mod metrics;
pub mod policy;
mod presence;
mod router;
mod session;
pub mod tls;
mod watch;
mod wire;

pub use handle::{GateError, GateHandle, PublishError, serve_devices, serve_open};
pub use limits::GateLimits;
pub use metrics::{Closed, GateFigures};
pub use policy::{Peer, Refusal, Sink, SinkError};
