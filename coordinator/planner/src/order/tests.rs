use proptest::prelude::*;
use takt_common::Name;
use takt_common::api::{EdgeSpec, GraphSpec};

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn id(number: usize) -> DeviceId {
    format!("{number:032x}").parse().unwrap()
}

fn devices(names: &[&str]) -> BTreeMap<Name, DeviceId> {
    names.iter().enumerate().map(|(number, text)| (name(text), id(number))).collect()
}

fn edge(source: &str, target: &str, requires: bool) -> EdgeSpec {
    EdgeSpec { source: name(source), target: name(target), requires, weight: None, skew_max: None }
}

fn order_of(names: &[&str], edges: Vec<EdgeSpec>) -> Vec<String> {
    let devices = devices(names);
    let graph = DomainGraph::new(&GraphSpec { edges }, &devices).unwrap();
    let targets = devices.values().copied().collect();
    let name_of = |id: DeviceId| devices.iter().find(|(_, device)| **device == id).unwrap().0.to_string();
    graph.upgrade_order(&targets).into_iter().map(name_of).collect()
}

#[test]
fn the_gateway_is_upgraded_before_the_cameras_that_require_it() {
    let names = ["camera-1", "camera-2", "gateway"];
    let edges = vec![edge("camera-1", "gateway", true), edge("camera-2", "gateway", true)];
    assert_eq!(order_of(&names, edges), ["gateway", "camera-1", "camera-2"]);
}

#[test]
fn the_least_dependent_device_is_upgraded_first() {
    // The cameras resemble each other, so they score; the clock and the gateway do not, and stand first.
    let names = ["camera-1", "camera-2", "clock", "gateway"];
    let edges = vec![edge("camera-1", "gateway", false), edge("camera-2", "gateway", false)];
    assert_eq!(order_of(&names, edges), ["clock", "gateway", "camera-1", "camera-2"]);
}

#[test]
fn devices_without_edges_are_ordered_by_name() {
    assert_eq!(order_of(&["c", "a", "b"], Vec::new()), ["a", "b", "c"]);
}

#[test]
fn a_requirement_holds_through_a_device_that_is_no_target() {
    let devices = devices(&["a", "b", "c"]);
    let edges = vec![edge("a", "b", true), edge("b", "c", true)];
    let graph = DomainGraph::new(&GraphSpec { edges }, &devices).unwrap();
    let targets = BTreeSet::from([id(0), id(2)]);
    assert_eq!(graph.upgrade_order(&targets), [id(2), id(0)]);
    assert_eq!(graph.levels(&targets), [BTreeSet::from([id(2)]), BTreeSet::from([id(0)])]);
    assert_eq!(graph.ready(&targets, &BTreeSet::from([id(2)])), BTreeSet::from([id(0)]));
}

#[test]
fn a_target_of_another_domain_is_left_out() {
    let graph = DomainGraph::new(&GraphSpec::default(), &devices(&["a"])).unwrap();
    assert_eq!(graph.upgrade_order(&BTreeSet::from([id(0), id(99)])), [id(0)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Edges lead from higher to lower numbers, so there is no circle; names are shuffled against the numbers.
    #[test]
    fn every_target_comes_once_and_after_all_it_requires(
        size in 1..12_usize,
        pairs in prop::collection::vec((0..12_usize, 0..12_usize, any::<bool>(), 0.0..=1.0_f64), 0..30),
        targets in prop::collection::btree_set(0..12_usize, 0..12),
    ) {
        let label = |number: usize| name(&format!("d{:02}", (number * 7) % 12));
        let devices: BTreeMap<Name, DeviceId> = (0..size).map(|number| (label(number), id(number))).collect();
        let mut seen = BTreeSet::new();
        let edges: Vec<EdgeSpec> = pairs
            .into_iter()
            .filter(|(from, to, ..)| to < from && *from < size && seen.insert((*from, *to)))
            .map(|(from, to, requires, weight)| EdgeSpec {
                source: label(from), target: label(to), requires, weight: Some(weight), skew_max: None,
            })
            .collect();
        let graph = DomainGraph::new(&GraphSpec { edges }, &devices).unwrap();
        let targets: BTreeSet<DeviceId> = targets.into_iter().filter(|number| *number < size).map(id).collect();
        let order = graph.upgrade_order(&targets);
        prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), targets.clone());
        prop_assert_eq!(order.len(), targets.len());
        let mut verified = BTreeSet::new();
        for device in &order {
            prop_assert!(graph.ready(&targets, &verified).contains(device));
            verified.insert(*device);
        }
        let levels = graph.levels(&targets);
        prop_assert_eq!(levels.iter().map(BTreeSet::len).sum::<usize>(), targets.len());
        prop_assert_eq!(graph.upgrade_order(&targets), order);
    }
}
