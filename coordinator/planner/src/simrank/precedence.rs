//! An order in which similarities are known before they are asked for.

use std::ops::Range;

use super::transitions::Transitions;

/// How many devices of an order are taken together: enough to be worth threads, and few beside all, for what one of them finds is of
/// use to others only once all are done.
const BLOCK: usize = 256;

/// Devices in an order in which, as far as no circle forbids it, steps from each lead to earlier ones only.
#[derive(Debug, Clone)]
pub(super) struct Precedence {
    /// The devices, each once.
    pub(super) order: Vec<u32>,
    /// Places of `order` that follow each other. No step leads from one device of a block to another one, but for circles.
    pub(super) blocks: Vec<Range<usize>>,
    /// The first so many blocks have no device in a circle or on the way to one: one sweep over them is all.
    pub(super) settled: usize,
}

impl Precedence {
    /// Of all devices of `transitions`; by levels (Kahn 1962), then by number.
    pub(super) fn new(transitions: &Transitions) -> Self {
        let size = transitions.size();
        let behind = transitions.reversed();
        let mut open: Vec<usize> = (0..size).map(|device| transitions.row(device).count()).collect();
        let mut level: Vec<u32> = (0..size)
            .filter(|device| open[*device] == 0)
            .map(|device| u32::try_from(device).expect("as many as a graph has nodes"))
            .collect();
        let mut all = Self { order: Vec::with_capacity(size), blocks: Vec::new(), settled: 0 };
        while !level.is_empty() {
            let mut next = Vec::new();
            for device in &level {
                for (later, _) in behind.row(*device as usize) {
                    open[later] -= 1;
                    if open[later] == 0 {
                        next.push(u32::try_from(later).expect("as many as a graph has nodes"));
                    }
                }
            }
            all.append(&level);
            next.sort_unstable();
            level = next;
        }
        all.settled = all.blocks.len();
        let rest = (0..size).filter(|device| open[*device] > 0);
        let rest: Vec<u32> =
            rest.map(|device| u32::try_from(device).expect("as many as a graph has nodes")).collect();
        all.append(&rest);
        all
    }

    fn append(&mut self, devices: &[u32]) {
        for block in devices.chunks(BLOCK) {
            let start = self.order.len();
            self.order.extend(block);
            self.blocks.push(start..self.order.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_to_earlier_blocks_and_circles_come_last() {
        // 4 → 2 → 0, 3 → 0, and 1 ⇄ 5 → 0; 6 → 1.
        let edges = [(4, 2), (2, 0), (3, 0), (1, 5), (5, 1), (5, 0), (6, 1)];
        let edges = edges.iter().map(|(from, to)| (*from, *to, 1.0)).collect();
        let found = Precedence::new(&Transitions::new(7, edges));
        assert_eq!(found.order, [0, 2, 3, 4, 1, 5, 6]);
        assert_eq!(found.blocks, [0..1, 1..3, 3..4, 4..7]);
        assert_eq!(found.settled, 3);
    }

    #[test]
    fn blocks_are_bounded() {
        let found = Precedence::new(&Transitions::new(BLOCK + 1, vec![]));
        assert_eq!(found.blocks, [0..BLOCK, BLOCK..BLOCK + 1]);
        assert_eq!(found.settled, 2);
    }
}
