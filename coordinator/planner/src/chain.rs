//! The Device Dependency Chain: devices ranked by SimRank scores of the weighted graph (paper 1, eq. 1 and 2).

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use petgraph::visit::EdgeRef;
use takt_common::{DeviceId, Name};

use crate::graph::DomainGraph;

/// The most devices with edges that are scored in one domain: two dense matrices of 1,000 by 1,000 take 16 MiB.
pub const DEVICES_SCORED_MAX: usize = 1_000;

/// The decay C of paper 1, eq. 1 and 2; 0.8 is the value of the original SimRank publication.
const DECAY: f64 = 0.8;

/// No similarity moves by more than this in the last round; far below what could swap two devices in earnest.
const TOLERANCE: f64 = 1e-6;

/// What is left after k rounds is at most `DECAY` to the k: 62 rounds are enough for [`TOLERANCE`].
const ROUNDS_MAX: u32 = 64;

/// Scores are compared in steps of this: mirror-image devices differ by rounding only, and then the name decides.
const SCORE_STEPS_PER_UNIT: f64 = 1e6;

/// A device in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Which.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// How dependent it is: the sum of its in- and out-similarities with every other device of the domain.
    pub score: f64,
}

impl DomainGraph {
    /// The Device Dependency Chain: from the highest score, the most dependent device, to the lowest; ties by name.
    pub fn chain(&self) -> Vec<Score> {
        let connected: Vec<NodeIndex> = self
            .graph
            .node_indices()
            .filter(|node| self.graph.neighbors_undirected(*node).next().is_some())
            .collect();
        let calls_in = simrank(&self.transitions(&connected, Direction::Incoming));
        let calls_out = simrank(&self.transitions(&connected, Direction::Outgoing));
        let mut chain: Vec<Score> = self
            .graph
            .node_indices()
            .map(|node| {
                let score = connected.binary_search(&node).map_or(0.0, |row| {
                    let others = |matrix: &[Vec<f64>]| matrix[row].iter().sum::<f64>() - matrix[row][row];
                    others(&calls_in) + others(&calls_out)
                });
                let score = (score * SCORE_STEPS_PER_UNIT).round() / SCORE_STEPS_PER_UNIT;
                Score { device: self.graph[node].device, name: self.graph[node].name.clone(), score }
            })
            .collect();
        chain.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.name.cmp(&b.name)));
        chain
    }

    /// For every node its neighbours in `direction` with probabilities proportional to the weights. Edges of weight
    /// 0 lead nowhere; equal weights give the formula of the paper.
    fn transitions(&self, nodes: &[NodeIndex], direction: Direction) -> Vec<Vec<(usize, f64)>> {
        let neighbours = |node: NodeIndex| {
            let edges = self.graph.edges_directed(node, direction).filter(|edge| edge.weight().weight > 0.0);
            let mut found: Vec<(usize, f64)> = edges
                .map(|edge| {
                    let other = if direction == Direction::Incoming { edge.source() } else { edge.target() };
                    let row = nodes.binary_search(&other).expect("a node with an edge is connected");
                    (row, edge.weight().weight)
                })
                .collect();
            found.sort_by_key(|(row, _)| *row);
            let total: f64 = found.iter().map(|(_, weight)| weight).sum();
            for (_, weight) in &mut found {
                *weight /= total;
            }
            found
        };
        nodes.iter().map(|node| neighbours(*node)).collect()
    }
}

/// `S(a, a) = 1`, `S(a, b) = C · Σ_i Σ_j p_a(i) p_b(j) S(i, j)`, and 0 where a or b has no neighbour; by rounds
/// from the identity until nothing moves by more than the tolerance.
fn simrank(transitions: &[Vec<(usize, f64)>]) -> Vec<Vec<f64>> {
    let size = transitions.len();
    let mut similarity = vec![vec![0.0; size]; size];
    for (row, line) in similarity.iter_mut().enumerate() {
        line[row] = 1.0;
    }
    let mut half = vec![0.0; size];
    for _ in 0..ROUNDS_MAX {
        let mut next = vec![vec![0.0; size]; size];
        let mut moved: f64 = 0.0;
        for a in 0..size {
            half.fill(0.0);
            for (i, probability) in &transitions[a] {
                for (sum, value) in half.iter_mut().zip(&similarity[*i]) {
                    *sum += probability * value;
                }
            }
            for b in 0..size {
                let met: f64 = transitions[b].iter().map(|(j, probability)| probability * half[*j]).sum();
                next[a][b] = if a == b { 1.0 } else { DECAY * met };
                moved = moved.max((next[a][b] - similarity[a][b]).abs());
            }
        }
        similarity = next;
        if moved <= TOLERANCE {
            break;
        }
    }
    similarity
}

#[cfg(test)]
mod tests;
