//! The order in which devices are upgraded: what is required first, then the least dependent.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::DeviceId;

use crate::graph::DomainGraph;

impl DomainGraph {
    /// `targets` in the order of their upgrade: a required device before those that require it (also through
    /// devices that are no targets); among the free ones the least dependent first (paper 1, algorithm, step 1),
    /// then by name. Targets that the domain does not have are left out.
    pub fn upgrade_order(&self, targets: &BTreeSet<DeviceId>) -> Vec<DeviceId> {
        let rank = self.ranks();
        let mut missing: BTreeMap<DeviceId, usize> = BTreeMap::new();
        let mut dependents: BTreeMap<DeviceId, Vec<DeviceId>> = BTreeMap::new();
        for device in self.known(targets) {
            let requirements = self.requirements(device);
            missing.insert(device, requirements.intersection(targets).count());
            for required in requirements.intersection(targets) {
                dependents.entry(*required).or_default().push(device);
            }
        }
        let free =
            missing.iter().filter(|(_, count)| **count == 0).map(|(device, _)| (rank[device], *device));
        let mut free: BTreeSet<(usize, DeviceId)> = free.collect();
        let mut order = Vec::with_capacity(missing.len());
        while let Some((_, next)) = free.pop_first() {
            order.push(next);
            for dependent in dependents.remove(&next).unwrap_or_default() {
                let count = missing.get_mut(&dependent).expect("a dependent is a known target");
                *count -= 1;
                if *count == 0 {
                    free.insert((rank[&dependent], dependent));
                }
            }
        }
        order
    }

    /// `targets` in levels: all that a device of a level requires among `targets` stands in lower levels.
    pub fn levels(&self, targets: &BTreeSet<DeviceId>) -> Vec<BTreeSet<DeviceId>> {
        let mut levels = Vec::new();
        let mut verified = BTreeSet::new();
        loop {
            let level = self.ready(targets, &verified);
            if level.is_empty() {
                return levels;
            }
            verified.extend(level.iter().copied());
            levels.push(level);
        }
    }

    /// The targets that are not verified themselves and whose required targets are all `verified`.
    pub fn ready(&self, targets: &BTreeSet<DeviceId>, verified: &BTreeSet<DeviceId>) -> BTreeSet<DeviceId> {
        self.known(targets)
            .filter(|device| !verified.contains(device))
            .filter(|device| {
                self.requirements(*device).intersection(targets).all(|required| verified.contains(required))
            })
            .collect()
    }

    fn known<'a>(&'a self, targets: &'a BTreeSet<DeviceId>) -> impl Iterator<Item = DeviceId> + 'a {
        targets.iter().copied().filter(|device| self.has(*device))
    }

    /// The place of every device when the least dependent comes first. It is worked out once, which takes seconds for a large domain.
    pub fn ranks(&self) -> &BTreeMap<DeviceId, usize> {
        self.ranks.get_or_init(|| {
            let mut ranked = self.chain().devices;
            ranked.sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.name.cmp(&b.name)));
            ranked.into_iter().enumerate().map(|(place, entry)| (entry.device, place)).collect()
        })
    }
}

#[cfg(test)]
mod tests;
