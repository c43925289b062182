//! The binary: first start, settings, exit codes, signals.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};

use takt_common::Sha256Digest;

use crate::support::{
    PATIENCE, client, command, listen, problem, settings_text, spawn_and_listen, terminate,
};

fn refused(config: &Path) -> (i32, String) {
    let Output { status, stderr, .. } = command(config).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    let sentence = said.lines().last().unwrap_or_default().to_owned();
    assert!(sentence.starts_with("takt-coordinator: "), "{said}");
    (status.code().unwrap(), sentence)
}

#[tokio::test]
async fn a_first_start_makes_everything_and_says_what_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("coordinator.toml");
    fs::write(&config, settings_text("")).unwrap();
    let (child, lines) = spawn_and_listen(&config);
    let said = lines.join("\n");
    for expected in [
        folder.path().to_str().unwrap(),
        "takt trust init",
        "release publish",
        "enrol token",
        "operator.toml",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    let profile: toml::Table =
        toml::from_str(&fs::read_to_string(folder.path().join("operator.toml")).unwrap()).unwrap();
    let url = profile["url"].as_str().unwrap();
    assert_eq!(profile["ca"].as_str(), Some("ca.pem"));
    let client = client(folder.path(), None);
    let devices = client.get(format!("{url}/api/v1/devices")).bearer_auth(profile["token"].as_str().unwrap());
    let devices = devices.send().await.unwrap();
    assert_eq!((devices.status().as_u16(), devices.text().await.unwrap().as_str()), (200, "[]"));
    assert_eq!(terminate(child), 0);

    // The second start keeps the keys and says less.
    let key = fs::read(folder.path().join("order.key")).unwrap();
    let (child, lines) = spawn_and_listen(&config);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(fs::read(folder.path().join("order.key")).unwrap(), key);
    assert_eq!(terminate(child), 0);
}

/// In a mount namespace of its own, with an artifact store of one megabyte. `unshare` and `mount` need a user namespace
/// or root; this fails where neither is allowed.
#[tokio::test]
async fn a_full_disk_refuses_the_upload_with_507_and_keeps_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("coordinator.toml");
    fs::write(&config, settings_text("")).unwrap();
    let small = folder.path().join("artifacts");
    fs::create_dir(&small).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m small '{}' && exec \"$0\" serve --config '{}'",
        small.display(),
        config.display()
    );
    let mut unshare = std::process::Command::new("unshare");
    unshare
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .arg(env!("CARGO_BIN_EXE_takt-coordinator"));
    let (child, _) = listen(unshare.env("TAKT_LOG", "warn"));
    let profile: toml::Table =
        toml::from_str(&fs::read_to_string(folder.path().join("operator.toml")).unwrap()).unwrap();
    let url = profile["url"].as_str().unwrap();
    let token = profile["token"].as_str().unwrap();
    let client = client(folder.path(), None);
    let put = |bytes: Vec<u8>| {
        let path = format!("{url}/api/v1/artifacts/{}", Sha256Digest::of(&bytes));
        client.put(path).bearer_auth(token).body(bytes).send()
    };
    for _ in 0..2 {
        let answer = problem(put(vec![1; 3 << 20]).await.unwrap()).await;
        assert_eq!(answer.status, 507);
        assert!(answer.detail.contains("full") && answer.kind.ends_with("storage-full"), "{answer:?}");
    }
    // Nothing of them is left: what fits still fits.
    assert_eq!(put(vec![2; 900 << 10]).await.unwrap().status(), 201);
    assert_eq!(terminate(child), 0);
}

#[test]
fn a_missing_settings_file_is_made_in_a_folder_that_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("a/b/coordinator.toml");
    let settings = takt_coordinator::first_start::settings(&config).unwrap();
    assert_eq!(settings.data_dir, folder.path().join("a/b/."));
    assert!(fs::read_to_string(&config).unwrap().contains("# data_dir"));
    fs::write(folder.path().join("file"), "").unwrap();
    let (code, sentence) = refused(&folder.path().join("file/coordinator.toml"));
    assert_eq!(code, 2, "{sentence}");
    assert!(sentence.contains("file/coordinator.toml"), "{sentence}");
}

#[test]
fn bad_settings_end_with_exit_code_2_and_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("coordinator.toml");
    for (text, named) in [
        ("[api]\nlissten = \"127.0.0.1:0\"\n", "lissten"),
        ("[api\n", "line 1"),
        ("[gate]\nlisten = 5\n", "listen"),
        ("[orders]\nresend_secs = 0\n", "orders.resend_secs"),
    ] {
        fs::write(&config, text).unwrap();
        let (code, sentence) = refused(&config);
        assert_eq!(code, 2, "{sentence}");
        assert!(sentence.contains(named) && sentence.contains("coordinator.toml"), "{sentence}");
    }
    let (code, sentence) = refused(folder.path());
    assert_eq!(code, 2, "{sentence}");
    let usage = Command::new(env!("CARGO_BIN_EXE_takt-coordinator")).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn unreadable_keys_and_taken_ports_end_with_exit_code_1_and_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("coordinator.toml");
    fs::write(&config, settings_text("")).unwrap();
    let (child, _) = spawn_and_listen(&config);
    assert_eq!(terminate(child), 0);

    let key = fs::read(folder.path().join("order.key")).unwrap();
    for (break_it, named) in [
        (Box::new(|path: &Path| fs::write(path, "no key").unwrap()) as Box<dyn Fn(&Path)>, "PRIVATE KEY"),
        (Box::new(|path: &Path| fs::remove_file(path).unwrap()), "order.key"),
        (Box::new(|path: &Path| fs::create_dir(path).unwrap()), "order.key"),
    ] {
        break_it(&folder.path().join("order.key"));
        let (code, sentence) = refused(&config);
        assert_eq!(code, 1, "{sentence}");
        assert!(sentence.contains(named) && sentence.contains("order.key"), "{sentence}");
    }
    fs::remove_dir(folder.path().join("order.key")).unwrap();
    fs::write(folder.path().join("order.key"), key).unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for field in ["api", "gate"] {
        let other = if field == "api" { "gate" } else { "api" };
        let text = format!("[{field}]\nlisten = \"{address}\"\n[{other}]\nlisten = \"127.0.0.1:0\"\n");
        fs::write(&config, text).unwrap();
        let (code, sentence) = refused(&config);
        assert_eq!(code, 1, "{sentence}");
        assert!(sentence.contains(&format!("{field}.listen")), "{sentence}");
        assert!(sentence.contains(&address.to_string()) && sentence.contains("in use"), "{sentence}");
    }

    // Two coordinators on one data directory.
    fs::write(&config, settings_text("")).unwrap();
    let (child, _) = spawn_and_listen(&config);
    let (code, sentence) = refused(&config);
    assert_eq!(terminate(child), 0);
    assert_eq!(code, 1, "{sentence}");
    assert!(sentence.contains("has it open"), "{sentence}");
}

/// What has come to a service manager's socket, until it holds `wanted`.
fn heard(socket: &UnixDatagram, wanted: &str) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut message = [0; 4096];
    loop {
        let length = socket.recv(&mut message).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
        let text = String::from_utf8(message[..length].to_vec()).unwrap();
        if text.contains(wanted) {
            return text;
        }
    }
}

#[test]
fn the_service_manager_hears_when_it_listens_that_its_engine_goes_on_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("coordinator.toml");
    fs::write(&config, settings_text("")).unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let (child, lines) = listen(command(&config).env("NOTIFY_SOCKET", &path));
    let ready = heard(&socket, "READY=1\n");
    assert!(ready.contains(&format!("STATUS={}\n", lines.last().unwrap())), "{ready}");
    for _ in 0..3 {
        heard(&socket, "WATCHDOG=1\n");
    }
    let stopping = std::thread::spawn(move || heard(&socket, "STOPPING=1\n"));
    assert_eq!(terminate(child), 0);
    stopping.join().unwrap();

    // A service manager that has gone does not matter.
    fs::remove_file(&path).unwrap();
    let (child, _) = listen(command(&config).env("NOTIFY_SOCKET", &path));
    assert_eq!(terminate(child), 0);
}
