//! Orders that were true once, again and again: none is executed. `TAKT_SOAK=1` takes a million by the rules, and ten thousand
//! over the wire.

use std::collections::BTreeMap;

use takt_agent_core::rules::{Refusal, Standing, address};
use takt_common::envelope::{PayloadType, Signers};
use takt_common::order::{Action, Mode, ORDER_FORMAT, Order, Policy, Position, SnapshotRef};
use takt_common::topic::Down;
use takt_common::{Envelope, Sha256Digest, SigningKey, UnixTime};
use takt_tests::fleet::Stopwatch;

use super::scene::Scene;

/// What a refusal may take on average, in microseconds.
const REFUSAL_MICROS_MAX: u128 = 200;

fn soak() -> bool {
    std::env::var_os("TAKT_SOAK").is_some_and(|soak| soak == "1")
}

#[test]
fn of_very_many_replayed_orders_none_gets_past_the_rules() {
    let many: u64 = if soak() { 1_000_000 } else { 20_000 };
    let key = SigningKey::generate(&ring::rand::SystemRandom::new()).unwrap();
    let signers = Signers { role: "the order keys".to_owned(), keys: vec![key.public()], threshold: 1 };
    let (hardware, domain, highest) =
        ("generic".parse().unwrap(), "line-7".parse().unwrap(), BTreeMap::new());
    let now = UnixTime::from_secs(1_800_000_000);
    let me = "00112233445566778899aabbccddeeff".parse().unwrap();
    let last = Position { epoch: 3, generation: 500 };
    let standing = Standing {
        me,
        hardware: &hardware,
        domain: &domain,
        signers: &signers,
        epoch: 3,
        last,
        highest: &highest,
        way_back: Vec::new(),
        counter_signers: None,
        nonces: &[],
        time_floor: now,
        now,
    };
    let envelope = |generation| {
        let order = Order {
            format: ORDER_FORMAT,
            device: me,
            epoch: 3,
            generation,
            nonce: None,
            issued: now,
            not_after: UnixTime::from_secs(1_900_000_000),
            previous_order_digest: None,
            snapshot: SnapshotRef { version: 1, sha256: Sha256Digest::of(b"") },
            action: Action::Withdraw,
            members: Vec::new(),
            mode: Mode::InPlace,
            window: None,
            deadline: UnixTime::from_secs(1_900_000_000),
            policy: Policy::default(),
            permission: None,
        };
        Envelope::seal(PayloadType::Order, &order.to_bytes(), &[&key]).to_bytes()
    };
    let old: Vec<Vec<u8>> = (1..=500).map(envelope).collect();
    assert!(address(&envelope(501), &standing).is_ok(), "the next one is taken");
    let stopwatch = Stopwatch::start();
    for (_, bytes) in (0..many).zip(old.iter().cycle()) {
        assert!(matches!(address(bytes, &standing), Err(Refusal::NeverOlder { .. })));
    }
    let each = stopwatch.elapsed().as_micros() / u128::from(many);
    println!("{many} replayed orders, none executed, {each} µs each");
    assert!(cfg!(debug_assertions) || each <= REFUSAL_MICROS_MAX, "{each} µs each");
}

#[test]
fn of_many_orders_replayed_over_the_wire_none_is_executed() {
    let many = if soak() { 10_000 } else { 500 };
    let mut scene = Scene::begin(12);
    for _ in 0..20 {
        scene.obeys().unwrap();
    }
    let before = scene.reports_so_far();
    let last = scene.remembered.len() - 1;
    for old in scene.remembered[..last].iter().cycle().take(many) {
        scene.gate.say(Down::Order, old);
    }
    // Whatever was said before it has been judged when this is done.
    scene.obeys().unwrap();
    let ended = scene.ended_since(before);
    assert_eq!(ended, 1, "a replayed order was executed");
    scene.end();
}
