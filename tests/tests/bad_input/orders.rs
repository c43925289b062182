//! Orders that no honest coordinator sends, over a real gate: each is refused once, with its rule, and changes nothing.

use std::fs;

use ring::rand::SystemRandom;
use takt_common::envelope::PayloadType;
use takt_common::order::Order;
use takt_common::report::{Outcome, PhaseName, Report};
use takt_common::topic::Down;
use takt_common::{Envelope, Sha256Digest, SigningKey};
use takt_tests::fleet::wait_until;

use super::evidence;
use super::own_gate::OwnGate;
use super::world::{BASE, LIMIT, NEXT, World, enrol, start};

/// A true order of the coordinator for a device that has not come for it.
fn order_for(world: &World, device: &takt_tests::fleet::Device) -> (Order, Vec<u8>) {
    start(&world.fleet, device.name(), NEXT, "10m");
    let store = world.coordinator_file("store");
    let envelope = wait_until("an order", LIMIT, || {
        let found = evidence::look(&store, world.fleet.folder(), |registry| {
            registry.order_envelope(device.id().unwrap()).unwrap()
        });
        let order = found.filter(|envelope| payload(envelope).members[0].release.version.as_str() == NEXT);
        Ok(order.ok_or_else(String::new))
    })
    .unwrap();
    (payload(&envelope), envelope)
}

fn payload(envelope: &[u8]) -> Order {
    let payload = Envelope::from_bytes(envelope).unwrap().unverified_payload().unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_are_not_whole_are_refused_by_their_rule_and_the_true_one_is_still_done() {
    let mut world = World::running();
    let other = enrol(&world.fleet, "camera-2");
    world.device.kill();
    let (order, envelope) = order_for(&world, &world.device);
    let (_, for_another) = order_for(&world, &other);

    let gate = OwnGate::open(world.coordinator_file("").as_path()).await;
    let membership = world.state("identity/membership.json");
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&membership).unwrap()).unwrap();
    text["broker"] = gate.broker().into();
    fs::write(&membership, text.to_string()).unwrap();
    world.device.run().unwrap();
    wait_until("the device at the test's gate", LIMIT, || {
        Ok(if gate.is_heard() { Ok(()) } else { Err("not yet".to_owned()) })
    })
    .unwrap();

    let stranger = SigningKey::generate(&SystemRandom::new()).unwrap();
    let sealed = |order: &Order, keys: &[&SigningKey]| {
        Envelope::seal(PayloadType::Order, &order.to_bytes(), keys).to_bytes()
    };
    let with = |change: &dyn Fn(&mut Order)| {
        let mut order = order.clone();
        change(&mut order);
        sealed(&order, &[&gate.order_key])
    };
    let other_id = other.id().unwrap().to_string();
    let unknown = Sha256Digest::of(b"never published");
    let as_report = Envelope::seal(PayloadType::Report, &order.to_bytes(), &[&gate.order_key]).to_bytes();
    let bad: Vec<(&str, Vec<u8>, &str)> = vec![
        ("for-me", for_another, &other_id),
        ("order-signature", sealed(&order, &[]), "signature"),
        ("order-signature", sealed(&order, &[&stranger]), "signature"),
        (
            "publisher-signature",
            with(&|order| order.members[0].path = "releases/counter/9.9.9.json".into()),
            "9.9.9",
        ),
        (
            "publisher-signature",
            with(&|order| order.members[1].path = format!("artifacts/{unknown}")),
            "not signed",
        ),
        ("member", with(&|order| order.members[1].sha256 = unknown), "digest"),
        ("member", with(&|order| order.members[1].length += 1), "length"),
        ("epoch", with(&|order| order.epoch += 1), "epoch"),
        ("never-older", with(&|order| order.generation = 0), "not above"),
        (
            "expired",
            with(&|order| order.not_after = takt_common::UnixTime::from_secs(1)),
            "may be accepted until",
        ),
        ("envelope", as_report, ""),
        ("envelope", Vec::new(), ""),
        ("envelope", vec![0xff; 60_000], ""),
        ("envelope", envelope[..envelope.len() - 2].to_vec(), ""),
        (
            "unreadable",
            Envelope::seal(PayloadType::Order, b"{}", &[&gate.order_key]).to_bytes(),
            "missing field",
        ),
    ];
    for (rule, bytes, words) in &bad {
        gate.say(Down::Order, bytes);
        let digest = Sha256Digest::of(bytes);
        let refusal = |reports: Vec<Report>| {
            reports.into_iter().filter_map(|report| report.refused).find(|refused| refused.envelope == digest)
        };
        let refused = wait_until(&format!("the refusal by rule {rule}"), LIMIT, || {
            world.device.check()?;
            Ok(refusal(gate.reports()).ok_or_else(String::new))
        })
        .unwrap();
        assert_eq!(refused.rule, *rule, "{}", refused.why);
        assert!(refused.why.contains(words), "{}", refused.why);
        assert!(!refused.why.contains('\n') && refused.why.len() > 20, "{}", refused.why);
        // Also garbage where nothing can be refused.
        gate.say(Down::Ack, bytes);
        // Said once, however often it comes.
        gate.say(Down::Order, bytes);
    }
    let reports = gate.reports();
    let refusals = reports.iter().filter(|report| report.refused.is_some()).count();
    assert_eq!(refusals, bad.len(), "each was told once");
    assert!(reports.iter().all(|report| report.phase == PhaseName::Idle && report.outcome.is_none()));
    world.assert_runs(BASE);
    assert_eq!(fs::read_dir(world.state("artifacts")).unwrap().count(), 0, "something was fetched");

    gate.say(Down::Order, &envelope);
    let ended = wait_until("the end of the true order", LIMIT, || {
        world.device.check()?;
        let ended = gate.reports().into_iter().find(|report| report.outcome.is_some());
        Ok(ended.ok_or_else(String::new))
    })
    .unwrap();
    assert!(matches!(ended.outcome, Some(Outcome::Verified { .. })), "{ended:?}");
    assert_eq!(ended.order.unwrap().position, order.position());
}
