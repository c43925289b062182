//! Hooks of the release in hand: when they are due, and what their end means.

use std::collections::BTreeMap;

use takt_common::Name;
use takt_common::order::Action as OrderAction;
use takt_common::release::{Hook, HookPoint, Manifest};

use super::Decision;
use crate::action::{Action, WorkloadName};
use crate::phase::{Job, Phase, StandIn, Swap, Tries};

/// The hook at `point` of the release that comes, if it has one that has not run to its end.
pub(super) fn due(point: HookPoint, job: &Job, swap: &Swap) -> Option<Decision> {
    run(point, job, &swap.new.manifest, &swap.new.name, swap.hooks.contains_key(&point))
}

/// The same before there is a switch in hand.
pub(super) fn due_before_fetch(
    job: &Job,
    manifest: &Manifest,
    workload: &WorkloadName,
    done: bool,
) -> Option<Decision> {
    run(HookPoint::PreFetch, job, manifest, workload, done)
}

fn run(
    point: HookPoint,
    job: &Job,
    manifest: &Manifest,
    workload: &WorkloadName,
    done: bool,
) -> Option<Decision> {
    // A stand-in runs what the device has verified already: only taking over is new to it.
    let belongs = match job.accepted.order.action {
        OrderAction::Install => !matches!(point, HookPoint::Takeover | HookPoint::HandBack),
        OrderAction::TakeOver { .. } => matches!(point, HookPoint::Takeover | HookPoint::HandBack),
        OrderAction::Checkpoint { .. } | OrderAction::HandBack { .. } | OrderAction::Withdraw => false,
    };
    let state_of_old = matches!(point, HookPoint::ExportState | HookPoint::ImportState);
    if done || !belongs || (state_of_old && job.old.is_none()) {
        return None;
    }
    let mut hook = manifest.hooks.get(&point)?.clone();
    if let OrderAction::TakeOver { name, lease, .. } = &job.accepted.order.action {
        fill_in(&mut hook, name, *lease);
    }
    Some(Decision::Do(Action::Hook {
        point,
        hook: Box::new(hook),
        workload: workload.clone(),
        old: job.old.as_ref().map(|old| old.name.clone()),
    }))
}

/// The hook with which a standby ends its takeover.
pub(super) fn hand_back(stand_in: &StandIn) -> Option<Action> {
    let mut hook = stand_in.workload.manifest.hooks.get(&HookPoint::HandBack)?.clone();
    fill_in(&mut hook, &stand_in.name, stand_in.lease);
    let workload = stand_in.workload.name.clone();
    Some(Action::Hook { point: HookPoint::HandBack, hook: Box::new(hook), workload, old: None })
}

/// In the arguments, `{device}` stands for the device that is served for, `{lease}` for the fencing token of the takeover.
fn fill_in(hook: &mut Hook, device: &Name, lease: u64) {
    for arg in &mut hook.args {
        *arg = arg.replace("{device}", device.as_str()).replace("{lease}", &lease.to_string());
    }
}

/// The phase in which it is noted that the hook has run to its end, and what it wrote.
pub(super) fn noted(phase: &Phase, point: HookPoint, said: &str) -> Option<Phase> {
    let mut phase = phase.clone();
    let note = |hooks: &mut BTreeMap<HookPoint, String>| {
        hooks.insert(point, said.to_owned());
    };
    match &mut phase {
        Phase::Fetching { hook, tries, .. } => {
            *hook = Some(said.to_owned());
            *tries = Tries::default();
        }
        Phase::Staged { swap, tries, .. }
        | Phase::Switching { swap, tries, .. }
        | Phase::RollingBack { swap, tries, .. } => {
            note(&mut swap.hooks);
            *tries = Tries::default();
        }
        Phase::Probation { swap, .. } => note(&mut swap.hooks),
        Phase::Idle
        | Phase::Checkpointing { .. }
        | Phase::Confirming { .. }
        | Phase::GivingMemory { .. }
        | Phase::HandingBack { .. }
        | Phase::Ended { .. } => return None,
    }
    Some(phase)
}
