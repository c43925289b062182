//! `kill -9` of the agent at every point.

use takt_common::api::CampaignState;
use takt_common::report::{Memory, Outcome};
use takt_matrix::Fault;
use takt_workload::Nature;

use super::lane::{Body, Lane};
use super::releases;
use super::stage::{self, Make, Stage, Tried, kill_at_each_point};

/// How many devices are tried at a time.
pub(crate) const LANES: usize = 3;

pub(crate) fn lanes(stage: &Stage, count: usize, standby: bool, body: Body) -> Vec<Lane<'_>> {
    let lanes: Vec<_> = (1..=count).map(|number| Lane::new(stage, number, standby, body)).collect();
    if standby {
        let rows: Vec<String> =
            (1..=count).map(|number| format!("device-{number}:standby-{number}")).collect();
        stage.fleet.set_drm(&rows.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }
    lanes.iter().for_each(Lane::begin_base);
    lanes.iter().for_each(Lane::wait_base);
    lanes
}

fn verified(release: &str, make: Make, body: Body) -> Vec<Tried> {
    let stage = Stage::start(make, Nature::Good);
    kill_at_each_point(release, lanes(&stage, LANES, false, body), stage::verified())
}

fn rolled_back(release: &str, make: Make, body: Body) -> Vec<Tried> {
    let stage = Stage::start(make, Nature::Sick);
    kill_at_each_point(release, lanes(&stage, LANES, false, body), stage::rolled_back())
}

/// The first round found every point that is known to be there.
fn assert_tried(tried: &[Tried], order: &str, phases: &[&str], actions: &[&str]) {
    let commits = phases.iter().map(|phase| format!("commit:{phase}"));
    for deed in commits.chain(actions.iter().map(|action| format!("act:{action}"))) {
        for side in ["before", "after"] {
            let point = format!("{order}/{deed}:{side}");
            assert!(tried.contains(&point), "{point} was not tried");
        }
    }
}

const FORWARD: &[&str] = &["accepted", "fetching", "staged", "switching", "probation", "ended", "idle"];

#[test]
fn a_container_that_is_replaced() {
    let tried = verified("container, `replace`: verified", releases::replace, Body::Containers);
    let actions = ["fetch", "load-image", "create", "stop", "start", "keep-running", "remove", "prune"];
    assert_tried(&tried, "install", FORWARD, &actions);
}

#[test]
fn a_container_that_is_replaced_and_comes_back() {
    let tried = rolled_back("container, `replace`: rolled back", releases::replace, Body::Containers);
    assert_tried(&tried, "install", &["switching", "probation", "ended"], &["stop", "start", "remove"]);
}

#[test]
fn a_container_that_hands_over() {
    let tried = verified("container, `handover`: verified", releases::handover, Body::Containers);
    assert_tried(&tried, "install", FORWARD, &["start", "route", "stop", "remove"]);
}

#[test]
fn a_container_that_hands_over_and_comes_back() {
    let tried = rolled_back("container, `handover`: rolled back", releases::handover, Body::Containers);
    assert_tried(&tried, "install", &["switching", "ended"], &["start", "stop", "remove"]);
}

#[test]
fn a_container_that_is_preserved() {
    let tried = verified("container, `preserve`: verified", releases::preserve, Body::Containers);
    let actions = ["fetch", "load-image", "create", "checkpoint", "start", "keep-running", "remove", "prune"];
    assert_tried(&tried, "install", &[FORWARD, &["checkpointing"]].concat(), &actions);
}

#[test]
fn a_container_that_is_preserved_and_comes_back_with_its_memory() {
    let stage = Stage::start(releases::preserve, Nature::Sick);
    let kept = std::sync::atomic::AtomicUsize::new(0);
    let tried = kill_at_each_point(
        "container, `preserve`: rolled back",
        lanes(&stage, LANES, false, Body::Containers),
        &|lane, round| {
            if matches!(lane.outcomes(1)?[..], [Outcome::RolledBack { memory: Memory::Kept, .. }]) {
                kept.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            lane.rolled_back(round)
        },
    );
    let kept = kept.into_inner();
    assert!(2 * kept > tried.len(), "only {kept} of {} came back with their memory", tried.len());
    let phases =
        ["checkpointing", "switching", "probation", "rolling-back-as-is", "rolling-back-restore", "ended"];
    let actions = ["checkpoint", "start", "stop", "restore", "remove", "delete-checkpoint", "keep-running"];
    assert_tried(&tried, "install", &phases, &actions);
}

#[test]
fn a_file() {
    let tried = verified("file: verified", releases::files, Body::Files);
    assert_tried(&tried, "install", FORWARD, &["fetch", "prepare-file", "apply-file", "settle"]);
    assert!(tried.iter().any(|point| point.starts_with("at:place.rename:after")), "{tried:?}");
}

#[test]
fn a_file_that_comes_back() {
    let tried = rolled_back("file: rolled back", releases::files, Body::Files);
    assert_tried(&tried, "install", &["rolling-back-as-is"], &["revert-file", "settle"]);
}

#[test]
fn a_package() {
    let tried = verified("package: verified", releases::package, Body::Package);
    assert_tried(&tried, "install", FORWARD, &["prepare-package", "apply-package", "settle"]);
}

#[test]
fn a_package_that_comes_back() {
    let tried = rolled_back("package: rolled back", releases::package, Body::Package);
    assert_tried(&tried, "install", &["rolling-back-as-is"], &["revert-package", "settle"]);
}

#[test]
fn a_file_and_a_container() {
    let tried = verified("file and container: verified", releases::file_and_container, Body::Containers);
    assert_tried(&tried, "install", FORWARD, &["apply-file", "start"]);
}

#[test]
fn a_file_and_a_container_that_come_back() {
    let tried =
        rolled_back("file and container: rolled back", releases::file_and_container, Body::Containers);
    assert_tried(&tried, "install", &["rolling-back-as-is"], &["revert-file", "start"]);
}

#[test]
fn a_standby_in_takeover_and_hand_back() {
    let stage = Stage::start(releases::preserve, Nature::Good);
    let tried = kill_at_each_point(
        "takeover and hand-back by a standby",
        lanes(&stage, 2, true, Body::Containers),
        &|lane, round| {
            let told = lane.outcomes(2)?;
            let well = told == [Outcome::Serving, Outcome::HandedBack]
                && lane.told().standing_in_for.is_none()
                && round.campaign.state == CampaignState::Finished;
            if !well {
                return Err(Fault::Wrong(format!("{told:?}; {}", round.campaign.reason)));
            }
            lane.runs_base()?;
            lane.upgraded(&round.version)
        },
    );
    assert_tried(&tried, "take-over", FORWARD, &["fetch", "create", "start", "keep-running", "prune"]);
    assert_tried(
        &tried,
        "hand-back",
        &["accepted", "handing-back", "ended", "idle"],
        &["stop", "remove", "prune"],
    );
}
