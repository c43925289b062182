//! The router dies; devices come back to a new one.

use std::time::Duration;

use bytes::Bytes;
use takt_common::topic::Down;
use takt_coordinator::gate::{Closed, GateLimits};

use super::client::Client;
use super::raw::{Raw, publish};
use super::world::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn when_the_router_dies_every_device_comes_back_to_a_new_one() {
    come_back(64, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_of_several_routers_die_every_device_comes_back() {
    come_back(700, 3).await;
}

/// A gate of so many connections, which has so many routers.
async fn come_back(connections_max: usize, routers: u64) {
    let router_heartbeat = Duration::from_millis(100);
    let limits = GateLimits { router_heartbeat, connections_max, ..GateLimits::default() };
    let world = World::new(limits).await;
    for deaths in 1..=3 {
        let mut clients = Vec::new();
        for number in 0..5 {
            clients.push(Client::listen(&world, &world.device(number)).await);
        }
        assert!(world.gate.kill_routers().await);
        for client in &mut clients {
            client.ended().await;
        }
        world.until_closed_for(Closed::RouterGone, 5 * deaths).await;
        until("others run", || world.gate.figures().routers_replaced == routers * deaths).await;
        until("all ids are free", || world.gate.connected().is_empty()).await;
    }
    let device = world.device(1);
    let mut client = Client::listen(&world, &device).await;
    world.gate.publish(&device.down(Down::Order), Bytes::from_static(b"again")).unwrap();
    assert_eq!(client.next_publish().await.payload, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_in_the_sinks_hands_survives_the_routers_death_or_is_sent_again() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    world.ledger.hold();
    let mut raw = Raw::device(&world, &device, 30).await;
    let report = publish(0b0010, &device.up(takt_common::topic::Up::Report), 3, b"report");
    raw.send(&report).await;
    raw.send(&super::raw::PINGREQ).await;
    assert_eq!(raw.read_exactly(2).await, super::raw::PINGRESP);
    assert!(world.gate.kill_routers().await);
    assert!(raw.read_to_end().await.is_empty(), "no PUBACK for what is not durable");
    world.ledger.release();
    let mut raw = Raw::device(&world, &device, 30).await;
    raw.send(&report).await;
    assert_eq!(raw.read_exactly(4).await, [0x40, 2, 0, 3]);
    assert_eq!(world.ledger.reports(), ["report"]);
}
