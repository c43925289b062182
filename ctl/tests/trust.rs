//! `takt trust` and `takt release sign` on the real binary, without a coordinator. What they sign is verified by the
//! rules that devices use.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use takt_common::release::Manifest;
use takt_common::{Name, Sha256Digest, SigningKey};
use takt_ctl::clock::now;
use takt_trust::{DirectorTrust, PackageTrust, TrustError, timestamp_for};

mod support;
use support::Bench;

const NEW: &str = "release new --name counter --probe tcp=127.0.0.1:80";

/// A bench with one root key, publishers `p1` and `p2` of whom `threshold` must sign, and a trust folder.
fn ceremony(threshold: usize) -> Bench {
    let bench = Bench::new();
    bench.coordinator_keys();
    for name in ["root", "p1", "p2", "snap"] {
        bench.key(name);
    }
    bench
        .takt(&format!(
            "trust init --dir trust --root-key root.key --publisher-key p1.key --publisher-key p2.key \
             --publisher-threshold {threshold} --coordinator-keys coordinator.json --offline"
        ))
        .ok();
    bench
}

/// What a device would trust: the folder as published, under the coordinator's timestamp for `snapshot`.
fn as_a_device(bench: &Bench, snapshot: u64) -> Result<PackageTrust, TrustError> {
    let pem = String::from_utf8(bench.read("timestamp.key")).unwrap();
    let snapshot = bench.read(&format!("trust/{snapshot}.snapshot.json"));
    let mut timestamp = timestamp_for(&snapshot, 1, now()).unwrap();
    timestamp.add_signature(&SigningKey::from_pem(&pem).unwrap());
    let root = PackageTrust::from_root(&bench.read("trust/1.root.json"))?;
    root.refreshed(now(), |need| match need.name.as_str() {
        "timestamp.json" => Some(timestamp.to_bytes()),
        name => std::fs::read(bench.path("trust").join(name)).ok(),
    })
}

#[test]
fn the_first_documents_are_what_devices_and_coordinators_accept() {
    let bench = ceremony(1);
    let trust = as_a_device(&bench, 1).unwrap();
    assert_eq!(trust.root_version(), 1);
    let director = DirectorTrust::from_root(&bench.read("trust/1.director.root.json")).unwrap();
    let order = String::from_utf8(bench.read("order.key.pub")).unwrap();
    assert_eq!(director.order_signers().keys, [order.trim().parse().unwrap()]);
    let shown = bench.takt("trust show --dir trust --json").json();
    assert_eq!(shown["complete"], true);
    assert_eq!(shown["documents"].as_array().unwrap().len(), 4);
}

#[test]
fn a_second_ceremony_in_the_same_folder_changes_nothing() {
    let bench = ceremony(1);
    let before = bench.read("trust/1.root.json");
    let again = "trust init --dir trust --root-key p1.key --publisher-key root.key \
                 --coordinator-keys coordinator.json --offline";
    bench.takt(again).refused(5, &["trust/1.root.json", "exists already"]);
    assert_eq!(bench.read("trust/1.root.json"), before);
}

#[test]
fn holders_with_only_a_public_key_at_hand_sign_later() {
    let bench = Bench::new();
    bench.coordinator_keys();
    for name in ["r1", "r2", "p1", "snap", "stranger"] {
        bench.key(name);
    }
    let init = "trust init --dir trust --root-key r1.key --root-key r2.key.pub --root-threshold 2 \
                --publisher-key p1.key.pub --snapshot-key snap.key.pub --coordinator-keys coordinator.json --offline";
    let made = bench.takt(init).ok();
    assert!(made.out.contains("1 of 2 signatures") && made.out.contains("0 of 1 signatures"), "{made:?}");
    bench.takt("trust publish --dir trust").refused(5, &["1.root.json has 1 of the 2 signatures"]);
    bench.takt("trust sign --dir trust --key stranger.key").refused(5, &["stranger.key", "no role"]);
    bench.takt("trust sign --dir trust --key r2.key.pub").refused(2, &["r2.key.pub holds a public key"]);
    bench.takt("trust sign --dir trust --key r2.key").ok();
    bench.takt("trust publish --dir trust").refused(5, &["1.targets.json has 0 of the 1 signatures"]);
    bench.takt("trust sign --dir trust --key p1.key").ok();
    bench.takt("trust publish --dir trust").refused(5, &["1.targets.json is not in a snapshot yet"]);
    let done = bench.takt("trust sign --dir trust --key snap.key --json").json();
    assert_eq!(done["complete"], true);
    as_a_device(&bench, 1).unwrap();
    // Everything is signed, so only the way to the coordinator is missing now.
    bench.takt("trust publish --dir trust").refused(2, &["no url of the coordinator", "--url"]);
}

#[test]
fn a_ceremony_with_keys_that_cannot_be_is_refused() {
    let bench = Bench::new();
    bench.coordinator_keys();
    bench.key("root");
    bench.key("pub");
    let init = |more: &str| {
        bench
            .takt(&format!("trust init --dir t --root-key root.key --publisher-key pub.key --offline {more}"))
    };
    init("--coordinator-keys coordinator.json --publisher-threshold 2")
        .refused(2, &["role 'targets' needs 2 signatures"]);
    init("--coordinator-keys missing.json").refused(2, &["missing.json"]);
    bench.write("bad.json", r#"{"order":"xyz"}"#);
    init("--coordinator-keys bad.json").refused(2, &["bad.json", "xyz"]);
    let timestamp = bench.read("timestamp.key");
    bench.write("pub.key", timestamp);
    init("--coordinator-keys coordinator.json").refused(2, &["key"]);
    assert!(!bench.path("t/1.root.json").exists());
}

#[test]
fn a_signed_release_is_what_a_device_finds_with_its_artifacts() {
    let bench = ceremony(1);
    let id = bench.image("c1.tar", "one");
    let made = bench
        .takt(&format!(
            "{NEW} --version 1.0.0 --image c1.tar --image-id sha256:{id} --strategy preserve,replace,preserve \
             --env PORT=${{port}} --env EMPTY= --probation-secs 3 --start-secs 5 --severity major --hardware pi-4 \
             --trust trust --offline --out r1 --json"
        ))
        .json();
    assert_eq!((&made["counter"], &made["image_id"]), (&1.into(), &id.clone().into()));

    let manifest = Manifest::from_bytes(&bench.read("r1/manifest.json")).unwrap();
    let set = manifest.containers().unwrap();
    let [container] = &set.containers[..] else { panic!("one container is expected") };
    assert_eq!(container.image_id.to_string(), id);
    assert_eq!(set.strategies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["preserve", "replace"]);
    assert_eq!((container.env["PORT"].as_str(), container.env["EMPTY"].as_str()), ("${port}", ""));
    assert_eq!((manifest.health.probation_millis, manifest.health.start_millis), (3_000, 5_000));
    assert_eq!(manifest.unpacked_bytes, 300);
    let archive = bench.read("c1.tar");
    assert_eq!(container.archive, Sha256Digest::of(&archive));
    assert_eq!(bench.read(&format!("r1/artifacts/{}", container.archive)), archive);

    let signed =
        bench.takt("release sign --dir r1 --trust trust --publisher-key p2.key --offline --json").json();
    assert_eq!((&signed["complete"], &signed["targets"]["version"]), (&true.into(), &2.into()));
    let trust = as_a_device(&bench, 2).unwrap();
    let target = trust.target(&manifest.release.target_path()).unwrap();
    assert_eq!(target.sha256, Sha256Digest::of(&bench.read("r1/manifest.json")));
    let artifact = trust.target(&manifest.artifacts[0].target_path()).unwrap();
    assert_eq!((artifact.sha256, artifact.length), (container.archive, archive.len() as u64));

    // Signing it again makes no new version, and the next release counts on.
    bench.takt("release sign --dir r1 --trust trust --publisher-key p1.key --offline").ok();
    assert!(!bench.path("trust/3.targets.json").exists() && !bench.path("trust/3.snapshot.json").exists());
    bench.image("c2.tar", "two");
    let next =
        bench.takt(&format!("{NEW} --version 2.0.0 --image c2.tar --trust trust --offline --out r2 --json"));
    assert_eq!(next.json()["counter"], 2);
    bench.takt("release sign --dir r2 --trust trust --publisher-key p1.key --floor 2 --offline").ok();
    let trust = as_a_device(&bench, 3).unwrap();
    assert_eq!(trust.floor(&"counter".parse::<Name>().unwrap()), 2);
}

#[test]
fn with_a_threshold_each_publisher_signs_the_same_document() {
    let bench = ceremony(2);
    bench.image("c1.tar", "one");
    bench.image("c2.tar", "two");
    bench.takt(&format!("{NEW} --version 1.0.0 --counter 1 --image c1.tar --out r1")).ok();
    bench.takt(&format!("{NEW} --version 2.0.0 --counter 2 --image c2.tar --out r2")).ok();
    let first = bench.takt("release sign --dir r1 --trust trust --publisher-key p1.key --offline").ok();
    assert!(first.out.contains("2.targets.json") && first.out.contains("1 of 2 signatures"), "{first:?}");
    assert!(first.out.contains("1 more"), "{first:?}");
    bench
        .takt("release publish --dir r1 --trust trust")
        .refused(5, &["2.targets.json has 1 of the 2 signatures"]);
    assert!(!bench.path("trust/2.snapshot.json").exists());
    bench
        .takt("release sign --dir r2 --trust trust --publisher-key p2.key --offline")
        .refused(5, &["2.targets.json waits for signatures (1 of 2)", "counter 2.0.0"]);
    // The same publisher twice is one signature.
    let again = bench.takt("release sign --dir r1 --trust trust --publisher-key p1.key --offline").ok();
    assert!(again.out.contains("1 of 2 signatures"), "{again:?}");
    let second = bench.takt("release sign --dir r1 --trust trust --publisher-key p2.key --offline").ok();
    assert!(
        second.out.contains("2 of 2 signatures") && second.out.contains("can be published"),
        "{second:?}"
    );
    as_a_device(&bench, 2).unwrap();
    bench
        .takt("release publish --dir r2 --trust trust")
        .refused(5, &["counter 2.0.0 is not in trust/2.targets.json"]);
    bench.takt("release publish --dir r1 --trust trust").refused(2, &["no url of the coordinator"]);
}

#[test]
fn what_must_not_be_signed_is_not() {
    let bench = ceremony(1);
    bench.key("stranger");
    bench.image("c1.tar", "one");
    bench.takt(&format!("{NEW} --version 1.0.0 --counter 7 --image c1.tar --out r1")).ok();
    let sign = |more: &str| bench.takt(&format!("release sign --trust trust --offline {more}"));
    sign("--dir r1 --publisher-key stranger.key")
        .refused(5, &["stranger.key", "publisher keys", "1.root.json"]);
    sign("--dir r1 --publisher-key p1.key.pub").refused(2, &["p1.key.pub holds a public key"]);
    sign("--dir nothing --publisher-key p1.key").refused(2, &["nothing/manifest.json"]);
    bench
        .takt("release sign --trust nothing --offline --dir r1 --publisher-key p1.key")
        .refused(2, &["nothing"]);
    sign("--dir r1 --publisher-key p1.key").ok();

    // Other bytes under the same version, a counter that is taken, a floor above the release.
    bench.image("c2.tar", "two");
    bench.takt(&format!("{NEW} --version 1.0.0 --counter 7 --image c2.tar --out r2")).ok();
    sign("--dir r2 --publisher-key p1.key")
        .refused(5, &["releases/counter/1.0.0.json", "cannot be replaced"]);
    bench.takt(&format!("{NEW} --version 3.0.0 --counter 7 --image c2.tar --out r3")).ok();
    sign("--dir r3 --publisher-key p1.key").refused(5, &["counter 7", "1.0.0"]);
    bench.takt(&format!("{NEW} --version 4.0.0 --counter 8 --image c2.tar --out r4")).ok();
    sign("--dir r4 --floor 9 --publisher-key p1.key").refused(5, &["below the floor 9"]);
    assert!(!bench.path("trust/3.targets.json").exists());

    // An artifact that has changed on the way.
    let archive = Sha256Digest::of(&bench.read("c2.tar"));
    let artifact = bench.path(&format!("r4/artifacts/{archive}"));
    std::fs::remove_file(&artifact).unwrap();
    sign("--dir r4 --publisher-key p1.key").refused(2, &[&archive.to_string(), "No such file"]);
    std::fs::write(&artifact, "other").unwrap();
    sign("--dir r4 --publisher-key p1.key").refused(2, &[&archive.to_string(), "5 bytes"]);
}
