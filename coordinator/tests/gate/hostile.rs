//! Clients that misbehave. After each of them a real device must come in and report as if nothing had been.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use takt_common::topic::{Down, Up};
use takt_coordinator::gate::{Closed, GateLimits};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::Client;
use super::numbers::Numbers;
use super::raw::{Raw, connect, packet, publish, string, subscribe};
use super::world::{Device, World, until};

/// A device comes in, hears an order and reports.
async fn works(world: &World, device: &Device) {
    let before = world.ledger.reports_of(device.id);
    let mut client = Client::listen(world, device).await;
    world.gate.publish(&device.down(Down::Order), Bytes::from_static(b"order")).unwrap();
    assert_eq!(client.next_publish().await.payload, "order");
    client.mqtt.publish(device.up(Up::Report), QoS::AtLeastOnce, false, "done").await.unwrap();
    client.next_puback().await;
    assert_eq!(world.ledger.reports_of(device.id), before + 1);
    client.mqtt.disconnect().await.unwrap();
    until("the device is gone", || world.gate.connected().iter().all(|peer| peer.device != device.id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_tcp_connection_does_not_deafen_the_gate() {
    let world = World::new(GateLimits::default()).await;
    let (device, silent_device) = (world.device(1), world.device(2));
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(Raw::tcp(world.port()).await);
    }
    for _ in 0..200 {
        silent.push(Raw::tls(world.port(), &silent_device.tls).await.unwrap());
    }
    assert_eq!(world.gate.figures().open, 400);
    works(&world, &device).await;
    assert_eq!(world.gate.figures().routers_replaced, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_ended_at_their_deadlines() {
    let world = World::new(GateLimits {
        tls_deadline: Duration::from_millis(200),
        connect_deadline: Duration::from_millis(300),
        ..GateLimits::default()
    })
    .await;
    let mut before_tls = Raw::tcp(world.port()).await;
    assert!(before_tls.read_to_end().await.is_empty());
    world.until_closed_for(Closed::TlsDeadline, 1).await;
    let mut after_tls = Raw::tls(world.port(), &world.device(1).tls).await.unwrap();
    after_tls.send(&connect("half a CONNECT", 30)[..5]).await;
    assert!(after_tls.read_to_end().await.is_empty());
    world.until_closed_for(Closed::ConnectDeadline, 1).await;
    works(&world, &world.device(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_places_are_refused_and_given_back() {
    let limits =
        GateLimits { unproven_per_source_max: 3, connections_per_source_max: 5, ..GateLimits::default() };
    let world = World::new(limits).await;
    let mut unproven = Vec::new();
    for _ in 0..3 {
        unproven.push(Raw::tcp(world.port()).await);
    }
    until("three are in", || world.gate.figures().open == 3).await;
    assert!(Raw::tcp(world.port()).await.read_to_end().await.is_empty());
    world.until_closed_for(Closed::UnprovenFull, 1).await;
    drop(unproven);
    until("all are gone", || world.gate.figures().open == 0).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        clients.push(Client::connect(&world, &world.device(number)).await);
    }
    assert!(Raw::tcp(world.port()).await.read_to_end().await.is_empty());
    world.until_closed_for(Closed::SourceFull, 1).await;
    clients.pop();
    until("one is gone", || world.gate.figures().open == 4).await;
    works(&world, &world.device(9)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_before_connack_harms_nobody() {
    // Fewer links than connections to come: each of them must be given back.
    let limits = GateLimits { takeovers_burst: 100_000, connections_max: 200, ..GateLimits::default() };
    let world = World::new(limits).await;
    let devices: Vec<Device> = (0..4).map(|number| world.device(number)).collect();
    let mut bystander = Client::listen(&world, &world.device(100)).await;
    let at_once = std::sync::Arc::new(Semaphore::new(32));
    let mut storm = JoinSet::new();
    for number in 0..3_000 {
        let device = devices[number % devices.len()].clone();
        let (port, at_once) = (world.port(), at_once.clone());
        storm.spawn(async move {
            let _permit = at_once.acquire().await.unwrap();
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.set_zero_linger().unwrap();
            let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
            let connector = tokio_rustls::TlsConnector::from(device.tls.clone());
            let Ok(mut stream) = connector.connect(name, stream).await else { return };
            drop(stream.write_all(&connect(&device.id.to_string(), 30)).await);
            drop(stream.flush().await);
            // Dropped here: the kernel sends a reset, before or after the gate's CONNACK.
        });
    }
    while let Some(ended) = storm.join_next().await {
        ended.unwrap();
    }
    let all_came = || world.gate.figures().accepted == 3_001;
    until("only the bystander is left", || all_came() && world.gate.figures().open == 1).await;
    assert_eq!(world.gate.figures().routers_replaced, 0);
    assert_eq!(world.ledger.present(), 1);
    for device in &devices {
        works(&world, device).await;
    }
    world.gate.publish(&world.device(100).down(Down::Order), Bytes::from_static(b"still there")).unwrap();
    assert_eq!(bystander.next_publish().await.payload, "still there");
}

/// Packets of every type, most of them nearly right.
fn fuzz(numbers: &mut Numbers, device: &Device) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=numbers.below(6) {
        let packet_id = u16::try_from(numbers.below(5)).unwrap();
        let qos = u8::try_from(numbers.below(4)).unwrap();
        let topic = match numbers.below(6) {
            0 => device.up(Up::Report),
            1 => device.down(Down::Order).to_string(),
            2 => "a/+/#".to_owned(),
            3 => "$SYS/x".to_owned(),
            4 => "$share/g/t".to_owned(),
            _ => "t".to_owned(),
        };
        let length = numbers.below(40);
        let noise = numbers.bytes(length);
        let mut next = match numbers.below(12) {
            0 => connect("x", 10),
            1 => publish(qos << 1, &topic, packet_id, &noise),
            2 => publish(u8::try_from(numbers.below(16)).unwrap(), &topic, packet_id, &noise),
            3 => subscribe(packet_id, &[(&topic, qos), ("t", 1)]),
            4 => packet(0xa2, &[packet_id.to_be_bytes().to_vec(), string(&topic)].concat()),
            5 => packet(0x40 + 0x10 * u8::try_from(numbers.below(4)).unwrap(), &packet_id.to_be_bytes()),
            6 => packet(0x62, &packet_id.to_be_bytes()),
            7 => packet(0xc0, &[]),
            8 => packet(0xe0, &[]),
            9 => noise,
            _ => packet(numbers.next().to_le_bytes()[0], &noise),
        };
        if numbers.below(3) == 0 && !next.is_empty() {
            let at = numbers.below(next.len());
            next[at] ^= 1 << numbers.below(8);
        }
        if numbers.below(8) == 0 {
            next.truncate(numbers.below(next.len() + 1));
        }
        bytes.extend(next);
    }
    bytes
}

async fn storm_of_fuzz(
    port: u16,
    seeds: std::ops::Range<u64>,
    begin: impl Fn(u64) -> Option<Vec<u8>>,
    victim: &Device,
) {
    let at_once = std::sync::Arc::new(Semaphore::new(64));
    let mut storm = JoinSet::new();
    for seed in seeds {
        let mut numbers = Numbers::new(seed);
        let mut bytes = begin(seed).unwrap_or_default();
        bytes.extend(fuzz(&mut numbers, victim));
        let at_once = at_once.clone();
        storm.spawn(async move {
            let _permit = at_once.acquire().await.unwrap();
            let mut raw = Raw::tcp(port).await;
            drop(raw.try_send(&bytes).await);
        });
    }
    while let Some(ended) = storm.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzzed_packets_of_every_type_harm_nobody() {
    // The same engine without TLS, with everything allowed, takes far more bytes a second into the router.
    let shutdown = tokio_util::sync::CancellationToken::new();
    let gate = super::open_gate::open(([127, 0, 0, 1], 0).into(), &shutdown).await.unwrap();
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    // Three of four begin with a good CONNECT, half of these with ids that many share.
    let begin = |seed: u64| match seed % 4 {
        0 => None,
        1 => Some(connect(&format!("shared-{}", seed % 20), 10)),
        2 => Some(connect(&format!("+own/#-{seed}"), 0)),
        _ => Some(connect("", 10)),
    };
    let port = gate.local_addr().port();
    storm_of_fuzz(port, 0..5_000, begin, &device).await;
    let ended = || gate.figures().closed.iter().map(|(_, count)| count).sum::<u64>();
    until("every connection has come and ended", || ended() == 5_000).await;
    let figures = gate.figures();
    assert_eq!((figures.open, figures.accepted), (0, 5_000));
    assert_eq!(figures.routers_replaced, 0, "the router survived");
    assert!(figures.closed_for(Closed::Malformed) > 500, "{figures:?}");
    assert!(figures.admitted > 2_000, "{figures:?}");
    let mut client = Client::connect_with(super::client::options("after", port, None)).await.unwrap();
    client.subscribe("a/#", QoS::AtLeastOnce).await;
    client.mqtt.publish("a/b", QoS::AtLeastOnce, false, "well").await.unwrap();
    assert_eq!(client.next_publish().await.payload, "well");
    shutdown.cancel();
    gate.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_from_a_device_harms_nobody_else() {
    let world = World::new(GateLimits { takeovers_burst: 100_000, ..GateLimits::default() }).await;
    let (device, other) = (world.device(1), world.device(2));
    let mut bystander = Client::listen(&world, &other).await;
    for seed in 0..500 {
        let mut numbers = Numbers::new(seed);
        let mut raw = Raw::tls(world.port(), &device.tls).await.unwrap();
        let mut bytes = if seed % 8 == 0 { Vec::new() } else { connect(&device.id.to_string(), 30) };
        bytes.extend(fuzz(&mut numbers, &device));
        drop(raw.try_send(&bytes).await);
    }
    until("only the bystander is left", || world.gate.figures().open == 1).await;
    assert_eq!(world.gate.figures().routers_replaced, 0);
    assert!(bystander.come().is_empty(), "nothing reached the other device");
    works(&world, &device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_packet_is_refused_by_its_header() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    // Before CONNECT the limit is much smaller.
    let mut raw = Raw::tls(world.port(), &device.tls).await.unwrap();
    raw.send(&[0x10, 0xff, 0xff, 0x03]).await;
    assert!(raw.read_to_end().await.is_empty());
    world.until_closed_for(Closed::PacketTooLarge, 1).await;
    let mut raw = Raw::device(&world, &device, 30).await;
    raw.send(&publish(0b0010, &device.up(Up::Report), 1, &vec![b'x'; 64 * 1024])).await;
    assert_eq!(raw.read_exactly(4).await, [0x40, 2, 0, 1], "a full envelope fits");
    raw.send(&[0x32, 0x80, 0x80, 0x05]).await;
    assert!(raw.read_to_end().await.is_empty());
    world.until_closed_for(Closed::PacketTooLarge, 2).await;
    works(&world, &device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_dropped_and_holds_nobody_up() {
    let world =
        World::new(GateLimits { write_deadline: Duration::from_millis(500), ..GateLimits::default() }).await;
    let (slow, other) = (world.device(1), world.device(2));
    let mut raw = Raw::device(&world, &slow, 0).await;
    let order = slow.down(Down::Order);
    raw.send(&subscribe(1, &[(&order.to_string(), 0)])).await;
    assert_eq!(raw.read_exactly(5).await, [0x90, 3, 0, 1, 0]);
    let mut bystander = Client::listen(&world, &other).await;
    let mut sent = 0;
    until("the slow reader is dropped", || {
        // More than any socket buffer takes.
        for _ in 0..4 {
            sent += u32::from(world.gate.publish(&order, Bytes::from(vec![0; 60_000])).is_ok());
        }
        world.gate.figures().closed_for(Closed::WriteDeadline) == 1
    })
    .await;
    assert!(sent > 20);
    world.gate.publish(&other.down(Down::Order), Bytes::from_static(b"on time")).unwrap();
    assert_eq!(bystander.next_publish().await.payload, "on time");
    works(&world, &slow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_slowed_down_and_loses_nothing() {
    let limits = GateLimits { packets_burst: 20, packets_per_sec: 200, ..GateLimits::default() };
    let world = World::new(limits).await;
    let device = world.device(1);
    let mut raw = Raw::device(&world, &device, 30).await;
    let topic = device.up(Up::Report);
    let flood: Vec<u8> = (1..=200u16).flat_map(|id| publish(0b0010, &topic, id, b"x")).collect();
    raw.send(&flood).await;
    let expected: Vec<u8> = (1..=200u16).flat_map(|id| [[0x40, 2], id.to_be_bytes()].concat()).collect();
    assert_eq!(raw.read_exactly(800).await, expected);
    assert!(world.gate.figures().throttled >= 100, "{:?}", world.gate.figures());
    works(&world, &world.device(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_answers_its_orders_holds_nobody_up() {
    let world = World::new(GateLimits::default()).await;
    let (mute, other) = (world.device(1), world.device(2));
    let mut raw = Raw::device(&world, &mute, 30).await;
    let order = mute.down(Down::Order);
    raw.send(&subscribe(1, &[(&order.to_string(), 1)])).await;
    assert_eq!(raw.read_exactly(5).await, [0x90, 3, 0, 1, 1]);
    // Answers that nobody asked for, and twice, must not reach the router: they would kill it.
    for id in [1u8, 1, 99, 0xff] {
        raw.send(&[0x40, 2, 0, id]).await;
        raw.send(&[0x50, 2, 0, id]).await;
        raw.send(&[0x70, 2, 0, id]).await;
    }
    for _ in 0..1_000 {
        world.gate.publish(&order, Bytes::from_static(b"order")).unwrap();
    }
    works(&world, &other).await;
    let first = publish(0b0010, &order.to_string(), 1, b"order");
    assert_eq!(raw.read_exactly(first.len()).await, first);
    assert_eq!(world.gate.figures().routers_replaced, 0);
}
