//! The gate on real sockets: real MQTT clients over real TLS, raw ones that misbehave, a router that dies.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod devices;
mod hostile;
mod identity;
mod numbers;
mod open;
mod packets;
mod raw;
mod recovery;
mod world;

#[path = "../../examples/open_gate.rs"]
#[allow(dead_code, reason = "the tests call all of the example but its main function")]
mod open_gate;
