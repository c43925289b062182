//! Disks that are full, read-only or not for programs. They are file systems in memory and need root to be mounted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use common::{Device, NEW, OLD, said, versions};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use takt_launcher::{STARTS_MAX, Trial};
use tempfile::TempDir;

const KIB: usize = 1 << 10;

/// A small file system.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn mount(kib: usize, flags: MsFlags) -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        disk.mount_with(flags, Some(format!("size={kib}k").as_str()));
        disk
    }

    fn mount_with(&self, flags: MsFlags, data: Option<&str>) {
        mount(Some("small"), self.folder.path(), Some("tmpfs"), flags, data)
            .expect("this test mounts small disks: it needs root");
    }

    fn read_only(&self, read_only: bool) {
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        self.mount_with(MsFlags::MS_REMOUNT | flags, None);
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("launcher")
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        for bytes in [64 * KIB, KIB, 1] {
            while filler.write_all(&vec![7; bytes]).is_ok() {}
        }
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = umount2(self.folder.path(), MntFlags::MNT_DETACH);
    }
}

fn assert_full(folder: &Path) {
    let refused = fs::write(folder.join("one-byte"), "1").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    let _ = fs::remove_file(folder.join("one-byte"));
}

#[test]
fn on_a_full_disk_starts_are_counted_all_the_same() {
    let disk = Disk::mount(256, MsFlags::empty());
    let device = Device::with_state(&disk.state());
    device.begin();
    device.install_script(NEW, 1);
    disk.fill();
    for _ in 0..STARTS_MAX {
        assert_eq!(device.started().name, NEW);
        assert_full(disk.folder.path());
    }
    assert_eq!(device.started().name, OLD);
    assert!(matches!(device.look(), Trial::FellBack(_)));
    assert_full(disk.folder.path());
    device.trial().withdraw(&device.installed()).unwrap();
}

#[test]
fn on_a_full_disk_no_trial_begins_and_no_part_of_a_copy_stays() {
    let disk = Disk::mount(256, MsFlags::empty());
    let device = Device::with_state(&disk.state());
    let mut agent = device.script(OLD, "exit 0").into_bytes();
    agent.resize(512 * KIB, b'#');
    device.install(&agent, 0o755);
    let error = device.trial().begin(&device.installed(), &versions()).unwrap_err().to_string();
    assert!(error.starts_with("copy to '"), "{error}");
    assert_eq!(device.look(), Trial::None);
    assert_eq!(fs::read_dir(disk.state().join("previous")).unwrap().count(), 0);
    assert_eq!(device.started().name, OLD);
    device.install_script(OLD, 0);
    device.begin();
}

#[test]
fn on_a_read_only_disk_the_known_agent_starts_and_the_trial_goes_on_later() {
    let disk = Disk::mount(256, MsFlags::empty());
    let device = Device::with_state(&disk.state());
    device.begin();
    device.install_script(NEW, 1);
    assert_eq!(device.started().name, NEW);
    disk.read_only(true);
    for _ in 0..=STARTS_MAX {
        device.forget_log();
        let output = device.start();
        assert!(
            said(&output).contains("Read-only file system (os error 30): nothing can be counted"),
            "{}",
            said(&output)
        );
        let started = device.log().remove(0);
        assert_eq!((started.name.as_str(), started.fell_back.as_deref()), (OLD, Some("1.1.0")));
    }
    // Without a copy any agent is better than none.
    disk.read_only(false);
    let copy = device.trial().previous_agent();
    fs::rename(&copy, copy.with_extension("gone")).unwrap();
    disk.read_only(true);
    assert_eq!(device.started().name, NEW);
    disk.read_only(false);
    fs::rename(copy.with_extension("gone"), &copy).unwrap();
    for _ in 1..STARTS_MAX {
        assert_eq!(device.started().name, NEW);
    }
    assert_eq!(device.started().name, OLD);
}

#[test]
fn no_trial_begins_where_the_copy_could_not_be_run() {
    let disk = Disk::mount(256, MsFlags::MS_NOEXEC);
    let device = Device::with_state(&disk.state());
    let error = device.trial().begin(&device.installed(), &versions()).unwrap_err().to_string();
    assert!(error.starts_with("run '") && error.contains("previous/takt-agent"), "{error}");
    assert_eq!(device.look(), Trial::None);
}
