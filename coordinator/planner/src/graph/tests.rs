use takt_common::api::EdgeSpec;
use takt_common::health::Talk;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn devices(names: &[&str]) -> BTreeMap<Name, DeviceId> {
    let id = |number: usize| format!("{number:032x}").parse().unwrap();
    names.iter().enumerate().map(|(number, text)| (name(text), id(number))).collect()
}

fn edge(source: &str, target: &str) -> EdgeSpec {
    EdgeSpec { source: name(source), target: name(target), requires: true, weight: None, skew_max: None }
}

fn refusal(edges: Vec<EdgeSpec>) -> String {
    DomainGraph::new(&GraphSpec { edges }, &devices(&["a", "b", "c", "d"])).unwrap_err().to_string()
}

#[test]
fn an_edge_with_an_unknown_end_is_refused_by_name() {
    assert_eq!(refusal(vec![edge("a", "nobody")]), "edge a -> nobody: the domain has no device 'nobody'");
    assert_eq!(refusal(vec![edge("nobody", "a")]), "edge nobody -> a: the domain has no device 'nobody'");
}

#[test]
fn a_device_that_depends_on_itself_is_refused() {
    assert_eq!(refusal(vec![edge("a", "a")]), "edge a -> a: a device cannot depend on itself");
}

#[test]
fn weights_outside_zero_to_one_are_refused() {
    for weight in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let text = refusal(vec![EdgeSpec { weight: Some(weight), ..edge("a", "b") }]);
        assert!(
            text.starts_with("edge a -> b: weight ") && text.ends_with(" is not between 0 and 1"),
            "{text}"
        );
    }
    let bounds = vec![
        EdgeSpec { weight: Some(0.0), ..edge("a", "b") },
        EdgeSpec { weight: Some(1.0), ..edge("b", "c") },
    ];
    assert!(DomainGraph::new(&GraphSpec { edges: bounds }, &devices(&["a", "b", "c"])).is_ok());
}

#[test]
fn an_edge_declared_twice_is_refused_but_both_directions_are_not() {
    let text = refusal(vec![edge("a", "b"), EdgeSpec { requires: false, ..edge("a", "b") }]);
    assert_eq!(text, "edge a -> b is declared twice");
    let back = EdgeSpec { requires: false, ..edge("b", "a") };
    let both = GraphSpec { edges: vec![edge("a", "b"), back] };
    assert!(DomainGraph::new(&both, &devices(&["a", "b"])).is_ok());
}

#[test]
fn a_requires_cycle_is_refused_with_its_members_in_order() {
    let text = refusal(vec![edge("b", "c"), edge("c", "d"), edge("d", "b"), edge("a", "b")]);
    assert_eq!(text, "these devices require each other in a circle: b -> c -> d -> b");
    assert_eq!(
        refusal(vec![edge("a", "b"), edge("b", "a")]),
        "these devices require each other in a circle: a -> b -> a"
    );
}

#[test]
fn a_circle_with_a_soft_edge_in_it_is_no_cycle() {
    let soft = EdgeSpec { requires: false, ..edge("c", "a") };
    let spec = GraphSpec { edges: vec![edge("a", "b"), edge("b", "c"), soft] };
    let names = devices(&["a", "b", "c"]);
    let graph = DomainGraph::new(&spec, &names).unwrap();
    let required = graph.requirements(names[&name("a")]);
    assert_eq!(required, BTreeSet::from([names[&name("b")], names[&name("c")]]));
}

#[test]
fn more_connected_devices_than_can_be_ranked_are_refused() {
    let names: Vec<String> = (0..=DEVICES_SCORED_MAX + 1).map(|number| format!("d{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let edges: Vec<_> = names.windows(2).map(|pair| edge(pair[0], pair[1])).collect();
    let error = DomainGraph::new(&GraphSpec { edges }, &devices(&names)).unwrap_err();
    assert_eq!(error, GraphError::TooManyDevices { devices: DEVICES_SCORED_MAX + 2 });
    assert!(
        DomainGraph::new(&GraphSpec::default(), &devices(&names)).is_ok(),
        "devices without edges do not count"
    );
}

fn seen(source: &str, target: &str, connections: u64, bytes: u64) -> ObservedEdge {
    ObservedEdge { source: name(source), target: name(target), talk: Talk { connections, bytes } }
}

fn weights(graph: &DomainGraph) -> Vec<(String, String, bool, f64)> {
    let name = |number: u32| graph.device(number).1.to_string();
    let edges = graph.network().edges().iter();
    edges.map(|edge| (name(edge.source), name(edge.target), edge.requires, edge.weight)).collect()
}

#[test]
fn what_was_seen_weighs_declared_edges_and_adds_others_that_require_nothing() {
    let declared = vec![
        edge("a", "b"),
        EdgeSpec { weight: Some(0.25), ..edge("b", "c") },
        EdgeSpec { skew_max: Some(2), ..edge("c", "d") },
    ];
    let observed = [
        seen("a", "b", 9, 99),
        seen("b", "c", 99, 9_999),
        seen("d", "a", 99, 9_999),
        seen("a", "nobody", 1, 1),
    ];
    let devices = devices(&["a", "b", "c", "d"]);
    let graph = DomainGraph::with_observed(&GraphSpec { edges: declared }, &devices, &observed).unwrap();
    let expected = [
        ("a".to_owned(), "b".to_owned(), true, 0.5),
        ("b".to_owned(), "c".to_owned(), true, 0.25),
        ("c".to_owned(), "d".to_owned(), true, 1.0),
        ("d".to_owned(), "a".to_owned(), false, 1.0),
    ];
    let found = weights(&graph);
    for ((source, target, requires, weight), expected) in found.iter().zip(&expected) {
        assert_eq!((source, target, *requires), (&expected.0, &expected.1, expected.2));
        assert!((weight - expected.3).abs() < 1e-12, "{source} -> {target}: {weight}");
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(graph.skews(devices[&name("d")]), [(devices[&name("c")], 2)]);
}

#[test]
fn seen_edges_close_no_circle_of_requirements() {
    let declared = GraphSpec { edges: vec![edge("a", "b"), edge("b", "c")] };
    let devices = devices(&["a", "b", "c"]);
    let graph = DomainGraph::with_observed(&declared, &devices, &[seen("c", "a", 5, 5)]).unwrap();
    assert_eq!(graph.requirements(devices[&name("c")]), BTreeSet::new());
}

#[test]
fn what_was_seen_changes_the_order_of_upgrades() {
    let devices = devices(&["a", "b", "c", "d"]);
    let all: BTreeSet<DeviceId> = devices.values().copied().collect();
    let order = |observed: &[ObservedEdge]| {
        let graph = DomainGraph::with_observed(&GraphSpec::default(), &devices, observed).unwrap();
        let order = graph.upgrade_order(&all);
        order
            .iter()
            .map(|device| devices.iter().find(|(_, id)| *id == device).unwrap().0.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(order(&[]), ["a", "b", "c", "d"]);
    // a and b call the same, so they are alike and depend the most.
    assert_eq!(order(&[seen("a", "d", 9, 9), seen("b", "d", 9, 9)]), ["c", "d", "a", "b"]);
}

#[test]
fn what_was_seen_is_left_out_wholly_where_there_would_be_too_many_devices() {
    let names: Vec<String> = (0..=DEVICES_SCORED_MAX).map(|number| format!("d{number:06}")).collect();
    let devices = devices(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let declared = GraphSpec { edges: vec![edge("d000000", "d000001")] };
    let observed: Vec<_> = names.windows(2).map(|pair| seen(&pair[0], &pair[1], 1, 1)).collect();
    let graph = DomainGraph::with_observed(&declared, &devices, &observed).unwrap();
    assert_eq!(weights(&graph), [("d000000".to_owned(), "d000001".to_owned(), true, 1.0)]);
}
