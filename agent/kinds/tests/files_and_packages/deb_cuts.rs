//! A set of Debian packages, killed at every point at which something lasts: both ways are open after each.

use crate::deb::whole;
use crate::debs::{assert_back, assert_new, filled};
use crate::shot::Shot;
use crate::world::World;

/// Kills `part` at each of its points on a device that has gone `before`, and lets `check` look at what came of it.
fn each_cut(before: &[&str], part: &str, least: usize, check: impl Fn(&World, &(Shot, String))) {
    let world = filled();
    let whole = whole(&world);
    for part in before {
        let ended = world.go(part);
        assert!(ended.well, "{part}: {ended:?}");
    }
    world.save();
    let points = world.points(part);
    assert!(points.len() >= least, "{part}: {points:?}");
    for point in points {
        world.load();
        let died = world.go_armed(part, &point);
        assert!(died.killed, "{part} at {point}: {died:?}");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&world, &whole)));
        if let Err(panic) = caught {
            eprintln!("{part} was cut at {point}; its world is kept in {}", world.keep().display());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn cut_while_preparing_packages_nothing_in_force_has_changed() {
    each_cut(&[], "stage", 16, |world, before| {
        assert_back(world, before);
        world.must("stage", "Prepared");
    });
}

#[test]
fn cut_while_installing_packages_it_is_completed() {
    each_cut(&["stage"], "switch", 20, |world, _| {
        world.must("switch", "Applied");
        assert_new(world);
    });
}

#[test]
fn cut_while_installing_packages_it_is_taken_back() {
    each_cut(&["stage"], "switch", 20, |world, before| {
        world.must("back", "Prepared");
        assert_back(world, before);
    });
}

#[test]
fn cut_while_taking_packages_back_it_is_taken_back_all_the_same() {
    each_cut(&["stage", "switch"], "back", 12, |world, before| {
        world.must("back", "Prepared");
        assert_back(world, before);
    });
}
