//! Which devices have a slot, and what is left in each.

use std::collections::BTreeMap;
use std::ops::Range;

use super::problem::Model;
use super::spans::Spans;

/// An assignment in the making.
#[derive(Debug, Clone)]
pub(super) struct Book<'m> {
    model: &'m Model,
    /// Each device's slot.
    slots: Vec<Option<u32>>,
    /// The devices of each slot.
    in_slot: Vec<Vec<u32>>,
    /// What is taken: pool by pool.
    taken: Vec<u32>,
}

impl<'m> Book<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        Self {
            model,
            slots: vec![None; model.devices],
            in_slot: vec![Vec::new(); model.slots],
            taken: vec![0; model.pools.len() * model.slots],
        }
    }

    /// Of a whole assignment, whatever it breaks.
    pub(super) fn of(model: &'m Model, slots: &[u32]) -> Self {
        let mut book = Self::new(model);
        for (device, slot) in (0..).zip(slots) {
            book.put(device, *slot);
        }
        book
    }

    pub(super) fn slot(&self, device: u32) -> Option<u32> {
        self.slots[device as usize]
    }

    pub(super) fn in_slot(&self, slot: u32) -> &[u32] {
        &self.in_slot[slot as usize]
    }

    /// All slots, once each device has one.
    pub(super) fn whole(&self) -> Option<Vec<u32>> {
        self.slots.iter().copied().collect()
    }

    pub(super) fn put(&mut self, device: u32, slot: u32) {
        self.slots[device as usize] = Some(slot);
        self.in_slot[slot as usize].push(device);
        for (pool, takes) in &self.model.takes[device as usize] {
            self.taken[*pool as usize * self.model.slots + slot as usize] += takes;
        }
    }

    pub(super) fn take(&mut self, device: u32) {
        let Some(slot) = self.slots[device as usize].take() else { return };
        self.in_slot[slot as usize].retain(|other| *other != device);
        for (pool, takes) in &self.model.takes[device as usize] {
            self.taken[*pool as usize * self.model.slots + slot as usize] -= takes;
        }
    }

    /// From when until when `device` may be upgraded, by `spans` and the slots of those that it waits for and that wait for it.
    pub(super) fn room(&self, spans: &Spans, device: u32) -> Range<u32> {
        let at = |other: &u32| self.slots[*other as usize];
        let before =
            self.model.before[device as usize].iter().filter_map(at).max().map_or(0, |slot| slot + 1);
        let behind = self.model.behind[device as usize].iter().filter_map(at).min();
        let last = spans.last[device as usize];
        let first = spans.first[device as usize].max(before);
        // Without a slot before that of one that waits for it, the range is empty.
        let until = behind.map_or(last + 1, |slot| slot.min(last + 1));
        first..until
    }

    /// Whether enough is left in a slot for a device that has none.
    pub(super) fn fits(&self, device: u32, slot: u32) -> bool {
        self.has_room(device, slot)
            && (!self.model.shares_standbys
                || self.all_have_standbys(self.in_slot(slot).iter().copied().chain([device])))
    }

    fn has_room(&self, device: u32, slot: u32) -> bool {
        self.model.takes[device as usize].iter().all(|(pool, takes)| {
            let taken = self.taken[*pool as usize * self.model.slots + slot as usize];
            taken + takes <= self.model.pools[*pool as usize].limit
        })
    }

    /// Whether each of the devices of one slot that has standbys can have one of its own (Kuhn's augmenting ways).
    fn all_have_standbys(&self, devices: impl Iterator<Item = u32>) -> bool {
        let away: Vec<u32> = devices.collect();
        assign_standbys(self.model, &away).is_some()
    }

    /// Whether `device` has a part in what is not allowed.
    pub(super) fn is_crowded(&self, device: u32) -> bool {
        let Some(slot) = self.slot(device) else { return false };
        let takes = &self.model.takes[device as usize];
        let at = |other: &u32| self.slots[*other as usize];
        takes.iter().any(|(pool, _)| {
            let taken = self.taken[*pool as usize * self.model.slots + slot as usize];
            taken > self.model.pools[*pool as usize].limit
        }) || self.model.before[device as usize].iter().any(|other| at(other) >= Some(slot))
            || self.model.behind[device as usize]
                .iter()
                .any(|other| at(other).is_some_and(|other| other <= slot))
    }

    /// Whether all of it is allowed.
    pub(super) fn is_valid(&self) -> bool {
        let in_order = self.model.order.iter().all(|(first, then)| self.slot(*first) < self.slot(*then));
        let in_pools = self
            .model
            .pools
            .iter()
            .zip(self.taken.chunks(self.model.slots))
            .all(|(pool, taken)| taken.iter().all(|taken| *taken <= pool.limit));
        in_order
            && in_pools
            && (0..self.model.slots).all(|slot| {
                !self.model.shares_standbys || self.all_have_standbys(self.in_slot[slot].iter().copied())
            })
    }
}

/// A standby for each of `away`, devices that are upgraded in the same slot; none for those of which the matrix names none, and
/// nothing at all if they cannot all have one. The preferred ones first.
pub(super) fn assign_standbys(model: &Model, away: &[u32]) -> Option<Vec<Option<u32>>> {
    let mut serves: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (number, device) in away.iter().enumerate() {
        if !model.standbys[*device as usize].is_empty()
            && !find_standby(model, away, number, &mut serves, &mut Vec::new())
        {
            return None;
        }
    }
    let mut found = vec![None; away.len()];
    for (by, served) in serves {
        for number in served {
            found[number] = Some(by);
        }
    }
    Some(found)
}

fn find_standby(
    model: &Model,
    away: &[u32],
    number: usize,
    serves: &mut BTreeMap<u32, Vec<usize>>,
    asked: &mut Vec<u32>,
) -> bool {
    for by in &model.standbys[away[number] as usize] {
        if away.contains(by) || asked.contains(by) {
            continue;
        }
        asked.push(*by);
        let served = serves.get(by).cloned().unwrap_or_default();
        if served.len() < model.capacity[*by as usize] as usize {
            serves.entry(*by).or_default().push(number);
            return true;
        }
        for other in served {
            if find_standby(model, away, other, serves, asked) {
                let now = serves.get_mut(by).expect("it serves");
                now.retain(|served| *served != other);
                now.push(number);
                return true;
            }
        }
    }
    false
}
