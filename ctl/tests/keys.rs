//! `takt key` on the real binary.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use takt_common::SigningKey;

mod support;
use support::{Bench, Run};

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

/// Runs `takt` with the passphrases of a file.
fn with(bench: &Bench, passphrases: &str, line: &str) -> Run {
    let words: Vec<&str> = line.split_whitespace().collect();
    bench.takt_in(&[("TAKT_PASSPHRASE_FILE", Path::new(passphrases))], &words)
}

#[test]
fn a_key_under_a_passphrase_signs_for_whoever_knows_it() {
    let bench = Bench::new();
    bench.write("passphrase", "correct horse battery\n");
    with(&bench, "passphrase", "key new --out a.key --protect").ok();
    let pem = String::from_utf8(bench.read("a.key")).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");
    assert_eq!(std::fs::metadata(bench.path("a.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let public = String::from_utf8(bench.read("a.key.pub")).unwrap();
    assert_eq!(with(&bench, "passphrase", "key show a.key").ok().out, public);

    // The right one may stand beside others; without it nothing is told.
    bench.write("several", "another one\ncorrect horse battery\n");
    assert_eq!(with(&bench, "several", "key show a.key").ok().out, public);
    bench.write("wrong", "incorrect horse\n");
    with(&bench, "wrong", "key show a.key").refused(5, &["no passphrase that was given opens a.key"]);
    bench.takt("key show a.key").refused(2, &["a.key", "TAKT_PASSPHRASE_FILE"]);
    with(&bench, "missing", "key show a.key").refused(2, &["read missing"]);
}

#[test]
fn a_bare_key_is_put_under_a_passphrase_and_stays_the_same() {
    let bench = Bench::new();
    bench.key("a");
    let public = String::from_utf8(bench.read("a.key.pub")).unwrap();
    bench.write("passphrase", "correct horse battery\n");
    with(&bench, "passphrase", "key protect a.key --out b.key").ok();
    assert_eq!(with(&bench, "passphrase", "key show b.key").ok().out, public);
    with(&bench, "passphrase", "key protect a.key --out b.key").refused(5, &["b.key", "not overwritten"]);
    with(&bench, "passphrase", "key protect a.key.pub --out c.key").refused(2, &["public key"]);
    bench.write("short", "horse\n");
    with(&bench, "short", "key protect a.key --out c.key").refused(5, &["c.key is too short"]);
    assert!(!bench.path("c.key").exists());
    bench.write(
        "broken.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    with(&bench, "passphrase", "key show broken.key").refused(2, &["broken.key", "PBES2"]);
}

/// Made by: openssl genpkey -algorithm ed25519 -aes-256-cbc -pass pass:takttakt
const BY_OPENSSL: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgjWnEZIS8zywICCAAw\n\
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEE7QeEJ8KBk0/CYSr4pKRAIEQE19\n\
PnQzfTPfzz4sQ76moEKCopCYu1zhAYr8bYP6nRX859bGtgceJbt09aivO+twFI6y\n\
P+yuWCK9vXIXWyP+sIc=\n\
-----END ENCRYPTED PRIVATE KEY-----\n\
";

#[test]
fn a_protected_key_of_openssl_is_read() {
    let bench = Bench::new();
    bench.write("other.key", BY_OPENSSL);
    bench.write("passphrase", "takttakt");
    let public = "26c6e3ddaddb3036623827f973ae44fb097cba2bcb663bf5701f0e099d666600\n";
    assert_eq!(with(&bench, "passphrase", "key show other.key").ok().out, public);
}
