//! Downloads that are cut, and a broker that is gone from the order to its end.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use takt_matrix::{Fault, Row};
use takt_tests::fleet::{Device, wait_until};
use takt_workload::Nature;

use super::lane::{Body, Inject, Lane};
use super::releases;
use super::stage::{Check, LIMIT, Make, Stage, at_these_points, rolled_back, verified};

/// Beside what is downloaded itself: documents of trust, and what TLS adds.
const BESIDE_BYTES: u64 = 100_000;

/// The connection of each download is cut once, after each tenth of what a first download took.
fn cut_downloads(release: &str, make: Make, body: Body) {
    let stage = Stage::start(make, Nature::Good);
    let mut lane = Lane::with_ways(&stage, 1, body);
    lane.begin_base();
    lane.wait_base();
    let before = lane.ways().api.carried();
    lane.round(&Inject::Nothing).unwrap();
    let whole = lane.ways().api.carried() - before;
    assert!(whole > 10 * BESIDE_BYTES, "{whole} bytes say nothing about tenths");
    let most = AtomicU64::new(0);
    let points: Vec<String> = (1..=10).map(|tenth| format!("{tenth}0 %")).collect();
    at_these_points(
        Row::new(release, "download cut at each 10 %"),
        vec![lane],
        &points,
        |lane, point| {
            let percent: u64 = point.trim_end_matches(" %").parse().unwrap();
            let ways = lane.ways();
            let api = &ways.api;
            let (cuts, carried) = (api.cuts(), api.carried());
            // The last tenth ends within the download, not with what follows it.
            api.cut_after((whole * percent / 100).min(whole - BESIDE_BYTES / 2));
            let passed = lane.round(&Inject::Nothing)?;
            assert_eq!(api.cuts(), cuts + 1, "it was not cut");
            most.fetch_max(api.carried() - carried, Ordering::Relaxed);
            Ok(passed)
        },
        verified(),
    );
    let most = most.into_inner();
    assert!(most < whole + 2 * BESIDE_BYTES, "{most} bytes for {whole}: it did not go on where it was cut");
}

#[test]
fn the_download_of_an_image_is_cut_at_each_tenth() {
    cut_downloads("container, `replace`: verified", releases::large, Body::Containers);
}

#[test]
fn the_download_of_a_file_is_cut_at_each_tenth() {
    cut_downloads("file: verified", releases::large_file, Body::Files);
}

/// The broker is gone from the moment at which the order is kept until the device is at its end.
fn without_broker(release: &str, make: Make, nature: Nature, body: Body, check: Check<'_>) {
    let stage = Stage::start(make, nature);
    let lane = Lane::with_ways(&stage, 1, body);
    lane.begin_base();
    lane.wait_base();
    at_these_points(
        Row::new(release, "broker gone throughout"),
        vec![lane],
        &["install/commit:accepted:after".to_owned()],
        |lane, point| {
            let ways = lane.ways();
            let broker = &ways.broker;
            lane.round(&Inject::Fault {
                point: point.to_owned(),
                strike: Box::new(|_: &mut Device| broker.close()),
                mend: Box::new(|device: &mut Device, reached: &Path| {
                    let ended = wait_until("the end of the order without a broker", LIMIT, || {
                        device.check()?;
                        let reached = std::fs::read_to_string(reached).unwrap();
                        let ended = reached.lines().any(|point| point == "install/commit:ended:after");
                        Ok(if ended { Ok(()) } else { Err("not yet".to_owned()) })
                    });
                    broker.open();
                    ended.map_err(|error| Fault::Stuck(error.to_string()))
                }),
            })
        },
        check,
    );
}

#[test]
fn a_container_that_is_replaced_without_a_broker() {
    without_broker(
        "container, `replace`: verified",
        releases::replace,
        Nature::Good,
        Body::Containers,
        verified(),
    );
}

#[test]
fn a_container_that_comes_back_with_its_memory_without_a_broker() {
    without_broker(
        "container, `preserve`: rolled back",
        releases::preserve,
        Nature::Sick,
        Body::Containers,
        rolled_back(),
    );
}

#[test]
fn a_container_that_hands_over_without_a_broker() {
    without_broker(
        "container, `handover`: verified",
        releases::handover,
        Nature::Good,
        Body::Containers,
        verified(),
    );
}

#[test]
fn a_file_that_comes_back_without_a_broker() {
    without_broker("file: rolled back", releases::files, Nature::Sick, Body::Files, rolled_back());
}

#[test]
fn a_package_without_a_broker() {
    without_broker("package: verified", releases::package, Nature::Good, Body::Package, verified());
}
