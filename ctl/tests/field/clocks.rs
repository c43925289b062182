//! Devices whose clocks are wrong by decades, and devices that were away for long, come back by themselves: real agents and a real
//! coordinator.

use std::time::Duration;

use serde_json::Value;
use takt_agent::clock::wall;
use takt_common::order::Position;
use takt_common::{SigningKey, UnixTime};
use takt_trust::{
    DirectorSpec, Document, PackageRoles, PackageTrust, RoleSpec, RootSpec, TargetsDocument, snapshot_for,
    timestamp_for,
};

use crate::site::Field;

const DAY: Duration = Duration::from_hours(24);

/// What a device may be off by after its first contact: a step of the floor, and this test's own time.
const NEAR: Duration = Duration::from_mins(5);

fn in_1970() -> UnixTime {
    UnixTime::from_secs(86_400)
}

fn in_2099() -> UnixTime {
    UnixTime::from_secs(4_073_000_000)
}

fn ten_years_ahead() -> UnixTime {
    wall() + DAY * 3_650
}

fn accepted(shown: &Value) -> bool {
    shown["order"]["accepted"] == true
}

#[test]
fn a_device_in_1970_in_2099_or_ten_years_ahead_comes_back_and_takes_orders() {
    let field = Field::with_trust();
    field.publish("1.0.0");
    let clocks = [("in-1970", in_1970 as fn() -> UnixTime), ("in-2099", in_2099), ("ahead", ten_years_ahead)];
    let mut devices: Vec<_> = clocks.iter().map(|(name, _)| field.device(name)).collect();
    for (device, (_, clock)) in devices.iter_mut().zip(&clocks) {
        device.start(*clock);
    }
    field
        .takt("campaign start first --release counter@1.0.0 --domain line-7 --element-size 3 --deadline 10m")
        .ok();
    for device in &mut devices {
        field.until(device, "an accepted order", accepted);
        device.stop();
        let record = device.record();
        assert_eq!(record.last_position, Position { epoch: 1, generation: 1 });
        let (floor, now) = (record.time_floor, wall());
        assert!(floor <= now && now.since(floor) < NEAR, "{floor} at {now}");
        assert!(
            record.sure_floor <= floor && floor.since(record.sure_floor) < NEAR,
            "the publishers say so too"
        );
    }
}

#[test]
fn a_device_that_was_away_while_everything_expired_comes_back_and_takes_orders() {
    let field = Field::new();
    let now = wall();
    let ago = |days: u32| UnixTime::from_secs(now.as_secs() - (DAY * days).as_secs());
    let key = |name: &str| {
        field.bench.key(name);
        SigningKey::from_pem(&String::from_utf8(field.bench.read(&format!("{name}.key"))).unwrap()).unwrap()
    };
    let (root, publisher) = (key("root"), key("publisher"));
    let pem = |name: &str| String::from_utf8(field.bench.read(&format!("coordinator/{name}.key"))).unwrap();
    let [order, timestamp] = ["order", "timestamp"].map(|name| SigningKey::from_pem(&pem(name)).unwrap());
    let one = |key: &SigningKey| RoleSpec { keys: vec![key.public()], threshold: 1 };
    let signed = |mut document: Document, key: &SigningKey| {
        document.add_signature(key);
        document.to_bytes()
    };
    let roles = PackageRoles {
        root: one(&root),
        targets: one(&publisher),
        snapshot: one(&publisher),
        timestamp: one(&timestamp),
    };
    // What was published when the device was there last: all of it has expired since.
    let packages = RootSpec { version: 1, expires: ago(10), roles }.document().unwrap();
    let (expires, order) = (ago(10), one(&order));
    let director = DirectorSpec { epoch: 1, expires, root: one(&root), order, counter: None };
    let targets = signed(TargetsDocument::new(ago(400)).document(), &publisher);
    let snapshot = signed(snapshot_for(&targets, [], None, 1, ago(100)).unwrap(), &publisher);
    let stamp = signed(timestamp_for(&snapshot, 1, ago(98)).unwrap(), &timestamp);
    let documents = [
        ("1.root.json", signed(packages, &root)),
        ("1.director.root.json", signed(director.document().unwrap(), &root)),
        ("1.targets.json", targets),
        ("1.snapshot.json", snapshot),
        ("timestamp.json", stamp),
    ];
    let before = PackageTrust::from_root(&documents[0].1).unwrap().refreshed(ago(98), |need| {
        documents.iter().find(|(name, _)| *name == need.name).map(|(_, bytes)| bytes.clone())
    });
    std::fs::create_dir(field.bench.path("trust")).unwrap();
    for (name, bytes) in &documents[..4] {
        field.bench.write(&format!("trust/{name}"), bytes);
    }
    // Meanwhile the roots were renewed, and something new was published.
    field.takt("trust rotate --dir trust --key root.key").ok();
    field.sign("1.0.0");
    field.takt("trust publish --dir trust").ok();
    field.takt("release publish --dir r1.0.0 --trust trust").ok();

    let mut device = field.device("sleeper");
    let membership = device.identity("membership.json");
    let mut member: Value = serde_json::from_slice(&std::fs::read(&membership).unwrap()).unwrap();
    let text = |at: usize| Value::from(String::from_utf8(documents[at].1.clone()).unwrap());
    (member["package_root"], member["director_root"]) = (text(0), text(1));
    std::fs::write(&membership, serde_json::to_vec(&member).unwrap()).unwrap();
    let stored = serde_json::to_vec(&before.unwrap().to_stored()).unwrap();
    std::fs::write(device.identity("package-trust.json"), stored).unwrap();
    device.changed(|record| record.time_floor = ago(98));

    // Its clock has stopped as well.
    device.start(in_1970);
    field.takt("campaign start first --release counter@1.0.0 --domain line-7 --deadline 10m").ok();
    field.until(&device, "an accepted order", accepted);
    device.stop();
    let record = device.record();
    assert_eq!(record.last_position, Position { epoch: 2, generation: 1 });
    assert!(wall().since(record.time_floor) < NEAR, "{}", record.time_floor);
}
