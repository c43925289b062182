//! What every store means, asked of the one on disk and the one in memory alike.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use takt_store::{
    Batch, KEY_BYTES_MAX, MemoryStore, Options, SledStore, Store, StoreError, StoreJson, VALUE_BYTES_MAX,
};

/// Runs `check` on an empty store of each kind.
fn on_each_store(check: impl Fn(&dyn Store)) {
    check(&MemoryStore::new());
    let folder = tempfile::tempdir().unwrap();
    check(&SledStore::open(folder.path(), &Options::default()).unwrap().store);
    let folder = tempfile::tempdir().unwrap();
    check(&SledStore::open(folder.path(), &large()).unwrap().store);
}

/// For batches of 1 MiB.
fn large() -> Options {
    Options { batch_bytes_max: 1024 * 1024, ..Options::default() }
}

fn pairs(store: &dyn Store, prefix: &str) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let pairs = store.scan(prefix.as_bytes(), None, usize::MAX).unwrap();
    pairs.into_iter().map(|(key, value)| (text(key), text(value))).collect()
}

#[test]
fn a_committed_batch_is_read_back() {
    on_each_store(|store| {
        store.commit(Batch::new().put("a", "1").put("b", "").put("c", "3").delete("missing")).unwrap();
        store.commit(Batch::new().put("a", "one").delete("c")).unwrap();
        assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(store.get(b"b").unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(store.get(b"c").unwrap(), None);
    });
}

#[test]
fn the_last_word_about_a_key_in_a_batch_wins() {
    on_each_store(|store| {
        store.commit(Batch::new().put("a", "1").delete("a").put("b", "1").put("b", "2").delete("c")).unwrap();
        assert_eq!(pairs(store, ""), [("b".to_owned(), "2".to_owned())]);
    });
}

#[test]
fn a_conflict_names_the_key_and_changes_nothing() {
    on_each_store(|store| {
        store.commit(Batch::new().put("generation", "4")).unwrap();
        for expected in [None, Some(&b"3"[..])] {
            let batch = Batch::new().expect("generation", expected).put("generation", "5").put("other", "x");
            let error = store.commit(batch).unwrap_err();
            assert!(matches!(&error, StoreError::Conflict { key } if key == b"generation"), "{error}");
        }
        let absent = Batch::new().expect("missing", Some(b"")).put("other", "x");
        assert!(matches!(store.commit(absent), Err(StoreError::Conflict { key }) if key == b"missing"));
        assert_eq!(pairs(store, ""), [("generation".to_owned(), "4".to_owned())]);
        let batch =
            Batch::new().expect("generation", Some(b"4")).expect("other", None).put("generation", "5");
        store.commit(batch).unwrap();
        assert_eq!(store.get(b"generation").unwrap().as_deref(), Some(&b"5"[..]));
    });
}

#[test]
fn a_batch_may_only_demand() {
    on_each_store(|store| {
        store.commit(Batch::new().put("a", "1")).unwrap();
        store.commit(Batch::new().expect("a", Some(b"1"))).unwrap();
        assert!(store.commit(Batch::new().expect("a", None)).is_err());
    });
}

#[test]
fn scans_page_through_a_prefix_in_order() {
    on_each_store(|store| {
        let mut batch = Batch::new().put("device", "x").put("device0", "x").put("a", "x");
        for number in 0..50 {
            batch = batch.put(format!("device/{number:02}"), number.to_string());
        }
        store.commit(batch).unwrap();
        let mut seen = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.scan(b"device/", after.as_deref(), 7).unwrap();
            seen.extend(page.iter().map(|(_, value)| String::from_utf8(value.clone()).unwrap()));
            if page.len() < 7 {
                break;
            }
            after = page.last().map(|(key, _)| key.clone());
        }
        assert_eq!(seen, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(store.scan(b"device/", Some(b"a"), 1).unwrap()[0].0, b"device/00");
        assert_eq!(store.scan(b"device/", Some(b"z"), 1).unwrap(), []);
        assert_eq!(store.scan(b"", None, usize::MAX).unwrap().len(), 53);
        assert_eq!(store.scan(b"", None, 0).unwrap(), []);
    });
}

#[test]
fn values_of_every_length_come_back_whole() {
    on_each_store(|store| {
        let key = vec![0xff; KEY_BYTES_MAX];
        // Around the ends of the parts into which the store on disk cuts a value, longer and shorter again.
        for length in [0, 1, 6143, 6144, 6145, 12_288, 12_289, VALUE_BYTES_MAX, 70_000, 6144, 0] {
            let value: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
            store.commit(Batch::new().put(key.clone(), value.clone()).put("x", "1")).unwrap();
            assert!(store.get(&key).unwrap() == Some(value), "length {length}");
            assert_eq!(store.scan(b"", None, usize::MAX).unwrap().len(), 2);
        }
        store.commit(Batch::new().put(key.clone(), vec![7; VALUE_BYTES_MAX])).unwrap();
        store.commit(Batch::new().delete(key.clone())).unwrap();
        assert_eq!(store.get(&key).unwrap(), None);
    });
}

#[test]
fn keys_and_sizes_outside_the_limits_are_refused_by_name() {
    on_each_store(|store| {
        let long = vec![b'k'; KEY_BYTES_MAX + 1];
        for key in [&b""[..], b"\0reserved", &long] {
            assert!(matches!(
                store.commit(Batch::new().put("a", "1").put(key, "x")),
                Err(StoreError::KeyRefused { key: refused, .. }) if refused == key
            ));
            assert!(matches!(store.get(key), Err(StoreError::KeyRefused { .. })));
            assert!(matches!(
                store.commit(Batch::new().expect(key, None)),
                Err(StoreError::KeyRefused { .. })
            ));
        }
        let too_large = Batch::new().put("a", "1").put("big", vec![0; VALUE_BYTES_MAX + 1]);
        let error = store.commit(too_large).unwrap_err();
        assert!(error.to_string().contains("'big' has 131073 bytes, at most 131072"), "{error}");
        let bytes_max = store.batch_bytes_max();
        let batch = of_bytes(bytes_max + 1);
        assert!(
            matches!(store.commit(batch), Err(StoreError::BatchTooLarge { bytes_max: most, .. }) if most == bytes_max)
        );
        assert_eq!(store.scan(b"", None, usize::MAX).unwrap(), []);
    });
}

/// A batch of so many bytes.
fn of_bytes(bytes: usize) -> Batch {
    let (mut batch, mut left) = (Batch::new(), bytes);
    for number in 1.. {
        let key = format!("{number:08}");
        let Some(room) = left.checked_sub(key.len()) else { break };
        let value = room.min(VALUE_BYTES_MAX - 1024);
        left = room - value;
        batch = batch.put(key, vec![7; value]);
    }
    batch
}

#[test]
fn a_store_takes_batches_as_large_as_it_says_and_keeps_that_size() {
    on_each_store(|store| {
        let batch = of_bytes(store.batch_bytes_max());
        let written = batch.writes().count();
        store.commit(batch).unwrap();
        assert_eq!(store.scan(b"", None, usize::MAX).unwrap().len(), written);
    });
    for (made_for, opened_for) in [(large(), Options::default()), (Options::default(), large())] {
        let folder = tempfile::tempdir().unwrap();
        let open = |options| SledStore::open(folder.path(), options).unwrap().store;
        let made = open(&made_for);
        let bytes_max = made.batch_bytes_max();
        made.commit(of_bytes(bytes_max)).unwrap();
        let before = made.scan(b"", None, usize::MAX).unwrap();
        drop(made);
        let opened = open(&opened_for);
        assert_eq!(opened.batch_bytes_max(), bytes_max);
        assert!(opened.scan(b"", None, usize::MAX).unwrap() == before);
    }
}

#[test]
fn json_values_are_typed_and_a_wrong_one_names_its_key() {
    on_each_store(|store| {
        store.commit(Batch::new().put_json("n/1", &[1, 2]).unwrap().put("n/2", "{")).unwrap();
        assert_eq!(store.get_json::<Vec<u8>>(b"n/1").unwrap(), Some(vec![1, 2]));
        assert_eq!(store.get_json::<Vec<u8>>(b"n/3").unwrap(), None);
        let error = store.scan_json::<Vec<u8>>(b"n/", None, 10).unwrap_err();
        assert!(error.to_string().contains("'n/2'"), "{error}");
        assert_eq!(store.scan_json::<Vec<u8>>(b"n/", None, 1).unwrap(), [(b"n/1".to_vec(), vec![1, 2])]);
    });
}

const THREADS: u64 = 8;
const COUNTS: u64 = 10;

#[test]
fn of_threads_that_count_together_none_is_lost() {
    on_each_store(|store| {
        let store: &(dyn Store + '_) = store;
        store.commit(Batch::new().put("count", 0_u64.to_be_bytes())).unwrap();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..COUNTS {
                        count_up(store);
                    }
                });
            }
        });
        let count = store.get(b"count").unwrap().unwrap();
        assert_eq!(count, (THREADS * COUNTS).to_be_bytes());
    });
}

/// Compare-and-set until it holds; every conflict means that another thread got on, so this ends.
fn count_up(store: &dyn Store) {
    loop {
        let old = store.get(b"count").unwrap().unwrap();
        let new = u64::from_be_bytes(old.clone().try_into().unwrap()) + 1;
        match store.commit(Batch::new().expect("count", Some(&old)).put("count", new.to_be_bytes())) {
            Ok(()) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn threads_that_commit_at_once_share_flushes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(folder.path(), &Options::default()).unwrap().store);
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                for count in 0..20 {
                    store.commit(Batch::new().put(format!("{number}/{count}"), "x")).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(store.scan(b"", None, usize::MAX).unwrap().len(), 320);
    assert!(store.commit_number() < 240, "{} flushes for 320 batches", store.commit_number());
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(u8, Option<u16>)>),
    CommitIf(u8, Vec<(u8, Option<u16>)>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = || prop::collection::vec((0..24_u8, prop::option::of(0..20_000_u16)), 0..6);
    let step = prop_oneof![
        6 => writes().prop_map(Step::Commit),
        3 => (0..24_u8, writes()).prop_map(|(key, writes)| Step::CommitIf(key, writes)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..30)
}

fn write_all(mut batch: Batch, writes: &[(u8, Option<u16>)]) -> Batch {
    for (key, length) in writes {
        batch = match length {
            Some(length) => batch.put(format!("k{key}"), vec![*key; usize::from(*length)]),
            None => batch.delete(format!("k{key}")),
        };
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn disk_memory_and_a_plain_map_agree_also_over_restarts(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let open = || SledStore::open(folder.path(), &Options::default()).unwrap().store;
        let mut disk = Some(open());
        let memory = MemoryStore::new();
        let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for step in steps {
            let (condition, writes) = match step {
                Step::Reopen => {
                    drop(disk.take());
                    disk = Some(open());
                    continue;
                }
                Step::Commit(writes) => (None, writes),
                Step::CommitIf(key, writes) => (Some(format!("k{key}").into_bytes()), writes),
            };
            let mut batch = Batch::new();
            // A condition holds when the key is absent.
            let mut holds = true;
            if let Some(key) = condition {
                holds = !map.contains_key(&key);
                batch = batch.expect(key, None);
            }
            let batch = write_all(batch, &writes);
            if holds {
                for (key, length) in writes {
                    let name = format!("k{key}").into_bytes();
                    match length {
                        Some(length) => map.insert(name, vec![key; usize::from(length)]),
                        None => map.remove(&name),
                    };
                }
            }
            let disk = disk.as_ref().unwrap();
            prop_assert_eq!(memory.commit(batch.clone()).is_ok(), holds);
            prop_assert_eq!(disk.commit(batch).is_ok(), holds);
            let expected: Vec<_> = map.clone().into_iter().collect();
            prop_assert!(memory.scan(b"", None, usize::MAX).unwrap() == expected);
            prop_assert!(disk.scan(b"", None, usize::MAX).unwrap() == expected);
        }
    }
}
