//! Reasons not to begin, with their numbers.

use takt_common::order::{Action, Order};
use takt_common::release::{ContainerSet, Manifest, Strategy};

use super::fetching::is_needed;
use crate::facts::{ClockState, Facts, LinkCost, Power, Presence, StandbyState};
use crate::phase::{Job, Swap, Workload};
use crate::policy::Policy;
use crate::waiting::Blocker;

/// Before the first byte: everything that speaks against fetching now.
pub(super) fn before_fetch(
    order: &Order,
    manifest: Option<&Manifest>,
    facts: &Facts,
    policy: &Policy,
) -> Vec<Blocker> {
    let missing = missing_bytes(order, manifest, facts);
    let mut blockers = Vec::new();
    blockers.extend(low_disk(missing, manifest, facts, policy));
    if let LinkCost::Metered { left_bytes: Some(left_bytes) } = facts.link
        && left_bytes < missing
    {
        blockers.push(Blocker::LinkBudget { left_bytes, needed_bytes: missing });
    }
    blockers
}

/// Bytes that are still to be fetched, as far as it is known what is needed.
fn missing_bytes(order: &Order, manifest: Option<&Manifest>, facts: &Facts) -> u64 {
    let needed = |sha256| manifest.is_none_or(|manifest| is_needed(sha256, order, manifest, facts));
    order
        .members
        .iter()
        .filter(|member| !facts.staged.contains(&member.sha256) && needed(&member.sha256))
        .map(|member| member.length.saturating_sub(facts.partial.get(&member.sha256).copied().unwrap_or(0)))
        .fold(0, u64::saturating_add)
}

/// Storage for what is missing, its unpacking and the reserve that the way back needs.
fn low_disk(missing: u64, manifest: Option<&Manifest>, facts: &Facts, policy: &Policy) -> Option<Blocker> {
    let unpacked = match manifest {
        None => 0,
        Some(manifest) if manifest.containers().is_some() && facts.image(manifest) == Presence::Present => 0,
        Some(manifest) => manifest.unpacked_bytes,
    };
    let needed = missing.saturating_add(unpacked).saturating_add(policy.reserve_disk_bytes);
    (facts.free_disk_bytes < needed)
        .then_some(Blocker::LowDisk { free_bytes: facts.free_disk_bytes, needed_bytes: needed })
}

/// Before the switch: everything that speaks against switching now.
pub(super) fn before_switch(job: &Job, swap: &Swap, facts: &Facts, policy: &Policy) -> Vec<Blocker> {
    let (order, manifest) = (&job.accepted.order, &swap.new.manifest);
    let mut blockers = Vec::new();
    let missing = missing_bytes(order, Some(manifest), facts);
    blockers.extend(low_disk(missing, Some(manifest), facts, policy));
    blockers.extend(low_memory(job, swap, facts, policy));
    if let Power::Battery { percent } = facts.power
        && percent < policy.battery_percent_min
    {
        blockers.push(Blocker::LowBattery { percent, limit: policy.battery_percent_min });
    }
    if facts.load_per_cpu > policy.load_per_cpu_max {
        blockers.push(Blocker::HighLoad { load_per_cpu: facts.load_per_cpu, limit: policy.load_per_cpu_max });
    }
    if let Some(window) = order.window {
        if let ClockState::Off { by_secs } = facts.clock {
            blockers.push(Blocker::ClockOff { by_secs });
        } else if facts.now < window.from {
            blockers.push(Blocker::BeforeWindow { from: window.from });
        } else if facts.now >= window.until {
            blockers.push(Blocker::AfterWindow { until: window.until });
        }
    }
    blockers.extend(facts.locks.iter().map(|lock| Blocker::Locked { lock: lock.clone() }));
    if let (StandbyState::Silent(said), Action::Install) = (&facts.standby, &order.action) {
        blockers.push(Blocker::StandbySilent { said: said.clone() });
    }
    if let (Some(stand_in), Action::Install) = (&facts.stand_in, &order.action) {
        blockers.push(Blocker::StandingIn { name: stand_in.name.to_string() });
    }
    blockers
}

/// The new workload replaces the old one, so only what it may take beyond the old one's limit is new; where both run
/// for a while, all of it is.
fn low_memory(job: &Job, swap: &Swap, facts: &Facts, policy: &Policy) -> Option<Blocker> {
    let limit = |manifest: &Manifest| {
        manifest.containers().map_or(0, ContainerSet::memory_mib).saturating_mul(1 << 20)
    };
    let given_up = match &job.old {
        Some(Workload { manifest: old, .. }) if swap.strategy != Some(Strategy::Handover) => limit(old),
        _ => 0,
    };
    let needed =
        limit(&swap.new.manifest).saturating_sub(given_up).saturating_add(policy.reserve_memory_bytes);
    (facts.free_memory_bytes < needed)
        .then_some(Blocker::LowMemory { free_bytes: facts.free_memory_bytes, needed_bytes: needed })
}
