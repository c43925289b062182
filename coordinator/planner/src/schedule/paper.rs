//! The schedule as paper 1 has it ("Synchronize and Develop Deployment Schedule").

use super::greedy::{Choice, place, ranks_by};
use super::problem::Model;
use super::spans::Spans;

/// The devices whose least predicted slot is the earliest come first, and of these the ones with the least score in the dependency
/// chain (algorithm, step 1). Each gets its least predicted slot; where the order or a limit forbids that, the next one that is
/// free, and if there is none the latest before it. Nothing if a device finds no slot.
pub(super) fn paper(model: &Model, spans: &Spans, scores: &[f64]) -> Option<Vec<u32>> {
    let least: Vec<u32> = (0..).take(model.devices).map(|device| least_slot(model, device)).collect();
    // Scores are not negative: their bits are in their order.
    let ranks = ranks_by(model.devices, |device| (least[device as usize], scores[device as usize].to_bits()));
    place(model, spans, &ranks, Choice::From(&least))?.whole()
}

/// The slot with the least predicted load, the earliest of several.
fn least_slot(model: &Model, device: u32) -> u32 {
    let row = &model.costs[device as usize * model.slots..][..model.slots];
    let least = (0..).zip(row).min_by(|a, b| a.1.total_cmp(b.1));
    least.map_or(0, |(slot, _)| slot)
}
