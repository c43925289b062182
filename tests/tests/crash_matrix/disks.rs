//! The disk with the agent's state is full, broken or read-only from each point on, for a while.

use std::path::Path;
use std::time::Duration;

use takt_store_proof::disk::{Disk, Image, Trouble};
use takt_tests::fleet::{Device, pause};
use takt_tests::matrix::{Fault, Row};
use takt_workload::Nature;

use super::kills::lanes;
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
    let state = stage.fleet.folder().join("device-1/state");
    std::fs::create_dir_all(&state).unwrap();
    let disk = Disk::mount(Image::new(), &state, None).unwrap();
    let tried = at_each_point(
        Row::new(release, fault),
        lanes(&stage, 1, false, body),
        |point| point.ends_with(":before"),
        |point| Inject::Fault {
            point,
            strike: Box::new(|_: &mut Device| disk.set_trouble(trouble)),
            mend: Box::new(|_: &mut Device, _: &Path| {
                pause(TROUBLE);
                disk.set_trouble(Trouble::None);
                Ok::<(), Fault>(())
            }),
        },
        check,
    );
    disk.take_out().unwrap();
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

#[test]
fn a_container_that_hands_over_on_a_full_disk() {
    let release = "container, `handover`: verified or rolled back";
    in_trouble(Trouble::Full, release, releases::handover, Nature::Good, Body::Containers, either());
}

#[test]
fn a_container_that_comes_back_with_its_memory_on_a_full_disk() {
    let release = "container, `preserve`: rolled back";
    in_trouble(Trouble::Full, release, releases::preserve, Nature::Sick, Body::Containers, rolled_back());
}
