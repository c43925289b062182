//! What is probably missing from graph and matrix, seen from devices that are alike: advice that an operator takes or leaves.
//!
//! Devices that call alike devices (paper 1, eq. 2) mostly do the same work. What most of them call and one does not is probably an
//! edge that nobody has declared or seen yet; and of devices that are alike in what they call and in what calls them, one can
//! probably stand in for the other.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;

use crate::chain::{Likeness, Pairs};
use crate::network::Network;

/// How sure advice must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Doubt {
    /// Less similar devices are not taken for alike, from 0 to 1.
    pub alike_min: f64,
    /// Of the devices alike, by their similarity, so large a part must call the target, from 0 to 1.
    pub share_min: f64,
}

/// An edge that a device probably has.
#[derive(Debug, Clone, PartialEq)]
pub struct LikelyEdge {
    /// The device that probably depends.
    pub source: u32,
    /// The device it probably depends on.
    pub target: u32,
    /// Whether most of those alike require the target.
    pub requires: bool,
    /// The mean weight of their edges.
    pub weight: f64,
    /// The part of those alike, by their similarity, that call the target.
    pub share: f64,
    /// They, the most similar first.
    pub like: Vec<u32>,
}

/// A device that can probably stand in for another one, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LikelyStandby {
    /// The device.
    pub device: u32,
    /// Who can probably serve for it.
    pub by: u32,
    /// How similar they are: the lower one of both directions, of which one without any edge at both does not count.
    pub similarity: f64,
}

impl Network {
    /// Edges that devices alike have and one has not, the surest first. At most [`crate::DEVICES_PAIRED_MAX`] devices.
    pub fn likely_edges(&self, likeness: Likeness, doubt: Doubt) -> Vec<LikelyEdge> {
        let pairs = self.pairs(Direction::Outgoing, likeness);
        let mut calls: Vec<BTreeMap<u32, (bool, f64)>> = vec![BTreeMap::new(); self.devices().len()];
        for edge in self.edges() {
            let call = calls[edge.source as usize].entry(edge.target).or_insert((false, 0.0));
            *call = (call.0 || edge.requires, call.1.max(edge.weight));
        }
        let mut likely = Vec::new();
        for source in (0..).take(calls.len()) {
            let alike = alike(&pairs, calls.len(), source, doubt.alike_min);
            let all: f64 = alike.iter().map(|(_, similarity)| similarity).sum();
            let called: BTreeSet<u32> =
                alike.iter().flat_map(|(other, _)| calls[*other as usize].keys().copied()).collect();
            for target in called {
                if target == source || calls[source as usize].contains_key(&target) {
                    continue;
                }
                let callers = alike.iter().filter_map(|(other, similarity)| {
                    calls[*other as usize].get(&target).map(|call| (*other, *similarity, *call))
                });
                let callers: Vec<_> = callers.collect();
                let share = callers.iter().map(|(_, similarity, _)| similarity).sum::<f64>() / all;
                if share.is_nan() || share < doubt.share_min {
                    continue;
                }
                let requiring = callers.iter().filter(|(.., (requires, _))| *requires).count();
                let weights: f64 = callers.iter().map(|(.., (_, weight))| weight).sum();
                likely.push(LikelyEdge {
                    source,
                    target,
                    requires: 2 * requiring > callers.len(),
                    weight: weights / callers.len() as f64,
                    share,
                    like: callers.into_iter().map(|(other, ..)| other).collect(),
                });
            }
        }
        likely.sort_by(|a, b| b.share.total_cmp(&a.share));
        self.without_circles(likely)
    }

    /// Advice that would make devices require each other in a circle asks for the edge alone.
    fn without_circles(&self, mut likely: Vec<LikelyEdge>) -> Vec<LikelyEdge> {
        let mut advised: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for edge in likely.iter_mut().filter(|edge| edge.requires) {
            let mut seen = BTreeSet::new();
            let mut queue = vec![edge.target];
            while let Some(device) = queue.pop() {
                if seen.insert(device) {
                    queue.extend(self.required(device));
                    queue.extend(advised.get(&device).into_iter().flatten());
                }
            }
            edge.requires = !seen.contains(&edge.source);
            if edge.requires {
                advised.entry(edge.source).or_default().push(edge.target);
            }
        }
        likely
    }

    /// Devices that can probably stand in for each other, the surest first, each pair both ways. At most
    /// [`crate::DEVICES_PAIRED_MAX`] devices.
    pub fn likely_standbys(&self, likeness: Likeness, alike_min: f64) -> Vec<LikelyStandby> {
        let count = self.devices().len();
        let (mut calls, mut called) = (vec![false; count], vec![false; count]);
        for edge in self.edges() {
            calls[edge.source as usize] = true;
            called[edge.target as usize] = true;
        }
        let by_calls = self.pairs(Direction::Outgoing, likeness);
        let by_callers = self.pairs(Direction::Incoming, likeness);
        let mut likely = Vec::new();
        for device in (0..).take(count) {
            for by in (0..).take(count).filter(|by| *by != device) {
                let both = |has: &[bool]| (has[device as usize], has[by as usize]);
                let one_way = |has: &[bool], pairs: &Pairs| match both(has) {
                    (false, false) => None,
                    _ => Some(pairs.of(device, by)),
                };
                let ways = [one_way(&calls, &by_calls), one_way(&called, &by_callers)];
                let Some(similarity) = ways.into_iter().flatten().min_by(f64::total_cmp) else { continue };
                let requires = |a: u32, b: u32| self.required(a).contains(&b);
                if similarity >= alike_min && !requires(device, by) && !requires(by, device) {
                    likely.push(LikelyStandby { device, by, similarity });
                }
            }
        }
        likely.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        likely
    }
}

/// Those that are alike to a device, the most similar first.
fn alike(pairs: &Pairs, count: usize, device: u32, least: f64) -> Vec<(u32, f64)> {
    let others = (0..).take(count).filter(|other| *other != device);
    let mut alike: Vec<(u32, f64)> = others
        .map(|other| (other, pairs.of(device, other)))
        .filter(|(_, similarity)| *similarity >= least)
        .collect();
    alike.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    alike
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Call, Metrics};

    const DOUBT: Doubt = Doubt { alike_min: 0.3, share_min: 0.6 };

    fn network(calls: &[(&str, &str, bool)]) -> Network {
        let mut builder = Network::builder();
        for (source, target, requires) in calls {
            let (source, target) = (builder.device(source), builder.device(target));
            let (weight, metrics) = (Some(0.5), Metrics::default());
            builder.call(Call { source, target, requires: *requires, weight, metrics });
        }
        builder.build()
    }

    fn edges(network: &Network) -> Vec<(String, String, bool)> {
        let name = |device: u32| network.devices()[device as usize].clone();
        let likely = network.likely_edges(Likeness::default(), DOUBT);
        likely.into_iter().map(|edge| (name(edge.source), name(edge.target), edge.requires)).collect()
    }

    #[test]
    fn what_most_devices_alike_call_is_probably_called_by_the_one_that_does_not() {
        let network = network(&[
            ("camera-1", "gateway", true),
            ("camera-2", "gateway", true),
            ("camera-3", "gateway", true),
            ("camera-1", "store", true),
            ("camera-2", "store", true),
            ("press", "scales", false),
        ]);
        assert_eq!(edges(&network), [("camera-3".to_owned(), "store".to_owned(), true)]);
    }

    #[test]
    fn advice_makes_no_circle_of_requirements() {
        // The store requires camera-3.
        let network = network(&[
            ("camera-1", "gateway", true),
            ("camera-2", "gateway", true),
            ("camera-3", "gateway", true),
            ("camera-1", "store", true),
            ("camera-2", "store", true),
            ("store", "camera-3", true),
        ]);
        let found = edges(&network);
        assert!(found.contains(&("camera-3".to_owned(), "store".to_owned(), false)), "{found:?}");
    }

    #[test]
    fn advice_makes_no_circle_of_requirements_with_other_advice() {
        let network = network(&[
            ("a-1", "x", true),
            ("a-2", "x", true),
            ("a-2", "b-1", true),
            ("a-3", "x", true),
            ("a-3", "b-1", true),
            ("b-1", "u", true),
            ("b-2", "u", true),
            ("b-2", "a-1", true),
            ("b-3", "u", true),
            ("b-3", "a-1", true),
        ]);
        let found = edges(&network);
        let both = [("a-1", "b-1"), ("b-1", "a-1")].map(|(source, target)| {
            found.iter().any(|edge| edge == &(source.to_owned(), target.to_owned(), true))
        });
        assert!(both[0] != both[1], "{found:?}");
    }

    #[test]
    fn devices_that_are_alike_both_ways_can_probably_stand_in_for_each_other() {
        let network = network(&[
            ("camera-1", "gateway", true),
            ("camera-2", "gateway", true),
            ("screen", "camera-1", false),
            ("screen", "camera-2", false),
            ("printer", "gateway", false),
            ("archive", "printer", false),
        ]);
        let name = |device: u32| network.devices()[device as usize].as_str();
        let likely = network.likely_standbys(Likeness::default(), 0.7);
        let pairs: Vec<_> = likely.iter().map(|one| (name(one.device), name(one.by))).collect();
        assert_eq!(pairs, [("camera-1", "camera-2"), ("camera-2", "camera-1")]);
    }
}
