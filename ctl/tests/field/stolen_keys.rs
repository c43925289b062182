//! A coordinator's keys were stolen, and the thief has run every number and the time up as far as they go: after the keys have been
//! rotated all devices are back within one contact. Real agents and a real coordinator; procedures in docs/trust.md.

use std::time::Duration;

use serde_json::Value;
use takt_agent::clock::wall;
use takt_common::order::Position;
use takt_common::{SigningKey, UnixTime};
use takt_trust::{DirectorTrust, PackageTrust, StoredTrust, timestamp_for};

use crate::site::{Device, Field};

fn in_1970() -> UnixTime {
    UnixTime::from_secs(86_400)
}

fn accepted(shown: &Value) -> bool {
    shown["order"]["accepted"] == true
}

/// What the thief has left on the device: the last generation that there is, and the last second of the director root.
fn run_ahead(field: &Field, device: &Device) {
    let root = DirectorTrust::from_root(&field.bench.read("trust/1.director.root.json")).unwrap();
    device.changed(|record| {
        record.last_position = Position { epoch: 1, generation: u64::MAX };
        record.learn_time(UnixTime::from_secs(u64::MAX), UnixTime::from_secs(u64::MAX), root.expires());
        assert!(record.time_floor > root.expires(), "nothing new would be accepted there any more");
    });
}

/// The same of the timestamp key: a timestamp with the last version that there is.
fn run_ahead_with_timestamps(field: &Field, device: &Device, now: UnixTime) {
    let pem = String::from_utf8(field.bench.read("coordinator/timestamp.key")).unwrap();
    let stolen = SigningKey::from_pem(&pem).unwrap();
    let snapshot = field.bench.read("trust/1.snapshot.json");
    let mut last = timestamp_for(&snapshot, u64::MAX, now).unwrap();
    last.add_signature(&stolen);
    let root = PackageTrust::from_root(&field.bench.read("trust/1.root.json")).unwrap();
    let trust = root.refreshed(now, |need| match need.name.as_str() {
        "timestamp.json" => Some(last.to_bytes()),
        name => std::fs::read(field.bench.path("trust").join(name)).ok(),
    });
    let stored: StoredTrust = trust.unwrap().to_stored();
    std::fs::write(device.identity("package-trust.json"), serde_json::to_vec(&stored).unwrap()).unwrap();
}

#[test]
fn after_the_coordinators_keys_were_stolen_new_ones_bring_all_devices_back() {
    let mut field = Field::with_trust();
    let mut devices = [field.device("right"), field.device("in-1970")];
    for device in &devices {
        run_ahead(&field, device);
        run_ahead_with_timestamps(&field, device, wall());
    }
    field.new_coordinator_keys();
    field.publish("1.0.0");
    devices[0].start(wall);
    devices[1].start(in_1970);
    let start =
        "campaign start first --release counter@1.0.0 --domain line-7 --element-size 2 --deadline 10m";
    field.takt(start).ok();
    for device in &mut devices {
        field.until(device, "an order by the new key", accepted);
        device.stop();
        let record = device.record();
        assert_eq!(record.last_position, Position { epoch: 2, generation: 1 });
        let now = wall();
        assert!(record.time_floor <= now && now.since(record.time_floor) < Duration::from_mins(5));
        let trust = std::fs::read(device.identity("package-trust.json")).unwrap();
        let trust = PackageTrust::from_stored(&serde_json::from_slice(&trust).unwrap()).unwrap();
        assert_eq!(trust.root_version(), 2);
    }
}

#[test]
fn a_device_without_an_order_follows_new_coordinator_keys_by_itself() {
    let mut field = Field::with_trust();
    let mut device = field.device("idle");
    run_ahead(&field, &device);
    field.new_coordinator_keys();
    device.start(in_1970);
    // Its reports are acknowledged by a key that its root does not name: it looks for the root that does.
    field.until(&device, "its report", |shown| !shown["last_seen"].is_null());
    let begin = std::time::Instant::now();
    while !device.identity("director-trust.json").exists() {
        assert!(begin.elapsed() < Duration::from_mins(2), "the device did not look for a newer root");
        std::thread::sleep(Duration::from_millis(100));
    }
    // The answer that led it there was taken in the same step, or the next one is.
    let begin = std::time::Instant::now();
    loop {
        device.stop();
        let floor = device.record().time_floor;
        let now = wall();
        if floor <= now && now.since(floor) < Duration::from_mins(5) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_mins(2), "{floor} at {now}");
        device.start(in_1970);
        std::thread::sleep(Duration::from_secs(2));
    }
}
