//! The order as trees, and what is left over.

use crate::schedule::problem::Model;

/// How a device stands to its parent in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// It has none.
    Root,
    /// It is upgraded in an earlier slot.
    Before(u32),
    /// It is upgraded in a later slot.
    Behind(u32),
}

/// A tree for each group of devices that wait for each other.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    /// All devices, each behind its parent.
    pub(super) order: Vec<u32>,
    pub(super) relations: Vec<Relation>,
    /// What the trees do not hold: the first is upgraded before the second.
    pub(super) loose: Vec<(u32, u32)>,
}

impl Forest {
    pub(super) fn of(model: &Model) -> Self {
        let mut forest = Self {
            order: Vec::with_capacity(model.devices),
            relations: vec![Relation::Root; model.devices],
            loose: Vec::new(),
        };
        let mut reached = vec![false; model.devices];
        for root in (0..).take(model.devices) {
            if reached[root as usize] {
                continue;
            }
            reached[root as usize] = true;
            let mut next = forest.order.len();
            forest.order.push(root);
            while let Some(device) = forest.order.get(next).copied() {
                next += 1;
                let earlier =
                    model.before[device as usize].iter().map(|other| (*other, Relation::Before(device)));
                let later =
                    model.behind[device as usize].iter().map(|other| (*other, Relation::Behind(device)));
                for (other, relation) in earlier.chain(later) {
                    if !reached[other as usize] {
                        reached[other as usize] = true;
                        forest.relations[other as usize] = relation;
                        forest.order.push(other);
                    }
                }
            }
        }
        let in_tree = |first: u32, then: u32| {
            forest.relations[first as usize] == Relation::Before(then)
                || forest.relations[then as usize] == Relation::Behind(first)
        };
        forest.loose = model.order.iter().copied().filter(|(first, then)| !in_tree(*first, *then)).collect();
        forest
    }
}
