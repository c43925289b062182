//! The Lagrangian relaxation: what is scarce has a price, and then each tree of the order is planned for itself.
//!
//! Prices stand on what is left of each pool in each slot, and on each part of the order that the trees do not hold. For
//! given prices, the cheapest plan of a tree is found exactly from its leaves to its root; all trees together, less what is left at
//! these prices, cost no more than any plan (Fisher 1981). Trees have integral solutions, so at the best prices the bound is that of
//! the linear program with disaggregated precedence.

use super::forest::{Forest, Relation};
use crate::schedule::problem::Model;
use crate::schedule::spans::Spans;

/// Prices, and how to find better ones.
#[derive(Debug, Clone)]
pub(super) struct Relaxation<'m> {
    model: &'m Model,
    forest: &'m Forest,
    pub(super) prices: Prices,
}

/// What is scarce costs.
#[derive(Debug, Clone)]
pub(super) struct Prices {
    /// Pool by pool, for each slot.
    pools: Vec<f64>,
    /// Loose pair by loose pair, for each slot.
    loose: Vec<f64>,
}

/// The cheapest plan for given prices.
#[derive(Debug, Clone)]
pub(super) struct Relaxed {
    /// No plan costs less; infinite if there is none.
    pub(super) bound: f64,
    /// A slot for each device. Pools and loose pairs may be broken.
    pub(super) slots: Vec<u32>,
}

/// Better prices were looked for.
#[derive(Debug, Clone)]
pub(super) struct Ascent {
    /// The best of all bounds.
    pub(super) best: Relaxed,
    /// In which slot each device was on the whole.
    pub(super) means: Vec<f64>,
}

/// Rounds without a better bound after which steps are shortened.
const PATIENCE: u32 = 12;
/// Steps so short bring nothing.
const PACE_MIN: f64 = 2e-3;
/// Shorter directions are none: nothing is too much in a plan at these prices. Along what is left of the rounds before, prices would
/// grow without end.
const LENGTH_MIN: f64 = 1e-9;
/// The part of all prices together that a bound may lose in rounding.
const ROUNDING: f64 = 1e-13;
/// How much of a direction is that of the round before: subgradients alone go to and fro.
const MOMENTUM: f64 = 0.6;
/// What a round counts in the mean of slots.
const MEAN_PART: f64 = 0.08;

impl<'m> Relaxation<'m> {
    pub(super) fn new(model: &'m Model, forest: &'m Forest) -> Self {
        let prices = Prices {
            pools: vec![0.0; model.pools.len() * model.slots],
            loose: vec![0.0; forest.loose.len() * model.slots],
        };
        Self { model, forest, prices }
    }

    /// What each device costs in each slot, with what it takes from others; infinite outside of its span.
    pub(super) fn priced(&self, spans: &Spans) -> Vec<f64> {
        let slots = self.model.slots;
        let mut costs = self.model.costs.clone();
        for (device, row) in costs.chunks_mut(slots).enumerate() {
            for (slot, cost) in (0..).zip(&mut *row) {
                if !spans.is_open(self.model, number(device), slot) {
                    *cost = f64::INFINITY;
                }
            }
            for (pool, takes) in &self.model.takes[device] {
                let prices = &self.prices.pools[*pool as usize * slots..][..slots];
                for (cost, price) in row.iter_mut().zip(prices) {
                    *cost += f64::from(*takes) * price;
                }
            }
        }
        for ((first, then), prices) in self.forest.loose.iter().zip(self.prices.loose.chunks(slots)) {
            // The price of slot t is paid by `then` if it is done by then, and saved by `first` if it was done before.
            let (mut later, mut strictly_later) = (0.0, 0.0);
            for slot in (0..slots).rev() {
                later += prices[slot];
                costs[*then as usize * slots + slot] += later;
                costs[*first as usize * slots + slot] -= strictly_later;
                strictly_later += prices[slot];
            }
        }
        costs
    }

    /// The cheapest plan at the prices of now.
    pub(super) fn relax(&self, spans: &Spans) -> Relaxed {
        let slots = self.model.slots;
        let mut costs = self.priced(spans);
        // Of each device: the best slot up to and including each one, seen from where its parent needs it.
        let mut picks = vec![0_u32; costs.len()];
        let mut bound = 0.0;
        let mut best_roots = Vec::new();
        for device in self.forest.order.iter().rev() {
            let start = *device as usize * slots;
            match self.forest.relations[*device as usize] {
                Relation::Root => {
                    let row = &costs[start..start + slots];
                    let (slot, cost) = least(row.iter().copied());
                    bound += cost;
                    best_roots.push((*device, slot));
                }
                Relation::Before(parent) => {
                    let parent = parent as usize * slots;
                    let (mut cost, mut pick) = (f64::INFINITY, 0);
                    for slot in 0..slots {
                        costs[parent + slot] += cost;
                        picks[start + slot] = pick;
                        let own = costs[start + slot];
                        if own < cost {
                            (cost, pick) = (own, number(slot));
                        }
                    }
                }
                Relation::Behind(parent) => {
                    let parent = parent as usize * slots;
                    let (mut cost, mut pick) = (f64::INFINITY, 0);
                    for slot in (0..slots).rev() {
                        costs[parent + slot] += cost;
                        picks[start + slot] = pick;
                        let own = costs[start + slot];
                        if own <= cost {
                            (cost, pick) = (own, number(slot));
                        }
                    }
                }
            }
        }
        for (pool, prices) in self.model.pools.iter().zip(self.prices.pools.chunks(slots)) {
            bound -= f64::from(pool.limit) * prices.iter().sum::<f64>() * (1.0 + ROUNDING);
        }
        let mut found = vec![0; self.model.devices];
        for (root, slot) in best_roots {
            found[root as usize] = slot;
        }
        for device in &self.forest.order {
            if let Relation::Before(parent) | Relation::Behind(parent) =
                self.forest.relations[*device as usize]
            {
                found[*device as usize] = picks[*device as usize * slots + found[parent as usize] as usize];
            }
        }
        Relaxed { bound, slots: found }
    }

    /// What the cheapest plan costs, at the prices of now, that has a device in a slot: device by device.
    pub(super) fn marginals(&self, spans: &Spans) -> Vec<f64> {
        let slots = self.model.slots;
        // First what each device's own part of its tree costs, then with all the rest.
        let mut costs = self.priced(spans);
        let mut messages = vec![0.0; costs.len()];
        for device in self.forest.order.iter().rev() {
            let start = *device as usize * slots;
            let message = match self.forest.relations[*device as usize] {
                Relation::Root => continue,
                Relation::Before(_) => earlier(&costs[start..start + slots]),
                Relation::Behind(_) => later(&costs[start..start + slots]),
            };
            if let Relation::Before(parent) | Relation::Behind(parent) =
                self.forest.relations[*device as usize]
            {
                for (slot, cost) in message.iter().enumerate() {
                    costs[parent as usize * slots + slot] += cost;
                }
            }
            messages[start..start + slots].copy_from_slice(&message);
        }
        let mut others: f64 = 0.0;
        for (pool, prices) in self.model.pools.iter().zip(self.prices.pools.chunks(slots)) {
            others -= f64::from(pool.limit) * prices.iter().sum::<f64>() * (1.0 + ROUNDING);
        }
        let roots = self
            .forest
            .order
            .iter()
            .filter(|device| self.forest.relations[**device as usize] == Relation::Root);
        let least_of =
            |costs: &[f64], device: u32| least(costs[device as usize * slots..][..slots].iter().copied()).1;
        let total: f64 = roots.map(|root| least_of(&costs, *root)).sum::<f64>() + others;
        for device in &self.forest.order {
            let start = *device as usize * slots;
            let rest = match self.forest.relations[*device as usize] {
                Relation::Root => {
                    // The other trees and what is left of pools.
                    let rest = total - least_of(&costs, *device);
                    costs[start..start + slots].iter_mut().for_each(|cost| *cost += rest);
                    continue;
                }
                Relation::Before(parent) | Relation::Behind(parent) => {
                    let parent = parent as usize * slots;
                    let without = |slot: usize| {
                        let whole = costs[parent + slot];
                        if whole.is_finite() { whole - messages[start + slot] } else { f64::INFINITY }
                    };
                    (0..slots).map(without).collect::<Vec<f64>>()
                }
            };
            let rest = match self.forest.relations[*device as usize] {
                Relation::Behind(_) => earlier(&rest),
                _ => later(&rest),
            };
            for (cost, rest) in costs[start..start + slots].iter_mut().zip(rest) {
                *cost += rest;
            }
        }
        costs
    }

    /// Looks for better prices, in so many rounds or until `enough`; a plan of cost `upper` is known or hoped for. Ends early when no
    /// plan can cost less than `upper`. The prices of the best bound stay.
    pub(super) fn ascend(
        &mut self,
        spans: &Spans,
        upper: f64,
        rounds: u32,
        mut seen: impl FnMut(&Self, &Relaxed) -> Going,
    ) -> Ascent {
        let first = self.relax(spans);
        let mut means: Vec<f64> = first.slots.iter().map(|slot| f64::from(*slot)).collect();
        let mut ascent = Ascent { best: first.clone(), means: Vec::new() };
        let mut best_prices = self.prices.clone();
        let mut now = first;
        let mut upper = upper;
        let mut direction =
            Prices { pools: vec![0.0; self.prices.pools.len()], loose: vec![0.0; self.prices.loose.len()] };
        let (mut pace, mut patience) = (1.0, PATIENCE);
        for _ in 0..rounds {
            if !ascent.best.bound.is_finite() || ascent.best.bound >= upper || pace < PACE_MIN {
                break;
            }
            let length = self.direction(&now.slots, &mut direction);
            if length < LENGTH_MIN {
                break;
            }
            let missing = (upper - now.bound).max(1e-6 * upper.abs()).max(1e-9);
            self.step(&direction, pace * missing / length);
            now = self.relax(spans);
            for (mean, slot) in means.iter_mut().zip(&now.slots) {
                *mean += MEAN_PART * (f64::from(*slot) - *mean);
            }
            if now.bound > ascent.best.bound {
                let gained = now.bound - ascent.best.bound;
                if gained > 1e-4 * (upper - now.bound).abs() {
                    patience = PATIENCE;
                }
                ascent.best = now.clone();
                best_prices.clone_from(&self.prices);
            }
            patience = patience.saturating_sub(1);
            if patience == 0 {
                pace *= 0.6;
                patience = PATIENCE;
                self.prices.clone_from(&best_prices);
                now = ascent.best.clone();
            }
            match seen(self, &now) {
                Going::On(better) => upper = upper.min(better),
                Going::Enough => break,
            }
        }
        self.prices = best_prices;
        ascent.means = means;
        ascent
    }

    /// Turns `direction` to what the plan takes too much of. Gives the square of its length.
    fn direction(&self, slots: &[u32], direction: &mut Prices) -> f64 {
        let count = self.model.slots;
        let mut pools = vec![0.0; self.prices.pools.len()];
        for (pool, usage) in self.model.pools.iter().zip(pools.chunks_mut(count)) {
            usage.fill(-f64::from(pool.limit));
            for (member, takes) in &pool.members {
                usage[slots[*member as usize] as usize] += f64::from(*takes);
            }
        }
        let mut loose = vec![0.0; self.prices.loose.len()];
        for ((first, then), missed) in self.forest.loose.iter().zip(loose.chunks_mut(count)) {
            let (first, then) = (slots[*first as usize] as usize, slots[*then as usize] as usize);
            for (slot, missed) in missed.iter_mut().enumerate() {
                *missed = f64::from(u8::from(then <= slot)) - f64::from(u8::from(first < slot));
            }
        }
        let parts = |direction: &mut Prices, momentum| {
            blend(momentum, &mut direction.pools, &pools, &self.prices.pools)
                + blend(momentum, &mut direction.loose, &loose, &self.prices.loose)
        };
        let length = parts(direction, MOMENTUM);
        // Where the rounds before cancel out what is too much now, only that counts.
        if length < LENGTH_MIN { parts(direction, 0.0) } else { length }
    }

    fn step(&mut self, direction: &Prices, length: f64) {
        let parts = [(&mut self.prices.pools, &direction.pools), (&mut self.prices.loose, &direction.loose)];
        for (prices, direction) in parts {
            for (price, direction) in prices.iter_mut().zip(direction) {
                *price = (*price + length * direction).max(0.0);
            }
        }
    }
}

/// Turns a direction to what is too much. Gives the square of its length.
fn blend(momentum: f64, direction: &mut [f64], excess: &[f64], prices: &[f64]) -> f64 {
    let mut length = 0.0;
    for ((direction, excess), price) in direction.iter_mut().zip(excess).zip(prices) {
        *direction = momentum * *direction + (1.0 - momentum) * excess;
        // A price of nothing does not fall.
        if *price == 0.0 && *direction < 0.0 {
            *direction = 0.0;
        }
        length += *direction * *direction;
    }
    length
}

/// What comes after a round.
pub(super) enum Going {
    /// The next one; a plan of this cost is known (infinite for none).
    On(f64),
    Enough,
}

fn number(slot: usize) -> u32 {
    u32::try_from(slot).expect("there are fewer slots")
}

/// The least cost of all slots before each.
fn earlier(costs: &[f64]) -> Vec<f64> {
    passed(costs.iter())
}

/// The least cost of all slots after each.
fn later(costs: &[f64]) -> Vec<f64> {
    let mut later = passed(costs.iter().rev());
    later.reverse();
    later
}

/// For each cost the least of those that came before it; infinite for the first.
fn passed<'c>(costs: impl Iterator<Item = &'c f64>) -> Vec<f64> {
    let mut least = f64::INFINITY;
    let before = |cost: &f64| {
        let known = least;
        least = least.min(*cost);
        known
    };
    costs.map(before).collect()
}

/// The place of the least of all, the first of several, and itself.
fn least(values: impl Iterator<Item = f64>) -> (u32, f64) {
    (0..)
        .zip(values)
        .fold((0, f64::INFINITY), |best, (place, value)| if value < best.1 { (place, value) } else { best })
}
