//! Branch and bound: where prices alone do not close the gap, the slots of a device are split in two.

use super::forest::Forest;
use super::improve::improve;
use super::regrow::Regrowth;
use super::relaxation::{Ascent, Going, Prices, Relaxation};
use crate::schedule::book::Book;
use crate::schedule::greedy::{Choice, place, ranks_by};
use crate::schedule::problem::Model;
use crate::schedule::spans::Spans;

/// Rounds for prices at the beginning, and where devices have fewer slots than before.
pub(super) const ROUNDS_FIRST: u32 = 1_200;
const ROUNDS_BRANCH: u32 = 60;
/// Every so many rounds a plan is made of the prices.
const PLAN_EVERY: u32 = 8;
/// Parts of trees are planned anew so often for each device, then four times as often, and so on until that brings nothing.
const TRIES_FIRST: usize = 10;
/// Costs closer than this are one: far less than a thousandth of a percent point for each device.
pub(super) const SAME: f64 = 1e-7;

/// The best plan so far, and what no plan is below.
#[derive(Debug, Clone)]
pub(super) struct Search<'m> {
    model: &'m Model,
    forest: &'m Forest,
    /// Slots and their cost.
    pub(super) best: Option<(Vec<u32>, f64)>,
    /// No plan costs less.
    pub(super) bound: f64,
}

struct Node {
    spans: Spans,
    prices: Prices,
    bound: f64,
}

impl<'m> Search<'m> {
    pub(super) fn new(model: &'m Model, forest: &'m Forest) -> Self {
        Self { model, forest, best: None, bound: f64::NEG_INFINITY }
    }

    /// Looks for plans within `spans` that cost less than `upper` until the best one is proven or `enough`.
    pub(super) fn run(&mut self, spans: Spans, upper: f64, enough: &dyn Fn() -> bool) {
        let mut upper = upper;
        self.try_simple(&spans, enough);
        let prices = Relaxation::new(self.model, self.forest).prices;
        let mut open = vec![Node { spans, prices, bound: f64::NEG_INFINITY }];
        let mut rounds = ROUNDS_FIRST;
        while let Some(node) = open.pop() {
            upper = self.cost().min(upper);
            if node.bound >= upper - SAME {
                continue;
            }
            if rounds == ROUNDS_BRANCH && enough() {
                open.push(node);
                break;
            }
            let whole = (rounds == ROUNDS_FIRST).then(|| node.spans.clone());
            let children = self.branch(node, rounds, upper, enough);
            rounds = ROUNDS_BRANCH;
            if let Some(spans) = whole
                && !children.is_empty()
            {
                self.regrow(&spans, enough);
            }
            open.extend(children);
        }
        let left = open.iter().map(|node| node.bound).fold(f64::INFINITY, f64::min);
        // What was given up cost no less than the best plan, or than what was asked for.
        self.bound = left.min(self.cost()).min(upper);
    }

    fn cost(&self) -> f64 {
        self.best.as_ref().map_or(f64::INFINITY, |(_, cost)| *cost)
    }

    fn offer(&mut self, book: &Book<'_>) {
        let Some(slots) = book.whole() else { return };
        let cost = self.model.total(&slots);
        if cost < self.cost() && book.is_valid() {
            self.best = Some((slots, cost));
        }
    }

    /// Plans parts of the best plan anew until that brings nothing.
    fn regrow(&mut self, spans: &Spans, enough: &dyn Fn() -> bool) {
        let Some((slots, _)) = &self.best else { return };
        let mut book = Book::of(self.model, slots);
        let mut regrowth = Regrowth::new(self.model, self.forest);
        let mut tries = TRIES_FIRST * self.model.devices;
        while !enough() {
            let before = self.cost();
            regrowth.run(&mut book, spans, tries, enough);
            self.offer(&book);
            if self.cost() > before - SAME && tries > TRIES_FIRST * self.model.devices {
                return;
            }
            tries *= 4;
        }
    }

    /// Plans without prices: each device where it disturbs least, and each as early as it can.
    fn try_simple(&mut self, spans: &Spans, enough: &dyn Fn() -> bool) {
        let ranks = ranks_by(self.model.devices, |device| spans.last[device as usize]);
        for choice in [Choice::Cheapest(&self.model.costs), Choice::Earliest] {
            if let Some(mut book) = place(self.model, spans, &ranks, choice) {
                improve(self.model, &mut book, spans, enough);
                self.offer(&book);
            }
        }
    }

    /// The parts of a node that may hold a better plan, the more promising one last; none if it holds none.
    fn branch(&mut self, node: Node, rounds: u32, upper: f64, enough: &dyn Fn() -> bool) -> Vec<Node> {
        let Node { mut spans, prices, bound } = node;
        let mut relaxation = Relaxation::new(self.model, self.forest);
        relaxation.prices = prices;
        let hoped = if upper.is_finite() { upper } else { self.hope() };
        let mut round = 0;
        let ascent = relaxation.ascend(&spans, hoped, rounds, |relaxation, relaxed| {
            round += 1;
            if round % PLAN_EVERY == 0 {
                let wishes: Vec<f64> = relaxed.slots.iter().map(|slot| f64::from(*slot)).collect();
                self.plan(relaxation, &spans, &wishes, enough);
            }
            let known = self.cost().min(upper);
            if enough() { Going::Enough } else { Going::On(if known.is_finite() { known } else { hoped }) }
        });
        self.plan(&relaxation, &spans, &ascent.means, enough);
        self.offer(&Book::of(self.model, &ascent.best.slots));
        let bound = bound.max(ascent.best.bound - SAME * 0.1);
        let upper = self.cost().min(upper);
        if bound >= upper - SAME {
            return Vec::new();
        }
        let whole = Node { spans: spans.clone(), prices: relaxation.prices.clone(), bound };
        if enough() {
            return vec![whole];
        }
        self.close_dear(&relaxation, &mut spans, upper);
        if spans.tighten(self.model).is_err() {
            return Vec::new();
        }
        let Some((device, last)) = self.split(&spans, &ascent) else {
            let slots: Vec<u32> = spans.first.clone();
            self.offer(&Book::of(self.model, &slots));
            return Vec::new();
        };
        let mut early = Node { spans: spans.clone(), ..whole };
        early.spans.last[device as usize] = last;
        let mut late = Node { spans, prices: early.prices.clone(), bound };
        late.spans.first[device as usize] = last + 1;
        let in_early = ascent.best.slots[device as usize] <= last;
        let both = if in_early { [late, early] } else { [early, late] };
        both.into_iter().filter_map(|mut node| node.spans.tighten(self.model).ok().map(|()| node)).collect()
    }

    /// What a plan may cost when none is known.
    fn hope(&self) -> f64 {
        let finite = self.model.costs.chunks(self.model.slots);
        finite.map(|row| row.iter().copied().filter(|cost| cost.is_finite()).fold(0.0, f64::max)).sum()
    }

    fn plan(
        &mut self,
        relaxation: &Relaxation<'_>,
        spans: &Spans,
        wishes: &[f64],
        enough: &dyn Fn() -> bool,
    ) {
        let costs = relaxation.priced(spans);
        let ranks = ranks_by(self.model.devices, |device| wishes[device as usize].max(0.0).to_bits());
        if let Some(mut book) = place(self.model, spans, &ranks, Choice::Cheapest(&costs)) {
            improve(self.model, &mut book, spans, enough);
            self.offer(&book);
        }
    }

    /// Takes slots from devices in which any plan would cost as much as one that is known.
    fn close_dear(&self, relaxation: &Relaxation<'_>, spans: &mut Spans, upper: f64) {
        if !upper.is_finite() {
            return;
        }
        let marginals = relaxation.marginals(spans);
        for (device, row) in (0..).zip(marginals.chunks(self.model.slots)) {
            for (slot, least) in (0..).zip(row) {
                if *least >= upper - SAME * 0.5 {
                    spans.close(self.model, device, slot);
                }
            }
        }
    }

    /// The device whose slots are split, and the last slot of its earlier part; nothing if each has one slot only.
    fn split(&self, spans: &Spans, ascent: &Ascent) -> Option<(u32, u32)> {
        let slots = &ascent.best.slots;
        let book = Book::of(self.model, slots);
        let torn = |device: u32| (ascent.means[device as usize] - f64::from(slots[device as usize])).abs();
        let several = |device: &u32| spans.first[*device as usize] < spans.last[*device as usize];
        let device = (0..).take(self.model.devices).filter(several).max_by(|a, b| {
            let key = |device: u32| (f64::from(u8::from(book.is_crowded(device))), torn(device));
            let (a, b) = (key(*a), key(*b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        })?;
        let (first, last) = (spans.first[device as usize], spans.last[device as usize]);
        let mean = 0.5 * (ascent.means[device as usize] + f64::from(slots[device as usize]));
        let slot = (first..last).min_by(|a, b| {
            let far = |slot: u32| (f64::from(slot) + 0.5 - mean).abs();
            far(*a).total_cmp(&far(*b))
        })?;
        Some((device, slot))
    }
}
