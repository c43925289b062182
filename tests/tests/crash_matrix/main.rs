//! The crash matrix: real agents are killed before and after every commit that changes their phase, every action and every
//! durable effect within one, and their surroundings fail. Each must end on the right release, tell it truthfully once, and
//! leave nothing. `docs/crash-matrix.md` is made of what these tests leave.
//!
//! The points are not listed here: a first round without a fault writes down those that are passed, and each of them
//! then has a round of its own. So a new phase or action is covered from its first day.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clocks;
mod cycles;
mod disks;
mod engine;
mod evidence;
mod kills;
mod lane;
mod memory;
mod network;
mod releases;
mod stage;

#[test]
fn a_build_for_devices_has_no_failpoints() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let features = |selection: &[&str]| {
        let output = std::process::Command::new(&cargo)
            .args(["tree", "--locked", "--offline", "--edges", "features,no-dev", "--invert", "takt-agent"])
            .args(selection)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for selection in [&["--package", "takt-agent"][..], &["--workspace"]] {
        let tree = features(selection);
        assert!(tree.contains("takt-agent v") && !tree.contains("failpoints"), "{selection:?}: {tree}");
    }
    let with = features(&["--package", "takt-agent", "--features", "failpoints"]);
    assert!(with.contains("failpoints"), "the check cannot see the feature: {with}");
}
