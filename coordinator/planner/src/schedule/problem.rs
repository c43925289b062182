//! What a schedule must keep to, and what it should be good at.

use std::collections::{BTreeSet, VecDeque};

use super::slots::{Gateway, Slots};
use crate::network::Network;
use crate::standby::Drm;

/// Devices, slots, and all that holds between them.
#[derive(Debug, Clone)]
pub struct Problem<'p> {
    /// The devices and what they require.
    pub network: &'p Network,
    /// Who stands in for whom.
    pub drm: &'p Drm,
    /// When.
    pub slots: &'p Slots,
    /// The most devices in one slot.
    pub max_in_flight: Option<usize>,
    /// What gateways can feed.
    pub gateways: &'p [Gateway],
    /// How busy a device is in a slot, in percent: device by device. Infinite where it cannot be upgraded in that slot.
    pub loads: &'p [f64],
    /// A plan that is there already.
    pub kept: Option<Kept<'p>>,
}

/// The slots that devices have by the plan before: a new one moves a device only for what is worth it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept<'p> {
    /// Of each device, by its number; none where it had none, or one that is over.
    pub slots: &'p [Option<usize>],
    /// What it costs to move a device, in percent points of predicted load.
    pub move_cost: f64,
}

impl<'p> Kept<'p> {
    /// To move as few devices as can be, whatever that costs: one more move outweighs all loads.
    pub fn fewest_moves(slots: &'p [Option<usize>]) -> Self {
        Self { slots, move_cost: 100.0 * (slots.len() + 1) as f64 }
    }
}

/// Something of which there is only so much in each slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) what: PoolKind,
    pub(super) limit: u32,
    /// Devices, and how much of it each takes.
    pub(super) members: Vec<(u32, u32)>,
}

/// Why a pool has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolKind {
    MaxInFlight,
    /// By its number among the gateways.
    Gateway(usize),
    /// By its number among the sets.
    Set(usize),
    /// By the device that stands in.
    Standby(u32),
    /// By the device that one of several stands in for.
    Standbys(u32),
}

/// A problem in numbers.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) devices: usize,
    pub(super) slots: usize,
    /// Device by device; infinite where the slot is closed.
    pub(super) costs: Vec<f64>,
    /// The first is upgraded in an earlier slot than the second.
    pub(super) order: Vec<(u32, u32)>,
    /// What each device waits for, directly.
    pub(super) before: Vec<Vec<u32>>,
    /// Who waits for each device, directly.
    pub(super) behind: Vec<Vec<u32>>,
    /// All devices, each behind those that it waits for.
    pub(super) sorted: Vec<u32>,
    pub(super) pools: Vec<Pool>,
    /// Each device's pools, and what it takes of them.
    pub(super) takes: Vec<Vec<(u32, u32)>>,
    /// Who may stand in for each device, the preferred first.
    pub(super) standbys: Vec<Vec<u32>>,
    /// For how many each device can stand in.
    pub(super) capacity: Vec<u32>,
    /// Whether somebody has several standbys, so that pools do not tell all.
    pub(super) shares_standbys: bool,
}

impl Problem<'_> {
    /// The load of a device in a slot.
    pub fn load(&self, device: u32, slot: usize) -> f64 {
        self.loads[device as usize * self.slots.open.len() + slot]
    }

    pub(super) fn model(&self) -> Model {
        let devices = self.network.devices().len();
        let slots = self.slots.open.len();
        let mut costs = self.loads.to_vec();
        for row in costs.chunks_mut(slots) {
            for (cost, open) in row.iter_mut().zip(&self.slots.open) {
                if !open {
                    *cost = f64::INFINITY;
                }
            }
        }
        let mut model = Model {
            devices,
            slots,
            costs,
            order: Vec::new(),
            before: vec![Vec::new(); devices],
            behind: vec![Vec::new(); devices],
            sorted: Vec::with_capacity(devices),
            pools: Vec::new(),
            takes: vec![Vec::new(); devices],
            standbys: vec![Vec::new(); devices],
            capacity: vec![0; devices],
            shares_standbys: false,
        };
        for device in (0..).take(devices) {
            for required in self.network.required(device) {
                model.order.push((*required, device));
                model.before[device as usize].push(*required);
                model.behind[*required as usize].push(device);
            }
        }
        for (member, gateway) in self.paths(&model.behind) {
            if model.before[gateway as usize].contains(&member) {
                continue;
            }
            model.order.push((member, gateway));
            model.before[gateway as usize].push(member);
            model.behind[member as usize].push(gateway);
        }
        model.sort();
        self.standbys(&mut model);
        self.pools(&mut model);
        model
    }

    /// Devices with the gateways that are upgraded after them, because they are cut off by that. `behind` tells who requires whom.
    fn paths(&self, behind: &[Vec<u32>]) -> BTreeSet<(u32, u32)> {
        let mut paths = BTreeSet::new();
        for gateway in self.gateways.iter().filter(|gateway| !gateway.agreed) {
            let mut want_it = BTreeSet::new();
            let mut queue = vec![gateway.device];
            while let Some(device) = queue.pop() {
                if want_it.insert(device) {
                    queue.extend(&behind[device as usize]);
                }
            }
            let cut_off = gateway.members.iter().filter(|member| !want_it.contains(*member));
            paths.extend(cut_off.map(|member| (*member, gateway.device)));
        }
        paths
    }

    fn standbys(&self, model: &mut Model) {
        for standby in &self.drm.standbys {
            model.standbys[standby.device as usize].push(standby.by);
            let capacity = u32::try_from(standby.capacity).unwrap_or(u32::MAX);
            let known = &mut model.capacity[standby.by as usize];
            *known = if *known == 0 { capacity } else { capacity.min(*known) };
        }
    }

    fn pools(&self, model: &mut Model) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let once = |members: &[u32]| members.iter().map(|member| (*member, 1)).collect();
        if let Some(most) = self.max_in_flight {
            let members = (0..).take(model.devices).map(|device| (device, 1)).collect();
            model.add(Pool { what: PoolKind::MaxInFlight, limit: count(most), members });
        }
        for (number, gateway) in self.gateways.iter().enumerate() {
            let mut members: Vec<(u32, u32)> = once(&gateway.members);
            members.retain(|(member, _)| *member != gateway.device);
            // No more than there are: the gateway itself takes all of it.
            let limit = count(gateway.max_in_flight.min(members.len()));
            members.push((gateway.device, limit));
            model.add(Pool { what: PoolKind::Gateway(number), limit, members });
        }
        for (number, set) in self.drm.sets.iter().enumerate() {
            let limit = count(set.members.len().saturating_sub(set.serve_min));
            model.add(Pool { what: PoolKind::Set(number), limit, members: once(&set.members) });
        }
        let mut only: Vec<Vec<(u32, u32)>> = vec![Vec::new(); model.devices];
        for device in (0..).take(model.devices) {
            match model.standbys[device as usize].as_slice() {
                [] => {}
                [one] => only[*one as usize].push((device, 1)),
                several => {
                    model.shares_standbys = true;
                    let members: Vec<(u32, u32)> =
                        several.iter().chain([&device]).map(|member| (*member, 1)).collect();
                    let limit = count(several.len());
                    model.add(Pool { what: PoolKind::Standbys(device), limit, members });
                }
            }
        }
        for (by, mut members) in (0..).zip(only) {
            if !members.is_empty() {
                let limit = model.capacity[by as usize].min(count(members.len()));
                members.push((by, limit));
                model.add(Pool { what: PoolKind::Standby(by), limit, members });
            }
        }
    }
}

impl Model {
    /// Adds a pool that can ever be too small.
    fn add(&mut self, pool: Pool) {
        let most: u64 = pool.members.iter().map(|(_, takes)| u64::from(*takes)).sum();
        if most <= u64::from(pool.limit) {
            return;
        }
        let number = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        for (member, takes) in &pool.members {
            self.takes[*member as usize].push((number, *takes));
        }
        self.pools.push(pool);
    }

    /// The same with nothing but some of its pools, with its order or without, and without a difference in cost.
    pub(super) fn part(&self, order: bool, pools: &[usize]) -> Self {
        let mut part = Self { pools: Vec::new(), takes: vec![Vec::new(); self.devices], ..self.clone() };
        for cost in part.costs.iter_mut().filter(|cost| cost.is_finite()) {
            *cost = 0.0;
        }
        if !order {
            part.order.clear();
            part.before = vec![Vec::new(); self.devices];
            part.behind = vec![Vec::new(); self.devices];
        }
        let standbys = |pool: &Pool| matches!(pool.what, PoolKind::Standby(_) | PoolKind::Standbys(_));
        part.shares_standbys &= pools.iter().any(|number| standbys(&self.pools[*number]));
        for number in pools {
            part.add(self.pools[*number].clone());
        }
        part
    }

    fn sort(&mut self) {
        let mut open: Vec<usize> = self.before.iter().map(Vec::len).collect();
        let free = (0..).zip(&open).filter(|(_, count)| **count == 0).map(|(device, _)| device);
        let mut queue: VecDeque<u32> = free.collect();
        while let Some(device) = queue.pop_front() {
            self.sorted.push(device);
            for next in &self.behind[device as usize] {
                open[*next as usize] -= 1;
                if open[*next as usize] == 0 {
                    queue.push_back(*next);
                }
            }
        }
    }

    /// The same with a price on each move away from what is kept. Where that is closed, a device must move anyway.
    pub(super) fn keeping(mut self, kept: Kept<'_>) -> Self {
        for (row, slot) in self.costs.chunks_mut(self.slots).zip(kept.slots) {
            let Some(slot) = slot.filter(|slot| row.get(*slot).is_some_and(|cost| cost.is_finite())) else {
                continue;
            };
            for (_, cost) in row.iter_mut().enumerate().filter(|(other, _)| *other != slot) {
                *cost += kept.move_cost;
            }
        }
        self
    }

    pub(super) fn cost(&self, device: u32, slot: usize) -> f64 {
        self.costs[device as usize * self.slots + slot]
    }

    /// What a whole assignment costs.
    pub(super) fn total(&self, slots: &[u32]) -> f64 {
        (0..).zip(slots).map(|(device, slot)| self.cost(device, *slot as usize)).sum()
    }
}
