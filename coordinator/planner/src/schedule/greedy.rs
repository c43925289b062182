//! A slot for one device after the other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::book::Book;
use super::problem::Model;
use super::spans::Spans;

/// How a device finds its slot among those that fit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice<'c> {
    /// The cheapest, by these costs: device by device.
    Cheapest(&'c [f64]),
    /// The one that it wants or the next, else the latest before it.
    From(&'c [u32]),
    /// The earliest.
    Earliest,
}

/// Devices that found no slot are helped so often before it is given up.
const HURRIES_MAX: usize = 40;

/// Gives a slot to each device, those of the least rank first as far as the order allows. Where one finds no slot any more, all begins
/// anew, and those that it waits for take the earliest that they can; and if that does not help, those that it shares something
/// scarce with. Nothing if nobody is left to be hurried.
pub(super) fn place<'m>(
    model: &'m Model,
    spans: &Spans,
    ranks: &[u32],
    choice: Choice<'_>,
) -> Option<Book<'m>> {
    let mut hurried = vec![false; model.devices];
    for _ in 0..HURRIES_MAX {
        match place_once(model, spans, ranks, choice, &hurried) {
            Ok(book) => return Some(book),
            Err(late) => {
                let mut new = false;
                for device in &late {
                    new |= hurry_before(model, *device, &mut hurried);
                }
                for device in late {
                    new = new || hurry_beside(model, device, &mut hurried);
                }
                if !new {
                    return None;
                }
            }
        }
    }
    None
}

/// The devices that found no slot otherwise; those that wait for them alone do not count.
fn place_once<'m>(
    model: &'m Model,
    spans: &Spans,
    ranks: &[u32],
    choice: Choice<'_>,
    hurried: &[bool],
) -> Result<Book<'m>, Vec<u32>> {
    let mut late = Vec::new();
    let mut book = Book::new(model);
    let mut open: Vec<usize> = model.before.iter().map(Vec::len).collect();
    let key = |device: u32| Reverse((!hurried[device as usize], ranks[device as usize], device));
    let free = (0..).take(model.devices).filter(|device| open[*device as usize] == 0);
    let mut queue: BinaryHeap<_> = free.map(key).collect();
    while let Some(Reverse((unhurried, _, device))) = queue.pop() {
        let choice = if unhurried { choice } else { Choice::Earliest };
        match find(model, &book, spans, device, choice) {
            Some(slot) => book.put(device, slot),
            None => late.push(device),
        }
        for next in &model.behind[device as usize] {
            open[*next as usize] -= 1;
            if open[*next as usize] == 0 {
                queue.push(key(*next));
            }
        }
    }
    if late.is_empty() { Ok(book) } else { Err(late) }
}

fn find(model: &Model, book: &Book<'_>, spans: &Spans, device: u32, choice: Choice<'_>) -> Option<u32> {
    let room = book.room(spans, device);
    let fits = |slot: &u32| spans.is_open(model, device, *slot) && book.fits(device, *slot);
    match choice {
        Choice::Earliest => room.into_iter().find(fits),
        Choice::From(wanted) => {
            let wanted = wanted[device as usize];
            room.clone().filter(|slot| *slot >= wanted).find(fits).or_else(|| room.rev().find(fits))
        }
        Choice::Cheapest(costs) => {
            let cost = |slot: &u32| costs[device as usize * model.slots + *slot as usize];
            let mut slots: Vec<u32> = room.collect();
            slots.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
            slots.into_iter().find(fits)
        }
    }
}

/// Hurries all that `device` waits for. Whether that is anything new.
fn hurry_before(model: &Model, device: u32, hurried: &mut [bool]) -> bool {
    let mut new = false;
    let mut reached = vec![false; model.devices];
    let mut open = vec![device];
    while let Some(device) = open.pop() {
        for before in &model.before[device as usize] {
            if !std::mem::replace(&mut reached[*before as usize], true) {
                new |= !std::mem::replace(&mut hurried[*before as usize], true);
                open.push(*before);
            }
        }
    }
    new
}

/// Hurries all that `device` shares a pool with that does not hold everybody.
fn hurry_beside(model: &Model, device: u32, hurried: &mut [bool]) -> bool {
    let mut new = !std::mem::replace(&mut hurried[device as usize], true);
    for (pool, _) in &model.takes[device as usize] {
        let members = &model.pools[*pool as usize].members;
        if members.len() < model.devices {
            for (member, _) in members {
                new |= !std::mem::replace(&mut hurried[*member as usize], true);
            }
        }
    }
    new
}

/// The ranks of devices by a key: the least first, of equals the first by number.
pub(super) fn ranks_by<K: Ord>(devices: usize, key: impl Fn(u32) -> K) -> Vec<u32> {
    let mut order: Vec<u32> = (0..).take(devices).collect();
    order.sort_by_key(|device| key(*device));
    let mut ranks = vec![0; devices];
    for (rank, device) in (0..).zip(order) {
        ranks[device as usize] = rank;
    }
    ranks
}
