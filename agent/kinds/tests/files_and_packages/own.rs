//! The agent's own package: it changes under the running agent, and the launcher watches over the new one.

use std::fs;

use serde_json::json;

use crate::deb::{Deb, device, install, packages, read, set};
use crate::world::World;

fn agent(version: &str) -> Deb {
    let seen = "echo \"$TAKT_SELF_UPGRADE\" > /var/asked";
    Deb::new("takt-agent", version)
        .file("usr/bin/takt-agent", &format!("agent {version}\n"))
        .script("postinst", seen)
}

/// From now on the agent that runs has this version.
fn runs(world: &World, version: &str) {
    fs::write(world.beside("running"), format!("agent {version}\n")).unwrap();
}

/// A device on which agent 1.0 runs, and a release with 1.1.
fn running() -> World {
    let mut world = device();
    fs::create_dir_all(world.on("var")).unwrap();
    install(&world, &agent("1.0-1"));
    world.settings["launcher"] = json!(world.beside("launcher"));
    world.settings["agent"] = json!(world.on("usr/bin/takt-agent"));
    world.settings["running"] = json!(world.beside("running"));
    runs(&world, "1.0-1");
    let step = set(&world, &[&agent("1.1-1")], "keep");
    world.step(step);
    world
}

fn trial(world: &World) -> Vec<String> {
    let Ok(entries) = fs::read_dir(world.beside("launcher")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_new_agent_is_in_force_once_it_runs_and_stays_once_it_is_confirmed() {
    let world = running();
    world.must("stage", "Prepared");
    assert!(trial(&world).is_empty());
    world.must("switch", "NewAfterReboot");
    assert_eq!(read(&world, "var/asked"), "1\n");
    assert_eq!(trial(&world), ["previous", "trial-v1,new=1.1-1,previous=1.0-1,starts=0,forgiven=0"]);
    let kept = fs::read_to_string(world.beside("launcher/previous/takt-agent")).unwrap();
    assert_eq!(kept, "agent 1.0-1\n");
    world.must("switch", "NewAfterReboot");
    runs(&world, "1.1-1");
    world.must("look", "Applied");
    world.must("confirm", "Confirmed");
    assert!(trial(&world).is_empty());
    world.must("settle", "Applied");
}

#[test]
fn a_new_agent_that_is_turned_back_hands_over_to_the_old_one() {
    let world = running();
    world.must("stage", "Prepared");
    world.must("switch", "NewAfterReboot");
    runs(&world, "1.1-1");
    world.must("look", "Applied");
    world.must("back", "OldAfterReboot");
    assert_eq!(read(&world, "usr/bin/takt-agent"), "agent 1.0-1\n");
    runs(&world, "1.0-1");
    world.must("look", "Prepared");
    assert!(trial(&world).is_empty());
    world.must("settle", "Untouched");
}

#[test]
fn a_new_agent_that_does_not_start_is_told_of_and_its_package_is_taken_back() {
    let world = running();
    world.must("stage", "Prepared");
    world.must("switch", "NewAfterReboot");
    given_up(&world, "1.1-1", "1.0-1");
    let why = "FellBack(\"agent 1.1-1 was given up for 1.0-1: 3 starts without a confirmation\")";
    world.must("look", why);
    world.must("switch", why);
    world.must("back", "Prepared");
    assert!(packages(&world).contains("takt-agent 1.0-1 install ok installed"));
    assert!(trial(&world).is_empty());
    // The same release ordered again is tried again.
    world.must("switch", "NewAfterReboot");
    assert_eq!(trial(&world).len(), 2);
}

/// What the launcher does after three starts.
fn given_up(world: &World, new: &str, previous: &str) {
    let name = |how: &str| format!("launcher/trial-v1,new={new},previous={previous},{how}");
    fs::rename(world.beside(&name("starts=0,forgiven=0")), world.beside(&name("fell-back=starts"))).unwrap();
}

#[test]
fn the_copy_that_runs_is_kept_as_long_as_its_package_is_not_back() {
    let mut world = running();
    let copy = world.beside("launcher/previous/takt-agent");
    world.must("stage", "Prepared");
    world.must("switch", "NewAfterReboot");
    given_up(&world, "1.1-1", "1.0-1");
    // The way back of that order failed, and it has ended: 1.1 is installed, and the copy of 1.0 runs.
    world.must("settle", "FellBack(\"agent 1.1-1 was given up for 1.0-1: 3 starts without a confirmation\")");
    let next = set(&world, &[&agent("1.2-1")], "keep");
    world.step(next);
    world.must("stage", "Prepared");
    world.must("switch", "NewAfterReboot");
    assert_eq!(trial(&world), ["previous", "trial-v1,new=1.2-1,previous=1.1-1,starts=0,forgiven=0"]);
    assert_eq!(fs::read_to_string(&copy).unwrap(), "agent 1.0-1\n");
    given_up(&world, "1.2-1", "1.1-1");
    world.must_fail("back", "give up the kept agent");
    assert!(packages(&world).contains("takt-agent 1.1-1 install ok installed"));
    assert_eq!(trial(&world), ["previous", "trial-v1,new=1.2-1,previous=1.1-1,fell-back=starts"]);
    assert_eq!(fs::read_to_string(&copy).unwrap(), "agent 1.0-1\n", "it is all that runs");
}

#[test]
fn an_agent_that_runs_from_elsewhere_is_not_upgraded_by_the_package() {
    let world = running();
    runs(&world, "0.9-1");
    world.must_fail(
        "stage",
        "keep package 'takt-agent': the agent that runs is not the one that this package has installed",
    );
}

#[test]
fn an_agent_that_is_from_no_package_is_not_made_one_that_could_be_taken_away() {
    let mut world = device();
    let step = set(&world, &[&agent("1.1-1")], "keep");
    world.step(step);
    world.must_fail(
        "stage",
        "keep package 'takt-agent': it is not installed, so taking it back would take the agent away",
    );
}

#[test]
fn an_agent_on_trial_that_has_been_well_for_a_while_is_forgiven_its_starts() {
    let world = running();
    world.must("stage", "Prepared");
    world.must("switch", "NewAfterReboot");
    // What the launcher does at a start.
    let name =
        |starts, forgiven| format!("trial-v1,new=1.1-1,previous=1.0-1,starts={starts},forgiven={forgiven}");
    let launcher = world.beside("launcher");
    fs::rename(launcher.join(name(0, 0)), launcher.join(name(2, 0))).unwrap();
    world.must("alive", "NewAfterReboot");
    assert_eq!(
        trial(&world),
        ["previous".to_owned(), name(2, 0)],
        "the previous agent does not forgive the new one"
    );
    runs(&world, "1.1-1");
    world.must("alive", "Applied");
    assert_eq!(trial(&world), ["previous".to_owned(), name(0, 1)]);
}

/// Kills `part` at each of its points after the parts `before`, and lets `check` look at what came of it.
fn each_cut(world: &World, part: &str, least: usize, check: impl Fn(&str)) {
    world.save();
    let points = world.points(part);
    assert!(points.len() >= least, "{part}: {points:?}");
    assert!(points.iter().any(|point| point.contains("package.trial")), "{points:?}");
    for point in points {
        world.load();
        let died = world.go_armed(part, &point);
        assert!(died.killed, "{part} at {point}: {died:?}");
        check(&point);
    }
    world.load();
}

fn assert_old(world: &World, point: &str) {
    assert!(packages(world).contains("takt-agent 1.0-1 install ok installed"), "{point}");
    assert_eq!(read(world, "usr/bin/takt-agent"), "agent 1.0-1\n", "{point}");
    assert_eq!(trial(world), [""; 0], "a trial is left over after a cut at {point}");
}

#[test]
fn a_cut_while_the_agents_package_changes_leaves_both_ways_open_and_no_trial_behind() {
    let world = running();
    world.must("stage", "Prepared");
    each_cut(&world, "switch", 12, |point| {
        let now = world.go("look").said;
        let begun = trial(&world).iter().any(|name| name.starts_with("trial-"));
        assert!(!begun || now != "Prepared", "{point}: nobody would withdraw the trial");
        world.must("back", "Prepared");
        assert_old(&world, point);
        world.must("switch", "NewAfterReboot");
        assert_eq!(trial(&world).len(), 2, "{point}");
    });
    world.must("switch", "NewAfterReboot");
    runs(&world, "1.1-1");
    each_cut(&world, "confirm", 3, |point| {
        world.must("confirm", "Confirmed");
        assert_eq!(trial(&world), [""; 0], "{point}");
    });
    // Taken back by the new agent itself, cut at every point, and once more by the old one after a restart in between.
    each_cut(&world, "back", 8, |point| {
        let world = World::again(&world);
        world.must("back", "OldAfterReboot");
        assert_old(&world, point);
        runs(&world, "1.0-1");
        world.must("back", "Prepared");
        world.must("settle", "Untouched");
        runs(&world, "1.1-1");
    });
    each_cut(&world, "back", 8, |point| {
        let world = World::again(&world);
        runs(&world, "1.0-1");
        world.must("back", "Prepared");
        assert_old(&world, point);
        runs(&world, "1.1-1");
    });
}

#[test]
fn a_trial_that_an_order_of_before_left_behind_is_no_obstacle() {
    let world = running();
    for left in [
        "trial-v1,new=1.0.5-1,previous=1.0-1,starts=1,forgiven=0",
        "trial-v1,new=1.0.5-1,previous=1.0-1,fell-back=starts",
    ] {
        fs::create_dir_all(world.beside("launcher")).unwrap();
        fs::write(world.beside("launcher").join(left), "").unwrap();
        world.must("stage", "Prepared");
        world.must("switch", "NewAfterReboot");
        assert_eq!(trial(&world), ["previous", "trial-v1,new=1.1-1,previous=1.0-1,starts=0,forgiven=0"]);
        world.must("back", "Prepared");
        assert_old(&world, left);
        world.must("settle", "Untouched");
    }
}
