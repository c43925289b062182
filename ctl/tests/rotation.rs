//! `takt trust rotate` on the real binary: keys change hands, and devices that trust the first root follow.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use takt_common::SigningKey;
use takt_ctl::clock::now;
use takt_trust::{DirectorTrust, PackageTrust, TrustError, timestamp_for};

mod support;
use support::Bench;

/// A trust folder of two people with root keys, of whom `threshold` must sign, and one publisher.
fn ceremony(threshold: usize) -> Bench {
    let bench = Bench::new();
    bench.coordinator_keys();
    for name in ["r1", "r2", "r3", "p1", "p2"] {
        bench.key(name);
    }
    bench
        .takt(&format!(
            "trust init --dir trust --root-key r1.key --root-key r2.key --root-threshold {threshold} \
             --publisher-key p1.key --coordinator-keys coordinator.json --offline"
        ))
        .ok();
    bench
}

/// A device that has trusted the first root looks at the folder as it is published, with a timestamp by the key in `timestamp`.
fn follow(bench: &Bench, snapshot: u64, timestamp: &str) -> Result<PackageTrust, TrustError> {
    let pem = String::from_utf8(bench.read(timestamp)).unwrap();
    let mut signed =
        timestamp_for(&bench.read(&format!("trust/{snapshot}.snapshot.json")), snapshot, now()).unwrap();
    signed.add_signature(&SigningKey::from_pem(&pem).unwrap());
    PackageTrust::from_root(&bench.read("trust/1.root.json"))?.refreshed(now(), |need| {
        match need.name.as_str() {
            "timestamp.json" => Some(signed.to_bytes()),
            name => std::fs::read(bench.path("trust").join(name)).ok(),
        }
    })
}

/// The director root to which a device comes that has trusted the first.
fn director(bench: &Bench) -> DirectorTrust {
    let first = DirectorTrust::from_root(&bench.read("trust/1.director.root.json")).unwrap();
    first.refreshed(|need| std::fs::read(bench.path("trust").join(&need.name)).ok()).unwrap()
}

#[test]
fn another_publisher_signs_what_is_published_and_the_old_one_counts_no_more() {
    let bench = ceremony(2);
    let rotated =
        bench.takt("trust rotate --dir trust --publisher-key p2.key --key r1.key --key r2.key --json");
    assert_eq!(rotated.json()["complete"], true);
    // Who orders has not changed.
    assert!(!bench.path("trust/2.director.root.json").exists());
    let trust = follow(&bench, 2, "timestamp.key").unwrap();
    assert_eq!((trust.root_version(), trust.snapshot().unwrap().version), (2, 2));
    bench.image("c1.tar", "one");
    let new =
        "release new --name counter --probe tcp=127.0.0.1:80 --version 1.0.0 --counter 1 --image c1.tar";
    bench.takt(&format!("{new} --out release")).ok();
    let sign = "release sign --dir release --trust trust --offline --publisher-key";
    bench.takt(&format!("{sign} p1.key")).refused(5, &["p1.key", "publisher keys", "2.root.json"]);
    bench.takt(&format!("{sign} p2.key")).ok();
    let trust = follow(&bench, 3, "timestamp.key").unwrap();
    assert_eq!(trust.target_paths().count(), 2);
}

#[test]
fn a_root_needs_those_who_hold_the_present_one_and_those_who_will_hold_the_next() {
    let bench = ceremony(2);
    let made = bench
        .takt("trust rotate --dir trust --root-key r2.key --root-key r3.key.pub --root-threshold 2 --key r2.key")
        .ok();
    assert!(made.out.contains("signatures are missing"), "{made:?}");
    let missing = &["2.root.json has 1 of the 2 signatures"];
    bench.takt("trust publish --dir trust").refused(5, missing);
    bench.takt("trust sign --dir trust --key r3.key").ok();
    // Those of the next root are complete; of the present one the first is missing.
    bench.takt("trust publish --dir trust").refused(5, missing);
    assert!(matches!(follow(&bench, 1, "timestamp.key"), Err(TrustError::Threshold { root: 1, .. })));
    // Nothing else can begin meanwhile.
    bench.takt("trust rotate --dir trust --root-threshold 1 --key r2.key").refused(5, missing);
    let done = bench.takt("trust sign --dir trust --key r1.key --json").json();
    assert_eq!(done["complete"], true);
    assert_eq!(follow(&bench, 1, "timestamp.key").unwrap().root_version(), 2);
    assert_eq!(director(&bench).epoch(), 2);
    // Who has lost the key signs nothing any more.
    bench.takt("trust sign --dir trust --key r1.key").ok();
    bench.takt("trust rotate --dir trust --key r2.key --key r1.key").ok();
    bench.takt("trust publish --dir trust").refused(5, &["3.root.json has 1 of the 2 signatures"]);
}

#[test]
fn a_coordinator_with_new_keys_takes_the_place_of_one_whose_keys_were_stolen() {
    let bench = ceremony(1);
    for stolen in ["order", "timestamp"] {
        std::fs::rename(bench.path(&format!("{stolen}.key")), bench.path(&format!("{stolen}.stolen")))
            .unwrap();
        std::fs::remove_file(bench.path(&format!("{stolen}.key.pub"))).unwrap();
    }
    let before = director(&bench).order_signers().keys;
    bench.coordinator_keys();
    let rotated =
        bench.takt("trust rotate --dir trust --coordinator-keys coordinator.json --key r1.key --json").json();
    assert_eq!(rotated["complete"], true);
    // What the publishers have signed stays as it is.
    assert!(!bench.path("trust/2.targets.json").exists());
    let after = director(&bench);
    let order = String::from_utf8(bench.read("order.key.pub")).unwrap();
    assert_eq!((after.epoch(), after.order_signers().keys), (2, vec![order.trim().parse().unwrap()]));
    assert_ne!(after.order_signers().keys, before);
    assert_eq!(follow(&bench, 1, "timestamp.key").unwrap().root_version(), 2);
    let error = follow(&bench, 1, "timestamp.stolen").unwrap_err();
    assert!(matches!(&error, TrustError::Threshold { role: "timestamp", root: 2, .. }), "{error}");
}

#[test]
fn with_nothing_named_the_roots_are_renewed() {
    let bench = ceremony(1);
    bench.takt("trust rotate --dir trust --key r2.key").ok();
    assert_eq!(follow(&bench, 1, "timestamp.key").unwrap().root_version(), 2);
    assert_eq!(director(&bench).epoch(), 2);
    assert!(!bench.path("trust/2.targets.json").exists());
    let shown = bench.takt("trust show --dir trust --json").json();
    assert_eq!((&shown["complete"], shown["documents"].as_array().unwrap().len()), (&true.into(), 4));
}

#[test]
fn what_cannot_be_a_root_changes_nothing() {
    let bench = ceremony(1);
    bench
        .takt("trust rotate --dir trust --root-threshold 3 --key r1.key")
        .refused(2, &["role 'root' needs 3"]);
    bench.takt("trust rotate --dir trust --publisher-key gone.key").refused(2, &["gone.key"]);
    bench
        .takt("trust rotate --dir trust --publisher-key timestamp.key.pub --key r1.key")
        .refused(2, &["online role 'timestamp'"]);
    assert_eq!(std::fs::read_dir(bench.path("trust")).unwrap().count(), 4);
    bench.takt("trust rotate --dir nowhere").refused(2, &["nowhere"]);
}
