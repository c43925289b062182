//! Sets of files: what changes, what stays, what is refused.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use serde_json::{Value, json};

use crate::shot::{ACL, CAPABILITY, make, shot};
use crate::world::World;

/// A device with an application's files, and a set that changes all of them in all ways.
pub(crate) fn device() -> World {
    let mut world = World::new();
    fill(&mut world);
    world
}

pub(crate) fn fill(world: &mut World) {
    let xattrs: &[(&str, &[u8])] =
        &[("user.colour", b"red"), ("trusted.takt", b"\0\x01"), ("system.posix_acl_access", ACL)];
    make(&world.on("app/app.conf"), "colour = red\n", 0o640, (1, 2), xattrs);
    make(&world.on("app/run"), "#!/bin/sh\n", 0o4755, (0, 0), &[("security.capability", CAPABILITY)]);
    make(&world.on("app/old.conf"), "old\n", 0o600, (3, 4), &[("user.old", b"yes")]);
    make(&world.on("app/same.conf"), "same\n", 0o644, (0, 0), &[]);
    make(&world.on("other/untouched"), "untouched\n", 0o604, (7, 7), &[]);
    let set = set(world);
    world.step(set);
}

fn set(world: &World) -> Value {
    let path = |name: &str| world.on(name);
    let content = |text: &str| world.artifact(text.as_bytes());
    json!({"kind": "file", "files": [
        {"path": path("app/app.conf"), "content": content("colour = blue, and more of it\n")},
        {"path": path("app/run"), "content": content("#!/bin/sh -e\n"), "mode": "0750",
         "owner": "daemon:7", "xattrs": {"user.colour": "blue"}},
        {"path": path("app/old.conf"), "content": null},
        {"path": path("app/same.conf"), "content": content("same\n")},
        {"path": path("app/never.conf"), "content": null},
        {"path": path("app/extra.conf"), "content": content("extra\n")},
        {"path": path("new/deep/er.conf"), "content": content("deeper\n")},
    ]})
}

/// All of the new files are in force, with what was stated and what was kept.
pub(crate) fn assert_new(world: &World) {
    let now = shot(&world.on(""));
    let names: Vec<&str> = now.keys().map(String::as_str).collect();
    let expected = [
        "app",
        "app/app.conf",
        "app/extra.conf",
        "app/run",
        "app/same.conf",
        "new",
        "new/deep",
        "new/deep/er.conf",
        "other",
        "other/untouched",
    ];
    assert_eq!(names, expected);
    let conf = &now["app/app.conf"];
    assert_eq!(conf.content.as_deref(), Some(&b"colour = blue, and more of it\n"[..]));
    assert_eq!((conf.mode & 0o7777, conf.owner), (0o640, (1, 2)));
    assert_eq!(conf.xattrs["user.colour"], b"red");
    assert_eq!(conf.xattrs["trusted.takt"], b"\0\x01");
    assert_eq!(conf.xattrs["system.posix_acl_access"], ACL);
    let run = &now["app/run"];
    assert_eq!((run.mode & 0o7777, run.owner), (0o750, (1, 7)));
    assert_eq!(run.xattrs["user.colour"], b"blue");
    assert_eq!(run.xattrs["security.capability"], CAPABILITY);
    let extra = &now["app/extra.conf"];
    assert_eq!((extra.mode & 0o7777, extra.owner), (0o644, (0, 0)));
    assert_eq!(now["new/deep"].mode & 0o7777, 0o755);
    assert_eq!(now["new/deep/er.conf"].content.as_deref(), Some(&b"deeper\n"[..]));
}

#[test]
fn a_set_goes_in_force_and_comes_back_with_all_its_attributes() {
    let world = device();
    let before = shot(&world.on(""));
    world.must("look", "Untouched");
    world.must("stage", "Prepared");
    assert_eq!(shot(&world.on("")), before, "preparing changes nothing that is in force");
    world.must("switch", "Applied");
    assert_new(&world);
    world.must("back", "Prepared");
    assert_eq!(shot(&world.on("")), before);
    world.must("settle", "Untouched");
    assert!(!world.way_back().join("takt-00-app-g1-7.1").exists());
}

#[test]
fn what_is_confirmed_and_settled_is_in_force_for_the_same_release_ordered_again() {
    let mut world = device();
    let before = shot(&world.on(""));
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    world.must("confirm", "Confirmed");
    world.must("back", "Prepared");
    assert_eq!(shot(&world.on("")), before, "what is confirmed can still be taken back in its order");
    world.must("switch", "Applied");
    world.must("confirm", "Confirmed");
    world.must("settle", "Applied");
    world.settings["key"]["index"] = json!(2);
    world.must("stage", "Applied");
    world.must("switch", "Applied");
    let after = shot(&world.on(""));
    world.must("back", "Untouched");
    assert_eq!(shot(&world.on("")), after, "an order that changed nothing takes nothing back");
    world.must("settle", "Applied");
}

#[test]
fn a_release_that_changes_nothing_stands_where_its_order_is() {
    let mut world = World::new();
    make(&world.on("a"), "same", 0o640, (1, 1), &[]);
    world.step(
        json!({"kind": "file", "files": [{"path": world.on("a"), "content": world.artifact(b"other")}]}),
    );
    world.must("stage", "Prepared");
    // Somebody else was faster; then the copies are kept anew, and there is nothing to change any more.
    fs::write(world.on("a"), "other").unwrap();
    world.must("look", "Applied");
    fs::write(world.on("a"), "third").unwrap();
    world.must("look", "Untouched");
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    world.must("back", "Prepared");
    assert_eq!(fs::read_to_string(world.on("a")).unwrap(), "third");
}

#[test]
fn what_somebody_else_changes_half_way_is_overwritten_forwards_and_brought_back_backwards() {
    let world = device();
    let before = shot(&world.on(""));
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    fs::write(world.on("app/app.conf"), "by hand\n").unwrap();
    let half = format!(
        "Half(\"'{}' is neither the new nor the previous file\")",
        world.on("app/app.conf").display()
    );
    world.must("look", &half);
    world.must("switch", "Applied");
    assert_new(&world);
    fs::remove_file(world.on("app/same.conf")).unwrap();
    fs::remove_dir_all(world.on("new")).unwrap();
    world.must("back", "Prepared");
    assert_eq!(shot(&world.on("")), before);
}

#[test]
fn folders_that_the_set_made_stay_when_something_else_is_in_them() {
    let world = device();
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    fs::write(world.on("new/by-hand"), "").unwrap();
    world.must("back", "Prepared");
    assert!(world.on("new/by-hand").exists() && !world.on("new/deep").exists());
}

#[test]
fn another_name_of_a_replaced_file_keeps_the_previous_content() {
    let mut world = World::new();
    make(&world.on("a"), "old", 0o600, (0, 0), &[]);
    let outside = world.beside("outside");
    fs::hard_link(world.on("a"), &outside).unwrap();
    world
        .step(json!({"kind": "file", "files": [{"path": world.on("a"), "content": world.artifact(b"new")}]}));
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "old");
    assert_eq!(fs::metadata(world.on("a")).unwrap().nlink(), 1);
    world.must("back", "Prepared");
    assert_eq!(fs::read_to_string(world.on("a")).unwrap(), "old");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "old");
}

#[test]
fn names_that_were_never_in_place_are_cleaned() {
    let world = device();
    let dangling = world.on("app/.takt-0123456789abcdef-3");
    fs::write(&dangling, "of an agent that never came back").unwrap();
    fs::write(world.on("app/.takt-other"), "of somebody else").unwrap();
    world.must("stage", "Prepared");
    assert!(!dangling.exists() && world.on("app/.takt-other").exists());
}

#[test]
fn what_leads_out_of_the_roots_or_is_no_file_is_refused_before_anything_changes() {
    let mut world = device();
    let outside = world.beside("outside");
    fs::create_dir(&outside).unwrap();
    make(&outside.join("target"), "outside", 0o600, (0, 0), &[]);
    symlink(&outside, world.on("app/way-out")).unwrap();
    symlink(outside.join("target"), world.on("app/link")).unwrap();
    symlink("nowhere", world.on("app/dangling")).unwrap();
    fs::create_dir(world.on("app/folder")).unwrap();
    let made = Command::new("mknod").arg(world.on("app/device")).args(["c", "1", "3"]).status().unwrap();
    assert!(made.success(), "mknod");
    rustix::fs::mkfifoat(rustix::fs::CWD, world.on("app/pipe"), rustix::fs::Mode::RUSR).unwrap();
    let before = shot(&world.beside(""));
    let (content, good) = (world.artifact(b"new"), world.on("app/app.conf"));
    for (path, why) in [
        (world.on("app/way-out/x"), "way-out' on the way to it is a symbolic link, not a folder"),
        (world.on("app/app.conf/x"), "app.conf' on the way to it is a regular file, not a folder"),
        (world.on("app/link"), "it is a symbolic link"),
        (world.on("app/dangling"), "it is a symbolic link"),
        (world.on("app/folder"), "it is a folder"),
        (world.on("app/device"), "it is a device"),
        (world.on("app/pipe"), "it is a pipe"),
        (world.on("../outside/target"), "is not an absolute path without '.' and '..'"),
        (outside.join("target"), "lies below none of this device's allowed roots"),
        (world.way_back().join("x"), "is the agent's own"),
    ] {
        world.settings["roots"] = json!([world.on(""), world.way_back()]);
        world.step(json!({"kind": "file", "files": [
            {"path": good, "content": content}, {"path": path, "content": content}]}));
        world.must_fail("stage", why);
        let refused = world.go("stage").said;
        assert!(refused.starts_with("Prepare failed (Fatal): use '"), "{refused}");
        let mut after = shot(&world.beside(""));
        for own in ["world.json", &format!("artifacts/{content}")] {
            after.remove(own);
        }
        assert_eq!(after, before, "{path:?}");
    }
}

#[test]
fn a_link_that_comes_in_between_is_refused_too() {
    let world = device();
    world.must("stage", "Prepared");
    let outside = world.beside("outside");
    fs::rename(world.on("app"), &outside).unwrap();
    symlink(&outside, world.on("app")).unwrap();
    let before = shot(&outside);
    assert!(!world.go("switch").well);
    assert_eq!(shot(&outside), before);
}

#[test]
fn a_file_that_is_marked_immutable_is_refused_by_name() {
    let mut world = World::below(&std::env::temp_dir());
    fill(&mut world);
    let path = world.on("app/app.conf");
    let chattr = |mode| Command::new("chattr").arg(mode).arg(&path).status().unwrap().success();
    assert!(
        chattr("+i"),
        "chattr: the temporary folder must lie on a file system with such marks, as ext4 is"
    );
    let refused = world.go("stage").said;
    assert!(chattr("-i"));
    assert_eq!(
        refused,
        format!("Prepare failed (Fatal): replace '{}': it is marked immutable", path.display())
    );
    world.must("stage", "Prepared");
    assert!(chattr("+i"));
    let refused = world.go("switch").said;
    assert!(chattr("-i"));
    assert!(refused.ends_with("it is marked immutable"), "{refused}");
    world.must("look", "Prepared");
}

#[test]
fn a_mount_point_cannot_be_replaced() {
    let world = device();
    let path = world.on("app/app.conf");
    let mounted = Command::new("mount").arg("--bind").arg(world.on("app/run")).arg(&path).status().unwrap();
    assert!(mounted.success(), "mount --bind");
    let refused = world.go("stage").said;
    assert!(Command::new("umount").arg(&path).status().unwrap().success());
    assert!(refused.ends_with("it is a mount point"), "{refused}");
}

#[test]
fn a_running_program_is_replaced_and_brought_back() {
    let mut world = World::new();
    let program = world.on("bin/sleep");
    make(&program, "", 0o755, (0, 0), &[]);
    fs::copy("/bin/busybox", &program).unwrap();
    let mut running = Command::new(&program).args(["sleep", "60"]).spawn().unwrap();
    let before = shot(&world.on(""));
    world.step(json!({"kind": "file", "files": [{"path": program, "content": world.artifact(b"new")}]}));
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    world.must("back", "Prepared");
    assert_eq!(shot(&world.on("")), before);
    running.kill().unwrap();
    running.wait().unwrap();
}

#[test]
fn an_owner_that_only_an_earlier_step_brings_is_asked_for_when_it_is_needed() {
    let mut world = World::new();
    make(&world.on("a"), "old", 0o600, (0, 0), &[]);
    world.step(json!({"kind": "file", "files": [
        {"path": world.on("a"), "content": world.artifact(b"new"), "owner": "no-such-user-here:root"}]}));
    world.must("stage", "Prepared");
    world.must_fail("switch", "to user 'no-such-user-here': this device has no such user");
    world.must("look", "Prepared");
}

#[test]
fn content_that_is_missing_or_not_what_was_signed_is_never_put_in_place() {
    let world = device();
    let before = shot(&world.on(""));
    world.must("stage", "Prepared");
    let sha256 = world.artifact(b"deeper\n").to_string();
    let artifact = world.beside("artifacts").join(&sha256);
    fs::write(&artifact, "tampered").unwrap();
    world.must_fail("switch", &format!("not {sha256}"));
    assert!(world.go("switch").said.starts_with("Apply failed (Corrupt)"));
    assert_eq!(shot(&world.on("")), before, "nothing of a failed set is left");
    fs::remove_file(&artifact).unwrap();
    world.must_fail("switch", &sha256);
    world.must("look", "Prepared");
}

#[test]
fn a_way_back_of_an_unknown_format_and_a_damaged_copy_are_named() {
    let world = device();
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    let own = world.way_back().join("takt-00-app-g1-7.1");
    let copy = own.join("0.kept");
    fs::write(&copy, "damaged").unwrap();
    world.must_fail("back", "0.kept");
    assert_eq!(fs::read_to_string(world.on("app/old.conf")).unwrap(), "old\n", "the rest is brought back");
    fs::write(&copy, "colour = red\n").unwrap();
    world.must("back", "Prepared");
    let record = own.join("record.json");
    let text = fs::read_to_string(&record).unwrap().replace("\"format\": 1", "\"format\": 9");
    fs::write(&record, text).unwrap();
    let unknown = world.go("look").said;
    assert!(
        unknown.starts_with("Unknown(") && unknown.contains("its format is 9, this agent knows 1"),
        "{unknown}"
    );
}
