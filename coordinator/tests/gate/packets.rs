//! Packets of every type and version, malformed or out of order. After each of them an honest device exchanges messages as before,
//! over the connection that it has had all along.

use bytes::Bytes;
use rumqttc::QoS;
use takt_common::topic::{Down, Up};
use takt_coordinator::gate::{Closed, GateLimits};

use super::client::Client;
use super::numbers::Numbers;
use super::raw::{Raw, connect, packet, publish, string, subscribe};
use super::world::{Device, World, until};

/// A device that minds its own business.
struct Honest {
    device: Device,
    client: Client,
    exchanged: usize,
}

impl Honest {
    async fn new(world: &World) -> Self {
        let device = world.device(100);
        let client = Client::listen(world, &device).await;
        Self { device, client, exchanged: 0 }
    }

    /// It hears an order and reports, and nothing else has come to it.
    async fn exchanges(&mut self, world: &World, after: &str) {
        self.exchanged += 1;
        let order = format!("order {}", self.exchanged);
        world.gate.publish(&self.device.down(Down::Order), Bytes::from(order.clone())).unwrap();
        assert_eq!(self.client.next_publish().await.payload, order, "after {after}");
        let topic = self.device.up(Up::Report);
        self.client.mqtt.publish(topic, QoS::AtLeastOnce, false, order).await.unwrap();
        self.client.next_puback().await;
        assert_eq!(world.ledger.reports_of(self.device.id), self.exchanged, "after {after}");
        assert_eq!(world.gate.figures().routers_replaced, 0, "after {after}");
    }
}

/// A CONNECT in a version of the protocol: 3 (MQTT 3.1), 4 (3.1.1), 5, and one that does not exist.
fn connect_of(version: u8, id: &str) -> Vec<u8> {
    let name: &str = if version == 3 { "MQIsdp" } else { "MQTT" };
    let mut body = string(name);
    body.extend([version, 0x02, 0, 30]);
    if version == 5 {
        body.push(0);
    }
    body.extend(string(id));
    packet(0x10, &body)
}

/// A sound packet of each of the sixteen types, with the fields that a version gives it.
fn sound(packet_type: u8, version: u8, device: &Device) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let id = [0, 7];
    let topic = device.up(Up::Report);
    let filter = device.down(Down::Order).to_string();
    match packet_type {
        1 => connect_of(version, &device.id.to_string()),
        2 => packet(0x20, &[&[0, 0], properties].concat()),
        3 => packet(0x32, &[&string(&topic), &id[..], properties, b"report"].concat()),
        4 | 5 | 7 => packet(packet_type << 4, &id),
        6 => packet(0x62, &id),
        8 => packet(0x82, &[&id[..], properties, &string(&filter), &[1]].concat()),
        9 => packet(0x90, &[&id[..], properties, &[1]].concat()),
        10 => packet(0xa2, &[&id[..], properties, &string(&filter)].concat()),
        11 => packet(0xb0, &[&id[..], properties].concat()),
        12 | 13 => packet(packet_type << 4, &[]),
        14 => packet(0xe0, properties),
        // Type 0 is reserved in all versions, 15 is AUTH of version 5.
        _ => packet(packet_type << 4, properties),
    }
}

/// How a packet is spoilt.
const SPOILT: [&str; 9] = [
    "as it is",
    "with other flags",
    "cut off",
    "longer than it says",
    "shorter than it says",
    "with five bytes of length",
    "with packet id 0",
    "with a bit changed",
    "twice",
];

fn spoil(how: usize, sound: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    match how {
        1 => bytes[0] ^= 1 + u8::try_from(numbers.below(15)).unwrap(),
        2 => bytes.truncate(1 + numbers.below(bytes.len())),
        3 => {
            let more = 1 + numbers.below(20);
            bytes.extend(numbers.bytes(more));
        }
        // All packets here have less than 128 bytes.
        4 => bytes[1] = bytes[1].saturating_add(1 + u8::try_from(numbers.below(8)).unwrap()) & 0x7f,
        5 => {
            bytes.splice(1..2, [0x80, 0x80, 0x80, 0x80, 0x01]);
        }
        6 => bytes.iter_mut().filter(|byte| **byte == 7).for_each(|byte| *byte = 0),
        7 => {
            let at = numbers.below(bytes.len());
            bytes[at] ^= 1 << numbers.below(8);
        }
        8 => bytes.extend(sound),
        _ => {}
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_every_type_and_version_spoilt_in_every_way_harm_nobody() {
    let limits = GateLimits { takeovers_burst: 100_000, ..GateLimits::default() };
    let world = World::new(limits).await;
    let mut honest = Honest::new(&world).await;
    let hostile = world.device(1);
    let mut numbers = Numbers::new(6);
    let mut cases = 0;
    for version in [3, 4, 5, 9] {
        for packet_type in 0..16 {
            for (how, spoilt) in SPOILT.iter().enumerate() {
                // Out of order: before CONNECT, in the place of one, and after it.
                for connected in [false, true] {
                    let what =
                        format!("type {packet_type} of version {version}, {spoilt}, connected: {connected}");
                    let bytes = spoil(how, &sound(packet_type, version, &hostile), &mut numbers);
                    let mut raw = if connected {
                        Raw::device(&world, &hostile, 30).await
                    } else {
                        Raw::tls(world.port(), &hostile.tls).await.unwrap()
                    };
                    // The gate may have ended the connection before all is written.
                    drop(raw.try_send(&bytes).await);
                    honest.exchanges(&world, &what).await;
                    drop(raw);
                    until("only the honest one is left", || world.gate.figures().open == 1).await;
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 4 * 16 * 9 * 2);
    let figures = world.gate.figures();
    assert!(figures.closed_for(Closed::Malformed) > 300, "{figures:?}");
    assert!(figures.closed_for(Closed::ProtocolVersion) > 0, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_client_may_send_ends_the_connection() {
    let world = World::new(GateLimits { takeovers_burst: 100_000, ..GateLimits::default() }).await;
    let mut honest = Honest::new(&world).await;
    let hostile = world.device(1);
    let report = hostile.up(Up::Report);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a second CONNECT", connect(&hostile.id.to_string(), 30)),
        ("CONNACK", sound(2, 4, &hostile)),
        ("SUBACK", sound(9, 4, &hostile)),
        ("UNSUBACK", sound(11, 4, &hostile)),
        ("PINGRESP", sound(13, 4, &hostile)),
        ("type 0", packet(0x00, &[])),
        ("AUTH", packet(0xf0, &[])),
        ("PUBREL with flags 0", packet(0x60, &[0, 7])),
        ("SUBSCRIBE with flags 0", packet(0x80, &[&[0, 7][..], &string("t"), &[1]].concat())),
        ("SUBSCRIBE to nothing", packet(0x82, &[0, 7])),
        ("SUBSCRIBE with QoS 3", subscribe(7, &[("t", 3)])),
        ("UNSUBSCRIBE from nothing", packet(0xa2, &[0, 7])),
        ("PUBLISH with QoS 3", publish(0b0110, &report, 7, b"x")),
        ("PUBLISH with packet id 0", publish(0b0010, &report, 0, b"x")),
        ("PUBLISH to a filter", publish(0b0010, "up/+/#", 7, b"x")),
        ("PUBLISH to no topic", publish(0b0010, "", 7, b"x")),
        ("PUBLISH to a text that is no UTF-8", packet(0x30, &[0, 2, 0xc3, 0x28, b'x'])),
        ("PUBLISH to a text with NUL", publish(0, "up/\0", 0, b"x")),
        ("PUBLISH whose topic is longer than itself", packet(0x30, &[0xff, 0xff, b'x'])),
        ("PUBACK of one byte", packet(0x40, &[7])),
        ("PUBACK of packet id 0", packet(0x40, &[0, 0])),
        ("PINGREQ with a body", packet(0xc0, &[0])),
        ("DISCONNECT with a body", packet(0xe0, &[0])),
        ("a length without an end", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (what, bytes) in cases {
        let mut raw = Raw::device(&world, &hostile, 30).await;
        drop(raw.try_send(&bytes).await);
        assert!(raw.read_to_end().await.is_empty(), "{what} is answered");
        honest.exchanges(&world, what).await;
    }
    for version in [0, 3, 5, 6, 0xff] {
        let mut raw = Raw::tls(world.port(), &hostile.tls).await.unwrap();
        raw.send(&connect_of(version, &hostile.id.to_string())).await;
        let answer = raw.read_to_end().await;
        // Nothing, or that the version is not spoken here: never a welcome.
        assert!(answer.is_empty() || answer == [0x20, 2, 0, 1], "version {version}: {answer:?}");
        honest.exchanges(&world, &format!("a CONNECT of version {version}")).await;
    }
}
