//! A set of files, killed at every point at which something lasts: both ways are open after each.

use crate::files::{assert_new, device};
use crate::shot::shot;
use crate::world::World;

/// The points of a part on a device that has gone `before`.
fn points(before: &[&str], part: &str) -> Vec<String> {
    let world = gone(before);
    let points = world.points(part);
    assert!(points.len() >= 2, "{part}: {points:?}");
    points
}

fn gone(parts: &[&str]) -> World {
    let world = device();
    for part in parts {
        let ended = world.go(part);
        assert!(ended.well, "{part}: {ended:?}");
    }
    world
}

/// Kills `part` at each of its points, restarts it, and lets `check` look at what came of it.
fn each_cut(before: &[&str], part: &str, check: impl Fn(&World, &str)) {
    for point in points(before, part) {
        let world = gone(before);
        let died = world.go_armed(part, &point);
        assert!(died.killed, "{part} at {point}: {died:?}");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&world, &point)));
        if let Err(panic) = caught {
            eprintln!("{part} was cut at {point}; its world is kept in {}", world.keep().display());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn cut_while_preparing_nothing_in_force_has_changed_and_it_is_prepared_again() {
    let before = shot(&device().on(""));
    each_cut(&[], "stage", |world, _| {
        assert_eq!(shot(&world.on("")), before);
        world.must("stage", "Prepared");
        world.must("switch", "Applied");
        assert_new(world);
        world.must("back", "Prepared");
        assert_eq!(shot(&world.on("")), before);
    });
}

#[test]
fn cut_while_applying_it_is_completed() {
    let before = shot(&device().on(""));
    each_cut(&["stage"], "switch", |world, _| {
        world.must("switch", "Applied");
        assert_new(world);
        world.must("back", "Prepared");
        assert_eq!(shot(&world.on("")), before);
    });
}

#[test]
fn cut_while_applying_it_is_taken_back() {
    let before = shot(&device().on(""));
    each_cut(&["stage"], "switch", |world, _| {
        world.must("back", "Prepared");
        assert_eq!(shot(&world.on("")), before);
        world.must("settle", "Untouched");
    });
}

#[test]
fn cut_while_reverting_it_is_taken_back_all_the_same() {
    let before = shot(&device().on(""));
    each_cut(&["stage", "switch"], "back", |world, _| {
        world.must("back", "Prepared");
        assert_eq!(shot(&world.on("")), before);
    });
}

#[test]
fn cut_while_confirming_it_is_in_force() {
    each_cut(&["stage", "switch"], "confirm", |world, _| {
        world.must("confirm", "Confirmed");
        assert_new(world);
    });
}
