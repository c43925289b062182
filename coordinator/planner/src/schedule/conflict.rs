//! Why there is no plan: the least that cannot hold together, as far as it is found.

use std::cell::Cell;

use super::optimal::{Outcome, optimum};
use super::problem::{Model, PoolKind, Problem};
use super::spans::Spans;

/// There is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Conflict(String);

/// How often all searches together, for plans that only have to exist, ask whether they may go on.
const QUESTIONS_MAX: usize = 50_000;
/// Devices that are named one by one.
const NAMES_MAX: usize = 12;

impl Conflict {
    pub(super) fn paper_fails() -> Self {
        Self("the paper's method places one device after the other and found no slot for the last ones; there is a plan by method optimal".to_owned())
    }

    pub(super) fn time_up() -> Self {
        Self("no plan was found before time_limit_ms was over; there may be one".to_owned())
    }
}

/// Devices wait for each other: some because they require others, some because their path leads through others.
pub(super) fn circle(problem: &Problem<'_>, model: &Model) -> Conflict {
    let mut waiting = vec![true; model.devices];
    for device in &model.sorted {
        waiting[*device as usize] = false;
    }
    let devices: Vec<u32> =
        (0..).zip(waiting).filter(|(_, waits)| *waits).map(|(device, _)| device).collect();
    Conflict(format!(
        "these devices wait for each other, as they require others or are behind gateways: {}",
        names(problem, &devices)
    ))
}

/// The smallest conflict that is found: a line of devices that is longer than the open slots, a limit that is too small for its
/// devices, or else limits and order that cannot hold together, each of which is needed for that.
pub(super) fn conflict(problem: &Problem<'_>, model: &Model, enough: &dyn Fn() -> bool) -> Conflict {
    let open = problem.slots.open.iter().filter(|open| **open).count();
    let closed =
        (0..).zip(model.costs.chunks(model.slots)).find(|(_, row)| row.iter().all(|cost| !cost.is_finite()));
    if let (Some((device, _)), true) = (closed, open > 0) {
        let name = names(problem, &[device]);
        return Conflict(format!("{name} can be upgraded in none of the {open} open slots"));
    }
    let line = longest_line(model);
    if line.len() > open {
        let names = names(problem, &line);
        return Conflict(format!(
            "{} devices require each other in a line and need as many open slots, but only {open} are open: {names}",
            line.len()
        ));
    }
    for pool in &model.pools {
        let needed: u64 = pool.members.iter().map(|(_, takes)| u64::from(*takes)).sum();
        let there = u64::from(pool.limit) * open as u64;
        if needed > there {
            let what = words(problem, pool.what);
            return Conflict(format!(
                "{what}: {} devices do not fit into {open} open slots with {} at a time",
                pool.members.len(),
                pool.limit
            ));
        }
    }
    let asked = Cell::new(0);
    let limited = || {
        asked.set(asked.get() + 1);
        asked.get() > QUESTIONS_MAX || enough()
    };
    let kept = needed(model, &limited);
    let mut parts: Vec<String> =
        kept.pools.iter().map(|number| words(problem, model.pools[*number].what)).collect();
    if kept.order {
        parts.insert(0, "the order of devices that require each other".to_owned());
    }
    Conflict(format!("these cannot hold together within {open} open slots: {}", parts.join("; ")))
}

/// What is needed for a conflict.
struct Kept {
    order: bool,
    pools: Vec<usize>,
}

/// Leaves out one thing after the other that is not needed (a deletion filter: Chinneck and Dravnieks 1991).
fn needed(model: &Model, enough: &dyn Fn() -> bool) -> Kept {
    let mut kept = Kept { order: true, pools: (0..model.pools.len()).collect() };
    if is_impossible(model, &Kept { order: false, pools: kept.pools.clone() }, enough) {
        kept.order = false;
    }
    for number in 0..model.pools.len() {
        if enough() {
            break;
        }
        let pools: Vec<usize> = kept.pools.iter().copied().filter(|kept| *kept != number).collect();
        let fewer = Kept { order: kept.order, pools };
        if is_impossible(model, &fewer, enough) {
            kept = fewer;
        }
    }
    kept
}

/// Whether it is certain that nothing fits with what is kept.
fn is_impossible(model: &Model, kept: &Kept, enough: &dyn Fn() -> bool) -> bool {
    let part = model.part(kept.order, &kept.pools);
    let mut spans = Spans::all(&part);
    spans.tighten(&part).is_err() || optimum(&part, &spans, enough) == Outcome::Impossible
}

/// The longest line of devices each of which requires the one before it.
fn longest_line(model: &Model) -> Vec<u32> {
    let mut lengths = vec![1_usize; model.devices];
    let mut came_from: Vec<Option<u32>> = vec![None; model.devices];
    for device in &model.sorted {
        for before in &model.before[*device as usize] {
            let length = lengths[*before as usize] + 1;
            if length > lengths[*device as usize] {
                lengths[*device as usize] = length;
                came_from[*device as usize] = Some(*before);
            }
        }
    }
    let last = (0..).take(model.devices).max_by_key(|device| lengths[*device as usize]);
    let mut line: Vec<u32> = std::iter::successors(last, |device| came_from[*device as usize]).collect();
    line.reverse();
    line
}

fn words(problem: &Problem<'_>, what: PoolKind) -> String {
    let name = |device: u32| problem.network.devices()[device as usize].as_str();
    match what {
        PoolKind::MaxInFlight => "max_in_flight".to_owned(),
        PoolKind::Gateway(number) => format!("what {} feeds at once", name(problem.gateways[number].device)),
        PoolKind::Set(number) => format!("serve_min of set '{}'", problem.drm.sets[number].name),
        PoolKind::Standby(by) => format!("{} as the only standby of others", name(by)),
        PoolKind::Standbys(device) => format!("the standbys of {}", name(device)),
    }
}

fn names(problem: &Problem<'_>, devices: &[u32]) -> String {
    let all: Vec<&str> = devices
        .iter()
        .take(NAMES_MAX)
        .map(|device| problem.network.devices()[*device as usize].as_str())
        .collect();
    let more = if devices.len() > NAMES_MAX {
        format!(" and {} more", devices.len() - NAMES_MAX)
    } else {
        String::new()
    };
    format!("{}{more}", all.join(", "))
}
