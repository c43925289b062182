//! Reasons not to begin, with their numbers.

use takt_common::order::{Action, Order};

use crate::facts::{Facts, Presence};
use crate::phase::Job;
use crate::policy::Policy;
use crate::waiting::Blocker;
use takt_common::release::Manifest;

/// Before the first byte: storage for what is missing, its unpacking and the reserve that the way back needs.
pub(super) fn low_disk(
    order: &Order,
    manifest: Option<&Manifest>,
    facts: &Facts,
    policy: &Policy,
) -> Option<Blocker> {
    let unpacked = match (manifest, facts.image) {
        (_, Presence::Present) | (None, _) => 0,
        (Some(manifest), _) => manifest.unpacked_bytes,
    };
    // The archive of an image that the engine has is not fetched.
    let archive =
        manifest.and_then(|manifest| manifest.container.as_ref()).map(|container| container.archive);
    let not_needed = archive.filter(|_| facts.image == Presence::Present);
    let missing = order
        .members
        .iter()
        .filter(|member| !facts.staged.contains(&member.sha256) && Some(member.sha256) != not_needed)
        .map(|member| member.length.saturating_sub(facts.partial.get(&member.sha256).copied().unwrap_or(0)))
        .fold(0_u64, u64::saturating_add);
    let needed = missing.saturating_add(unpacked).saturating_add(policy.reserve_disk_bytes);
    (facts.free_disk_bytes < needed)
        .then_some(Blocker::LowDisk { free_bytes: facts.free_disk_bytes, needed_bytes: needed })
}

/// Before the switch: everything that speaks against switching now.
pub(super) fn before_switch(job: &Job, manifest: &Manifest, facts: &Facts, policy: &Policy) -> Vec<Blocker> {
    let order = &job.accepted.order;
    let mut blockers = Vec::new();
    blockers.extend(low_disk(order, Some(manifest), facts, policy));
    blockers.extend(low_memory(job, manifest, facts, policy));
    if facts.load_per_cpu > policy.load_per_cpu_max {
        blockers.push(Blocker::HighLoad { load_per_cpu: facts.load_per_cpu, limit: policy.load_per_cpu_max });
    }
    if let Some(window) = order.window {
        if facts.now < window.from {
            blockers.push(Blocker::BeforeWindow { from: window.from });
        } else if facts.now >= window.until {
            blockers.push(Blocker::AfterWindow { until: window.until });
        }
    }
    blockers.extend(facts.locks.iter().map(|lock| Blocker::Locked { lock: lock.clone() }));
    if let (Some((stand_in, _)), Action::Install) = (&facts.stand_in, &order.action) {
        blockers.push(Blocker::StandingIn { name: stand_in.name.to_string() });
    }
    blockers
}

/// The new workload replaces the old one, so only what it may take beyond the old one's limit is new.
fn low_memory(job: &Job, manifest: &Manifest, facts: &Facts, policy: &Policy) -> Option<Blocker> {
    let limit = |manifest: &Manifest| {
        manifest
            .container
            .as_ref()
            .and_then(|container| container.memory_mib)
            .unwrap_or(0)
            .saturating_mul(1 << 20)
    };
    let given_up = job.old.as_ref().map_or(0, |old| limit(&old.manifest));
    let needed = limit(manifest).saturating_sub(given_up).saturating_add(policy.reserve_memory_bytes);
    (facts.free_memory_bytes < needed)
        .then_some(Blocker::LowMemory { free_bytes: facts.free_memory_bytes, needed_bytes: needed })
}
