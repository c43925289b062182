//! Scores of the dependency chain that follow a network whose edges change one at a time.

use std::collections::BTreeMap;

use petgraph::Direction;

use crate::chain::{Likeness, Scores, TOLERANCE_OF_SCORES};
use crate::network::Network;
use crate::simrank::LiveSums;

/// The scores of all devices (paper 1, eq. 1 and 2, classic SimRank), and what it takes to change an edge without working all of them
/// out anew.
#[derive(Debug, Clone)]
pub struct LiveScores {
    /// Who calls each device, and how much.
    callers: Vec<BTreeMap<u32, f64>>,
    /// Whom each device calls, and how much.
    called: Vec<BTreeMap<u32, f64>>,
    by_callers: LiveSums,
    by_called: LiveSums,
    /// Beside this one, a thread works on the other direction.
    alone: bool,
}

impl LiveScores {
    /// Of `network`; `likeness` tells decay and threads.
    pub fn new(network: &Network, likeness: Likeness) -> Self {
        let devices = network.devices().len();
        let (mut callers, mut called) = (vec![BTreeMap::new(); devices], vec![BTreeMap::new(); devices]);
        for edge in network.edges() {
            *callers[edge.target as usize].entry(edge.source).or_insert(0.0) += edge.weight;
            *called[edge.source as usize].entry(edge.target).or_insert(0.0) += edge.weight;
        }
        let sums = |direction| {
            let transitions = network.transitions(direction);
            LiveSums::new(transitions, likeness.decay, TOLERANCE_OF_SCORES, likeness.threads)
        };
        let (by_callers, by_called) = (sums(Direction::Incoming), sums(Direction::Outgoing));
        Self { callers, called, by_callers, by_called, alone: likeness.threads.get() == 1 }
    }

    /// `source` calls `target` with another weight now; 0 for not at all.
    ///
    /// # Panics
    /// If one of the devices is not in the network, or the weight is not between 0 and 1.
    pub fn set(&mut self, source: u32, target: u32, weight: f64) {
        assert!((0.0..=1.0).contains(&weight), "weight {weight} is not between 0 and 1");
        for (edges, other) in
            [(&mut self.callers[target as usize], source), (&mut self.called[source as usize], target)]
        {
            if weight > 0.0 {
                edges.insert(other, weight);
            } else {
                edges.remove(&other);
            }
        }
        let row = |edges: &BTreeMap<u32, f64>| edges.iter().map(|(to, weight)| (*to, *weight)).collect();
        let callers: Vec<(u32, f64)> = row(&self.callers[target as usize]);
        let called: Vec<(u32, f64)> = row(&self.called[source as usize]);
        let Self { by_callers, by_called, .. } = self;
        if self.alone {
            by_callers.change(target, &callers);
            by_called.change(source, &called);
            return;
        }
        std::thread::scope(|scope| {
            scope.spawn(|| by_callers.change(target, &callers));
            by_called.change(source, &called);
        });
    }

    /// The scores of now.
    pub fn scores(&self) -> Scores {
        Scores::of(self.by_callers.sums().clone(), self.by_called.sums().clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::network::{Call, Metrics};

    fn network(devices: u32, edges: &BTreeMap<(u32, u32), f64>) -> Network {
        let mut builder = Network::builder();
        for device in 0..devices {
            builder.device(&format!("d{device:04}"));
        }
        for ((source, target), weight) in edges {
            let (weight, metrics) = (Some(*weight), Metrics::default());
            builder.call(Call { source: *source, target: *target, requires: false, weight, metrics });
        }
        builder.build()
    }

    /// An edge with tenths of weight.
    type Change = (u32, u32, u32);

    /// Devices, edges, and changes of edges.
    fn changes() -> impl Strategy<Value = (u32, Vec<Change>, Vec<Change>)> {
        (2_u32..30).prop_flat_map(|devices| {
            let edges = |most| prop::collection::vec((0..devices, 0..devices, 0_u32..=10), 0..most);
            (Just(devices), edges(80), edges(12))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn scores_follow_changed_edges_within_their_bound((devices, edges, changes) in changes()) {
            let weight = |tenths: u32| f64::from(tenths) / 10.0;
            let mut now: BTreeMap<(u32, u32), f64> = BTreeMap::new();
            for (source, target, tenths) in edges.into_iter().filter(|(.., tenths)| *tenths > 0) {
                now.insert((source, target), weight(tenths));
            }
            let mut live = LiveScores::new(&network(devices, &now), Likeness::default());
            for (source, target, tenths) in changes {
                live.set(source, target, weight(tenths));
                if tenths > 0 {
                    now.insert((source, target), weight(tenths));
                } else {
                    now.remove(&(source, target));
                }
                let found = live.scores();
                // So few devices are summed up over all pairs.
                let exact = network(devices, &now).scores(Likeness::default());
                prop_assert!(found.error_bound <= 4.0 * TOLERANCE_OF_SCORES, "{}", found.error_bound);
                for (found_of, exact_of) in
                    [(&found.score_in, &exact.score_in), (&found.score_out, &exact.score_out)]
                {
                    for (found_one, exact_one) in found_of.iter().zip(exact_of) {
                        let most = found.error_bound * (1.0 + exact_one) + 3e-6;
                        prop_assert!((found_one - exact_one).abs() <= most, "{} is not {}", found_one, exact_one);
                    }
                }
            }
        }
    }
}
