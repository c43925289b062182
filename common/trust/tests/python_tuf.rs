//! python-tuf, the reference implementation of TUF, must understand what Takt signs as Takt does.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod repository;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use repository::{DAY, Repository, key, manifest_text, release, role};
use serde_json::{Value, json};
use takt_common::UnixTime;
use takt_trust::{DirectorSpec, PackageTrust, VerifiedTarget, names};

const PATHS: [&str; 2] = ["releases/camera/1.0.json", "releases/camera/2.0.json"];

fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// The target's file, under the name that TUF clients ask for with consistent snapshots.
fn write_target(folder: &Path, version: &str) {
    let place = folder.join("targets/releases/camera");
    fs::create_dir_all(&place).unwrap();
    let digest = release(version, 1, 0).manifest.sha256;
    fs::write(place.join(format!("{digest}.{version}.json")), manifest_text(version)).unwrap();
}

/// Two director roots: the second has other people and other order keys. Returns what must be understood of them.
fn write_directors(folder: &Path, now: UnixTime) -> Value {
    fs::create_dir_all(folder).unwrap();
    let (people, successors) = ([key(), key()], [key(), key()]);
    let orders = [[key(), key()], [key(), key()]];
    let first = DirectorSpec {
        epoch: 1,
        expires: now + DAY,
        root: role(&people.each_ref(), 2),
        order: role(&orders[0].each_ref(), 1),
        counter: None,
    };
    let second = DirectorSpec {
        epoch: 2,
        root: role(&successors.each_ref(), 1),
        order: role(&orders[1].each_ref(), 2),
        counter: None,
        ..first.clone()
    };
    for spec in [&first, &second] {
        let mut document = spec.document().unwrap();
        for key in people.iter().chain(&successors[..1]) {
            document.add_signature(key);
        }
        fs::write(folder.join(names::director_file(spec.epoch)), document.to_bytes()).unwrap();
    }
    [&first, &second]
        .map(|spec| json!({"epoch": spec.epoch, "keys": spec.order.keys, "threshold": spec.order.threshold}))
        .into_iter()
        .collect()
}

/// What Takt has understood, in the words of the script.
fn understood(device: &PackageTrust) -> Value {
    let targets: serde_json::Map<String, Value> = PATHS
        .into_iter()
        .map(|path| {
            let told = device.target(path).map(|target| {
                let VerifiedTarget { length, sha256, custom, .. } = target;
                let version = path.trim_start_matches("releases/camera/").trim_end_matches(".json");
                json!({"length": length, "sha256": sha256, "custom": custom, "content": manifest_text(version)})
            });
            (path.to_owned(), json!(told))
        })
        .collect();
    json!({"targets": targets, "root": device.root_version(), "snapshot": device.snapshot().unwrap().version})
}

#[test]
fn python_tuf_understands_all_that_takt_signs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // python-tuf reads the wall clock; the time at which the folder was made is near enough.
    let made = fs::metadata(folder).unwrap().modified().unwrap();
    let now = UnixTime::from_secs(made.duration_since(UNIX_EPOCH).unwrap().as_secs());

    let mut repository = Repository::new(now);
    write(&folder.join("stages/1"), &repository.files);
    fs::write(folder.join("1.root.json"), &repository.files["1.root.json"]).unwrap();
    let first = repository.informed_device();
    repository.publish_release("2.0", 2, 1);
    write(&folder.join("stages/2"), &repository.files);
    let second = repository.show(&first).unwrap();
    // Every key below the root changes, and so does one of the people.
    repository.publishers = [key(), key()];
    (repository.snapshot_key, repository.timestamp_key) = (key(), key());
    repository.root_keys[2] = key();
    let roles = &mut repository.root.roles;
    roles.root = role(&repository.root_keys.each_ref(), 2);
    roles.targets = role(&repository.publishers.each_ref(), 2);
    roles.snapshot = role(&[&repository.snapshot_key], 1);
    roles.timestamp = role(&[&repository.timestamp_key], 1);
    repository.publish_root();
    repository.targets.begin_next(now);
    repository.publish();
    write(&folder.join("stages/3"), &repository.files);
    let third = repository.show(&second).unwrap();
    write_target(folder, "1.0");
    write_target(folder, "2.0");

    repository.edit("3.targets.json", "\"counter\":2", "\"counter\":3");
    write(&folder.join("bad/swapped"), &repository.files);
    let swapped = repository.files["3.targets.json"].clone();
    repository.pin_targets(swapped);
    write(&folder.join("bad/unsigned"), &repository.files);
    let directors = write_directors(&folder.join("director"), now);

    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/env/python.sh");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_tuf.py");
    let output =
        Command::new(run).arg(script).arg(folder).args(PATHS).output().expect("the script can be started");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "python-tuf did not run or did not agree ({}):\n{complaint}",
        output.status
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();

    assert_eq!(told["visits"], json!([understood(&first), understood(&second), understood(&third)]));
    assert_eq!(told["directors"], directors);
    assert_eq!(
        told["refused"],
        json!({"swapped": "LengthOrHashMismatchError", "unsigned": "UnsignedMetadataError"})
    );
}
