//! A disk that is full or broken: errors are told, nothing is pretended, and what was acknowledged stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use takt_store::{Batch, Opened, Options, Origin, SledStore, Store, StoreError};
use takt_store_proof::disk::{Disk, Image, Trouble};

/// More than one segment of the log, so that a full disk is noticed.
const BATCHES: usize = 12;
const VALUE_BYTES: usize = 100 * 1024;

fn open(at: &Path) -> Opened {
    SledStore::open(at.join("store"), &Options::default()).unwrap()
}

/// Commits until the first error, within [`BATCHES`].
fn commit_until_refused(store: &SledStore) -> Option<StoreError> {
    (0..BATCHES).find_map(|number| {
        let batch = Batch::new().put(format!("more/{number}"), vec![1; VALUE_BYTES]).put("last", "unknown");
        store.commit(batch).err()
    })
}

fn a_commit_in_trouble_is_an_error_and_no_later_one_pretends(trouble: Trouble) {
    let mount = tempfile::tempdir().unwrap();
    let disk = Disk::mount(Image::new(), mount.path(), None).unwrap();
    let Opened { store, .. } = open(mount.path());
    store.commit(Batch::new().put("kept", "1")).unwrap();

    disk.set_trouble(trouble);
    let error = commit_until_refused(&store).expect("a commit that cannot be made durable is refused");
    assert!(
        matches!(error, StoreError::Commit { .. } | StoreError::Read { .. } | StoreError::File { .. }),
        "{error}"
    );
    assert!(error.to_string().contains(mount.path().to_str().unwrap()), "{error}");

    disk.set_trouble(Trouble::None);
    for _ in 0..2 {
        let error = store.commit(Batch::new().put("later", "1")).unwrap_err();
        assert!(matches!(&error, StoreError::Poisoned { cause, .. } if cause.contains("store")), "{error}");
    }
    // sled answers from its cache, and refuses to read from a disk that failed it.
    match store.get(b"kept") {
        Ok(value) => assert_eq!(value.as_deref(), Some(&b"1"[..])),
        Err(error) => assert!(matches!(error, StoreError::Read { .. }), "{error}"),
    }
    drop(store);

    disk.set_trouble(trouble);
    if let Err(error) = SledStore::open(mount.path().join("store"), &Options::default()) {
        assert!(matches!(error, StoreError::Open { .. } | StoreError::File { .. }), "not damage: {error}");
    }
    disk.set_trouble(Trouble::None);

    let Opened { store, origin } = open(mount.path());
    assert_eq!(origin, Origin::Found);
    assert_eq!(store.get(b"kept").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(b"later").unwrap(), None);
    store.commit(Batch::new().put("later", "2")).unwrap();
    drop(store);
    disk.take_out().unwrap();
}

#[test]
fn a_full_disk_is_told_and_nothing_is_pretended() {
    a_commit_in_trouble_is_an_error_and_no_later_one_pretends(Trouble::Full);
}

#[test]
fn a_disk_that_refuses_writes_is_told_and_nothing_is_pretended() {
    a_commit_in_trouble_is_an_error_and_no_later_one_pretends(Trouble::Failing);
}

#[test]
fn a_disk_that_refuses_syncs_is_told_and_nothing_is_pretended() {
    a_commit_in_trouble_is_an_error_and_no_later_one_pretends(Trouble::FailingSync);
}

#[test]
fn an_export_that_finds_no_room_leaves_the_store_and_the_last_export_alone() {
    let mount = tempfile::tempdir().unwrap();
    let disk = Disk::mount(Image::new(), mount.path(), None).unwrap();
    let Opened { store, .. } = open(mount.path());
    store.commit(Batch::new().put("a", "1")).unwrap();
    store.export_if_due(Duration::ZERO).unwrap().unwrap();
    store.commit(Batch::new().put("a", "2")).unwrap();
    disk.set_trouble(Trouble::Full);
    let day = Duration::from_hours(24);
    let error = store.export_if_due(day).unwrap_err();
    assert!(error.to_string().contains("export.new"), "{error}");
    disk.set_trouble(Trouble::None);
    store.commit(Batch::new().put("a", "3")).unwrap();
    assert_eq!(store.export_if_due(day).unwrap().map(|exported| exported.commit), Some(3));
    drop(store);
    disk.take_out().unwrap();
}

#[test]
fn a_disk_that_cannot_be_mounted_is_told_and_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let error = Disk::mount(Image::new(), &folder.path().join("missing"), None).unwrap_err();
    assert!(error.to_string().contains("so nothing was proved"), "{error}");
}

/// A store that has been dropped may still be closing its files, on threads of its own.
#[test]
fn a_disk_is_taken_out_once_its_last_file_is_closed() {
    let mount = tempfile::tempdir().unwrap();
    let disk = Disk::mount(Image::new(), mount.path(), None).unwrap();
    let file = std::fs::File::create(mount.path().join("a")).unwrap();
    // Nothing is ever sent: a wait that nothing wakes early.
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    let closing = std::thread::spawn(move || {
        let _timeout = never.recv_timeout(Duration::from_millis(200));
        drop(file);
    });
    let taken = disk.take_out();
    closing.join().unwrap();
    taken.unwrap();
}
