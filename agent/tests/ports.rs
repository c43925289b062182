//! Published ports with real containers and the real `nft`. Run them as `tests/env/with-engine.sh cargo test -p takt-agent`.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::Device;
use takt_agent::ports::Ports;
use takt_agent_core::facts::Routed;
use takt_agent_core::phase::Role;
use takt_common::release::{Port, Probe};
use takt_workload::Nature;

const GRACE: Duration = Duration::from_secs(5);

/// The rules of a device in the kernel; they go with it.
struct Rules(String);

impl Drop for Rules {
    fn drop(&mut self) {
        let table = format!("takt-{}", &self.0[..12]);
        let _may_be_gone =
            Command::new("nft").args(["delete", "table", "inet", &table]).stderr(Stdio::null()).status();
    }
}

#[tokio::test]
async fn a_release_without_published_ports_is_found_where_it_listens_after_one_that_had_them() {
    let device = Device::new();
    let _rules = Rules(device.id.to_string());
    let (engine, ports) = (&device.engine, Ports::new(device.id).unwrap());
    let probes = || vec![Probe::Http("http://127.0.0.1:${port}/counter".to_owned())];
    let mut container = device.loaded("1.0.0", Nature::Good).await;
    container.ports = vec![Port { variable: "port".parse().unwrap(), container_port: None }];
    let name = device.name("old");
    engine.create(&name, Role::Own, &container).await.unwrap();
    let old = Device::workload(&name, &container, probes());
    engine.start(&name).await.unwrap();
    ports.route(engine, &old).await.unwrap();
    device.until_serving().await;

    engine.stop(&name, GRACE).await.unwrap();
    let new_name = device.created("new", "2.0.0", Nature::Good).await;
    let new = Device::workload(&new_name, &device.image("2.0.0", Nature::Good).1, probes());
    engine.start(&new_name).await.unwrap();
    assert!(device.round(&new_name, probes()).await.is_err(), "the port still leads to where nobody is");
    ports.give_up(engine, &old, &new, Role::Own).await.unwrap();
    device.until_serving().await;
    device.round(&new_name, probes()).await.unwrap();
    ports.give_up(engine, &old, &new, Role::Own).await.unwrap();

    // It comes back, and so do its clients.
    engine.stop(&new_name, GRACE).await.unwrap();
    engine.start(&name).await.unwrap();
    assert_eq!(ports.look(engine, &old).await, Routed::No);
    ports.route(engine, &old).await.unwrap();
    device.until_serving().await;
    // Ports that the next one publishes too stay where they are.
    ports.give_up(engine, &old, &old, Role::Own).await.unwrap();
    assert_eq!(ports.look(engine, &old).await, Routed::Yes);
}
