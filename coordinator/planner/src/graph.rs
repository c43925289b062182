//! The weighted graph of a domain: who calls whom, how much, and who requires whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;

use takt_common::api::GraphSpec;
use takt_common::{DeviceId, Name};

use crate::chain::DEVICES_SCORED_MAX;
use crate::network::{Call, Metrics, Network, weighed};
use crate::observed::ObservedEdge;

/// The weight of an edge that declares none: an edge somebody took the trouble to declare counts as most active.
const WEIGHT_UNDECLARED: f64 = 1.0;

/// The checked graph of one domain. Its `requires` edges have no circle.
#[derive(Debug, Clone)]
pub struct DomainGraph {
    network: Network,
    /// By number.
    devices: Vec<(DeviceId, Name)>,
    numbers: BTreeMap<DeviceId, u32>,
    /// Where each device stands when the least dependent comes first, once that was asked.
    pub(crate) ranks: OnceLock<BTreeMap<DeviceId, usize>>,
    /// Neighbours, and by how many release counters the two may be apart; each pair both ways.
    skews: BTreeMap<DeviceId, Vec<(DeviceId, u64)>>,
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
    /// More devices have edges than can be ranked.
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
        Self::with_observed(spec, devices, &[])
    }

    /// The same with what was seen between devices: an edge that is declared without a weight gets one by what was seen on it, and one
    /// that is not declared is there all the same, and requires nothing. They are left out where devices would have edges that are
    /// more than can be ranked.
    pub fn with_observed(
        spec: &GraphSpec,
        devices: &BTreeMap<Name, DeviceId>,
        observed: &[ObservedEdge],
    ) -> Result<Self, GraphError> {
        let numbered: BTreeMap<&Name, u32> = devices.keys().zip(0..).collect();
        let mut declared = BTreeSet::new();
        let mut calls = Vec::with_capacity(spec.edges.len() + observed.len());
        for edge in &spec.edges {
            let find = |name: &Name| {
                numbered.get(name).copied().ok_or_else(|| GraphError::UnknownDevice {
                    source_name: edge.source.clone(),
                    target_name: edge.target.clone(),
                    unknown: name.clone(),
                })
            };
            let (source, target) = (find(&edge.source)?, find(&edge.target)?);
            if source == target {
                return Err(GraphError::SelfEdge(edge.source.clone()));
            }
            if let Some(weight) = edge.weight.filter(|weight| !(0.0..=1.0).contains(weight)) {
                let (source_name, target_name) = (edge.source.clone(), edge.target.clone());
                return Err(GraphError::Weight { source_name, target_name, weight });
            }
            if !declared.insert((source, target)) {
                let (source_name, target_name) = (edge.source.clone(), edge.target.clone());
                return Err(GraphError::DuplicateEdge { source_name, target_name });
            }
            let (requires, weight, metrics) = (edge.requires, edge.weight, Metrics::default());
            calls.push(Call { source, target, requires, weight, metrics });
        }
        let connected = |calls: &[Call]| -> usize {
            let ends: BTreeSet<u32> = calls.iter().flat_map(|call| [call.source, call.target]).collect();
            ends.len()
        };
        if connected(&calls) > DEVICES_SCORED_MAX {
            return Err(GraphError::TooManyDevices { devices: connected(&calls) });
        }
        let all = with_observed(&calls, &numbered, observed);
        if connected(&all) <= DEVICES_SCORED_MAX {
            calls = all;
        }
        for call in calls.iter_mut().filter(|call| call.metrics == Metrics::default()) {
            call.weight.get_or_insert(WEIGHT_UNDECLARED);
        }
        let names = devices.keys().map(|name| name.as_str().to_owned()).collect();
        let network = Network::new(names, weighed(&calls));
        let devices: Vec<(DeviceId, Name)> =
            devices.iter().map(|(name, device)| (*device, name.clone())).collect();
        if let Err(circle) = network.check_requirements() {
            let names = circle.iter().map(|number| devices[*number as usize].1.clone());
            return Err(GraphError::RequiresCycle(names.collect()));
        }
        let numbers = devices.iter().map(|(device, _)| *device).zip(0..).collect();
        let mut skews: BTreeMap<DeviceId, Vec<(DeviceId, u64)>> = BTreeMap::new();
        for (edge, spec) in network.edges().iter().zip(&spec.edges) {
            let Some(most) = spec.skew_max else { continue };
            let [source, target] = [edge.source, edge.target].map(|number| devices[number as usize].0);
            skews.entry(source).or_default().push((target, most));
            skews.entry(target).or_default().push((source, most));
        }
        Ok(Self { network, devices, numbers, ranks: OnceLock::new(), skews })
    }

    /// Whether any device requires another one.
    pub fn has_requirements(&self) -> bool {
        self.network.edges().iter().any(|edge| edge.requires)
    }

    /// The devices that `device` requires, directly or through others, whether they are to be upgraded or not.
    pub fn requirements(&self, device: DeviceId) -> BTreeSet<DeviceId> {
        let mut found = BTreeSet::new();
        let mut queue: VecDeque<u32> = self.numbers.get(&device).copied().into_iter().collect();
        while let Some(number) = queue.pop_front() {
            for next in self.network.required(number) {
                if found.insert(self.devices[*next as usize].0) {
                    queue.push_back(*next);
                }
            }
        }
        found
    }

    /// The next devices among `targets` that `device` requires, directly or through devices that are no targets: what those require
    /// in turn is left to them.
    pub fn next_requirements(&self, device: DeviceId, targets: &BTreeSet<DeviceId>) -> BTreeSet<DeviceId> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut queue: VecDeque<u32> = self.numbers.get(&device).copied().into_iter().collect();
        while let Some(number) = queue.pop_front() {
            for next in self.network.required(number) {
                let required = self.devices[*next as usize].0;
                if targets.contains(&required) {
                    found.insert(required);
                } else if seen.insert(*next) {
                    queue.push_back(*next);
                }
            }
        }
        found
    }

    /// The neighbours of `device` that it may not be too far apart from, and by how many release counters of one component it may.
    pub fn skews(&self, device: DeviceId) -> &[(DeviceId, u64)] {
        self.skews.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Devices and edges by number.
    pub(crate) const fn network(&self) -> &Network {
        &self.network
    }

    /// A device by its number.
    pub(crate) fn device(&self, number: u32) -> (DeviceId, &Name) {
        let (device, name) = &self.devices[number as usize];
        (*device, name)
    }

    /// Whether the domain has a device.
    pub(crate) fn has(&self, device: DeviceId) -> bool {
        self.numbers.contains_key(&device)
    }
}

/// The declared edges with what was seen on them, and the others that were seen.
fn with_observed(declared: &[Call], numbered: &BTreeMap<&Name, u32>, observed: &[ObservedEdge]) -> Vec<Call> {
    let mut calls = declared.to_vec();
    let places: BTreeMap<(u32, u32), usize> =
        calls.iter().enumerate().map(|(place, call)| ((call.source, call.target), place)).collect();
    for edge in observed {
        let (Some(source), Some(target)) = (numbered.get(&edge.source), numbered.get(&edge.target)) else {
            continue;
        };
        let (source, target) = (*source, *target);
        if source == target {
            continue;
        }
        let metrics = Metrics { requests: edge.talk.connections as f64, bytes: edge.talk.bytes as f64 };
        match places.get(&(source, target)) {
            Some(place) => calls[*place].metrics = metrics,
            None => calls.push(Call { source, target, requires: false, weight: None, metrics }),
        }
    }
    calls
}

#[cfg(test)]
mod tests;
