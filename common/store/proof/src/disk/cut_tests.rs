//! The disk itself must be right: what it forgets, and what it must not forget.

use std::ffi::OsStr;

use super::*;

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn file(image: &mut Image, text: &str) -> u64 {
    image.make(ROOT, name(text), Node::File(FileNode::default())).unwrap()
}

fn contents(image: &mut Image, text: &str) -> Option<Vec<u8>> {
    let number = image.lookup(ROOT, name(text)).ok()?;
    Some(image.file(number).unwrap().seen.clone())
}

#[test]
fn what_was_synced_survives_every_cut() {
    for seed in 0..200 {
        let mut image = Image::new();
        let number = file(&mut image, "a");
        image.write(number, 0, &[1; 10_000]).unwrap();
        image.sync_file(number).unwrap();
        image.sync_folder(ROOT).unwrap();
        let mut image = image.after_cut(&mut Survival::Some(Random::new(seed)));
        assert_eq!(contents(&mut image, "a"), Some(vec![1; 10_000]));
    }
}

#[test]
fn a_name_that_was_not_synced_can_go_and_can_stay() {
    let mut stayed = 0;
    for seed in 0..200 {
        let mut image = Image::new();
        let number = file(&mut image, "a");
        image.write(number, 0, &[1; 100]).unwrap();
        image.sync_file(number).unwrap();
        let mut image = image.after_cut(&mut Survival::Some(Random::new(seed)));
        stayed += u32::from(contents(&mut image, "a").is_some());
    }
    assert!((20..180).contains(&stayed), "{stayed} of 200");
}

#[test]
fn data_that_was_not_synced_is_torn_at_sectors() {
    let mut tears = 0;
    for seed in 0..200 {
        let mut image = Image::new();
        let number = file(&mut image, "a");
        image.write(number, 0, &[1; 8192]).unwrap();
        image.sync_file(number).unwrap();
        image.sync_folder(ROOT).unwrap();
        image.write(number, 0, &[2; 8192]).unwrap();
        let mut image = image.after_cut(&mut Survival::Some(Random::new(seed)));
        let found = contents(&mut image, "a").unwrap();
        for sector in found.chunks(SECTOR_BYTES) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are whole");
        }
        for page in found.chunks(PAGE_BYTES) {
            tears += u32::from(page.iter().any(|byte| *byte != page[0]));
        }
    }
    assert!(tears > 20, "{tears} torn pages of 400");
}

#[test]
fn a_rename_is_whole_or_not_at_all() {
    for seed in 0..200 {
        let mut image = Image::new();
        for (text, byte) in [("old", 1), ("new", 2)] {
            let number = file(&mut image, text);
            image.write(number, 0, &[byte; 100]).unwrap();
            image.sync_file(number).unwrap();
        }
        image.sync_folder(ROOT).unwrap();
        image.rename((ROOT, name("new")), (ROOT, name("old"))).unwrap();
        let mut image = image.after_cut(&mut Survival::Some(Random::new(seed)));
        let (old, new) = (contents(&mut image, "old"), contents(&mut image, "new"));
        let whole = (old == Some(vec![2; 100]) && new.is_none())
            || (old == Some(vec![1; 100]) && new == Some(vec![2; 100]));
        assert!(whole, "{old:?} {new:?}");
    }
}

#[test]
fn a_kill_loses_nothing_and_the_worst_cache_all() {
    let mut image = Image::new();
    let number = file(&mut image, "a");
    image.write(number, 0, &[1; 100]).unwrap();
    let mut killed = image.clone().after_cut(&mut Survival::All);
    assert_eq!(contents(&mut killed, "a"), Some(vec![1; 100]));
    assert_eq!(contents(&mut image.after_cut(&mut Survival::Nothing), "a"), None);
}
