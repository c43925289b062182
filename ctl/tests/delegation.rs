//! `takt trust delegate` on the real binary: others publish a part of the components, and devices take that part from them.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use takt_common::SigningKey;
use takt_ctl::clock::now;
use takt_trust::{PackageTrust, TrustError, timestamp_for};

mod support;
use support::Bench;

const DELEGATE: &str = "trust delegate --dir trust --role os --threshold 2 --component os-* --key p1.key";

/// A trust folder of one publisher, who delegates `os-*` to o1 and o2.
fn ceremony() -> Bench {
    let bench = Bench::new();
    bench.coordinator_keys();
    for name in ["r1", "p1", "o1", "o2", "o3"] {
        bench.key(name);
    }
    bench
        .takt(
            "trust init --dir trust --root-key r1.key --publisher-key p1.key --coordinator-keys coordinator.json \
             --offline",
        )
        .ok();
    let made = bench.takt(&format!("{DELEGATE} --holder-key o1.key.pub --holder-key o2.key.pub --json"));
    assert_eq!(made.json()["complete"], true);
    bench
}

/// The folder of a release of `component`, made anew.
fn release(bench: &Bench, component: &str, counter: u64) -> String {
    let (image, out) = (format!("{component}-{counter}.tar"), format!("{component}-{counter}"));
    bench.image(&image, &out);
    bench
        .takt(&format!(
            "release new --name {component} --probe tcp=127.0.0.1:80 --version {counter}.0 --counter {counter} \
             --image {image} --out {out}"
        ))
        .ok();
    out
}

/// A device that has trusted the first root looks at the folder as it would be published with this snapshot.
fn follow(bench: &Bench, snapshot: u64) -> Result<PackageTrust, TrustError> {
    let pem = String::from_utf8(bench.read("timestamp.key")).unwrap();
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

fn releases(trust: &PackageTrust) -> Vec<String> {
    trust.target_paths().filter(|path| path.starts_with("releases/")).map(str::to_owned).collect()
}

#[test]
fn two_holders_publish_what_the_role_may_and_the_publisher_goes_on_meanwhile() {
    let bench = ceremony();
    assert!(releases(&follow(&bench, 2).unwrap()).is_empty());
    let base = release(&bench, "os-base", 1);
    let sign = |folder: &str, key: &str| {
        bench.takt(&format!(
            "release sign --dir {folder} --trust trust --offline --publisher-key {key} --json"
        ))
    };
    let first = sign(&base, "o1.key").json();
    assert_eq!((&first["targets"]["file"], &first["complete"]), (&"1.os.json".into(), &false.into()));
    bench.takt(&format!("release publish --dir {base} --trust trust")).refused(5, &["1.os.json"]);

    // A release of the publisher does not wait for the second holder, and does not bring his along.
    let lamp = release(&bench, "lamp", 1);
    assert_eq!(sign(&lamp, "p1.key").json()["complete"], true);
    assert_eq!(releases(&follow(&bench, 3).unwrap()), ["releases/lamp/1.0.json"]);

    // The holders' own keys sign no snapshot: the publisher's does.
    assert_eq!(sign(&base, "o2.key").json()["complete"], false);
    bench.takt("trust sign --dir trust --key p1.key").ok();
    let device = follow(&bench, 4).unwrap();
    assert_eq!(releases(&device), ["releases/lamp/1.0.json", "releases/os-base/1.0.json"]);
    let shown = bench.takt("trust show --dir trust --json").json();
    assert_eq!((&shown["complete"], shown["documents"].as_array().unwrap().len()), (&true.into(), 5));
}

#[test]
fn what_a_role_may_not_publish_is_refused_by_name() {
    let bench = ceremony();
    let sign = "release sign --trust trust --offline --role os --publisher-key o1.key --dir";
    let lamp = release(&bench, "lamp", 1);
    bench.takt(&format!("{sign} {lamp}")).refused(5, &["'os' may not publish lamp 1.0", "os-*"]);
    let base = release(&bench, "os-base", 1);
    let stranger = "release sign --trust trust --offline --role os --publisher-key o3.key --dir";
    bench
        .takt(&format!("{stranger} {base}"))
        .refused(5, &["o3.key", "keys of the delegated role", "2.targets.json"]);
    let unknown = "release sign --trust trust --offline --role apps --publisher-key o1.key --dir";
    bench.takt(&format!("{unknown} {base}")).refused(2, &["no role 'apps'", "delegated are: os"]);
    let kinds = format!("{DELEGATE} --holder-key o1.key.pub --holder-key o2.key.pub --kind os-image");
    bench.takt(&kinds).ok();
    bench.takt(&format!("{sign} {base}")).refused(5, &["os-base 1.0 of kind 'container'", "kinds os-image"]);
    assert!(!bench.path("trust/1.os.json").exists());
    bench.takt(&format!("{DELEGATE} --holder-key o1.key.pub")).refused(2, &["role 'os' needs 2"]);
    bench
        .takt("trust delegate --dir trust --role root --holder-key o1.key.pub --component x --key p1.key")
        .refused(2, &["'root' is no name of a delegated role"]);
    bench
        .takt("trust delegate --dir trust --role t --holder-key timestamp.key.pub --component x --key p1.key")
        .refused(2, &["of the coordinator"]);
    bench
        .takt("trust delegate --dir trust --role apps --remove --key p1.key")
        .refused(2, &["no role 'apps'"]);
}

#[test]
fn a_lost_holder_is_replaced_and_a_role_taken_away() {
    let bench = ceremony();
    let base = release(&bench, "os-base", 1);
    let sign = format!(
        "release sign --dir {base} --trust trust --offline --publisher-key o1.key --publisher-key o2.key"
    );
    bench.takt(&format!("{sign} --snapshot-key p1.key")).ok();
    let seen = follow(&bench, 3).unwrap();
    assert_eq!(releases(&seen), ["releases/os-base/1.0.json"]);

    // What the role has published needs the signatures of its present holders, before devices see that they have changed.
    let changed =
        bench.takt(&format!("{DELEGATE} --holder-key o1.key --holder-key o3.key.pub --json")).json();
    assert_eq!(changed["complete"], false);
    assert!(!bench.path("trust/4.snapshot.json").exists());
    bench.takt("trust publish --dir trust").refused(5, &["2.os.json has 1 of the 2 signatures"]);
    bench.takt("trust sign --dir trust --key o3.key --key p1.key").ok();
    assert_eq!(releases(&follow(&bench, 4).unwrap()), ["releases/os-base/1.0.json"]);

    bench.takt("trust delegate --dir trust --role os --remove --key p1.key").ok();
    assert!(releases(&follow(&bench, 5).unwrap()).is_empty());
}
