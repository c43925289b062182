//! What the tests share: network namespaces of their own, and waiting.
#![allow(dead_code, unused_imports)] // Each test binary uses a part of it.

mod clients;
mod space;

use std::future::Future;
use std::process::Command;
use std::time::Duration;

pub(crate) use clients::{Rota, answer, clients, echoes, stay, stay_idle, told};
pub(crate) use space::Space;
use takt_load::now;
use takt_traffic::{Backend, Lead, Leads};

/// The device of the tests.
pub(crate) const DEVICE: &str = "0123456789ab";

/// Runs a command that must succeed, and gives what it says.
pub(crate) fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| {
        panic!("`{line}` cannot be run ({error}): tests/env/install.sh installs what is missing")
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "`{line}`: {said} (these tests need root)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Loads an nftables ruleset.
pub(crate) fn nft(rules: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.nft");
    std::fs::write(&file, rules).unwrap();
    run(&format!("nft -f {}", file.display()));
}

/// Runs what is async to its end.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Looks again and again until it is so.
#[allow(clippy::disallowed_methods)] // The pause between two looks.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not in 20 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One port that leads to a port of the device.
pub(crate) fn to_host(port: u16, direct: u16) -> Leads {
    Leads::from([(port, Lead::everyone(Backend::Host { port: direct }))])
}
