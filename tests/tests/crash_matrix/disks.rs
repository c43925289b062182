//! The disk with the agent's state is full, broken or read-only from each point on, for a while.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use takt_matrix::{Fault, Row};
use takt_store_proof::disk::{Disk, Image, Trouble};
use takt_tests::fleet::{Device, pause};
use takt_workload::Nature;

use super::kills::{LANES, lanes};
use super::lane::{Body, Inject};
use super::releases;
use super::stage::{Check, Make, Stage, Tried, at_each_point, either, rolled_back};

/// How long the trouble lasts: long enough for the agent to run into it.
const TROUBLE: Duration = Duration::from_millis(1_500);

/// The agent may end meanwhile; then it is started again once the disk is well, as its service manager would.
fn in_trouble(
    trouble: Trouble,
    release: &str,
    make: Make,
    nature: Nature,
    body: Body,
    check: Check<'_>,
) -> Vec<Tried> {
    let fault = match trouble {
        Trouble::Full => "disk full",
        Trouble::ReadOnly => "disk read-only",
        _ => "disk broken (EIO)",
    };
    let stage = Stage::start(make, nature);
    let mount = |number: usize| {
        let device = format!("device-{number}");
        let state = stage.fleet.folder().join(&device).join("state");
        std::fs::create_dir_all(&state).unwrap();
        (device, Disk::mount(Image::new(), &state, None).unwrap())
    };
    let disks: BTreeMap<String, Disk> = (1..=LANES).map(mount).collect();
    let tried = at_each_point(
        Row::new(release, fault),
        lanes(&stage, LANES, false, body),
        |point| point.ends_with(":before"),
        |point| Inject::Fault {
            point,
            strike: Box::new(|device: &mut Device| disks[device.name()].set_trouble(trouble)),
            mend: Box::new(|device: &mut Device, _: &Path| {
                pause(TROUBLE);
                disks[device.name()].set_trouble(Trouble::None);
                Ok::<(), Fault>(())
            }),
        },
        check,
    );
    for disk in disks.into_values() {
        disk.take_out().unwrap();
    }
    tried
}

/// Trouble in the middle of a switch may turn it back, which is a good end too.
fn a_replaced_container(trouble: Trouble) {
    let release = "container, `replace`: verified or rolled back";
    let tried = in_trouble(trouble, release, releases::replace, Nature::Good, Body::Containers, either());
    for point in
        ["install/commit:switching:before", "install/act:fetch:before", "install/commit:ended:before"]
    {
        assert!(tried.iter().any(|tried| tried == point), "{point}: {tried:?}");
    }
}

fn a_file_that_comes_back(trouble: Trouble) {
    in_trouble(trouble, "file: rolled back", releases::files, Nature::Sick, Body::Files, rolled_back());
}

#[test]
fn a_replaced_container_on_a_full_disk() {
    a_replaced_container(Trouble::Full);
}

#[test]
fn a_replaced_container_on_a_broken_disk() {
    a_replaced_container(Trouble::Failing);
}

#[test]
fn a_replaced_container_on_a_read_only_disk() {
    a_replaced_container(Trouble::ReadOnly);
}

#[test]
fn a_file_that_comes_back_on_a_full_disk() {
    a_file_that_comes_back(Trouble::Full);
}

#[test]
fn a_file_that_comes_back_on_a_broken_disk() {
    a_file_that_comes_back(Trouble::Failing);
}

#[test]
fn a_file_that_comes_back_on_a_read_only_disk() {
    a_file_that_comes_back(Trouble::ReadOnly);
}

fn a_package(trouble: Trouble) {
    let release = "package: verified or rolled back";
    in_trouble(trouble, release, releases::package, Nature::Good, Body::Package, either());
}

#[test]
fn a_package_on_a_full_disk() {
    a_package(Trouble::Full);
}

#[test]
fn a_package_on_a_broken_disk() {
    a_package(Trouble::Failing);
}

#[test]
fn a_package_on_a_read_only_disk() {
    a_package(Trouble::ReadOnly);
}

fn a_container_that_hands_over(trouble: Trouble) {
    let release = "container, `handover`: verified or rolled back";
    in_trouble(trouble, release, releases::handover, Nature::Good, Body::Containers, either());
}

#[test]
fn a_container_that_hands_over_on_a_full_disk() {
    a_container_that_hands_over(Trouble::Full);
}

#[test]
fn a_container_that_hands_over_on_a_broken_disk() {
    a_container_that_hands_over(Trouble::Failing);
}

#[test]
fn a_container_that_hands_over_on_a_read_only_disk() {
    a_container_that_hands_over(Trouble::ReadOnly);
}

fn a_container_that_comes_back_with_its_memory(trouble: Trouble) {
    let release = "container, `preserve`: rolled back";
    in_trouble(trouble, release, releases::preserve, Nature::Sick, Body::Containers, rolled_back());
}

#[test]
fn a_container_that_comes_back_with_its_memory_on_a_full_disk() {
    a_container_that_comes_back_with_its_memory(Trouble::Full);
}

#[test]
fn a_container_that_comes_back_with_its_memory_on_a_broken_disk() {
    a_container_that_comes_back_with_its_memory(Trouble::Failing);
}

#[test]
fn a_container_that_comes_back_with_its_memory_on_a_read_only_disk() {
    a_container_that_comes_back_with_its_memory(Trouble::ReadOnly);
}
