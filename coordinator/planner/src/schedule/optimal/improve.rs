//! Cheaper plans in the neighbourhood of one: a device moves, or two change places.

use crate::schedule::book::Book;
use crate::schedule::problem::Model;
use crate::schedule::spans::Spans;

/// Gains that are less than rounding.
const GAIN_MIN: f64 = 1e-9;
/// Rounds over all devices.
const ROUNDS_MAX: usize = 20;
/// How many partners are asked for one slot.
const PARTNERS_MAX: usize = 64;

/// Improves `book` until nothing helps or `enough`.
pub(super) fn improve(model: &Model, book: &mut Book<'_>, spans: &Spans, enough: &dyn Fn() -> bool) {
    for _ in 0..ROUNDS_MAX {
        let mut gained = false;
        for device in (0..).take(model.devices) {
            if device % 256 == 0 && enough() {
                return;
            }
            gained |= better_slot(model, book, spans, device);
        }
        if !gained {
            return;
        }
    }
}

/// Moves a device to the slot in which that gains the most, alone or in exchange with another one.
fn better_slot(model: &Model, book: &mut Book<'_>, spans: &Spans, device: u32) -> bool {
    let Some(now) = book.slot(device) else { return false };
    let own = model.cost(device, now as usize);
    let mut wanted: Vec<(f64, u32)> = book
        .room(spans, device)
        .filter(|slot| *slot != now && spans.is_open(model, device, *slot))
        .map(|slot| (own - model.cost(device, slot as usize), slot))
        .filter(|(gain, _)| *gain > GAIN_MIN)
        .collect();
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    book.take(device);
    for (gain, slot) in wanted {
        if book.fits(device, slot) {
            book.put(device, slot);
            return true;
        }
        if exchange(model, book, spans, device, (now, slot), gain) {
            return true;
        }
    }
    book.put(device, now);
    false
}

/// Sends somebody from the wanted slot to where `device`, which has no slot now, was. Both move, or nobody.
fn exchange(
    model: &Model,
    book: &mut Book<'_>,
    spans: &Spans,
    device: u32,
    (from, to): (u32, u32),
    gain: f64,
) -> bool {
    let loss = |other: u32| model.cost(other, from as usize) - model.cost(other, to as usize);
    let mut others: Vec<(f64, u32)> = book
        .in_slot(to)
        .iter()
        .map(|other| (loss(*other), *other))
        .filter(|(loss, other)| loss + GAIN_MIN < gain && spans.is_open(model, *other, from))
        .collect();
    others.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, other) in others.into_iter().take(PARTNERS_MAX) {
        if !book.room(spans, other).contains(&from) {
            continue;
        }
        book.take(other);
        if book.fits(device, to) && book.room(spans, device).contains(&to) {
            book.put(device, to);
            if book.room(spans, other).contains(&from) && book.fits(other, from) {
                book.put(other, from);
                return true;
            }
            book.take(device);
        }
        book.put(other, to);
    }
    false
}
