//! Docker itself is killed and comes back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use takt_matrix::Row;
use takt_tests::engine::Engine;
use takt_tests::fleet::{Device, pause};
use takt_workload::Nature;

use super::kills::lanes;
use super::lane::{Body, Inject};
use super::releases;
use super::stage::{Check, Make, Stage, at_each_point, either, rolled_back};

/// How long the device is without an engine: long enough for the agent to ask it in vain.
const GONE: Duration = Duration::from_millis(500);

/// What happens once the outcome of an order is decided.
const AFTER_ITS_END: [&str; 6] =
    ["commit:ended", "act:keep-running", "act:remove", "act:delete-checkpoint", "act:prune", "commit:idle"];

/// At each point the engine is killed, and started again as a service manager would.
fn engine_killed(release: &str, make: Make, nature: Nature, wanted: impl Fn(&str) -> bool, check: Check<'_>) {
    let engine = Arc::new(Engine::start().unwrap());
    let stage = Stage::on(Arc::clone(&engine), make, nature);
    at_each_point(
        Row::new(release, "dockerd killed"),
        lanes(&stage, 1, false, Body::Containers),
        |point| point.ends_with(":before") && wanted(point),
        |point| Inject::Fault {
            point,
            strike: Box::new(|_: &mut Device| engine.kill().unwrap()),
            mend: Box::new(|_: &mut Device, _: &Path| {
                pause(GONE);
                engine.start_again().unwrap();
                Ok(())
            }),
        },
        &|lane, round| {
            lane.wait_serving()?;
            check(lane, round)
        },
    );
}

#[test]
fn a_container_that_is_replaced_when_docker_is_killed() {
    let release = "container, `replace`: verified or rolled back";
    engine_killed(release, releases::replace, Nature::Good, |_| true, either());
}

#[test]
fn a_container_that_hands_over_when_docker_is_killed() {
    let release = "container, `handover`: verified or rolled back";
    engine_killed(release, releases::handover, Nature::Good, |_| true, either());
}

#[test]
fn a_container_that_comes_back_when_docker_is_killed() {
    // What is told of its memory is so at the end of the order; an engine that dies after that begins it anew.
    let until_told = |point: &str| !AFTER_ITS_END.iter().any(|after| point.contains(after));
    let release = "container, `preserve`: rolled back";
    engine_killed(release, releases::preserve, Nature::Sick, until_told, rolled_back());
}
