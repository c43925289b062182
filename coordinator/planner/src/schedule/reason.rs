//! Why a device has its slot, in words.

use super::problem::{Model, Problem};

/// Loads that look the same to people.
const SAME_PERCENT: f64 = 0.05;
/// Names of so many devices are listed.
const NAMES_MAX: usize = 3;

pub(super) fn reason(
    problem: &Problem<'_>,
    model: &Model,
    intervals: &[(f64, f64)],
    slots: &[u32],
    device: u32,
    standby: Option<u32>,
) -> String {
    let slot = slots[device as usize] as usize;
    let name = |device: &u32| problem.network.devices()[*device as usize].as_str();
    let load = problem.load(device, slot);
    let row = &model.costs[device as usize * model.slots..][..model.slots];
    let (best, least) = (0..)
        .zip(row)
        .fold((slot, load), |best, (slot, load)| if *load < best.1 { (slot, *load) } else { best });
    let interval = intervals.get(device as usize * model.slots + slot);
    let between = interval.map_or_else(String::new, |(low, high)| {
        if high - low < 2.0 * SAME_PERCENT { String::new() } else { format!(" ({low:.0}-{high:.0} %)") }
    });
    let mut parts = vec![if interval.is_some_and(|(low, _)| low.is_nan()) {
        format!("slot {}: nothing is known of its load", problem.slots.clock(slot))
    } else if load <= least + SAME_PERCENT {
        format!("slot {}: lowest predicted load {load:.0} %{between}", problem.slots.clock(slot))
    } else {
        format!(
            "slot {}: predicted load {load:.0} %{between}, the lowest would be {least:.0} % at {}",
            problem.slots.clock(slot),
            problem.slots.clock(best)
        )
    }];
    let before: Vec<&str> = model.before[device as usize].iter().map(name).collect();
    if !before.is_empty() {
        parts.push(format!("after {}", list(&before)));
    }
    let behind: Vec<&str> = model.behind[device as usize].iter().map(name).collect();
    let is_kept = problem.kept.is_some_and(|kept| kept.slots[device as usize] == Some(slot));
    if load > least + SAME_PERCENT {
        if !behind.is_empty() {
            parts.push(format!("before {}", list(&behind)));
        }
        if is_kept {
            parts.push("kept from the plan before".to_owned());
        }
    }
    if let Some(standby) = standby {
        parts.push(format!("{} stands in", name(&standby)));
    }
    parts.join("; ")
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        _ if names.len() > NAMES_MAX => {
            format!("{} and {} more", names[..NAMES_MAX].join(", "), names.len() - NAMES_MAX)
        }
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
