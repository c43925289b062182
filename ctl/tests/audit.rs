//! `takt audit verify` on exported logs, whole and not.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use takt_common::audit::{End, Entry, Head, What, Who};
use takt_common::{SigningKey, UnixTime};

mod support;
use support::Bench;

/// A folder with the coordinator's keys and a director root that vouches for them, `trust/1.director.root.json`.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.coordinator_keys();
    bench.key("root");
    bench.key("publisher");
    let line = "trust init --dir trust --root-key root.key --publisher-key publisher.key \
                --coordinator-keys coordinator.json --offline";
    bench.takt(line).ok();
    bench
}

fn key(bench: &Bench, name: &str) -> SigningKey {
    SigningKey::from_pem(&String::from_utf8(bench.read(&format!("{name}.key"))).unwrap()).unwrap()
}

/// The lines of a log that tells of these operators, with a head by `key` at its end.
fn log(names: &[&str], key: &SigningKey) -> Vec<Vec<u8>> {
    let (mut end, mut lines) = (End::start(), Vec::new());
    for name in names {
        let what = What::OperatorAdded { name: name.parse().unwrap() };
        let bytes = Entry::after(end, UnixTime::from_secs(1_795_248_000), Who::Coordinator, what).to_bytes();
        end = End::at(end.number + 1, &bytes);
        lines.push(bytes);
    }
    let time = UnixTime::from_secs(1_795_248_000 + end.number);
    lines.push(Head::new(end, time).seal(key).to_bytes());
    lines
}

fn write(bench: &Bench, name: &str, lines: &[Vec<u8>]) {
    let ended = lines.iter().flat_map(|line| [line.as_slice(), b"\n"]);
    bench.write(name, ended.flatten().copied().collect::<Vec<u8>>());
}

const NAMES: [&str; 5] = ["anna", "ben", "carl", "dora", "eve"];
const ROOT: &str = "--director-root trust/1.director.root.json";

#[test]
fn a_whole_log_is_found_whole_in_one_sentence() {
    let bench = bench();
    let order = key(&bench, "order");
    write(&bench, "log", &log(&NAMES, &order));
    write(&bench, "older", &log(&NAMES[..3], &order));
    let run = bench.takt(&format!("audit verify log {ROOT} --head older")).ok();
    assert_eq!(run.out.lines().count(), 1, "{run:?}");
    for part in ["log is whole: 5 entries", "2026-11-21T08:00:05Z", "order key", "up to entry 3"] {
        assert!(run.out.contains(part), "'{part}' is not in {run:?}");
    }
    let unknown = bench.takt("audit verify log").ok();
    assert!(unknown.out.contains("nobody vouches for"), "{unknown:?}");
    let verified = bench.takt(&format!("--json audit verify log {ROOT} --head older")).json();
    assert_eq!((&verified["entries"], &verified["older_heads"][0]["end"]["number"]), (&5.into(), &3.into()));
    write(&bench, "empty", &log(&[], &order));
    assert!(bench.takt(&format!("audit verify empty {ROOT}")).ok().out.contains("0 entries"));
}

#[test]
fn every_edit_removal_and_reordering_is_found_with_its_entry() {
    let bench = bench();
    let good = log(&NAMES, &key(&bench, "order"));
    let refused = |lines: &[Vec<u8>], parts: &[&str]| {
        write(&bench, "log", lines);
        for options in ["", ROOT] {
            let run = bench.takt(&format!("audit verify log {options}")).refused(5, parts);
            assert_eq!(run.err.trim_end().lines().count(), 1, "{run:?}");
        }
    };
    let mut edited = good.clone();
    edited[1] = String::from_utf8(edited[1].clone()).unwrap().replace("ben", "bob").into_bytes();
    refused(&edited, &["log", "entry 3 does not follow"]);
    let mut blank = good.clone();
    blank[4].push(b' ');
    refused(&blank, &["entry 5 is not the one that the head of 2026-11-21T08:00:05Z was signed over"]);
    let mut removed = good.clone();
    removed.remove(2);
    refused(&removed, &["entry 4 stands where entry 3 belongs"]);
    let mut cut = good.clone();
    cut.remove(4);
    refused(&cut, &["entry 5 is missing"]);
    let mut moved = good.clone();
    moved.swap(0, 3);
    refused(&moved, &["entry 4 stands where entry 1 belongs"]);
    let mut doubled = good.clone();
    doubled.insert(2, good[1].clone());
    refused(&doubled, &["entry 2 stands where entry 3 belongs"]);
    refused(&good[..5], &["last line of log is no head"]);
    let mut gap = good.clone();
    gap.insert(2, Vec::new());
    refused(&gap, &["entry 3 is unreadable"]);
    bench.write("log", good.concat());
    bench.takt("audit verify log").refused(5, &["line 1 of log", "breaks off"]);
    bench.write("log", "");
    bench.takt("audit verify log").refused(5, &["line 1 of log"]);
    bench.takt("audit verify nothing").refused(2, &["nothing"]);
}

#[test]
fn a_log_that_was_cut_and_written_anew_is_found_by_an_older_head() {
    let bench = bench();
    let order = key(&bench, "order");
    write(&bench, "older", &log(&NAMES[..3], &order));
    // Whole in itself and signed with the right key.
    write(&bench, "log", &log(&["anna", "carl", "dora", "eve"], &order));
    bench.takt(&format!("audit verify log {ROOT}")).ok();
    let verify = format!("audit verify log {ROOT} --head older");
    bench.takt(&verify).refused(5, &["entry 3 is not the one", "2026-11-21T08:00:03Z", "written anew"]);
    write(&bench, "log", &log(&NAMES[..2], &order));
    bench.takt(&verify).refused(5, &["entry 3 is missing"]);
}

#[test]
fn a_head_by_a_key_that_the_root_does_not_name_counts_for_nothing() {
    let bench = bench();
    bench.key("stranger");
    let (order, stranger) = (key(&bench, "order"), key(&bench, "stranger"));
    write(&bench, "log", &log(&NAMES, &stranger));
    bench.takt(&format!("audit verify log {ROOT}")).refused(5, &["log", "0 of the 1 needed signatures"]);
    // Without a root nobody knows whose key it is; two different ones are suspicious all the same.
    write(&bench, "older", &log(&NAMES[..3], &order));
    let keys = [order.public().to_string(), stranger.public().to_string()];
    bench.takt("audit verify log --head older").refused(5, &[&keys[0], &keys[1], "--director-root"]);
    bench.takt("audit verify log --director-root coordinator.json").refused(2, &["coordinator.json"]);
}
