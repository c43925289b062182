//! Devices whose wall clock is wrong.

use std::path::Path;

use takt_matrix::Row;
use takt_workload::Nature;

use super::kills::lanes;
use super::lane::{Body, Inject};
use super::releases;
use super::stage::{Check, Make, Stage, at_these_points, rolled_back, verified};

/// One round of each with these variables.
fn with(fault: &str, variables: &[String]) {
    for (release, make, nature, body) in [
        ("container, `preserve`: rolled back", releases::preserve as Make, Nature::Sick, Body::Containers),
        ("container, `handover`: verified", releases::handover, Nature::Good, Body::Containers),
        ("file: verified", releases::files, Nature::Good, Body::Files),
    ] {
        let stage = Stage::start(make, nature);
        let check: Check<'_> = if nature == Nature::Good { verified() } else { rolled_back() };
        at_these_points(
            Row::new(release, fault),
            lanes(&stage, 1, false, body),
            &["the whole order".to_owned()],
            |lane, _| lane.round(&Inject::Environment(variables.to_vec())),
            check,
        );
    }
}

/// The library by which `faketime` changes a process's wall clock, and only that.
fn wall_clock(at: &str) -> Vec<String> {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    assert!(Path::new(library).exists(), "{library} is missing: tests/env/install.sh installs it");
    [("LD_PRELOAD", library), ("FAKETIME", at), ("DONT_FAKE_MONOTONIC", "1"), ("FAKETIME_DONT_RESET", "1")]
        .map(|(name, value)| format!("{name}={value}"))
        .to_vec()
}

#[test]
fn a_device_whose_clock_stands_at_1970() {
    with("clock at 1970", &wall_clock("@1970-01-01 00:00:10"));
}

#[test]
fn a_device_whose_clock_is_ten_years_ahead() {
    with("clock ten years ahead", &wall_clock("+3650d"));
}
