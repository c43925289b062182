//! `takt trust client` on the real binary, against a web server with a repository that is not Takt's.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use ring::rand::SystemRandom;
use takt_common::SigningKey;

#[path = "../../common/trust/tests/foreign/mod.rs"]
mod foreign;
mod support;

use foreign::Foreign;
use support::{Bench, Run};

/// A web server.
#[derive(Clone, Default)]
struct Site(Arc<Mutex<Served>>);

#[derive(Default)]
struct Served {
    files: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
}

impl Site {
    /// Serves until the test ends, one request a connection; gives its address.
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = self.clone();
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| site.answer(&stream)));
        url
    }

    fn answer(&self, mut stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let request = lines.next().unwrap_or_default();
        // Headers to their end, so that nothing unread breaks the connection.
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let mut state = self.0.lock().unwrap();
        let bytes = state.files.get(&path).cloned();
        state.asked.push(path);
        drop(state);
        let status = if bytes.is_some() { "200 OK" } else { "404 Not Found" };
        let bytes = bytes.unwrap_or_default();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
        // A client that has read enough may be gone.
        let _gone = stream.write_all(&[head.as_bytes(), &bytes].concat());
    }

    fn show(&self, repository: &Foreign) {
        self.0.lock().unwrap().files.clone_from(&repository.files);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

/// A client with its folder, a repository, and where that is served.
struct World {
    bench: Bench,
    repository: Foreign,
    site: Site,
    url: String,
}

impl World {
    fn new() -> Self {
        let keys = (0..2).map(|_| SigningKey::generate(&SystemRandom::new()).unwrap()).collect();
        let (bench, repository, site) = (Bench::new(), Foreign::new(keys), Site::default());
        bench.write("first.json", repository.root());
        let url = site.start();
        let world = Self { bench, repository, site, url };
        world.client("init", &["first.json"]).ok();
        world
    }

    fn publish(&mut self) {
        self.repository.publish();
        self.site.show(&self.repository);
    }

    fn client(&self, command: &str, more: &[&str]) -> Run {
        let (metadata, targets) = (self.bench.path("metadata"), self.bench.path("targets"));
        let (metadata, targets) = (metadata.to_str().unwrap(), targets.to_str().unwrap());
        let base = format!("{}/targets", self.url);
        let first = self.bench.path("first.json");
        let mut args = vec!["trust", "client", "--metadata-dir", metadata];
        match command {
            "init" => args.extend(["init", first.to_str().unwrap()]),
            "refresh" => args.extend(["--metadata-url", &self.url, "refresh"]),
            _ => {
                args.extend([
                    "--metadata-url",
                    &self.url,
                    "--target-base-url",
                    &base,
                    "--target-dir",
                    targets,
                ]);
                args.extend(more.iter().flat_map(|name| ["--target-name", *name]));
                args.push("download");
            }
        }
        self.bench.takt_args(&args)
    }
}

#[test]
fn targets_of_delegated_roles_are_fetched_once_and_kept_where_they_belong() {
    let mut world = World::new();
    world.repository.delegate("targets", "os", 1, &["os/*"], false);
    world.repository.offer("os", "os/camera.img", b"an image");
    world.repository.offer("targets", "tool", b"a tool");
    world.publish();

    world.client("download", &["os/camera.img", "tool"]).ok();
    assert_eq!(world.bench.read("targets/os/camera.img"), b"an image");
    assert_eq!(world.bench.read("targets/tool"), b"a tool");
    let asked = world.site.asked();
    assert_eq!(
        asked[..5],
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.os.json"]
    );
    assert_eq!(asked.len(), 7);

    world.client("download", &["os/camera.img", "tool"]).ok();
    assert_eq!(world.site.asked(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn what_is_not_signed_leaves_what_is_there() {
    let mut world = World::new();
    world.repository.offer("targets", "tool", b"a tool");
    world.publish();
    world.client("download", &["tool"]).ok();

    // Other bytes under the name, as long as they should be, and longer.
    world.repository.roles.get_mut("targets").unwrap().version = 2;
    world.repository.offer("targets", "tool", b"b tool");
    world.publish();
    let name = world
        .repository
        .files
        .keys()
        .find(|name| name.starts_with("targets/") && world.repository.files[*name] == b"b tool");
    let name = name.unwrap().clone();
    for other in [&b"c tool"[..], b"a tool that is longer"] {
        world.repository.files.insert(name.clone(), other.to_vec());
        world.site.show(&world.repository);
        let run = world.client("download", &["tool"]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.err.contains(&name), "{run:?}");
        assert_eq!(world.bench.read("targets/tool"), b"a tool");
    }
    let run = world.client("download", &["gone"]);
    assert_eq!((run.code, run.err.contains("the repository offers no target 'gone'")), (1, true), "{run:?}");
    let run = world.client("download", &["../tool"]);
    assert_eq!((run.code, run.err.contains("no place below a folder")), (1, true), "{run:?}");
}

#[test]
fn a_step_back_and_a_root_that_is_none_are_refused() {
    let mut world = World::new();
    world.publish();
    world.publish();
    world.client("refresh", &[]).ok();
    let trusted = world.bench.read("metadata/timestamp.json");
    world.repository.timestamp = 0;
    world.publish();
    let run = world.client("refresh", &[]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("timestamp.json is a step back"), "{run:?}");
    assert_eq!(world.bench.read("metadata/timestamp.json"), trusted);

    world.bench.write("first.json", b"{}");
    let run = world.client("init", &[]);
    assert_eq!(run.code, 1, "{run:?}");
    world.client("refresh", &[]);
    assert_ne!(world.bench.read("metadata/root.json"), b"{}");
    let run = world.bench.takt("trust client --metadata-dir metadata refresh");
    assert_eq!((run.code, run.err.contains("'refresh' needs --metadata-url")), (1, true), "{run:?}");
}
