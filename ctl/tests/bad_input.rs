//! Bad input: each gets one sentence that names the file or field, the documented exit code, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::net::TcpListener;

use takt_common::api::Problem;

mod support;
use support::{Bench, write_tar};

/// A fleet CA as coordinators make them, so that only the connection can fail.
const CA: &str = include_str!("ca.pem");

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("ca.pem", CA);
    bench.write("not-ca.pem", "hello");
    bench.write("not-toml.toml", "url = ");
    bench.write("unknown.toml", "url = 'https://127.0.0.1:1'\nca = 'ca.pem'\ncolour = 'red'\n");
    bench.write("no-ca.toml", "url = 'https://127.0.0.1:1'\nca = 'missing.pem'\n");
    bench.write(
        "graph.csv",
        "source,target,requests,bytes,requires,weight\ncamera-1,gateway,,,,0.5\ncamera-2,gateway,,,,heavy\n",
    );
    bench.write("graph.json", r#"{"edges":[{"source":"a","target":"b","wight":1}]}"#);
    bench.write("graph.txt", "");
    bench.write("drm.json", r#"{"rows":[{"device":"a","standbys":["a"],"takeover":"launch"}]}"#);
    bench.write("text.tar", "no archive");
    write_tar(&bench.path("other.tar"), &[("etc/hosts", "127.0.0.1 localhost")]);
    bench.image("image.tar", "one");
    bench
}

#[test]
fn every_bad_input_is_refused_with_its_name() {
    let bench = bench();
    let new = "release new --name counter --version 1.0.0 --probe tcp=a:1 --out out";
    let cases: &[(&str, i32, &[&str])] = &[
        ("", 2, &["Usage"]),
        ("fly", 2, &["unrecognized subcommand 'fly'"]),
        ("device list", 2, &["no url", "--url", "profile.toml"]),
        ("device list --profile nowhere.toml", 2, &["profile", "nowhere.toml", "No such file"]),
        ("device list --profile not-toml.toml", 2, &["not-toml.toml", "line 1"]),
        ("device list --profile unknown.toml", 2, &["unknown.toml", "line 3", "colour"]),
        ("device list --profile no-ca.toml", 2, &["missing.pem", "No such file"]),
        ("device list --url https://127.0.0.1:1", 2, &["no ca", "--ca"]),
        ("device list --url http://127.0.0.1:1 --ca ca.pem", 2, &["http://127.0.0.1:1", "https://"]),
        ("device list --url https://127.0.0.1:1 --ca not-ca.pem", 2, &["not-ca.pem", "CERTIFICATE"]),
        ("device list --url https://127.0.0.1:1 --ca ca.pem", 1, &["https://127.0.0.1:1", "refused"]),
        ("device show Camera", 2, &["'Camera'", "is not a name"]),
        ("why ../etc", 2, &["../etc", "is not a name"]),
        ("enrol token --domain line-7 --valid soon", 2, &["'soon'", "10m"]),
        ("enrol token --domain line-7 --uses 0", 2, &["--uses", "0"]),
        ("graph set --domain line-7", 2, &["--edge <EDGE>"]),
        ("graph set --domain line-7 --edge camera-1", 2, &["camera-1", "SOURCE:TARGET"]),
        ("graph set --domain line-7 --edge camera-1:gateway:maybe", 2, &["camera-1:gateway:maybe"]),
        ("graph set --domain line-7 --edge camera-1:Gateway", 2, &["'Gateway' is not a name"]),
        ("graph set --domain line-7 --edge a:a", 2, &["a:a", "itself"]),
        ("graph set --domain line-7 --edge a:b:7", 2, &["a:b", "7", "between 0 and 1"]),
        ("graph set --domain line-7 --file graph.csv", 2, &["graph.csv", "line 3", "heavy"]),
        ("graph set --domain line-7 --file graph.json", 2, &["graph.json", "wight"]),
        ("graph set --domain line-7 --file graph.txt", 2, &["graph.txt", ".csv"]),
        ("graph set --domain line-7 --file missing.csv", 2, &["missing.csv", "No such file"]),
        ("drm set --domain line-7 --row camera-1", 2, &["camera-1", "STANDBY"]),
        ("drm set --domain line-7 --file drm.json", 2, &["row a", "itself"]),
        ("campaign start c --domain d --release counter", 2, &["counter", "COMPONENT@VERSION"]),
        ("campaign start c --domain d --release counter@1 --deadline 10", 2, &["'10'", "10m"]),
        ("campaign start c --domain d --release counter@1 --element-size 0", 2, &["--element-size"]),
        (&format!("{new} --counter 1 --image missing.tar"), 2, &["missing.tar", "No such file"]),
        (&format!("{new} --counter 1 --image text.tar"), 2, &["text.tar is not an image archive"]),
        (&format!("{new} --counter 1 --image other.tar"), 2, &["other.tar", "no manifest.json"]),
        (&format!("{new} --counter 0 --image image.tar"), 2, &["--counter", "0"]),
        (&format!("{new} --image image.tar"), 2, &["counter", "--trust"]),
        (
            &format!("{new} --counter 1 --image image.tar --probe icmp=a"),
            2,
            &["icmp=a", "http, tcp, exec, unit and healthcheck"],
        ),
        (
            &format!("{new} --counter 1 --image image.tar --strategy swap"),
            2,
            &["swap", "handover", "preserve"],
        ),
        (&format!("{new} --counter 1 --image image.tar --env PORT"), 2, &["PORT", "NAME=VALUE"]),
        (
            &format!("{new} --counter 1 --image image.tar --image-id {}", "0".repeat(64)),
            2,
            &["image.tar", "000"],
        ),
        ("release sign --dir out --trust trust --publisher-key k", 2, &["out/manifest.json"]),
        ("trust show --dir nowhere", 2, &["nowhere"]),
    ];
    for (line, code, parts) in cases {
        let run = bench.takt(line).refused(*code, parts);
        assert!(!run.err.contains("panicked"), "{run:?}");
    }
    assert!(!bench.path("out").exists());
}

#[test]
fn errors_for_programs_are_problem_documents() {
    let bench = bench();
    for (line, code, status) in [
        ("--json device list", 2, 400),
        ("--json device show Camera", 2, 400),
        ("--json fly", 2, 400),
        ("device list --url https://127.0.0.1:1 --ca ca.pem --json", 1, 500),
    ] {
        let run = bench.takt(line).refused(code, &[]);
        assert_eq!(run.err.lines().count(), 1, "{run:?}");
        let problem: Problem = serde_json::from_str(&run.err).unwrap();
        assert_eq!(problem.status, status, "{problem:?}");
        assert!(problem.kind.starts_with("urn:takt:problem:") && !problem.detail.is_empty(), "{problem:?}");
    }
}

#[test]
fn a_cause_is_told_once() {
    let bench = bench();
    let run = bench.takt("device list --profile nowhere.toml").refused(2, &[]);
    assert_eq!(run.err.matches("No such file").count(), 1, "{run:?}");
    assert_eq!(run.err.lines().count(), 1, "{run:?}");
}

#[test]
fn a_server_that_speaks_no_tls_is_reported_and_hears_no_token() {
    let bench = bench();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = vec![0; 4_096];
        let count = stream.read(&mut heard).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        heard.truncate(count);
        heard
    });
    let line = format!("device list --url https://{address} --ca ca.pem --token hush-hush");
    bench.takt(&line).refused(1, &[&address.to_string()]);
    let heard = server.join().unwrap();
    assert!(!heard.is_empty() && !heard.windows(9).any(|window| window == b"hush-hush"));
}
