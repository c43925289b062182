//! What devices can do, and cannot.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Packet, QoS, SubscribeReasonCode};
use takt_common::topic::{Down, Up};
use takt_coordinator::gate::{Closed, GateLimits, PublishError};

use super::client::{Client, options};
use super::raw::{PINGREQ, PINGRESP, Raw, publish, subscribe};
use super::world::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reports_and_hears_its_orders() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    let mut client = Client::listen(&world, &device).await;
    assert!(world.ledger.subscribed(device.id, Down::Order));
    client.mqtt.publish(device.up(Up::Report), QoS::AtLeastOnce, false, "phase").await.unwrap();
    client.next_puback().await;
    assert_eq!(world.ledger.reports(), ["phase"]);
    client.mqtt.publish(device.up(Up::Health), QoS::AtMostOnce, false, "load").await.unwrap();
    until("the health sample came", || world.ledger.health() == ["load"]).await;
    for number in 0..300 {
        let order = Bytes::from(format!("order {number}"));
        world.gate.publish(&device.down(Down::Order), order.clone()).unwrap();
        let heard = client.next_publish().await;
        assert_eq!((heard.topic, heard.payload), (device.down(Down::Order).to_string(), order));
        assert_eq!((heard.qos, heard.retain), (QoS::AtLeastOnce, false));
    }
    assert_eq!(world.gate.connected().len(), 1);
    client.mqtt.disconnect().await.unwrap();
    until("the device is gone", || world.ledger.present() == 0).await;
    assert_eq!(world.ledger.gone_for(Closed::Disconnected), 1);
    until("the gate has let go", || world.gate.connected().is_empty() && world.gate.figures().open == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_says_when_it_cannot_reach_its_device_and_nothing_is_kept_for_later() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    let order = device.down(Down::Order);
    let lost = || Bytes::from_static(b"lost");
    assert_eq!(world.gate.publish(&order, lost()), Err(PublishError::NotConnected(device.id)));
    let mut client = Client::connect(&world, &device).await;
    assert_eq!(world.gate.publish(&order, lost()), Err(PublishError::NotSubscribed(order.clone())));
    let up: takt_common::topic::Topic = device.up(Up::Report).parse().unwrap();
    assert_eq!(world.gate.publish(&up, lost()), Err(PublishError::NotDown(up.clone())));
    let huge = Bytes::from(vec![0; 70_000]);
    assert!(matches!(world.gate.publish(&order, huge), Err(PublishError::TooLarge { length: 70_000, .. })));
    client.subscribe(&order.to_string(), QoS::AtLeastOnce).await;
    world.gate.publish(&order, Bytes::from_static(b"kept?")).unwrap();
    client.next_publish().await;
    client.mqtt.unsubscribe(order.to_string()).await.unwrap();
    while !matches!(client.next().await.unwrap(), Packet::UnsubAck(_)) {}
    assert_eq!(world.gate.publish(&order, lost()), Err(PublishError::NotSubscribed(order.clone())));
    // A second session, even one that asks for its old state, begins with nothing.
    drop(client);
    let mut again = options(&device.id.to_string(), world.port(), Some(device.tls.clone()));
    again.set_clean_session(false);
    let mut client = Client::start(again);
    let Packet::ConnAck(ack) = client.next().await.unwrap() else { panic!("no CONNACK") };
    assert!(!ack.session_present);
    client.subscribe(&order.to_string(), QoS::AtLeastOnce).await;
    world.gate.publish(&order, Bytes::from_static(b"new")).unwrap();
    assert_eq!(client.next_publish().await.payload, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn puback_comes_only_after_the_report_is_durable() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    world.ledger.hold();
    let mut raw = Raw::device(&world, &device, 30).await;
    raw.send(&publish(0b0010, &device.up(Up::Report), 7, b"one")).await;
    // The answer to a ping proves that the report was read before, and that the session is not stuck with it.
    raw.send(&PINGREQ).await;
    assert_eq!(raw.read_exactly(2).await, PINGRESP);
    assert!(world.ledger.reports().is_empty());
    world.ledger.release();
    assert_eq!(raw.read_exactly(4).await, [0x40, 2, 0, 7]);
    assert_eq!(world.ledger.reports(), ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_taken_and_answered_in_order_however_many_come_at_once() {
    let world = World::new(GateLimits { in_flight_max: 4, ..GateLimits::default() }).await;
    let device = world.device(1);
    let mut raw = Raw::device(&world, &device, 30).await;
    let topic = device.up(Up::Report);
    let reports: Vec<u8> =
        (1..=100u16).flat_map(|id| publish(0b0010, &topic, id, format!("report {id}").as_bytes())).collect();
    raw.send(&reports).await;
    let acks = raw.read_exactly(400).await;
    let expected: Vec<u8> = (1..=100).flat_map(|id| [0x40, 2, 0, id]).collect();
    assert_eq!(acks, expected);
    let expected: Vec<String> = (1..=100).map(|id| format!("report {id}")).collect();
    assert_eq!(world.ledger.reports(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_made_durable_gets_no_puback() {
    let world =
        World::new(GateLimits { sink_deadline: Duration::from_millis(300), ..GateLimits::default() }).await;
    let device = world.device(1);
    let report = publish(0b0010, &device.up(Up::Report), 7, b"one");
    world.ledger.set_broken(true);
    let mut raw = Raw::device(&world, &device, 30).await;
    raw.send(&report).await;
    assert!(raw.read_to_end().await.is_empty());
    assert_eq!(world.ledger.gone_for(Closed::SinkFailed), 1);
    world.ledger.set_broken(false);
    world.ledger.hold();
    let mut raw = Raw::device(&world, &device, 30).await;
    raw.send(&report).await;
    assert!(raw.read_to_end().await.is_empty());
    assert_eq!(world.ledger.gone_for(Closed::SinkDeadline), 1);
    world.ledger.release();
    let mut raw = Raw::device(&world, &device, 30).await;
    raw.send(&report).await;
    assert_eq!(raw.read_exactly(4).await, [0x40, 2, 0, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_goodbye_is_taken() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    world.ledger.hold();
    let mut raw = Raw::device(&world, &device, 30).await;
    let mut bytes: Vec<u8> = (0..5).flat_map(|_| publish(0, &device.up(Up::Health), 0, b"sample")).collect();
    bytes.extend([0xe0, 0]);
    raw.send(&bytes).await;
    drop(raw);
    world.ledger.release();
    until("all samples came", || world.ledger.health().len() == 5).await;
    until("the device is gone", || world.ledger.gone_for(Closed::Disconnected) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reaches_only_its_own_topics() {
    let world = World::new(GateLimits::default()).await;
    let (device, other) = (world.device(1), world.device(2));
    let mut victim = Client::listen(&world, &other).await;
    let mut client = Client::connect(&world, &device).await;
    for filter in
        [other.down(Down::Order).to_string(), other.up(Up::Report), device.up(Up::Report), "x".to_owned()]
    {
        assert_eq!(
            client.subscribe(&filter, QoS::AtLeastOnce).await,
            [SubscribeReasonCode::Failure],
            "{filter}"
        );
    }
    let elsewhere = device.down(Down::Order).to_string().replace("north", "south");
    let own = device.down(Down::Order).to_string();
    let mut raw = Raw::device(&world, &world.device(3), 30).await;
    let third = world.device(3).down(Down::Order).to_string();
    raw.send(&subscribe(5, &[(&own, 1), (&third, 0), (&elsewhere, 1), (&third, 2)])).await;
    assert_eq!(raw.read_exactly(8).await, [0x90, 6, 0, 5, 0x80, 0, 0x80, 1]);
    let mut refused = 0;
    for topic in [other.up(Up::Report), other.down(Down::Order).to_string(), own, "x".to_owned()] {
        let mut raw = Raw::device(&world, &device, 30).await;
        raw.send(&publish(0b0010, &topic, 9, b"evil")).await;
        assert!(raw.read_to_end().await.is_empty(), "{topic}");
        refused += 1;
        world.until_closed_for(Closed::ForeignTopic, refused).await;
    }
    assert!(world.ledger.reports().is_empty());
    world.gate.publish(&other.down(Down::Order), Bytes::from_static(b"good")).unwrap();
    assert_eq!(victim.next_publish().await.payload, "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn wildcards_and_shared_subscriptions_are_refused() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    let mut client = Client::connect(&world, &device).await;
    let own = device.down(Down::Order).to_string();
    let filters = [
        "#".to_owned(),
        "+/+/+/+".to_owned(),
        "down/#".to_owned(),
        format!("down/+/{}/order", device.id),
        format!("down/north/{}/+", device.id),
        format!("down/north/{}/#", device.id),
        format!("$share/group/{own}"),
        "$SYS/#".to_owned(),
        format!("/{own}"),
        format!("{own}/"),
    ];
    for filter in &filters {
        // rumqttc refuses to send some of these, so they go raw as well.
        let mut raw = Raw::device(&world, &world.device(2), 30).await;
        raw.send(&subscribe(3, &[(filter, 1)])).await;
        assert_eq!(raw.read_exactly(5).await, [0x90, 3, 0, 3, 0x80], "{filter}");
        if client.mqtt.try_subscribe(filter, QoS::AtLeastOnce).is_ok() {
            while !matches!(client.next().await.unwrap(), Packet::SubAck(ack) if ack.return_codes == [SubscribeReasonCode::Failure])
            {
            }
        }
    }
    assert!(world.gate.figures().filters_refused >= filters.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_publishes_and_qos_two_are_refused() {
    let world = World::new(GateLimits::default()).await;
    let device = world.device(1);
    for (flags, why) in [(0b0011, Closed::Retained), (0b0001, Closed::Retained), (0b0100, Closed::QosTwo)] {
        let mut raw = Raw::device(&world, &device, 30).await;
        raw.send(&publish(flags, &device.up(Up::Report), 9, b"report")).await;
        assert!(raw.read_to_end().await.is_empty());
        until("the reason was counted", || world.ledger.gone_for(why) > 0).await;
    }
    assert!(world.ledger.reports().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_one_connection_are_bounded() {
    let world = World::new(GateLimits { subscriptions_max: 2, ..GateLimits::default() }).await;
    let device = world.device(1);
    let mut raw = Raw::device(&world, &device, 30).await;
    let [order, ack, time] = [Down::Order, Down::Ack, Down::Time].map(|what| device.down(what).to_string());
    raw.send(&subscribe(1, &[(&order, 1), (&order, 1)])).await;
    assert_eq!(raw.read_exactly(6).await, [0x90, 4, 0, 1, 1, 1]);
    raw.send(&subscribe(1, &[(&order, 1), (&ack, 1), (&time, 1)])).await;
    assert_eq!(raw.read_exactly(7).await, [0x90, 5, 0, 1, 1, 1, 0x80]);
    raw.send(&subscribe(2, &[(&order, 0)])).await;
    assert_eq!(raw.read_exactly(5).await, [0x90, 3, 0, 2, 0]);
    world.gate.publish(&device.down(Down::Order), Bytes::from_static(b"!")).unwrap();
    let expected = publish(0, &order, 0, b"!");
    assert_eq!(raw.read_exactly(expected.len()).await, expected, "the new QoS counts");
}
