//! The plan that disturbs least, and among those that disturb least the one that is done first.

mod forest;
mod improve;
mod regrow;
mod relaxation;
mod search;

use super::problem::Model;
use super::spans::Spans;
use forest::Forest;
use relaxation::{Going, Relaxation};
use search::{ROUNDS_FIRST, SAME, Search};

/// What came of a search.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// A plan: the slot of each device, and what no plan costs less than.
    Found {
        /// One for each device.
        slots: Vec<u32>,
        /// The lower bound of all plans.
        bound: f64,
    },
    /// There is no plan.
    Impossible,
    /// Time was up before there was one.
    TimeUp,
}

/// The best plan within `spans` that is found until `enough`.
pub(super) fn optimum(model: &Model, spans: &Spans, enough: &dyn Fn() -> bool) -> Outcome {
    let forest = Forest::of(model);
    let mut search = Search::new(model, &forest);
    search.run(spans.clone(), f64::INFINITY, enough);
    let Some((mut slots, cost)) = search.best else {
        return if search.bound == f64::INFINITY { Outcome::Impossible } else { Outcome::TimeUp };
    };
    let bound = search.bound.min(cost);
    // Done sooner, at the same cost.
    while !enough() {
        let Some(sooner) = sooner(model, spans, &slots) else { break };
        let mut again = Search::new(model, &forest);
        again.run(sooner, cost + 2.0 * SAME, enough);
        match again.best {
            Some((found, found_cost)) if found_cost <= cost + SAME => slots = found,
            _ => break,
        }
    }
    Outcome::Found { slots, bound }
}

/// What no plan within `spans` costs less than, by prices alone; `cost` is that of one.
pub(super) fn lower_bound(model: &Model, spans: &Spans, cost: f64, enough: &dyn Fn() -> bool) -> f64 {
    let forest = Forest::of(model);
    let mut relaxation = Relaxation::new(model, &forest);
    let going = |_: &Relaxation<'_>, _: &_| if enough() { Going::Enough } else { Going::On(cost) };
    relaxation.ascend(spans, cost, ROUNDS_FIRST, going).best.bound.min(cost)
}

/// `spans` without the last slot of a plan; nothing if that leaves a device none.
fn sooner(model: &Model, spans: &Spans, slots: &[u32]) -> Option<Spans> {
    let last = slots.iter().max()?.checked_sub(1)?;
    let mut spans = spans.clone();
    for own in &mut spans.last {
        *own = last.min(*own);
    }
    spans.tighten(model).ok().map(|()| spans)
}
