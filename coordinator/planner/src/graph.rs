//! The weighted graph of a domain: who calls whom, how much, and who requires whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{EdgeFiltered, EdgeRef};
use takt_common::api::GraphSpec;
use takt_common::{DeviceId, Name};

use crate::chain::DEVICES_SCORED_MAX;

/// The weight of an edge that declares none: an edge somebody took the trouble to declare counts as most active.
const WEIGHT_UNDECLARED: f64 = 1.0;

/// A device as a node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) device: DeviceId,
    pub(crate) name: Name,
}

/// A declared edge, from the device that depends to the one it depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) requires: bool,
    pub(crate) weight: f64,
}

/// The checked graph of one domain. Its `requires` edges have no cycle.
#[derive(Debug, Clone)]
pub struct DomainGraph {
    pub(crate) graph: DiGraph<Node, Edge>,
    pub(crate) index: BTreeMap<DeviceId, NodeIndex>,
}

/// A graph is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// An edge names a device that the domain does not have.
    #[error("edge {source_name} -> {target_name}: the domain has no device '{unknown}'")]
    UnknownDevice {
        /// Where the edge begins.
        source_name: Name,
        /// Where it ends.
        target_name: Name,
        /// The name that is not known.
        unknown: Name,
    },
    /// A device depends on itself.
    #[error("edge {0} -> {0}: a device cannot depend on itself")]
    SelfEdge(Name),
    /// A weight is not in [0, 1].
    #[error("edge {source_name} -> {target_name}: weight {weight} is not between 0 and 1")]
    Weight {
        /// Where the edge begins.
        source_name: Name,
        /// Where it ends.
        target_name: Name,
        /// The weight.
        weight: f64,
    },
    /// The same edge stands there twice.
    #[error("edge {source_name} -> {target_name} is declared twice")]
    DuplicateEdge {
        /// Where the edge begins.
        source_name: Name,
        /// Where it ends.
        target_name: Name,
    },
    /// Devices require each other in a circle, so none could be upgraded first.
    #[error("these devices require each other in a circle: {}", circle(.0))]
    RequiresCycle(
        /// The members in order; each requires the next one and the last requires the first.
        Vec<Name>,
    ),
    /// More devices have edges than can be scored exactly.
    #[error("{devices} devices have edges, at most {DEVICES_SCORED_MAX} can be ranked in one domain")]
    TooManyDevices {
        /// How many.
        devices: usize,
    },
}

fn circle(members: &[Name]) -> String {
    let names = members.iter().chain(members.first()).map(Name::as_str).collect::<Vec<_>>();
    names.join(" -> ")
}

impl DomainGraph {
    /// Checks `spec` against the devices of the domain. A device without edges is a node as well.
    pub fn new(spec: &GraphSpec, devices: &BTreeMap<Name, DeviceId>) -> Result<Self, GraphError> {
        let mut graph = DiGraph::new();
        let mut index = BTreeMap::new();
        for (name, device) in devices {
            index.insert(*device, graph.add_node(Node { device: *device, name: name.clone() }));
        }
        for edge in &spec.edges {
            let node = |name: &Name| {
                devices.get(name).map(|device| index[device]).ok_or_else(|| GraphError::UnknownDevice {
                    source_name: edge.source.clone(),
                    target_name: edge.target.clone(),
                    unknown: name.clone(),
                })
            };
            let (from, to) = (node(&edge.source)?, node(&edge.target)?);
            if from == to {
                return Err(GraphError::SelfEdge(edge.source.clone()));
            }
            let weight = edge.weight.unwrap_or(WEIGHT_UNDECLARED);
            if !(0.0..=1.0).contains(&weight) {
                let (source_name, target_name) = (edge.source.clone(), edge.target.clone());
                return Err(GraphError::Weight { source_name, target_name, weight });
            }
            if graph.contains_edge(from, to) {
                let (source_name, target_name) = (edge.source.clone(), edge.target.clone());
                return Err(GraphError::DuplicateEdge { source_name, target_name });
            }
            graph.add_edge(from, to, Edge { requires: edge.requires, weight });
        }
        let connected =
            graph.node_indices().filter(|node| graph.neighbors_undirected(*node).next().is_some());
        let devices = connected.count();
        if devices > DEVICES_SCORED_MAX {
            return Err(GraphError::TooManyDevices { devices });
        }
        let checked = Self { graph, index };
        checked.find_cycle().map_or(Ok(checked), |cycle| Err(GraphError::RequiresCycle(cycle)))
    }

    /// The devices that `device` requires, directly or through others, whether they are to be upgraded or not.
    pub fn requirements(&self, device: DeviceId) -> BTreeSet<DeviceId> {
        let mut found = BTreeSet::new();
        let mut queue: VecDeque<_> = self.index.get(&device).copied().into_iter().collect();
        while let Some(node) = queue.pop_front() {
            for next in self.required(node) {
                if found.insert(self.graph[next].device) {
                    queue.push_back(next);
                }
            }
        }
        found
    }

    /// The nodes that `node` requires directly.
    pub(crate) fn required(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        self.graph.edges(node).filter(|edge| edge.weight().requires).map(|edge| edge.target())
    }

    /// The shortest `requires` cycle through the first member by name of any circle, as names in order.
    fn find_cycle(&self) -> Option<Vec<Name>> {
        let hard = EdgeFiltered::from_fn(&self.graph, |edge| edge.weight().requires);
        let members = tarjan_scc(&hard).into_iter().filter(|members| members.len() > 1);
        let start = members.flatten().min_by_key(|node| &self.graph[*node].name)?;
        let mut came_from = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for next in self.required(node) {
                if next == start {
                    let mut path = vec![node];
                    while let Some(before) = path.last().and_then(|last| came_from.get(last)) {
                        path.push(*before);
                    }
                    return Some(path.into_iter().rev().map(|node| self.graph[node].name.clone()).collect());
                }
                if let std::collections::btree_map::Entry::Vacant(vacant) = came_from.entry(next) {
                    vacant.insert(node);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
