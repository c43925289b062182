//! Whether a plan keeps to the rules. It shares nothing with the code that makes plans but the rules themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Mode, Plan};
use super::problem::Problem;

/// All that a plan breaks, in sentences; nothing for a good one.
pub fn check_plan(problem: &Problem<'_>, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let Some(slots) = assignments(problem, plan, &mut found) else { return found };
    order(problem, &slots, &mut found);
    paths(problem, &slots, &mut found);
    let mut devices_of: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for (device, slot) in &slots {
        devices_of.entry(*slot).or_default().insert(device);
    }
    for (slot, devices) in &devices_of {
        crowds(problem, *slot, devices, &mut found);
        serving(problem, *slot, devices, plan, &mut found);
    }
    figures(problem, plan, &mut found);
    found
}

/// The slot of each device; nothing if the plan is not about these devices and slots at all.
fn assignments<'p>(
    problem: &Problem<'_>,
    plan: &'p Plan,
    found: &mut Vec<String>,
) -> Option<BTreeMap<&'p str, usize>> {
    let before = found.len();
    let mut slots = BTreeMap::new();
    for assignment in &plan.assignments {
        let device = assignment.device.as_str();
        if !problem.network.devices().iter().any(|known| known == device) {
            found.push(format!("{device}: no edge names this device"));
        }
        if assignment.slot >= problem.slots.open.len() {
            let count = problem.slots.open.len();
            found.push(format!("{device}: there is no slot {}, the last is {}", assignment.slot, count - 1));
        } else {
            if !problem.slots.open[assignment.slot] {
                let at = problem.slots.rfc3339(assignment.slot);
                found.push(format!(
                    "{device}: slot {} ({at}) is closed by windows or deadline",
                    assignment.slot
                ));
            }
            if assignment.slot_start != problem.slots.rfc3339(assignment.slot) {
                let at = problem.slots.rfc3339(assignment.slot);
                found.push(format!(
                    "{device}: slot {} begins {at}, not {}",
                    assignment.slot, assignment.slot_start
                ));
            }
        }
        if slots.insert(device, assignment.slot).is_some() {
            found.push(format!("{device}: it has two slots"));
        }
    }
    for device in problem.network.devices() {
        if !slots.contains_key(device.as_str()) {
            found.push(format!("{device}: it has no slot"));
        }
    }
    let sequences: BTreeSet<usize> = plan.assignments.iter().map(|assignment| assignment.sequence).collect();
    if sequences.len() != plan.assignments.len() {
        found.push("two devices have the same place in the sequence".to_owned());
    }
    (found.len() == before).then_some(slots)
}

fn order(problem: &Problem<'_>, slots: &BTreeMap<&str, usize>, found: &mut Vec<String>) {
    for edge in problem.network.edges().iter().filter(|edge| edge.requires) {
        let name = |device: u32| problem.network.devices()[device as usize].as_str();
        let (source, target) = (name(edge.source), name(edge.target));
        if slots[target] >= slots[source] {
            found.push(format!(
                "{source}: it requires {target}, which is upgraded in slot {} and not before slot {}",
                slots[target], slots[source]
            ));
        }
    }
}

/// Whether gateways are upgraded after those whose path they cut, unless these agree or require the gateway.
fn paths(problem: &Problem<'_>, slots: &BTreeMap<&str, usize>, found: &mut Vec<String>) {
    let name = |device: u32| problem.network.devices()[device as usize].as_str();
    for gateway in problem.gateways.iter().filter(|gateway| !gateway.agreed) {
        for member in gateway.members.iter().filter(|member| **member != gateway.device) {
            let mut required: BTreeSet<u32> = BTreeSet::new();
            let mut queue = vec![*member];
            while let Some(device) = queue.pop() {
                queue.extend(problem.network.required(device).iter().filter(|next| required.insert(**next)));
            }
            let (own, cut_off) = (name(gateway.device), name(*member));
            if !required.contains(&gateway.device) && slots[own] <= slots[cut_off] {
                found.push(format!(
                    "{own}: it is upgraded in slot {} and cuts off {cut_off}, which is upgraded in slot {}",
                    slots[own], slots[cut_off]
                ));
            }
        }
    }
}

/// What is too much in one slot.
fn crowds(problem: &Problem<'_>, slot: usize, devices: &BTreeSet<&str>, found: &mut Vec<String>) {
    let name = |device: u32| problem.network.devices()[device as usize].as_str();
    if let Some(most) = problem.max_in_flight
        && devices.len() > most
    {
        found.push(format!("slot {slot}: {} devices, and max_in_flight is {most}", devices.len()));
    }
    for gateway in problem.gateways {
        let own = name(gateway.device);
        let members = gateway.members.iter().map(|member| name(*member)).filter(|member| *member != own);
        let away = members.filter(|member| devices.contains(member)).count();
        if away > gateway.max_in_flight {
            found.push(format!(
                "slot {slot}: {away} devices behind {own}, which feeds {}",
                gateway.max_in_flight
            ));
        }
        if away > 0 && devices.contains(own) {
            found.push(format!("slot {slot}: {own} is upgraded together with devices behind it"));
        }
    }
    for set in &problem.drm.sets {
        let away = set.members.iter().filter(|member| devices.contains(name(**member))).count();
        let serving = set.members.len() - away;
        if serving < set.serve_min {
            found.push(format!("slot {slot}: {serving} of set '{}' serve, {} must", set.name, set.serve_min));
        }
    }
}

/// Whether each device that has standbys has one that serves, and each standby no more devices than it can serve for.
fn serving(
    problem: &Problem<'_>,
    slot: usize,
    devices: &BTreeSet<&str>,
    plan: &Plan,
    found: &mut Vec<String>,
) {
    let name = |device: u32| problem.network.devices()[device as usize].as_str();
    let mut served: BTreeMap<&str, usize> = BTreeMap::new();
    for assignment in plan.assignments.iter().filter(|assignment| assignment.slot == slot) {
        let device = assignment.device.as_str();
        let declared: BTreeSet<&str> = problem
            .drm
            .standbys
            .iter()
            .filter(|standby| name(standby.device) == device)
            .map(|standby| name(standby.by))
            .collect();
        match (&assignment.standby, assignment.mode) {
            (None, Mode::InPlace) if declared.is_empty() => {}
            (None, Mode::InPlace) => found.push(format!("{device}: a standby is declared, and none serves")),
            (Some(by), Mode::Rolling) if declared.contains(by.as_str()) => {
                *served.entry(by).or_default() += 1;
                if devices.contains(by.as_str()) {
                    found.push(format!("{device}: its standby {by} is upgraded in the same slot {slot}"));
                }
            }
            (Some(by), Mode::Rolling) => found.push(format!("{device}: {by} is not declared as its standby")),
            (None, Mode::Rolling) => found.push(format!("{device}: mode rolling without a standby")),
            (Some(by), Mode::InPlace) => found.push(format!("{device}: mode in-place, but {by} stands in")),
        }
    }
    for (by, count) in served {
        let own = problem.drm.standbys.iter().filter(|standby| name(standby.by) == by);
        let capacity = own.map(|standby| standby.capacity).min().unwrap_or(0);
        if count > capacity {
            found.push(format!("slot {slot}: {by} stands in for {count} devices, it can for {capacity}"));
        }
    }
}

/// Whether the plan says of itself what is true.
fn figures(problem: &Problem<'_>, plan: &Plan, found: &mut Vec<String>) {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + a.abs().max(b.abs()));
    let mut total = 0.0;
    for assignment in &plan.assignments {
        let device = problem.network.devices().iter().position(|known| *known == assignment.device);
        let Some(device) = device.and_then(|device| u32::try_from(device).ok()) else { continue };
        let load = problem.load(device, assignment.slot);
        total += load;
        if !near(load, assignment.predicted_load) {
            let claimed = assignment.predicted_load;
            found.push(format!("{}: predicted_load is {load}, not {claimed}", assignment.device));
        }
    }
    if !near(total, plan.objective) {
        found.push(format!("the objective is {total}, not {}", plan.objective));
    }
    if plan.lower_bound > plan.objective + 1e-6 * (1.0 + plan.objective.abs()) {
        found.push(format!("the lower bound {} is above the objective {}", plan.lower_bound, plan.objective));
    }
    let makespan = plan.assignments.iter().map(|assignment| assignment.slot + 1).max().unwrap_or(0);
    if makespan != plan.makespan_slots {
        found.push(format!("makespan_slots is {makespan}, not {}", plan.makespan_slots));
    }
}
