//! A full disk, on a small file system of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use takt_common::api::CampaignState;
use takt_common::report::Outcome;
use takt_tests::fleet::{ReleaseSpec, wait_until};

use super::world::{BASE, LIMIT, NEXT, World, release};

const MIB: usize = 1 << 20;

/// A file system in memory; it needs root, as the container engine does.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, mib: usize) -> Self {
        fs::create_dir_all(folder).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "small"]).arg(folder));
        Self(folder.to_owned())
    }

    /// Leaves at most `left` bytes free.
    fn fill(&self, left: usize) -> PathBuf {
        let file = self.0.join("filler");
        let statvfs = nix::sys::statvfs::statvfs(&self.0).unwrap();
        let free = usize::try_from(statvfs.blocks_available() * statvfs.fragment_size()).unwrap();
        fs::write(&file, vec![7; free.saturating_sub(left)]).unwrap();
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the agent ends a moment later.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An enrolled device whose state lies on a small disk, and that keeps one MiB of it free. The disk comes last, so that
/// it is gone before the world's folder is removed.
fn small(mib: usize) -> (World, SmallDisk) {
    let world = World::enrolled();
    let (state, aside) = (world.state(""), world.fleet.folder().join("aside"));
    fs::rename(&state, &aside).unwrap();
    let disk = SmallDisk::mount(&state, mib);
    run(Command::new("cp").arg("-a").arg(aside.join("identity")).arg(&state));
    world.limit("reserve_disk_mib", 1);
    (world, disk)
}

#[test]
fn a_full_disk_is_a_blocker_with_numbers_that_ends_with_room_or_at_the_deadline() {
    let (mut world, disk) = small(48);
    world.device.run().unwrap();
    world.fleet.wait_online(&mut world.device).unwrap();
    world.publish(&release(BASE));
    world.install(BASE);
    world.publish(&ReleaseSpec { ballast_bytes: 8 * MIB, ..release(NEXT) });
    let filler = disk.fill(5 * MIB);

    let campaign = world.start(NEXT, "5s");
    world.wait_why(&["low disk: ", " MiB free, ", " MiB needed"]);
    let end = world.end_of(&campaign);
    assert_eq!(end.state, CampaignState::Aborted);
    let outcome = world.outcome();
    assert!(
        matches!(&outcome, Outcome::GivenUp { cause } if cause.contains("low disk: ") && cause.contains("MiB needed")),
        "{outcome:?}"
    );
    world.assert_runs(BASE);

    let campaign = world.start(NEXT, "10m");
    world.wait_why(&["low disk: "]);
    fs::remove_file(filler).unwrap();
    let end = world.end_of(&campaign);
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    world.assert_runs(NEXT);
}

#[test]
fn a_disk_without_a_free_byte_stops_a_first_start_with_one_sentence_and_holds_a_running_agent_back() {
    let (mut world, disk) = small(16);
    let identity = fs::read(world.state("identity/device.key")).unwrap();
    let filler = disk.fill(0);
    assert_cannot_start(&mut world);
    assert_eq!(fs::read(world.state("identity/device.key")).unwrap(), identity);
    fs::remove_file(filler).unwrap();

    world.device.run().unwrap();
    world.fleet.wait_online(&mut world.device).unwrap();
    world.publish(&release(BASE));
    world.publish(&release(NEXT));
    world.install(BASE);
    // The journal has its room already, so the agent can still keep and tell that it waits.
    let filler = disk.fill(0);
    let campaign = world.start(NEXT, "10m");
    world.wait_why(&["low disk: 0 MiB free, ", " MiB needed"]);
    world.assert_runs(BASE);
    // A start needs more than that; what it had accepted waits on the disk.
    world.device.kill();
    assert_cannot_start(&mut world);
    fs::remove_file(filler).unwrap();
    world.device.run().unwrap();
    let end = world.end_of(&campaign);
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert!(matches!(world.outcome(), Outcome::Verified { .. }));
    world.assert_runs(NEXT);
}

/// The agent ends with one sentence that names its state.
fn assert_cannot_start(world: &mut World) {
    world.device.run().unwrap();
    wait_until("the agent's end", LIMIT, || {
        Ok(if world.device.check().is_err() { Ok(()) } else { Err("it runs".to_owned()) })
    })
    .unwrap();
    let log = fs::read_to_string(world.device.log()).unwrap();
    let last = log.lines().last().unwrap();
    let state = world.state("journal").display().to_string();
    let parts = ["takt-agent: failed to keep the journal", &state, "No space left on device"];
    assert!(parts.iter().all(|part| last.contains(part)), "{last}");
}
