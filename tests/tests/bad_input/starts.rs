//! Programs that cannot start: one sentence, the exit code, and everything as it was.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use takt_tests::fleet::{Binaries, Takt};

use super::world::{BASE, NEXT, World, release};

/// Runs the agent and gives its exit code and its last line.
fn agent(settings: &Path) -> (i32, String) {
    let output = Command::new(Binaries::find().unwrap().agent)
        .args(["run", "--config"])
        .arg(settings)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said.lines().last().unwrap_or_default().to_owned();
    (output.status.code().unwrap_or(-1), last)
}

fn assert_said(said: &(i32, String), code: i32, parts: &[&str]) {
    assert_eq!(said.0, code, "{}", said.1);
    assert!(said.1.starts_with("takt-agent: failed to "), "{}", said.1);
    for part in parts {
        assert!(said.1.contains(part), "'{part}' is not in: {}", said.1);
    }
}

#[test]
fn an_agent_with_bad_settings_ends_with_exit_code_2_and_names_file_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let good = format!(
        "name = 'camera-1'\ncoordinator = 'https://127.0.0.1:1'\nstate_dir = '{}/state'\n",
        folder.path().display()
    );
    for (text, named) in [
        (format!("{good}colour = 'red'\n"), vec!["line 4", "colour"]),
        (format!("{good}[limits]\nreserve_mib = 1\n"), vec!["reserve_mib"]),
        ("name = 'camera-1'\n".to_owned(), vec!["coordinator"]),
        ("name = 'camera-1\n".to_owned(), vec!["line 1"]),
        ("\0\0\0".to_owned(), vec!["line 1"]),
        (good.replace("https", "http"), vec!["'coordinator'", "https://"]),
        (good.replace("camera-1", "Camera 1"), vec!["line 1", "'Camera 1'"]),
        (format!("{good}health_interval_secs = 0\n"), vec!["'health_interval_secs'", "0"]),
    ] {
        fs::write(&file, text).unwrap();
        let said = agent(&file);
        assert_said(&said, 2, &[&[file.to_str().unwrap()], &named[..]].concat());
    }
    for missing in [folder.path().join("nowhere.toml"), folder.path().to_owned()] {
        assert_said(&agent(&missing), 2, &[missing.to_str().unwrap()]);
    }
    // Not UTF-8.
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert_said(&agent(&file), 2, &[file.to_str().unwrap()]);
    assert!(!folder.path().join("state").exists(), "nothing was made");

    fs::write(&file, good).unwrap();
    let said = agent(&file);
    assert_said(&said, 1, &["not enrolled", "membership.json", "takt-agent enrol --token"]);
}

#[test]
fn an_agent_without_its_key_membership_or_journal_names_the_file_and_changes_nothing() {
    let mut world = World::running();
    world.device.kill();
    let settings = world.device.settings();
    for (file, damage, parts) in [
        ("identity/device.key", Some("no key"), &["device.key", "PRIVATE KEY"][..]),
        ("identity/device.key", None, &["device.key"]),
        ("identity/membership.json", Some("{\"device\":"), &["membership.json", "EOF"]),
        ("identity/membership.json", None, &["not enrolled", "membership.json"]),
    ] {
        let path = world.state(file);
        let kept = fs::read(&path).unwrap();
        match damage {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_said(&agent(&settings), 1, parts);
        assert_eq!(fs::read(&path).ok(), damage.map(|text| text.as_bytes().to_vec()), "{file} was touched");
        fs::write(&path, kept).unwrap();
    }
    // A folder where the key should be.
    let key = world.state("identity/device.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    assert_said(&agent(&settings), 1, &["read the device key", "device.key", "directory"]);
    fs::remove_dir(&key).unwrap();
    fs::write(&key, kept).unwrap();

    // Two agents on one state.
    world.device.run().unwrap();
    world.fleet.wait_online(&mut world.device).unwrap();
    assert_said(&agent(&settings), 1, &["journal", "open"]);
    world.assert_runs(BASE);
    world.install(NEXT);
}

#[test]
fn an_unreadable_publisher_key_signs_nothing_and_publishes_nothing() {
    let world = World::enrolled();
    world.publish(&release(BASE));
    let takt = &world.fleet.takt;
    let (documents, [publisher, _]) = (world.fleet.trust.documents(), world.fleet.trust.publisher_keys());
    let dir = world.fleet.folder().join("releases").join(BASE).display().to_string();
    let before = snapshot(Path::new(&documents));
    let good = fs::read(&publisher).unwrap();
    let sign = || {
        let keys = ["--publisher-key", &publisher, "--snapshot-key", &world.fleet.trust.snapshot_key()];
        takt.run(&[&["release", "sign", "--dir", &dir, "--trust", &documents], &keys[..]].concat()).unwrap()
    };
    for (damage, part) in [
        (Some(&b"no key"[..]), "PRIVATE KEY"),
        (Some(&good[..good.len() / 2]), "publisher-1.key"),
        (Some(&[0xff, 0xfe][..]), "publisher-1.key"),
        (None, "No such file"),
    ] {
        match damage {
            Some(bytes) => fs::write(&publisher, bytes).unwrap(),
            None => fs::remove_file(&publisher).unwrap(),
        }
        let said = sign();
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("publisher-1.key") && said.err.contains(part), "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    }
    assert_eq!(snapshot(Path::new(&documents)), before, "a document was changed");
}

#[test]
fn a_profile_that_cannot_be_used_is_named_with_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("operator.toml");
    let takt = Takt::new(&Binaries::find().unwrap().takt, &profile);
    for (text, parts) in [
        (None, &["operator.toml", "No such file"][..]),
        (Some("url = "), &["operator.toml", "line 1"]),
        (Some("uri = 'https://127.0.0.1:1'\n"), &["operator.toml", "uri"]),
        (Some("url = 'https://127.0.0.1:1'\n"), &["--ca", "operator.toml"]),
        (Some("url = 'https://127.0.0.1:1'\nca = 'ca.pem'\n"), &["ca.pem", "No such file"]),
    ] {
        if let Some(text) = text {
            fs::write(&profile, text).unwrap();
        }
        let said = takt.run(&["device", "list"]).unwrap();
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(parts.iter().all(|part| said.err.contains(part)), "{said:?}");
    }
}

/// The names and contents of a folder.
fn snapshot(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}
