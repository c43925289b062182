//! Who may come in, once, and until when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{ConnectReturnCode, ConnectionError, LastWill, QoS};
use takt_common::topic::{Down, Up};
use takt_coordinator::gate::{Closed, GateLimits};

use super::client::{Client, options};
use super::raw::{PINGREQ, PINGRESP, Raw, connect, publish};
use super::world::{Authority, World, until};

fn refused(outcome: Result<Client, ConnectionError>) -> ConnectReturnCode {
    match outcome {
        Err(ConnectionError::ConnectionRefused(code)) => code,
        Err(error) => panic!("a CONNACK with a refusal was expected, not {error}"),
        Ok(_) => panic!("a refusal was expected"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_id_must_be_the_certificates_subject() {
    let world = World::new(GateLimits::default()).await;
    let (device, other) = (world.device(1), world.device(2));
    for id in [other.id.to_string(), "camera-1".to_owned(), "+/#$".to_owned()] {
        let outcome = Client::connect_with(options(&id, world.port(), Some(Arc::clone(&device.tls)))).await;
        assert_eq!(refused(outcome), ConnectReturnCode::BadClientId, "{id}");
    }
    assert_eq!(world.ledger.asked(device.id) + world.ledger.asked(other.id), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_enrolled_is_refused() {
    let world = World::new(GateLimits::default()).await;
    let stranger = world.authority.device(9);
    assert_eq!(refused(Client::try_connect(&world, &stranger).await), ConnectReturnCode::NotAuthorized);
    world.ledger.enrol(stranger.id);
    Client::connect(&world, &stranger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_a_will_is_refused() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    let mut with_will = options(&device.id.to_string(), world.port(), Some(Arc::clone(&device.tls)));
    with_will.set_last_will(LastWill::new(device.up(Up::Report), "dead", QoS::AtLeastOnce, false));
    assert_eq!(refused(Client::connect_with(with_will).await), ConnectReturnCode::NotAuthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocol_versions_are_told_so() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    let mut raw = Raw::tls(world.port(), &device.tls).await.unwrap();
    let mut version_five = connect(&device.id.to_string(), 30);
    version_five[8] = 5;
    raw.send(&version_five).await;
    assert_eq!(raw.read_to_end().await, [0x20, 2, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_3_with_a_certificate_of_the_fleet_comes_in() {
    let world = World::new(GateLimits::default()).await;
    let id = world.device(1).id.to_string();
    let foreign = Authority::new();
    let mut failed = 0;
    // The foreign certificate is presented by one who trusts the right server.
    let mut impostor = (*world.authority.client_config(None)).clone();
    impostor.client_auth_cert_resolver =
        Arc::clone(&foreign.client_config(Some(&id)).client_auth_cert_resolver);
    for config in [
        world.authority.client_config(None),
        Arc::new(impostor),
        world.authority.client_config_with(Some(&id), &rustls::version::TLS12),
    ] {
        // With TLS 1.3 a client learns of the refusal only when it reads.
        if let Ok(mut raw) = Raw::tls(world.port(), &config).await {
            drop(raw.try_send(&connect(&id, 30)).await);
            assert!(raw.read_to_end().await.is_empty());
        }
        failed += 1;
        world.until_closed_for(Closed::TlsFailed, failed).await;
    }
    let nameless = world.authority.client_config(Some("camera-1"));
    let mut raw = Raw::tls(world.port(), &nameless).await.unwrap();
    assert!(raw.read_to_end().await.is_empty());
    world.until_closed_for(Closed::SubjectUnusable, 1).await;
    assert_eq!(world.ledger.asked(world.device(1).id), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_fleet_ca_counts_for_new_connections() {
    let world = World::new(GateLimits::default()).await;
    let mut old = Client::listen(&world, &world.device(1)).await;
    let next = Authority::new();
    world.gate.set_tls(next.server_config());
    assert!(Client::try_connect(&world, &world.device(2)).await.is_err());
    let renewed = next.device(2);
    Client::connect(&world, &renewed).await;
    world.gate.publish(&world.device(1).down(Down::Time), Bytes::from_static(b"noon")).unwrap();
    assert_eq!(old.next_publish().await.payload, "noon");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_cut_at_once() {
    let world = World::new(GateLimits::default()).await;
    let (device, other) = (world.device(1), world.device(2));
    let mut client = Client::listen(&world, &device).await;
    let _other = Client::listen(&world, &other).await;
    world.ledger.revoke(device.id);
    assert!(world.gate.disconnect(device.id));
    client.ended().await;
    assert_eq!(refused(Client::try_connect(&world, &device).await), ConnectReturnCode::NotAuthorized);
    until("it is gone", || world.gate.connected().len() == 1).await;
    assert!(!world.gate.disconnect(device.id));
    assert_eq!(world.ledger.gone_for(Closed::Cut), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_cut_also_while_it_is_stuck() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    // Its report is in the sink's hands.
    world.ledger.hold();
    let mut raw = Raw::device(&world, &device, 30).await;
    raw.send(&publish(0b0010, &device.up(Up::Report), 1, b"report")).await;
    raw.send(&PINGREQ).await;
    assert_eq!(raw.read_exactly(2).await, PINGRESP);
    assert!(world.gate.disconnect(device.id));
    assert!(raw.read_to_end().await.is_empty());
    // It is being admitted.
    until("its id is free", || !world.gate.disconnect(device.id)).await;
    world.ledger.hold_admissions();
    let asked = world.ledger.asked(device.id);
    let mut raw = Raw::tls(world.port(), &device.tls).await.unwrap();
    raw.send(&connect(&device.id.to_string(), 30)).await;
    until("the ledger was asked", || world.ledger.asked(device.id) > asked).await;
    assert!(world.gate.disconnect(device.id));
    assert_eq!(raw.read_to_end().await, [0x20, 2, 0, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clients_with_one_id_the_newer_stays_and_clones_are_reported() {
    let world = World::new(GateLimits {
        takeovers_burst: 3,
        takeover_interval: Duration::from_hours(1),
        ..GateLimits::default()
    })
    .await;
    let device = world.device(1);
    let mut current = Client::listen(&world, &device).await;
    for number in 1..=3 {
        let newer = Client::listen(&world, &device).await;
        current.ended().await;
        assert_eq!(world.ledger.gone_for(Closed::TakenOver), number);
        assert_eq!(world.ledger.present(), 1);
        current = newer;
    }
    assert!(!world.ledger.cloned(device.id));
    assert_eq!(refused(Client::try_connect(&world, &device).await), ConnectReturnCode::ServiceUnavailable);
    assert!(world.ledger.cloned(device.id));
    // The one that is in stays in, and others are not concerned.
    world.gate.publish(&device.down(Down::Order), Bytes::from_static(b"order")).unwrap();
    assert_eq!(current.next_publish().await.payload, "order");
    Client::connect(&world, &world.device(2)).await;
    // After a goodbye there is nobody to take over from.
    current.mqtt.disconnect().await.unwrap();
    until("it is gone", || world.ledger.present() == 0).await;
    Client::connect(&world, &device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_with_one_id_leaves_exactly_one() {
    let world = World::new(GateLimits {
        takeovers_burst: 100,
        takeover_interval: Duration::from_millis(1),
        takeover_deadline: Duration::from_secs(20),
        ..GateLimits::default()
    })
    .await;
    let device = world.device(1);
    let connecting = (0..40).map(|_| {
        let (device, port) = (device.clone(), world.port());
        tokio::spawn(async move {
            let id = device.id.to_string();
            Client::connect_with(options(&id, port, Some(device.tls))).await.ok()
        })
    });
    let mut crowd = Vec::new();
    for client in connecting.collect::<Vec<_>>() {
        crowd.extend(client.await.unwrap());
    }
    until("one is left", || world.ledger.present() == 1 && world.gate.figures().open == 1).await;
    // Some of them were thrown out before they were in.
    assert_eq!(world.gate.figures().closed_for(Closed::TakenOver), 39);
    assert!(!crowd.is_empty());
    assert_eq!(world.gate.connected().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_and_pings_keep_it() {
    let world = World::new(GateLimits { idle_max: Duration::from_secs(3), ..GateLimits::default() }).await;
    let mut silent = Raw::device(&world, &world.device(1), 1).await;
    let mut lively = Raw::device(&world, &world.device(2), 1).await;
    // No keep-alive at all: the gate's own limit counts.
    let mut timeless = Raw::device(&world, &world.device(3), 0).await;
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    for _ in 0..6 {
        tick.tick().await;
        lively.send(&PINGREQ).await;
        assert_eq!(lively.read_exactly(2).await, PINGRESP);
    }
    assert!(silent.read_to_end().await.is_empty());
    assert!(world.ledger.gone_for(Closed::KeepAlive) >= 1);
    assert!(timeless.read_to_end().await.is_empty());
    until("both were too silent", || world.ledger.gone_for(Closed::KeepAlive) >= 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_everything() {
    let world = World::new(GateLimits::default()).await;
    let mut client = Client::listen(&world, &world.device(1)).await;
    let mut silent = Raw::tcp(world.port()).await;
    let mut unnamed = Raw::tls(world.port(), &world.device(2).tls).await.unwrap();
    world.shutdown.cancel();
    tokio::time::timeout(super::world::PATIENCE, world.gate.stopped()).await.expect("the gate stops");
    client.ended().await;
    assert!(silent.read_to_end().await.is_empty());
    drop(unnamed.read_to_end().await);
    assert_eq!((world.gate.figures().open, world.ledger.present()), (0, 0));
}
