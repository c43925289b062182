//! Who calls whom in a domain, how much, and who requires whom: devices by number, in the order of their names.

use std::collections::{BTreeMap, HashMap, VecDeque};

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::simrank::Transitions;

/// The weight of an edge of which nothing is known but that it is there: it counts as most active.
const WEIGHT_UNKNOWN: f64 = 1.0;

/// The devices and edges of a domain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Network {
    devices: Vec<String>,
    edges: Vec<Edge>,
    /// The edges of device d that are required are `required[starts[d]..starts[d + 1]]`.
    starts: Vec<usize>,
    required: Vec<u32>,
}

/// An edge, from the device that calls to the one that is called.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// The device that depends.
    pub source: u32,
    /// The device it depends on.
    pub target: u32,
    /// `target` must be upgraded and verified before `source`.
    pub requires: bool,
    /// From 0, least active, to 1, most active.
    pub weight: f64,
    /// Whether that was declared or seen.
    pub is_known: bool,
}

/// What was seen of an edge.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Metrics {
    /// How many requests.
    pub requests: f64,
    /// How many bytes, both ways.
    pub bytes: f64,
}

/// An edge before it is weighed against the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Call {
    /// The device that calls.
    pub source: u32,
    /// The device that is called.
    pub target: u32,
    /// `target` must be upgraded and verified before `source`.
    pub requires: bool,
    /// Declared, instead of a weight from `metrics`.
    pub weight: Option<f64>,
    /// Seen.
    pub metrics: Metrics,
}

/// Makes a [`Network`].
#[derive(Debug, Clone, Default)]
pub struct NetworkBuilder {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
    calls: Vec<Call>,
}

/// The largest value of a metric, after the logarithm, among all edges.
fn largest(calls: &[Call], metric: fn(&Metrics) -> f64) -> f64 {
    calls.iter().map(|call| metric(&call.metrics).ln_1p()).fold(0.0, f64::max)
}

/// Edges with their weights against each other. For each metric m, `z = ln(1 + m)` as a part of the largest of all edges; the weight is
/// the mean of the parts (paper 1 leaves the objective function open; DESIGN.md section 7). A metric that is 0 everywhere says nothing
/// and is left out.
pub(crate) fn weighed(calls: &[Call]) -> Vec<Edge> {
    let metrics: [fn(&Metrics) -> f64; 2] = [|metrics| metrics.requests, |metrics| metrics.bytes];
    let seen: Vec<_> = metrics
        .into_iter()
        .map(|metric| (metric, largest(calls, metric)))
        .filter(|(_, largest)| *largest > 0.0)
        .collect();
    let weight = |call: &Call| {
        let parts = seen.iter().map(|(metric, largest)| metric(&call.metrics).ln_1p() / largest);
        let mean = if seen.is_empty() { WEIGHT_UNKNOWN } else { parts.sum::<f64>() / seen.len() as f64 };
        call.weight.unwrap_or(mean)
    };
    let edge = |call: &Call| Edge {
        source: call.source,
        target: call.target,
        requires: call.requires,
        weight: weight(call),
        is_known: call.weight.is_some() || call.metrics != Metrics::default(),
    };
    calls.iter().map(edge).collect()
}

impl NetworkBuilder {
    /// The number of a device until [`Self::build`]; a new one if the name is new.
    pub fn device(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer devices than 32 bits count");
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Adds an edge between devices that have a number.
    pub fn call(&mut self, call: Call) {
        self.calls.push(call);
    }

    /// Weighs the edges against each other and numbers the devices by name.
    pub fn build(self) -> Network {
        let mut order: Vec<u32> = (0..).take(self.names.len()).collect();
        order.sort_by(|a, b| self.names[*a as usize].cmp(&self.names[*b as usize]));
        let mut places = vec![0; order.len()];
        for (place, number) in (0..).zip(&order) {
            places[*number as usize] = place;
        }
        let mut edges = weighed(&self.calls);
        for edge in &mut edges {
            (edge.source, edge.target) = (places[edge.source as usize], places[edge.target as usize]);
        }
        let mut names = self.names;
        Network::new(order.iter().map(|number| std::mem::take(&mut names[*number as usize])).collect(), edges)
    }
}

impl Network {
    /// For devices and edges one at a time.
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder::default()
    }

    /// Of `devices` in the order of their names.
    pub(crate) fn new(devices: Vec<String>, edges: Vec<Edge>) -> Self {
        let mut needs: Vec<(u32, u32)> =
            edges.iter().filter(|edge| edge.requires).map(|edge| (edge.source, edge.target)).collect();
        needs.sort_unstable();
        needs.dedup();
        let starts = (0..=devices.len())
            .map(|device| needs.partition_point(|(source, _)| (*source as usize) < device))
            .collect();
        let required = needs.into_iter().map(|(_, target)| target).collect();
        Self { devices, edges, starts, required }
    }

    /// The same with further devices, which have no edges.
    #[must_use]
    pub fn with<'n>(&self, names: impl Iterator<Item = &'n str>) -> Self {
        let mut all: Vec<String> = self.devices.clone();
        all.extend(names.map(str::to_owned));
        all.sort_unstable();
        all.dedup();
        let number = |old: u32| {
            let place = all.binary_search(&self.devices[old as usize]).expect("all have the old ones");
            u32::try_from(place).expect("fewer devices than 32 bits count")
        };
        let numbers: Vec<u32> = (0..self.count()).map(number).collect();
        let edge = |edge: &Edge| Edge {
            source: numbers[edge.source as usize],
            target: numbers[edge.target as usize],
            ..*edge
        };
        let edges = self.edges.iter().map(edge).collect();
        Self::new(all, edges)
    }

    /// The names of the devices, in order; their places are their numbers.
    pub fn devices(&self) -> &[String] {
        &self.devices
    }

    /// The edges, in the order in which they were given.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The number of the device with this name.
    pub fn find(&self, name: &str) -> Option<u32> {
        let place = self.devices.binary_search_by(|known| known.as_str().cmp(name)).ok()?;
        u32::try_from(place).ok()
    }

    /// What `device` requires directly.
    pub fn required(&self, device: u32) -> &[u32] {
        let device = device as usize;
        &self.required[self.starts[device]..self.starts[device + 1]]
    }

    /// Devices that require each other in a circle: the shortest through the first of them by name, each requires the next one and
    /// the last the first.
    pub fn check_requirements(&self) -> Result<(), Vec<u32>> {
        let mut graph = DiGraph::<(), (), u32>::with_capacity(self.devices.len(), self.required.len());
        for _ in &self.devices {
            graph.add_node(());
        }
        for device in 0..self.count() {
            for required in self.required(device) {
                graph.add_edge(NodeIndex::new(device as usize), NodeIndex::new(*required as usize), ());
            }
        }
        let loops = (0..self.count()).filter(|device| self.required(*device).contains(device));
        let circles = kosaraju_scc(&graph).into_iter().filter(|members| members.len() > 1);
        let members = circles.flatten().filter_map(|node| u32::try_from(node.index()).ok());
        loops.chain(members).min().map_or(Ok(()), |start| Err(self.shortest_circle(start)))
    }

    fn shortest_circle(&self, start: u32) -> Vec<u32> {
        let mut came_from = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(device) = queue.pop_front() {
            for next in self.required(device) {
                if *next == start {
                    let mut path = vec![device];
                    while let Some(before) = path.last().and_then(|last| came_from.get(last)) {
                        path.push(*before);
                    }
                    path.reverse();
                    return path;
                }
                came_from.entry(*next).or_insert_with(|| {
                    queue.push_back(*next);
                    device
                });
            }
        }
        vec![start]
    }

    /// The last edge that makes a circle: its place among [`Self::edges`].
    pub(crate) fn requirement_between(&self, circle: &[u32]) -> usize {
        let next = |number: usize| circle[(number + 1) % circle.len()];
        let in_circle = |edge: &Edge| {
            edge.requires
                && circle
                    .iter()
                    .enumerate()
                    .any(|(at, device)| edge.source == *device && edge.target == next(at))
        };
        self.edges.iter().rposition(in_circle).unwrap_or(0)
    }

    /// A circle in words.
    pub(crate) fn circle(&self, circle: &[u32]) -> String {
        let names = circle.iter().chain(circle.first()).map(|device| self.devices[*device as usize].as_str());
        names.collect::<Vec<_>>().join(" -> ")
    }

    /// Where a step from each device leads: to those that call it, or to those that it calls, in proportion to the weights.
    pub(crate) fn transitions(&self, direction: Direction) -> Transitions {
        let step = |edge: &Edge| match direction {
            Direction::Incoming => (edge.target, edge.source, edge.weight),
            Direction::Outgoing => (edge.source, edge.target, edge.weight),
        };
        Transitions::new(self.devices.len(), self.edges.iter().map(step).collect())
    }

    fn count(&self) -> u32 {
        u32::try_from(self.devices.len()).expect("fewer devices than 32 bits count")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(source: u32, target: u32, requests: f64, bytes: f64, weight: Option<f64>) -> Call {
        Call { source, target, requires: true, weight, metrics: Metrics { requests, bytes } }
    }

    #[test]
    fn weights_are_means_of_logarithms_in_parts_of_the_largest() {
        let mut builder = Network::builder();
        let (b, a) = (builder.device("b"), builder.device("a"));
        builder.call(call(b, a, 99.0, 0.0, None));
        builder.call(call(a, b, 9.0, 999.0, None));
        builder.call(call(a, b, 0.0, 0.0, Some(0.25)));
        let network = builder.build();
        assert_eq!(network.devices(), ["a", "b"]);
        assert_eq!((network.edges()[0].source, network.edges()[0].target), (1, 0));
        let weights: Vec<f64> = network.edges().iter().map(|edge| edge.weight).collect();
        assert!((weights[0] - 0.5).abs() < 1e-12, "all requests, no bytes: {weights:?}");
        assert!((weights[1] - 0.75).abs() < 1e-12, "half of the requests' logarithm, all bytes: {weights:?}");
        assert!((weights[2] - 0.25).abs() < 1e-12, "declared: {weights:?}");
    }

    #[test]
    fn an_edge_of_which_nothing_is_known_counts_fully() {
        let mut builder = Network::builder();
        let (a, b) = (builder.device("a"), builder.device("b"));
        builder.call(call(a, b, 0.0, 0.0, None));
        assert!((builder.build().edges()[0].weight - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_shortest_circle_is_named() {
        let mut builder = Network::builder();
        let devices: Vec<u32> = ["e", "d", "c", "b", "a"].map(|name| builder.device(name)).to_vec();
        // a → b → c → a, and the long way b → d → e → a.
        for (source, target) in [(4, 3), (3, 2), (2, 4), (3, 1), (1, 0), (0, 4)] {
            builder.call(call(devices[source], devices[target], 1.0, 1.0, None));
        }
        let network = builder.build();
        let circle = network.check_requirements().unwrap_err();
        assert_eq!(network.circle(&circle), "a -> b -> c -> a");
        assert_eq!(network.requirement_between(&circle), 2);
    }

    #[test]
    fn a_long_line_of_requirements_needs_no_deep_stack() {
        let mut builder = Network::builder();
        let numbers: Vec<u32> = (0..200_000).map(|number| builder.device(&format!("d{number:06}"))).collect();
        for pair in numbers.windows(2) {
            builder.call(call(pair[0], pair[1], 1.0, 1.0, None));
        }
        assert_eq!(builder.build().check_requirements(), Ok(()));
    }
}
