use std::collections::BTreeMap;

use takt_common::api::{EdgeSpec, GraphSpec};
use takt_common::{DeviceId, Name};

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn devices(names: &[&str]) -> BTreeMap<Name, DeviceId> {
    let id = |number: usize| format!("{number:032x}").parse().unwrap();
    names.iter().enumerate().map(|(number, text)| (name(text), id(number))).collect()
}

fn graph(names: &[&str], edges: &[(&str, &str, f64)]) -> DomainGraph {
    let edge = |(source, target, weight): &(&str, &str, f64)| EdgeSpec {
        source: name(source),
        target: name(target),
        requires: false,
        weight: Some(*weight),
        skew_max: None,
    };
    DomainGraph::new(&GraphSpec { edges: edges.iter().map(edge).collect() }, &devices(names)).unwrap()
}

const UNIVERSITY: [(&str, &str, f64); 6] = [
    ("univ", "prof-a", 1.0),
    ("univ", "prof-b", 1.0),
    ("prof-a", "student-a", 1.0),
    ("student-a", "univ", 1.0),
    ("prof-b", "student-b", 1.0),
    ("student-b", "prof-b", 1.0),
];

/// Jeh and Widom, "SimRank: a measure of structural-context similarity" (KDD 2002), figure 1, C = 0.8.
#[test]
fn similarities_are_those_of_the_published_example() {
    let names = ["prof-a", "prof-b", "student-a", "student-b", "univ"];
    let graph = graph(&names, &UNIVERSITY);
    let network = graph.network();
    let similarity = network.pairs(Direction::Incoming, Likeness::default());
    let row = |text: &str| network.find(text).unwrap();
    for (a, b, expected) in [
        ("prof-a", "prof-b", 0.414),
        ("student-a", "student-b", 0.331),
        ("univ", "prof-b", 0.132),
        ("prof-a", "student-b", 0.106),
        ("prof-b", "student-b", 0.088),
        ("student-a", "prof-b", 0.042),
        ("univ", "student-b", 0.034),
        ("univ", "univ", 1.0),
    ] {
        let found = similarity.of(row(a), row(b));
        assert!((found - expected).abs() < 0.001, "S({a}, {b}) = {found}, published {expected}");
        assert!((found - similarity.of(row(b), row(a))).abs() < 1e-9, "S({a}, {b}) is symmetric");
    }
}

#[test]
fn heavier_calls_count_for_more() {
    // x calls p almost always and q hardly ever; so y, which calls p only, is more alike to x than z, which calls q.
    let names = ["p", "q", "x", "y", "z"];
    let graph = graph(&names, &[("x", "p", 0.9), ("x", "q", 0.1), ("y", "p", 1.0), ("z", "q", 1.0)]);
    let out = graph.network().pairs(Direction::Outgoing, Likeness::default());
    assert!((out.of(2, 3) - 0.8 * 0.9).abs() < 1e-9, "{}", out.of(2, 3));
    assert!((out.of(2, 4) - 0.8 * 0.1).abs() < 1e-9, "{}", out.of(2, 4));
}

#[test]
fn a_device_that_nobody_calls_and_that_calls_nobody_stands_at_the_end_of_the_chain() {
    let mut names = vec!["prof-a", "prof-b", "student-a", "student-b", "univ"];
    names.push("alone");
    let chain = graph(&names, &UNIVERSITY).chain().devices;
    let last = chain.last().unwrap();
    assert_eq!((last.name.as_str(), last.score), ("alone", 0.0));
    assert!(chain.windows(2).all(|pair| pair[0].score >= pair[1].score));
}

#[test]
fn the_score_adds_what_calls_a_device_and_what_it_calls() {
    let names = ["camera-1", "camera-2", "controller", "gateway"];
    let edges = [
        ("controller", "camera-1", 1.0),
        ("controller", "camera-2", 1.0),
        ("camera-1", "gateway", 1.0),
        ("camera-2", "gateway", 1.0),
    ];
    let chain = graph(&names, &edges).chain().devices;
    // 0.8 by eq. 1 (both are called by the controller) and 0.8 by eq. 2 (both call the gateway).
    assert_eq!((chain[0].name.as_str(), chain[1].name.as_str()), ("camera-1", "camera-2"));
    assert!((chain[0].score - 1.6).abs() < 1e-6, "{chain:?}");
    assert!(chain[3].score.abs() < 1e-9, "{chain:?}");
}

#[test]
fn mirror_images_tie_exactly_so_that_the_name_decides() {
    let names = ["camera-1", "camera-2", "camera-3", "gateway"];
    let edges = [("camera-1", "gateway", 0.3), ("camera-2", "gateway", 0.3), ("camera-3", "gateway", 0.3)];
    let chain = graph(&names, &edges).chain().devices;
    let order: Vec<_> = chain.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(order, ["camera-1", "camera-2", "camera-3", "gateway"]);
    assert!((chain[0].score - 1.6).abs() < 1e-6, "two cameras at 0.8 each, {}", chain[0].score);
}

#[test]
fn edges_of_weight_zero_lead_nowhere() {
    let chain = graph(&["a", "b", "c"], &[("a", "c", 0.0), ("b", "c", 0.0)]).chain().devices;
    assert!(chain.iter().all(|entry| entry.score == 0.0), "{chain:?}");
}

#[test]
fn three_hundred_devices_are_scored_well_under_a_few_seconds_of_rounds() {
    // A dense domain: every device calls ten others. The assertion is on the result, the size is the point.
    let names: Vec<String> = (0..300).map(|number| format!("d{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut edges = Vec::new();
    for from in 0..300_usize {
        for step in 1..=10_usize {
            edges.push((names[from], names[(from + step * step) % 300], 0.5));
        }
    }
    let chain = graph(&names, &edges).chain().devices;
    assert_eq!(chain.len(), 300);
    // The graph looks the same from every device, so all scores are equal and the names decide.
    assert!(chain.iter().all(|entry| (entry.score - chain[0].score).abs() < 1e-5));
}

#[test]
fn more_devices_than_have_all_pairs_are_ranked_within_a_bound() {
    // Groups of four: a gateway that three cameras call. The cameras of a group are alike, by 0.8 each.
    let names: Vec<String> = (0..ALL_PAIRS_MAX + 4).map(|number| format!("d{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let groups = names.chunks(4);
    let edges: Vec<_> =
        groups.flat_map(|group| group[1..].iter().map(|camera| (*camera, group[0], 1.0))).collect();
    let chain = graph(&names, &edges).chain();
    assert!(chain.error_bound <= TOLERANCE_OF_SCORES, "{}", chain.error_bound);
    for score in &chain.devices {
        let number: usize = score.name.as_str()[1..].parse().unwrap();
        let expected = if number.is_multiple_of(4) { 0.0 } else { 1.6 };
        assert!((score.score_out - expected).abs() <= chain.error_bound * (1.0 + expected), "{score:?}");
        assert!(score.score_in.abs() <= chain.error_bound, "{score:?}");
    }
}
