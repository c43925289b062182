//! Checkpoint and rollback, over and over, with nothing else going wrong.

use std::sync::atomic::{AtomicUsize, Ordering};

use takt_common::report::{Memory, Outcome};
use takt_matrix::Row;
use takt_workload::Nature;

use super::kills::{LANES, lanes};
use super::lane::{Body, Inject};
use super::releases;
use super::stage::{Stage, at_these_points, soak};

#[test]
fn checkpoints_bring_the_old_release_back_each_time_in_time() {
    let cycles = if soak() { 500 } else { 100 };
    let stage = Stage::start(releases::preserve, Nature::Sick);
    let resumed = AtomicUsize::new(0);
    let points: Vec<String> = (1..=cycles).map(|cycle| format!("cycle {cycle}")).collect();
    at_these_points(
        Row::new("container, `preserve`: rolled back", "none: checkpoint and rollback again and again"),
        lanes(&stage, LANES, false, Body::Containers),
        &points,
        |lane, _| lane.round(&Inject::Nothing),
        &|lane, round| {
            if matches!(lane.outcomes(1)?[..], [Outcome::RolledBack { memory: Memory::Kept, .. }]) {
                resumed.fetch_add(1, Ordering::Relaxed);
            }
            // It came back within ten seconds, with its memory if that was told.
            lane.rolled_back(round)
        },
    );
    let resumed = resumed.into_inner();
    println!("{resumed} of {cycles} resumed, all others began cold");
    assert!(2 * resumed > cycles, "only {resumed} of {cycles} came back with their memory");
}
