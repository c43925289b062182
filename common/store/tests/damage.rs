//! Damage, restarts and strangers in the folder: what a store on disk does about them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use takt_store::{Batch, Opened, Options, Origin, SledStore, Store, StoreError, VALUE_BYTES_MAX};

const HOUR: Duration = Duration::from_hours(1);

fn open(path: &Path) -> Opened {
    SledStore::open(path, &Options::default()).unwrap()
}

/// A store with 100 keys in an export and one more commit behind it.
fn filled(path: &Path) {
    let Opened { store, origin } = open(path);
    assert_eq!(origin, Origin::Created);
    for number in 0..100 {
        store.commit(Batch::new().put(format!("key/{number:03}"), vec![b'x'; 300])).unwrap();
    }
    store.commit(Batch::new().put("long", vec![b'y'; VALUE_BYTES_MAX])).unwrap();
    let exported = store.export_if_due(Duration::ZERO).unwrap().unwrap();
    assert_eq!((exported.commit, exported.pairs), (101, 101));
    store.commit(Batch::new().put("later", "lost when restored")).unwrap();
}

fn overwrite(file: &Path, offset: u64, bytes: &[u8]) {
    fs::File::options().write(true).open(file).unwrap().write_all_at(bytes, offset).unwrap();
}

fn assert_restored(path: &Path) -> String {
    let Opened { store, origin } = open(path);
    let Origin::Restored { pairs: 101, commit: 101, .. } = &origin else { panic!("{origin}") };
    let pairs = store.scan(b"key/", None, usize::MAX).unwrap();
    assert_eq!(pairs.len(), 100);
    assert!(pairs.iter().all(|(_, value)| *value == vec![b'x'; 300]));
    assert!(store.get(b"long").unwrap() == Some(vec![b'y'; VALUE_BYTES_MAX]));
    assert_eq!(store.get(b"later").unwrap(), None);
    store.commit(Batch::new().put("again", "works")).unwrap();
    drop(store);
    let Opened { store, origin: again } = open(path);
    assert_eq!(again, Origin::Found);
    assert_eq!(store.get(b"again").unwrap().as_deref(), Some(&b"works"[..]));
    origin.to_string()
}

#[test]
fn a_store_that_was_closed_is_found_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let Opened { store, origin } = open(folder.path());
    assert_eq!(origin, Origin::Found);
    assert_eq!(store.scan(b"", None, usize::MAX).unwrap().len(), 102);
    assert_eq!(store.commit_number(), 102);
}

#[test]
fn a_damaged_snapshot_is_answered_by_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    drop(open(folder.path()));
    let sled = folder.path().join("sled");
    let is_snapshot = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("snap.");
    let snapshot =
        fs::read_dir(&sled).unwrap().map(|entry| entry.unwrap().path()).find(|path| is_snapshot(path));
    overwrite(&snapshot.unwrap(), 3, b"garbage");
    let text = assert_restored(folder.path());
    assert!(text.contains("restored from its export of commit 101 with 101 keys"), "{text}");
    assert!(folder.path().join("sled.damaged/db").exists());
}

#[test]
fn a_damaged_settings_file_is_answered_by_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    overwrite(&folder.path().join("sled/conf"), 0, &[0xff; 40]);
    assert_restored(folder.path());
}

#[test]
fn a_log_that_lost_what_its_export_holds_is_answered_by_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let sled = folder.path().join("sled");
    for entry in fs::read_dir(&sled).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
    // In the midst of the log: to sled this looks like the torn end of it, and it would open without a word.
    overwrite(&sled.join("db"), 20_000, &[0x55; 512]);
    let text = assert_restored(folder.path());
    assert!(text.contains("its own export holds commit 101"), "{text}");
}

#[test]
fn a_missing_database_is_restored_and_a_missing_export_replaced_by_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let store = open(folder.path()).store;
    store.commit(Batch::new().put("another", "1")).unwrap();
    let exported = store.export_if_due(Duration::ZERO).unwrap().unwrap();
    assert_eq!((exported.commit, exported.pairs), (103, 103));
    drop(store);
    overwrite(&folder.path().join("export"), 40, b"damage");
    fs::remove_dir_all(folder.path().join("sled")).unwrap();
    assert_restored(folder.path());
}

#[test]
fn damage_without_a_sound_export_is_an_error_that_says_what_to_do_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    overwrite(&folder.path().join("export"), 40, b"damage");
    overwrite(&folder.path().join("sled/conf"), 0, &[0xff; 40]);
    for _ in 0..2 {
        let error = SledStore::open(folder.path(), &Options::default()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(folder.path().to_str().unwrap()) && text.contains("move the folder away"),
            "{text}"
        );
    }
    assert!(folder.path().join("sled/db").exists());
}

#[test]
fn an_export_cut_short_anywhere_is_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    store.commit(Batch::new().put("a", "1").put("b", "2")).unwrap();
    store.export_if_due(Duration::ZERO).unwrap().unwrap();
    drop(store);
    fs::remove_dir_all(folder.path().join("sled")).unwrap();
    fs::create_dir(folder.path().join("sled.damaged")).unwrap();
    let whole = fs::read(folder.path().join("export")).unwrap();
    for length in 0..whole.len() {
        fs::write(folder.path().join("export"), &whole[..length]).unwrap();
        assert!(SledStore::open(folder.path(), &Options::default()).is_err(), "length {length}");
    }
    for index in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[index] ^= 0x10;
        fs::write(folder.path().join("export"), &flipped).unwrap();
        assert!(SledStore::open(folder.path(), &Options::default()).is_err(), "byte {index}");
    }
    fs::write(folder.path().join("export"), &whole).unwrap();
    assert!(matches!(open(folder.path()).origin, Origin::Restored { pairs: 2, commit: 1, .. }));
}

#[test]
fn exports_are_made_when_due_and_only_after_changes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let commit = |value: &str| store.commit(Batch::new().put("a", value)).unwrap();
    commit("1");
    assert!(store.export_if_due(HOUR).unwrap().is_some(), "the first after an open is due");
    assert!(store.export_if_due(3 * HOUR).unwrap().is_none(), "nothing has changed");
    commit("2");
    assert!(store.export_if_due(Duration::from_secs(2 * 3600 - 1)).unwrap().is_none(), "not yet an hour");
    assert!(store.export_if_due(2 * HOUR).unwrap().is_some());
    drop(store);
    let store = open(folder.path()).store;
    assert!(store.export_if_due(Duration::ZERO).unwrap().is_none(), "unchanged since the last process");
    assert!(folder.path().join("export.previous").exists());
}

#[test]
fn a_second_opening_is_refused_by_the_folders_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way");
    let first = open(&path);
    let error = SledStore::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }));
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    drop(first);
    assert_eq!(open(&path).origin, Origin::Found);
}

#[test]
fn an_unfinished_snapshot_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    fs::write(folder.path().join("sled/snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    fs::create_dir(folder.path().join("sled.new")).unwrap();
    fs::write(folder.path().join("sled.new/db"), b"half").unwrap();
    assert_eq!(open(folder.path()).origin, Origin::Found);
    assert!(!folder.path().join("sled.new").exists());
}

#[test]
fn a_folder_that_is_a_file_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, b"").unwrap();
    let error = SledStore::open(path.join("store"), &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("create folder '"), "{error}");
}

#[test]
fn large_values_never_become_files_that_sled_does_not_sync() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    for round in 0..20_u8 {
        let mut batch = Batch::new();
        for number in 0..40 {
            // 6 KiB each and names as long as they may be: the largest pages there can be.
            batch = batch.put(format!("{number:0>256}"), vec![round; 6100]);
        }
        store.commit(batch).unwrap();
        store.commit(Batch::new().put("long", vec![round; VALUE_BYTES_MAX])).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("sled/blobs")).unwrap().count(), 0, "round {round}");
    }
}

#[test]
fn a_log_whose_keys_are_overwritten_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    for round in 0..1500_u32 {
        let batch =
            Batch::new().put("phase", vec![7; 2000]).put(format!("ring/{}", round % 50), vec![8; 2000]);
        store.commit(batch).unwrap();
    }
    let mib = fs::metadata(folder.path().join("sled/db")).unwrap().len() >> 20;
    assert!(mib <= 8, "{mib} MiB for 100 KiB of contents after 6 MiB of writes");
}
