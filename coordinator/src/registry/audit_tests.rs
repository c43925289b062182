use std::sync::Arc;

use takt_common::Name;
use takt_common::audit::{Head, Walk};
use takt_store::Options;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn open(folder: &std::path::Path) -> Registry {
    let store = SledStore::open(folder.join("store"), &Options::default()).unwrap().store;
    Registry::open(Arc::new(store)).unwrap()
}

fn added(name: &str) -> Happened {
    Happened::new(NOW, Who::Coordinator, What::OperatorAdded { name: name.parse().unwrap() })
}

/// The whole log, which must be whole.
fn log(registry: &Registry) -> Vec<Entry> {
    let mut walk = Walk::past(Vec::new());
    let entries = registry.audit_entries(0, usize::MAX, usize::MAX).unwrap();
    let entries = entries.iter().map(|bytes| walk.next(bytes).unwrap()).collect();
    walk.finish(&Head::new(registry.audit_end(), NOW)).unwrap();
    entries
}

fn names(registry: &Registry) -> Vec<String> {
    let name = |entry: &Entry| match &entry.what {
        What::OperatorAdded { name } => name.to_string(),
        other => panic!("{other:?}"),
    };
    log(registry).iter().map(name).collect()
}

#[test]
fn the_chain_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    assert_eq!((registry.audit_end(), log(&registry).len()), (End::start(), 0));
    registry.note(vec![added("anna"), added("ben")]).unwrap();
    let end = registry.audit_end();
    drop(registry);
    let registry = open(folder.path());
    assert_eq!(registry.audit_end(), end);
    registry.note(vec![added("carl")]).unwrap();
    assert_eq!(names(&registry), ["anna", "ben", "carl"]);
}

#[test]
fn a_change_that_is_not_made_leaves_no_entry_and_one_that_is_leaves_one() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let change = |before: Option<&[u8]>, after: &str| {
        CommitTogether::new(Batch::new().expect("thing", before).put("thing", after))
    };
    registry.commit(change(None, "one").with_entry(added("anna"))).unwrap();
    let refused = registry.commit(change(None, "two").with_entry(added("ben"))).unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    // Too large for the store: nothing of it is there either.
    let large = change(Some(b"one"), &"x".repeat(takt_store::VALUE_BYTES_MAX + 1)).with_entry(added("carl"));
    registry.commit(large).unwrap_err();
    assert_eq!(names(&registry), ["anna"]);
    registry.commit(change(Some(b"one"), "two").with_entry(added("dora"))).unwrap();
    drop(registry);
    let registry = open(folder.path());
    assert_eq!(names(&registry), ["anna", "dora"]);
    assert_eq!(registry.store().get(b"thing").unwrap().as_deref(), Some(b"two".as_slice()));
}

#[test]
fn entries_of_many_who_write_at_once_are_one_chain() {
    const EACH: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    std::thread::scope(|scope| {
        for writer in ["a", "b", "c", "d"] {
            let registry = &registry;
            scope.spawn(move || {
                (0..EACH).for_each(|at| registry.note(vec![added(&format!("{writer}{at}"))]).unwrap());
            });
        }
    });
    let mut names = names(&registry);
    assert_eq!(names.len(), 4 * EACH);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 4 * EACH, "each stands there once");
}

#[test]
fn pages_follow_each_other_and_have_a_limit_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    registry.note((0..600).map(|at| added(&format!("o{at}"))).collect()).unwrap();
    let (mut walk, mut pages) = (Walk::after(End::start()), 0);
    loop {
        let page = registry.audit_entries(walk.end().number, 500, 40_000).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.iter().map(Vec::len).sum::<usize>() <= 40_000);
        for bytes in &page {
            walk.next(bytes).unwrap();
        }
        pages += 1;
    }
    assert_eq!(walk.end(), registry.audit_end());
    assert!(pages > 2, "{pages}");
    assert_eq!(registry.audit_entries(0, 10, 1).unwrap().len(), 1, "the first comes whatever its length");
    assert_eq!(registry.audit_entries(598, 10, usize::MAX).unwrap().len(), 2);
}

#[test]
fn the_bytes_of_a_change_count_its_entries() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let plain = CommitTogether::new(Batch::new().put("thing", "one"));
    let before = plain.bytes();
    let told = plain.with_entry(added("anna")).with_entry(added("ben"));
    let counted = told.bytes() - before;
    registry.commit(told).unwrap();
    let stored: usize = registry.audit_entries(0, 10, usize::MAX).unwrap().iter().map(Vec::len).sum();
    assert!(counted > stored && counted < stored + 400, "{counted} counted, {stored} stored");
    let name: Name = "anna".parse().unwrap();
    assert_eq!(log(&registry)[0].what, What::OperatorAdded { name });
}
