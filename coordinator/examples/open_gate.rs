//! Serves the gate's MQTT 3.1.1 engine on plain TCP to anybody, for conformance suites and fuzzers.
//!
//! ```text
//! cargo run -p takt-coordinator --example open_gate -- --listen 127.0.0.1:1883
//! ```
//!
//! Prints `listening on ADDRESS` and runs until it is interrupted. Never use it on a network of devices.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use takt_coordinator::gate::{GateHandle, GateLimits, serve_open};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(std::io::stderr).init();
    let listen = parse(std::env::args().skip(1))?;
    let shutdown = CancellationToken::new();
    let gate = open(listen, &shutdown).await?;
    println!("listening on {}", gate.local_addr());
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    gate.stopped().await;
    Ok(())
}

/// The address after `--listen`; port 1883 of this machine if there is none.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<SocketAddr, String> {
    let arguments: Vec<String> = arguments.collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Ok(SocketAddr::from(([127, 0, 0, 1], 1883))),
        ["--listen", address] => address
            .parse()
            .map_err(|_| format!("'{address}' is not an address and port, such as 127.0.0.1:1883")),
        _ => Err("usage: open_gate [--listen ADDRESS:PORT]".to_owned()),
    }
}

/// Opens the gate with limits that suites do not run into: all their connections come from one machine.
pub(crate) async fn open(
    listen: SocketAddr,
    shutdown: &CancellationToken,
) -> Result<GateHandle, Box<dyn Error>> {
    let limits = GateLimits {
        connections_per_source_max: 4_096,
        unproven_per_source_max: 1_024,
        connect_packet_max: 64 * 1024,
        packet_max: 1024 * 1024,
        packets_per_sec: 1_000_000,
        packets_burst: 1_000_000,
        subscriptions_max: 1_024,
        takeovers_burst: 1_000,
        takeover_interval: Duration::from_millis(1),
        ..GateLimits::default()
    };
    Ok(serve_open(listen, limits, shutdown.clone()).await?)
}
