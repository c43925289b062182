//! The demo's workload in a real engine: images load under the ids known beforehand, every nature behaves as
//! named, and a checkpoint brings the memory back while clients are connected. Needs root, Docker and CRIU
//! (`tests/env/install.sh`); fails where they are missing.

// Helpers of tests are tests too, and a wait with a limit needs a clock.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use takt_tests::engine::Engine;
use takt_tests::image::{Image, Recipe, workload_binary};
use takt_workload::Nature;

/// Long enough for a loaded machine; a test that gets what it waits for goes on at once.
const PATIENCE: Duration = Duration::from_secs(20);
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A running container of one version of the workload, removed when dropped.
struct Container<'a> {
    engine: &'a Engine,
    name: String,
    port: u16,
}

impl<'a> Container<'a> {
    fn run(engine: &'a Engine, image: &Image) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("workload-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let port = free_port();
        let container = Self { engine, name, port };
        let port = format!("PORT={port}");
        container.docker(
            &["run", "-d", "--network", "host", "-e", &port, "-e", "DEVICE=camera-1", "--name"],
            &[&image.id],
        );
        container
    }

    fn docker(&self, before: &[&str], after: &[&str]) -> String {
        run(self.engine.docker().args(before).arg(&self.name).args(after))
    }

    fn state(&self, field: &str) -> String {
        self.docker(&["inspect", "--format", &format!("{{{{.State.{field}}}}}")], &[])
    }

    /// Docker packs a checkpoint by digest to restore it, and refuses where containerd still holds the equal pack
    /// from the dump, which it forgets only later (moby#42900). A file that CRIU ignores makes the digest new.
    fn make_checkpoint_unique(&self, checkpoint: &str) {
        let root = run(self.engine.docker().args(["info", "--format", "{{.DockerRootDir}}"]));
        let id = self.docker(&["inspect", "--format", "{{.Id}}"], &[]);
        let folder = PathBuf::from(root).join("containers").join(id).join("checkpoints").join(checkpoint);
        std::fs::write(folder.join("takt-restore"), checkpoint).unwrap();
    }

    fn exit_code(&self) -> String {
        wait_for("the end of the container", || (self.state("Running") == "false").then_some(()));
        self.state("ExitCode")
    }

    fn connect(&self) -> TcpStream {
        let connection =
            wait_for("the workload to listen", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _gone = self.engine.docker().args(["rm", "-f", "-v", &self.name]).output();
    }
}

/// Status code and body; `None` where the connection broke.
fn get(connection: &mut TcpStream, path: &str) -> Option<(u16, String)> {
    write!(connection, "GET {path} HTTP/1.1\r\nhost: workload\r\n\r\n").ok()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some((head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap()))
}

fn load(engine: &Engine, version: &str, nature: Nature) -> Image {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let image = Recipe::counter(version, nature, workload_binary().unwrap()).build(&archive).unwrap();
    run(engine.docker().arg("load").arg("--input").arg(&archive));
    image
}

#[test]
fn docker_gives_a_loaded_image_the_id_known_beforehand() {
    let engine = Engine::shared().unwrap();
    let image = load(&engine, "1.0.0", Nature::Good);
    let id =
        run(engine.docker().args(["image", "inspect", "--format", "{{.Id}}", "takt-demo-counter:1.0.0"]));
    assert_eq!(id, image.id);

    let container = Container::run(&engine, &image);
    let mut client = container.connect();
    let counted = get(&mut client, "/").unwrap();
    assert_eq!(counted, (200, r#"{"version":"1.0.0","counter":1,"device":"camera-1"}"#.into()));
    assert_eq!(get(&mut client, "/health").unwrap().0, 200);

    // As a container's first process it must take SIGTERM itself; else Docker waits ten seconds and kills (137).
    container.docker(&["stop", "--time", "10"], &[]);
    assert_eq!(container.exit_code(), "0");
}

#[test]
fn every_bad_nature_fails_in_its_own_way() {
    let engine = Engine::shared().unwrap();

    let sick = load(&engine, "3.0.0-sick", Nature::Sick);
    let sick = Container::run(&engine, &sick);
    let mut client = sick.connect();
    assert_eq!(get(&mut client, "/health").unwrap().0, 500);
    assert_eq!(get(&mut client, "/").unwrap().0, 200);

    let mute = load(&engine, "3.0.0-mute", Nature::Mute);
    let mute = Container::run(&engine, &mute);
    let mut client = mute.connect();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(get(&mut client, "/health"), None);
    assert_eq!(get(&mut mute.connect(), "/").unwrap().0, 200);

    let dies = load(&engine, "3.0.0-dies", Nature::DiesAfter(Duration::from_millis(500)));
    let dies = Container::run(&engine, &dies);
    assert_eq!(get(&mut dies.connect(), "/health").unwrap().0, 200);
    assert_eq!(dies.exit_code(), "1");

    let wont_start = load(&engine, "3.0.0-wont-start", Nature::WontStart);
    assert_eq!(Container::run(&engine, &wont_start).exit_code(), "127");
}

#[test]
fn a_checkpoint_taken_under_connected_clients_brings_the_counter_back() {
    let engine = Engine::shared().unwrap();
    let image = load(&engine, "1.0.0", Nature::Good);
    let container = Container::run(&engine, &image);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| container.connect()).collect();
    for client in &mut clients {
        assert_eq!(get(client, "/").unwrap().0, 200);
    }

    container.docker(&["checkpoint", "create"], &["before"]);
    assert_eq!(container.state("Running"), "false");
    assert!(TcpStream::connect(("127.0.0.1", container.port)).is_err(), "nothing serves after a checkpoint");

    container.make_checkpoint_unique("before");
    container.docker(&["start", "--checkpoint", "before"], &[]);

    let (status, shown) = get(&mut container.connect(), "/counter").unwrap();
    assert_eq!((status, shown.as_str()), (200, r#"{"version":"1.0.0","counter":3,"device":"camera-1"}"#));
    for client in &mut clients {
        assert_eq!(get(client, "/counter"), None, "connections from before are closed, not mute");
    }
}
