//! Cheaper plans by planning parts of trees anew while all else stays where it is (large neighbourhood search, Shaw 1998), with a
//! chance for dearer plans that becomes less and less (Kirkpatrick, Gelatt and Vecchi 1983).
//!
//! A part is a device of a tree with all that hangs on it. Taken alone, its cheapest plan follows from its leaves to its root, as in
//! the relaxation; what its devices take from each other is seen to on the way back, from the root to the leaves.

use fastrand::Rng;

use super::forest::{Forest, Relation};
use crate::schedule::book::Book;
use crate::schedule::problem::Model;
use crate::schedule::spans::Spans;

/// Any number: the same problem is planned the same way each time.
const SEED: u64 = 1;
/// Larger parts are left alone: the more is planned anew at once, the less of it is new.
const PART_MAX: u32 = 40;
/// So many steps towards the root of its tree a part begins at the most above the device for whose sake it is planned anew.
const CLIMB_MAX: u32 = 4;
/// Gains that are less than rounding.
const GAIN_MIN: f64 = 1e-9;
/// How much dearer a plan may become at the beginning and at the end, as a part of what devices pay on the average beyond the
/// cheapest slot that they could have alone.
const HEAT_FIRST: f64 = 0.5;
const HEAT_LAST: f64 = 0.005;
/// Tries between two looks at the clock.
const TRIES_UNSEEN: usize = 32;

/// Plans parts of trees anew.
pub(super) struct Regrowth<'m> {
    model: &'m Model,
    forest: &'m Forest,
    /// Who hangs on each device.
    hanging: Vec<Vec<u32>>,
    /// How many devices the part of each has.
    sizes: Vec<u32>,
    random: Rng,
    /// Where each device of the parts in work stands among them.
    places: Vec<usize>,
    /// The devices of the parts in work, each behind the one on which it hangs.
    members: Vec<u32>,
    /// Their slots before.
    before: Vec<u32>,
    /// What each slot costs them with what hangs on them.
    costs: Vec<f64>,
}

const NOWHERE: usize = usize::MAX;

impl<'m> Regrowth<'m> {
    pub(super) fn new(model: &'m Model, forest: &'m Forest) -> Self {
        let mut hanging = vec![Vec::new(); model.devices];
        let mut sizes = vec![1; model.devices];
        for device in forest.order.iter().rev() {
            if let Some(parent) = parent(forest, *device) {
                hanging[parent as usize].push(*device);
                sizes[parent as usize] += sizes[*device as usize];
            }
        }
        Self {
            model,
            forest,
            hanging,
            sizes,
            random: Rng::with_seed(SEED),
            places: vec![NOWHERE; model.devices],
            members: Vec::new(),
            before: Vec::new(),
            costs: Vec::new(),
        }
    }

    /// Looks for a cheaper plan from that of `book` on, in so many tries or until `enough`. The cheapest plan seen is what is left in
    /// `book`.
    pub(super) fn run(
        &mut self,
        book: &mut Book<'m>,
        spans: &Spans,
        tries: usize,
        enough: &dyn Fn() -> bool,
    ) {
        let Some(mut best) = book.whole() else { return };
        let mut lead = 0.0;
        let mean = self.mean_regret(&best, spans);
        for number in 0..tries {
            if number % TRIES_UNSEEN == 0 && enough() {
                break;
            }
            let part = number as f64 / tries as f64;
            let heat = mean * HEAT_FIRST * (HEAT_LAST / HEAT_FIRST).powf(part);
            lead += self.one(book, spans, heat);
            if lead < -GAIN_MIN {
                lead = 0.0;
                if let Some(slots) = book.whole() {
                    best = slots;
                }
            }
        }
        if lead > GAIN_MIN {
            *book = Book::of(self.model, &best);
        }
    }

    /// What devices pay on the average beyond the cheapest slot that they could have alone.
    fn mean_regret(&self, slots: &[u32], spans: &Spans) -> f64 {
        let regret = |device: u32| {
            let open = (spans.first[device as usize]..=spans.last[device as usize])
                .filter(|slot| spans.is_open(self.model, device, *slot));
            let least = open.map(|slot| self.model.cost(device, slot as usize)).fold(f64::INFINITY, f64::min);
            self.model.cost(device, slots[device as usize] as usize) - least
        };
        (0..).take(self.model.devices).map(regret).sum::<f64>() / self.model.devices.max(1) as f64
    }

    /// One try. Gives what the plan costs more now.
    fn one(&mut self, book: &mut Book<'m>, spans: &Spans, heat: f64) -> f64 {
        let devices = u32::try_from(self.model.devices).expect("as many as a network has");
        let device = self.random.u32(0..devices);
        let Some(now) = book.slot(device) else { return 0.0 };
        self.members.clear();
        let root = self.climb(device);
        self.gather(root);
        let first = self.members.len();
        // Somebody may be in the way.
        let (from, to) = (spans.first[device as usize], spans.last[device as usize]);
        let wanted = self.random.u32(from..=to);
        let others = book.in_slot(wanted);
        if wanted != now
            && !others.is_empty()
            && self.model.cost(device, wanted as usize) < self.model.cost(device, now as usize) + heat
        {
            let other = others[self.random.usize(0..others.len())];
            let root = self.climb(other);
            self.gather(root);
        }
        let mut before = 0.0;
        self.before.clear();
        for device in &self.members {
            let slot = book.slot(*device).expect("the plan is whole");
            before += self.model.cost(*device, slot as usize);
            self.before.push(slot);
            book.take(*device);
        }
        let after = self.grow(book, spans, 0..first).and_then(|cost| {
            let rest = self.grow(book, spans, first..self.members.len())?;
            Some(cost + rest)
        });
        let more = after.map_or(f64::INFINITY, |after| after - before);
        for device in &self.members {
            self.places[*device as usize] = NOWHERE;
        }
        if more <= 0.0 || more < -heat * self.random.f64().ln() {
            return more;
        }
        for device in &self.members {
            book.take(*device);
        }
        for (device, slot) in self.members.iter().zip(&self.before) {
            book.put(*device, *slot);
        }
        0.0
    }

    /// A device on which `device` hangs, or itself.
    fn climb(&mut self, device: u32) -> u32 {
        let mut root = device;
        for _ in 0..self.random.u32(0..=CLIMB_MAX) {
            match parent(self.forest, root) {
                Some(parent) if self.sizes[parent as usize] <= PART_MAX => root = parent,
                _ => break,
            }
        }
        root
    }

    /// Adds the part of `root` to those in work; what hangs together in any order.
    fn gather(&mut self, root: u32) {
        if self.places[root as usize] != NOWHERE {
            return;
        }
        let mut next = self.members.len();
        self.places[root as usize] = next;
        self.members.push(root);
        while let Some(device) = self.members.get(next).copied() {
            next += 1;
            let hanging = &mut self.hanging[device as usize];
            self.random.shuffle(hanging);
            for device in &*hanging {
                // A part within this one may be in work already.
                if self.places[*device as usize] == NOWHERE {
                    self.places[*device as usize] = self.members.len();
                    self.members.push(*device);
                }
            }
        }
    }

    /// Plans a part whose devices have no slots. Gives what it costs; nothing if a device finds no slot, and then some have one.
    fn grow(&mut self, book: &mut Book<'m>, spans: &Spans, part: std::ops::Range<usize>) -> Option<f64> {
        let slots = self.model.slots;
        self.costs.clear();
        self.costs.resize(self.members.len() * slots, f64::INFINITY);
        for (place, device) in part.clone().zip(&self.members[part.clone()]) {
            for slot in book.room(spans, *device) {
                if spans.is_open(self.model, *device, slot) && book.fits(*device, slot) {
                    self.costs[place * slots + slot as usize] = self.model.cost(*device, slot as usize);
                }
            }
        }
        for place in part.clone().rev() {
            let device = self.members[place];
            let relation = self.forest.relations[device as usize];
            let (Relation::Before(parent) | Relation::Behind(parent)) = relation else { continue };
            let parent = self.places[parent as usize];
            if !part.contains(&parent) {
                continue;
            }
            // A device stands behind the one on which it hangs.
            let (head, tail) = self.costs.split_at_mut(place * slots);
            let costs = head[parent * slots..][..slots].iter_mut().zip(&tail[..slots]);
            let mut least = f64::INFINITY;
            let mut pass = |(sum, own): (&mut f64, &f64)| {
                *sum += least;
                least = least.min(*own);
            };
            match relation {
                Relation::Before(_) => costs.for_each(&mut pass),
                _ => costs.rev().for_each(&mut pass),
            }
        }
        let mut total = 0.0;
        for place in part {
            let device = self.members[place];
            let (mut least, mut found) = (f64::INFINITY, None);
            for slot in book.room(spans, device) {
                let cost = self.costs[place * slots + slot as usize];
                if cost < least && book.fits(device, slot) {
                    (least, found) = (cost, Some(slot));
                }
            }
            let slot = found?;
            book.put(device, slot);
            total += self.model.cost(device, slot as usize);
        }
        Some(total)
    }
}

fn parent(forest: &Forest, device: u32) -> Option<u32> {
    match forest.relations[device as usize] {
        Relation::Root => None,
        Relation::Before(parent) | Relation::Behind(parent) => Some(parent),
    }
}
