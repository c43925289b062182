//! The same engine for anybody, as the example serves it to conformance suites.

use rumqttc::{LastWill, Packet, QoS, SubscribeReasonCode};
use takt_coordinator::gate::GateHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::client::{Client, options};
use super::open_gate;
use super::raw::{Raw, connect, publish, subscribe};

async fn open() -> (GateHandle, DropGuard) {
    let shutdown = CancellationToken::new();
    let listen = open_gate::parse(["--listen", "127.0.0.1:0"].map(str::to_owned).into_iter()).unwrap();
    let gate = open_gate::open(listen, &shutdown).await.unwrap();
    (gate, shutdown.drop_guard())
}

async fn client(gate: &GateHandle, id: &str) -> Client {
    Client::connect_with(options(id, gate.local_addr().port(), None)).await.unwrap()
}

#[test]
fn the_examples_arguments_are_read_or_explained() {
    assert_eq!(open_gate::parse(std::iter::empty()).unwrap().port(), 1883);
    assert!(open_gate::parse(["--listen", "x"].map(str::to_owned).into_iter()).unwrap_err().contains("'x'"));
    assert!(open_gate::parse(["--help".to_owned()].into_iter()).unwrap_err().starts_with("usage"));
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_of_every_qos_reach_wildcard_subscribers() {
    let (gate, _guard) = open().await;
    let mut subscriber = client(&gate, "subscriber").await;
    let publisher = client(&gate, "publisher").await;
    for (filter, qos) in [("a/+/c", QoS::AtMostOnce), ("b/#", QoS::AtLeastOnce), ("c", QoS::ExactlyOnce)] {
        assert_eq!(subscriber.subscribe(filter, qos).await, [SubscribeReasonCode::Success(qos)]);
    }
    for sent_with in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (topic, qos) in [("a/b/c", QoS::AtMostOnce), ("b/x/y", QoS::AtLeastOnce), ("c", QoS::ExactlyOnce)]
        {
            publisher.mqtt.publish(topic, sent_with, false, "hello").await.unwrap();
            let heard = subscriber.next_publish().await;
            assert_eq!(
                (heard.topic.as_str(), heard.payload.as_ref(), heard.qos),
                (topic, &b"hello"[..], qos)
            );
        }
    }
    subscriber.mqtt.unsubscribe("c").await.unwrap();
    while !matches!(subscriber.next().await.unwrap(), Packet::UnsubAck(_)) {}
    publisher.mqtt.publish("c", QoS::AtLeastOnce, false, "unheard").await.unwrap();
    publisher.mqtt.publish("b", QoS::AtLeastOnce, false, "last").await.unwrap();
    assert_eq!(subscriber.next_publish().await.payload, "last");
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_and_wills_are_served() {
    let (gate, _guard) = open().await;
    let mut publisher = client(&gate, "publisher").await;
    publisher.mqtt.publish("kept/a", QoS::AtLeastOnce, true, "old").await.unwrap();
    publisher.next_puback().await;
    let mut subscriber = client(&gate, "subscriber").await;
    subscriber.subscribe("kept/#", QoS::AtLeastOnce).await;
    let kept = subscriber.next_publish().await;
    assert_eq!((kept.payload.as_ref(), kept.retain), (&b"old"[..], true));
    // A second subscription to the same filter sends retained messages again (MQTT 3.1.1, 3.8.4).
    subscriber.subscribe("kept/#", QoS::AtLeastOnce).await;
    assert!(subscriber.next_publish().await.retain);
    subscriber.subscribe("wills/#", QoS::AtLeastOnce).await;
    for (goodbye, expected) in [(true, "marker"), (false, "gone")] {
        let mut with_will = options("mortal", gate.local_addr().port(), None);
        with_will.set_last_will(LastWill::new("wills/mortal", "gone", QoS::AtLeastOnce, false));
        let mut mortal = Client::connect_with(with_will).await.unwrap();
        if goodbye {
            mortal.mqtt.disconnect().await.unwrap();
            mortal.ended().await;
            publisher.mqtt.publish("wills/x", QoS::AtLeastOnce, false, "marker").await.unwrap();
        }
        drop(mortal);
        assert_eq!(subscriber.next_publish().await.payload, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_session_gets_what_it_missed() {
    let (gate, _guard) = open().await;
    let publisher = client(&gate, "publisher").await;
    let mut kept = options("kept +#/$ id", gate.local_addr().port(), None);
    kept.set_clean_session(false);
    let mut subscriber = Client::connect_with(kept.clone()).await.unwrap();
    subscriber.subscribe("missed", QoS::AtLeastOnce).await;
    subscriber.mqtt.disconnect().await.unwrap();
    subscriber.ended().await;
    super::world::until("it is gone", || gate.figures().open == 1).await;
    publisher.mqtt.publish("missed", QoS::AtLeastOnce, false, "while away").await.unwrap();
    let mut subscriber = Client::start(kept);
    let Packet::ConnAck(ack) = subscriber.next().await.unwrap() else { panic!("no CONNACK") };
    assert!(ack.session_present);
    assert_eq!(subscriber.next_publish().await.payload, "while away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_larger_than_every_window_arrives_whole_and_in_order() {
    let (gate, _guard) = open().await;
    let mut subscriber = client(&gate, "subscriber").await;
    subscriber.subscribe("burst/0", QoS::AtMostOnce).await;
    subscriber.subscribe("burst/1", QoS::AtLeastOnce).await;
    let publisher = client(&gate, "publisher").await;
    for topic in ["burst/0", "burst/1"] {
        for number in 0..2_000 {
            publisher.mqtt.publish(topic, QoS::AtMostOnce, false, number.to_string()).await.unwrap();
        }
        for number in 0..2_000 {
            assert_eq!(subscriber.next_publish().await.payload, number.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_out_of_order_do_no_harm() {
    let (gate, _guard) = open().await;
    let port = gate.local_addr().port();
    let mut raw = Raw::tcp(port).await;
    raw.send(&connect("raw", 30)).await;
    raw.read_exactly(4).await;
    raw.send(&subscribe(1, &[("t", 1)])).await;
    raw.read_exactly(5).await;
    let publisher = client(&gate, "publisher").await;
    // Three times around the router's hundred packet ids, each hundred answered backwards.
    for _ in 0..3 {
        for _ in 0..100 {
            publisher.mqtt.publish("t", QoS::AtMostOnce, false, "m").await.unwrap();
        }
        for id in 1..=100 {
            let expected = publish(0b0010, "t", id, b"m");
            assert_eq!(raw.read_exactly(expected.len()).await, expected);
        }
        for id in (1..=100).rev() {
            raw.send(&[0x40, 2, 0, id]).await;
        }
    }
    assert_eq!(gate.figures().routers_replaced, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_and_system_subscriptions_are_refused() {
    let (gate, _guard) = open().await;
    let mut raw = Raw::tcp(gate.local_addr().port()).await;
    raw.send(&connect("", 30)).await;
    assert_eq!(raw.read_exactly(4).await, [0x20, 2, 0, 0]);
    raw.send(&subscribe(1, &[("$share/g/t", 1), ("$SYS/#", 0), ("t", 2)])).await;
    assert_eq!(raw.read_exactly(7).await, [0x90, 5, 0, 1, 0x80, 0x80, 2]);
}
