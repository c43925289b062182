//! Faults of what a device stands on: the disk full, clocks wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use takt_tests::matrix::Row;
use takt_workload::Nature;

use super::kills::lanes;
use super::lane::{Body, Inject, Lane};
use super::releases;
use super::stage::{Check, Make, Stage, Tried, at_each_point};

fn verified() -> Check<'static> {
    &|lane, round| lane.verified(round)
}

fn rolled_back() -> Check<'static> {
    &|lane, round| lane.rolled_back(round)
}

/// A program of one line.
fn script(folder: &Path, name: &str, line: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The folder of the agent's state is a file system of its own, which is filled to the last byte at each point.
fn disk_full(release: &str, make: Make, nature: Nature, body: Body, check: Check<'_>) -> Vec<Tried> {
    let stage = Stage::start(make, nature);
    let disks: Vec<Disk> = vec![Disk::mount(&stage.fleet.folder().join("device-1/state"))];
    let fill = format!("cat /dev/zero >'{}' 2>/dev/null; true", disks[0].0.join("filler").display());
    let program = script(stage.fleet.folder(), "fill", &fill);
    let lanes = lanes(&stage, 1, false, body);
    at_each_point(
        Row::new(release, "disk full"),
        lanes,
        |point| point.ends_with(":before"),
        |point| {
            let filler = disks[0].0.join("filler");
            let mend = move |_: &mut takt_tests::fleet::Device| {
                // Long enough for the agent to run into it.
                takt_tests::fleet::pause(FULL_FOR);
                std::fs::remove_file(&filler).unwrap();
            };
            Inject::Run { point, program: program.clone(), mend: Box::new(mend) }
        },
        check,
    )
}

/// How long a disk stays full.
const FULL_FOR: std::time::Duration = std::time::Duration::from_millis(1_500);

/// A file system in memory, with more room than an agent leaves free by itself; it goes with this.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512m,mode=0700", "tmpfs"])
            .arg(at)
            .status();
        assert!(done.unwrap().success(), "mount a tmpfs at {}", at.display());
        Self(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the agent's end is another's business.
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_replaced_container_on_a_full_disk() {
    // A disk that fills in the middle of a switch turns it back, which is a good end too.
    let told = disk_full(
        "container, `replace`: verified or rolled back",
        releases::replace,
        Nature::Good,
        Body::Containers,
        &|lane, round| lane.ended(round),
    );
    assert!(told.iter().any(|point| point == "install/commit:switching:before"), "{told:?}");
}

#[test]
fn a_file_that_comes_back_on_a_full_disk() {
    disk_full("file: rolled back", releases::files, Nature::Sick, Body::Files, rolled_back());
}

/// One round of each with these variables.
fn with(fault: &str, variables: &[String]) {
    for (release, make, nature, body) in [
        ("container, `preserve`: rolled back", releases::preserve as Make, Nature::Sick, Body::Containers),
        ("container, `handover`: verified", releases::handover, Nature::Good, Body::Containers),
        ("file: verified", releases::files, Nature::Good, Body::Files),
    ] {
        let stage = Stage::start(make, nature);
        let mut lanes = lanes(&stage, 1, false, body);
        let mut row = Row::new(release, fault);
        let lane: &mut Lane<'_> = &mut lanes[0];
        let check = if nature == Nature::Good { verified() } else { rolled_back() };
        let round = lane.round(&Inject::Environment(variables.to_vec()));
        row.count("the whole order", round.and_then(|passed| check(lane, &passed).map(|()| passed.recovery)));
        lane.rest();
        row.write().unwrap();
        std::fs::remove_dir_all(releases::root()).unwrap();
        assert_eq!(row.faults(), 0, "{:?}", row.said);
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
