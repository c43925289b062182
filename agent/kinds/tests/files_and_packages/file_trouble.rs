//! Disks that are full, read-only or broken, at every single call to the system that a set of files makes.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::files::{assert_new, device, fill};
use crate::shot::{make, shot};
use crate::world::{Ended, World, need};

/// The calls by which something is changed on a disk.
const CALLS: [&str; 11] = [
    "openat",
    "write",
    "fsync",
    "renameat",
    "rename",
    "unlinkat",
    "mkdirat",
    "mkdir",
    "fchown",
    "fchmod",
    "fsetxattr",
];

/// Runs a part with the `nth` of one call failing; true when there was such a call.
fn go_with_failing(world: &World, part: &str, call: &str, nth: usize, error: &str) -> (bool, Ended) {
    let plain = world.command(part);
    let log = world.beside("strace.log");
    let inject = format!("inject={call}:error={error}:when={nth}");
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-qq", "-o"]).arg(&log).arg("-e").arg(format!("trace={call}"));
    // Only what concerns the device and the way back: the start of a process has calls of its own.
    let traced = |command: &mut Command, top: &Path| {
        for entry in walk(top) {
            command.arg("-P").arg(entry);
        }
    };
    traced(&mut command, &world.on(""));
    command.arg("-P").arg(world.way_back());
    traced(&mut command, &world.way_back());
    command.arg("-e").arg(inject).arg(plain.get_program()).args(plain.get_args());
    let ended = Ended::of(&command.output().unwrap());
    let hit = fs::read_to_string(&log).unwrap_or_default().contains("(INJECTED)");
    (hit, ended)
}

/// All paths below a folder, itself among them.
fn walk(top: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![top.to_owned()];
    if let Ok(entries) = fs::read_dir(top) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(walk(&entry.path()));
            } else {
                all.push(entry.path());
            }
        }
    }
    all
}

/// With every call failing in its turn: the part fails with the name of a path, or does without it, and both ways are open.
fn each_failure(error: &str, before: &[&str], part: &str) -> usize {
    need(&[("strace", "strace")]);
    let whole = shot(&device().on(""));
    let mut hits = 0;
    for call in CALLS {
        for nth in 1.. {
            let world = device();
            for part in before {
                assert!(world.go(part).well);
            }
            let (hit, ended) = go_with_failing(&world, part, call, nth, error);
            if !hit {
                break;
            }
            hits += 1;
            let about = format!("{part} with {error} at {call} {nth}: {ended:?}");
            assert!(ended.well || ended.said.contains("failed (") && ended.said.contains('/'), "{about}");
            let now = world.go("look").said;
            let known = ["Untouched", "Prepared", "Applied", "Half("];
            assert!(known.iter().any(|state| now.starts_with(state)), "{about}; then {now}");
            if part == "switch" && nth % 2 == 0 {
                assert!(world.go("switch").said == "Applied", "{about}; then {:?}", world.go("switch"));
                assert_new(&world);
            }
            let back = world.go("back");
            assert!(back.well, "{about}; then {back:?}");
            assert_eq!(shot(&world.on("")), whole, "{about}");
        }
    }
    hits
}

#[test]
fn a_broken_disk_while_preparing_changes_nothing_in_force() {
    assert!(each_failure("EIO", &[], "stage") >= 10);
}

#[test]
fn a_broken_disk_while_applying_leaves_both_ways_open() {
    assert!(each_failure("EIO", &["stage"], "switch") >= 20);
}

#[test]
fn a_broken_disk_while_reverting_is_overcome_by_the_next_try() {
    assert!(each_failure("EIO", &["stage", "switch"], "back") >= 10);
}

#[test]
fn a_full_disk_at_each_call_leaves_both_ways_open() {
    assert!(each_failure("ENOSPC", &["stage"], "switch") >= 20);
}

/// A small disk in memory.
struct SmallDisk(World);

impl SmallDisk {
    fn new(options: &str) -> Self {
        let world = World::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "takt-test"]).arg(world.on(""));
        assert!(
            mount.status().unwrap().success(),
            "mount a tmpfs: these tests need to be root on a machine of their own"
        );
        Self(world)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.on("")).status();
    }
}

#[test]
fn a_disk_of_whatever_room_takes_the_whole_set_or_nothing_of_it() {
    let (mut took, mut refused) = (0, 0);
    for pages in 0..14 {
        let mut disk = SmallDisk::new("size=256k,nr_inodes=64");
        fill(&mut disk.0);
        let world = &disk.0;
        let before = shot(&world.on(""));
        world.must("stage", "Prepared");
        let filler = world.on("other/untouched");
        // All but so many pages; the file was there before, so that it is no part of what changes.
        let free = usize::try_from(rustix::fs::statvfs(world.on("")).unwrap().f_bfree).unwrap();
        fs::write(&filler, vec![b'x'; (free + 1 - pages.min(free)) * 4096]).unwrap();
        let ended = world.go("switch");
        if ended.well {
            took += 1;
        } else {
            refused += 1;
            assert!(ended.said.contains("No space left on device"), "{ended:?}");
            assert!(ended.said.contains(world.on("").to_str().unwrap()), "{ended:?}");
            world.must("look", "Prepared");
        }
        // The way back of a full disk needs no room that the release has not taken.
        if pages > 8 {
            let back = world.go("back");
            assert!(back.well, "{back:?}");
        }
        make(&filler, "untouched\n", 0o604, (7, 7), &[]);
        world.must("back", "Prepared");
        assert_eq!(shot(&world.on("")), before);
    }
    assert!(took >= 3 && refused >= 3, "{took} took it, {refused} refused it");
}

#[test]
fn the_kept_copy_itself_goes_back_when_there_is_no_room_for_another() {
    let mut disk = SmallDisk::new("size=256k");
    disk.0.settings["way_back"] = json!(disk.0.on("way-back"));
    fill(&mut disk.0);
    let world = &disk.0;
    let without_own = || {
        let all = shot(&world.on(""));
        all.into_iter()
            .filter(|(name, _)| !name.starts_with("way-back") && name != "filler")
            .collect::<Vec<_>>()
    };
    let before = without_own();
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    let _full = fs::write(world.on("filler"), vec![b'x'; 1 << 20]);
    assert_eq!(rustix::fs::statvfs(world.on("")).unwrap().f_bfree, 0);
    world.must("back", "Prepared");
    assert_eq!(without_own(), before);
}

#[test]
fn a_set_that_needs_more_room_than_there_is_is_refused_ahead() {
    let mut disk = SmallDisk::new("size=64k");
    disk.0.step(json!({"kind": "file", "files": [
        {"path": disk.0.on("a"), "content": disk.0.artifact(&vec![b'x'; 100_000])}]}));
    let refused = disk.0.go("stage").said;
    let expected = format!(
        "Prepare failed (Transient): put '{}' in place: 102400 bytes are needed there and ",
        disk.0.on("a").display()
    );
    assert!(refused.starts_with(&expected), "{refused}");
}

#[test]
fn a_read_only_disk_is_named_and_nothing_changes() {
    let mut disk = SmallDisk::new("size=256k");
    fill(&mut disk.0);
    let world = &disk.0;
    let remount = |how: &str| {
        let how = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &how]).arg(world.on("")).status().unwrap().success());
    };
    let before = shot(&world.on(""));
    world.must("stage", "Prepared");
    remount("ro");
    let refused = world.go("switch").said;
    let expected = "Apply failed (Fatal): create '";
    assert!(refused.starts_with(expected) && refused.contains("Read-only file system"), "{refused}");
    assert_eq!(shot(&world.on("")), before);
    remount("rw");
    world.must("switch", "Applied");
    remount("ro");
    world.must_fail("back", "Read-only file system");
    remount("rw");
    world.must("back", "Prepared");
    assert_eq!(shot(&world.on("")), before);
}
