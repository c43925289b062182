//! `takt key` on the real binary.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::os::unix::fs::PermissionsExt as _;

use takt_common::SigningKey;

mod support;
use support::Bench;

#[test]
fn a_new_key_is_secret_and_its_public_half_lies_beside_it() {
    let bench = Bench::new();
    let made = bench.takt("key new --out publisher.key").ok();
    let private = std::fs::metadata(bench.path("publisher.key")).unwrap();
    assert_eq!(private.permissions().mode() & 0o777, 0o600);
    let key = SigningKey::from_pem(&String::from_utf8(bench.read("publisher.key")).unwrap()).unwrap();
    let public = format!("{}\n", key.public());
    assert_eq!(bench.read("publisher.key.pub"), public.as_bytes());
    assert!(made.out.contains(public.trim()));
    assert!(!made.out.contains("PRIVATE"));
    for file in ["publisher.key", "publisher.key.pub"] {
        assert_eq!(bench.takt(&format!("key show {file}")).ok().out, public);
    }
    let shown = bench.takt("--json key show publisher.key.pub").json();
    assert_eq!((&shown["holds"], &shown["public_key"]), (&"public".into(), &public.trim().into()));
}

#[test]
fn neither_half_of_a_key_is_ever_overwritten() {
    let bench = Bench::new();
    bench.key("a");
    let before = bench.read("a.key");
    bench.takt("key new --out a.key").refused(5, &["a.key.pub", "not overwritten"]);
    std::fs::remove_file(bench.path("a.key.pub")).unwrap();
    bench.takt("key new --out a.key").refused(5, &["a.key", "not overwritten"]);
    assert_eq!(bench.read("a.key"), before);
    bench.key("b");
    std::fs::remove_file(bench.path("b.key")).unwrap();
    bench.takt("key new --out b.key").refused(5, &["b.key.pub"]);
    assert!(!bench.path("b.key").exists());
}

#[test]
fn what_is_no_key_is_refused_by_name() {
    let bench = Bench::new();
    bench.write("text", "hello");
    bench.write("other.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    bench.write("binary", [0xff, 0xfe]);
    bench.write("long", "a".repeat(20_000));
    bench.takt("key show missing").refused(2, &["read missing", "No such file"]);
    bench.takt("key show text").refused(2, &["text holds no usable key", "64 lower-case hex digits"]);
    bench.takt("key show other.pem").refused(2, &["other.pem", "Ed25519"]);
    bench.takt("key show binary").refused(2, &["binary"]);
    bench.takt("key show long").refused(2, &["long", "16384 bytes"]);
    bench.takt("key show .").refused(2, &["read .", "directory"]);
    bench.takt("key new --out no/such/folder").refused(1, &["no/such/folder"]);
}
