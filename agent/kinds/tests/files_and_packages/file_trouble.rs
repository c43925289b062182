//! Disks that are full, read-only or broken, at every single call to the system that a set of files makes.

use std::collections::BTreeSet;
use std::fs;
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

/// Runs a part under `strace`; what that wrote.
fn trace(world: &World, part: &str, options: &[String]) -> (String, Ended) {
    let plain = world.command(part);
    let log = world.beside("strace.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "--seccomp-bpf", "-qq", "-s", "4096", "-o"]).arg(&log).args(options);
    let ended = Ended::of(&command.arg(plain.get_program()).args(plain.get_args()).output().unwrap());
    (fs::read_to_string(&log).unwrap_or_default(), ended)
}

/// Everything on the device and in the way back that a part touches, as paths beside the device.
fn touched(world: &World, part: &str) -> BTreeSet<String> {
    let (log, ended) = trace(world, part, &["-e".to_owned(), "trace=%file,%desc".to_owned()]);
    assert!(ended.well, "{ended:?}");
    let top = world.beside("").to_str().unwrap().trim_end_matches('/').to_owned() + "/";
    let found = log.split(&top).skip(1).filter_map(|rest| rest.split(['"', '>', '<']).next());
    let ours = |path: &&str| path.starts_with("device") || path.starts_with("way-back");
    let mut paths: BTreeSet<String> = found.filter(ours).map(str::to_owned).collect();
    // Names in open folders stand alone.
    for line in log.lines() {
        let Some((before, after)) = line.split_once(">, \"") else { continue };
        if let (Some(folder), Some(name)) = (before.split(&top).last(), after.split('"').next())
            && ours(&folder)
        {
            paths.insert(format!("{folder}/{name}"));
        }
    }
    paths
}

/// With every call failing in its turn: the part fails with the name of a path, or does without it, and both ways are open.
fn each_failure(error: &str, before: &[&str], part: &str) -> usize {
    need(&[("strace", "strace")]);
    let whole = shot(&device().on(""));
    let gone = || {
        let world = device();
        for part in before {
            assert!(world.go(part).well, "{part}");
        }
        world
    };
    let touched = touched(&gone(), part);
    let mut hits = 0;
    for call in CALLS {
        for nth in 1.. {
            let world = gone();
            let mut options: Vec<String> = ["-e".to_owned(), format!("trace={call}")].into();
            options.extend(["-e".to_owned(), format!("inject={call}:error={error}:when={nth}")]);
            let paths = touched
                .iter()
                .flat_map(|path| ["-P".to_owned(), world.beside(path).to_str().unwrap().to_owned()]);
            options.extend(paths);
            let (log, ended) = trace(&world, part, &options);
            let Some(hit) = log.lines().find(|line| line.contains("(INJECTED)")) else { break };
            hits += 1;
            let about = format!("{part}: {hit}: {ended:?}");
            let named = ended.said.contains("failed (") && ended.said.contains('/');
            assert!(ended.well || named, "{about}");
            let now = world.go("look").said;
            let known = ["Untouched", "Prepared", "Applied", "Half("];
            assert!(known.iter().any(|state| now.starts_with(state)), "{about}; then {now}");
            if part == "switch" && nth % 2 == 0 {
                let again = world.go("switch");
                assert!(again.said == "Applied", "{about}; then {again:?}");
                assert_new(&world);
            }
            let back = world.go("back");
            assert!(back.well, "{about}; then {back:?}");
            assert_eq!(shot(&world.on("")), whole, "{about}");
        }
        eprintln!("{error} at {part}: {hits} with {call}");
    }
    hits
}

#[test]
fn a_broken_disk_while_preparing_changes_nothing_in_force() {
    assert!(each_failure("EIO", &[], "stage") >= 80);
}

#[test]
fn a_broken_disk_while_applying_leaves_both_ways_open() {
    assert!(each_failure("EIO", &["stage"], "switch") >= 80);
}

#[test]
fn a_broken_disk_while_reverting_is_overcome_by_the_next_try() {
    assert!(each_failure("EIO", &["stage", "switch"], "back") >= 80);
}

#[test]
fn a_full_disk_at_each_call_leaves_both_ways_open() {
    assert!(each_failure("ENOSPC", &["stage"], "switch") >= 80);
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
