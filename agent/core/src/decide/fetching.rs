//! Bringing a release to disk, and finding out whether this device can run it.

use std::collections::BTreeMap;

use takt_common::order::{Action as OrderAction, Order, Takeover};
use takt_common::release::{ContainerSet, HookPoint, Kind, Manifest, Strategy};
use takt_common::report::{Outcome, Timing};
use takt_common::{Name, Sha256Digest};

use super::{Decision, blockers, containers, end, hooks, pause_left};
use crate::action::{Action, WorkloadName};
use crate::facts::{Facts, Presence, Routed};
use crate::phase::{Bounds, Job, Phase, Role, Swap, Tries, Workload};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

pub(super) fn fetching(
    job: &Job,
    hook: Option<&str>,
    tries: &Tries,
    facts: &Facts,
    policy: &Policy,
) -> Decision {
    let order = &job.accepted.order;
    if facts.next.is_some() {
        return end(job, None, Outcome::Withdrawn);
    }
    let Some(member) = order.members.iter().find(|member| member.path.starts_with("releases/")) else {
        return failed(job, "the order names no release manifest");
    };
    let notified = matches!(order.action, OrderAction::TakeOver { how: Takeover::Notify, .. });
    let manifest = match (&facts.manifest, facts.staged.contains(&member.sha256)) {
        (Some(Ok(manifest)), true) if notified => Some(&without_containers(manifest)),
        (Some(Ok(manifest)), true) => Some(manifest),
        (Some(Err(why)), true) => return failed(job, why),
        _ => None,
    };
    if let Some(ended) = manifest.and_then(|manifest| unfit(job, manifest, &member.sha256, facts)) {
        return ended;
    }
    let held_up = if manifest.is_some_and(|manifest| facts.image(manifest) == Presence::Unknown) {
        Some(WaitingOn::Engine)
    } else {
        let blockers = blockers::before_fetch(order, manifest, facts, policy);
        (!blockers.is_empty()).then_some(WaitingOn::Blockers(blockers))
    };
    let publishes = manifest.and_then(Manifest::containers).is_some_and(ContainerSet::publishes);
    let ports = containers::restore_ports(publishes, facts);
    let without_ports = match &ports {
        Some(Decision::Wait(waiting)) => Some(waiting),
        _ => None,
    };
    if let Some(ended) = give_up_at_deadline(job, tries, held_up.as_ref().or(without_ports), facts) {
        return ended;
    }
    let ports = match ports {
        Some(Decision::Wait(waiting)) => Some(waiting),
        Some(route) => return route,
        None => None,
    };
    if let Some(waiting) = held_up {
        return Decision::Wait(waiting);
    }
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    let Some(manifest) = manifest else {
        return Decision::Do(Action::Fetch { sha256: member.sha256, length: member.length });
    };
    let name = workload_name(&manifest.release.name, job);
    if let Some(asked) = before_fetch(job, manifest, &name, hook, facts) {
        return asked;
    }
    if let Some(fetch) = missing(order, manifest, facts) {
        return fetch;
    }
    match ports {
        Some(waiting) => Decision::Wait(waiting),
        None => staged(job, manifest, name, &member.sha256, hook, facts),
    }
}

/// The hook `pre-fetch` comes before every other artifact but its own program.
fn before_fetch(
    job: &Job,
    manifest: &Manifest,
    name: &WorkloadName,
    hook: Option<&str>,
    facts: &Facts,
) -> Option<Decision> {
    let due = hooks::due_before_fetch(job, manifest, name, hook.is_some())?;
    let program = manifest.hooks.get(&HookPoint::PreFetch)?.program;
    let artifact = manifest.artifact(&program)?;
    Some(if facts.staged.contains(&program) {
        due
    } else {
        Decision::Do(Action::Fetch { sha256: program, length: artifact.length })
    })
}

/// The next artifact that is not on disk.
fn missing(order: &Order, manifest: &Manifest, facts: &Facts) -> Option<Decision> {
    let artifact = manifest.artifacts.iter().find(|artifact| {
        !facts.staged.contains(&artifact.sha256) && is_needed(&artifact.sha256, order, manifest, facts)
    })?;
    Some(Decision::Do(Action::Fetch { sha256: artifact.sha256, length: artifact.length }))
}

/// Whether an artifact has to be on disk. An image that the engine has is named by the digest of its content: its archive
/// is not needed again. A stand-in needs nothing but images and the programs of its own hooks.
pub(super) fn is_needed(sha256: &Sha256Digest, order: &Order, manifest: &Manifest, facts: &Facts) -> bool {
    let containers = manifest.containers().into_iter().flat_map(|set| &set.containers);
    let mut of = containers.filter(|container| container.archive == *sha256).peekable();
    if of.peek().is_some() {
        return of.any(|container| facts.images.get(&container.image_id) != Some(&Presence::Present));
    }
    let own = |point| manifest.hooks.get(&point).is_some_and(|hook| hook.program == *sha256);
    let own_hook = own(HookPoint::Takeover) || own(HookPoint::HandBack);
    !matches!(order.action, OrderAction::TakeOver { .. }) || own_hook
}

/// What a standby that is only notified has of a release: health checks and hooks.
fn without_containers(manifest: &Manifest) -> Manifest {
    let mut rest = manifest.clone();
    rest.steps.retain(|step| step.kind() != Kind::Container);
    rest
}

fn failed(job: &Job, cause: &str) -> Decision {
    end(job, None, Outcome::Failed { cause: cause.to_owned() })
}

/// What holds the fetch up now says more than what failed earlier.
fn give_up_at_deadline(
    job: &Job,
    tries: &Tries,
    held_up: Option<&WaitingOn>,
    facts: &Facts,
) -> Option<Decision> {
    let given_up = |cause: String| end(job, None, Outcome::GivenUp { cause });
    (facts.now >= job.accepted.order.deadline).then(|| match (held_up, &tries.why) {
        (Some(waiting), _) => given_up(format!("the deadline passed; waited on {waiting}")),
        (None, Some(why)) if tries.held => given_up(format!("the deadline passed; waited on {why}")),
        (None, Some(why)) => {
            failed(job, &format!("the deadline passed after {} failed tries: {why}", tries.count))
        }
        (None, None) => given_up("the deadline passed while fetching".to_owned()),
    })
}

/// Reasons why a release that is signed and ordered still does not fit here, and the case that it runs already.
fn unfit(job: &Job, manifest: &Manifest, sha256: &Sha256Digest, facts: &Facts) -> Option<Decision> {
    let order = &job.accepted.order;
    if let Err(why) = matches_order(manifest, order) {
        return Some(failed(job, &why));
    }
    if order.action != OrderAction::Install {
        let launched = !matches!(order.action, OrderAction::TakeOver { how: Takeover::Notify, .. });
        return (launched && manifest.containers().is_none())
            .then(|| failed(job, &format!("{} has no containers to stand in with", manifest.release)));
    }
    // Whether other steps are in force is only told by going through them, which changes nothing that is.
    let only_containers = manifest.steps.iter().all(|step| step.kind() == Kind::Container);
    let runs =
        |workload: &Workload| workload.manifest_sha256 == *sha256 && containers::all_run(workload, facts);
    if only_containers && facts.installed.iter().any(runs) {
        return Some(end(job, None, Outcome::Verified { strategy: None }));
    }
    let replaced = facts.installed.iter().find(|old| old.manifest.release.name == manifest.release.name);
    if let Some(old) = replaced.filter(|old| old.has_containers() && manifest.containers().is_none()) {
        let why = format!(
            "{} has no containers, but {} has, which it replaces",
            manifest.release, old.manifest.release
        );
        return Some(failed(job, &why));
    }
    if let Some(min) = manifest.requires.counter_min
        && replaced.is_none_or(|old| old.manifest.counter < min)
    {
        let runs = replaced.map_or_else(|| "none".to_owned(), |old| old.manifest.release.to_string());
        let why = format!(
            "{} needs a release of {} with counter {min} or higher here before, {runs} is installed",
            manifest.release, manifest.release.name
        );
        return Some(failed(job, &why));
    }
    // The device rules have said so of what was verified when the order came in; another may have been since.
    let newer = facts.installed.iter().map(|workload| &workload.manifest).find(|installed| {
        installed.release.name == manifest.release.name && installed.counter > manifest.counter
    });
    if let Some(newer) = newer.filter(|_| !order.policy.downgrade) {
        let why =
            format!("{} is older than {}, which has been verified here", manifest.release, newer.release);
        return Some(failed(job, &why));
    }
    match facts.failed_here.get(sha256) {
        Some(cause) if !order.policy.retry => {
            Some(failed(job, &format!("{} failed here before: {cause}", manifest.release)))
        }
        _ => None,
    }
}

/// Every file that the manifest wants must stand in the order: the device installs nothing that was not ordered.
fn matches_order(manifest: &Manifest, order: &Order) -> Result<(), String> {
    for member in &order.members {
        if member.release != manifest.release {
            return Err(format!("the order mixes {} with {}", member.release, manifest.release));
        }
        if member.hw != manifest.hardware {
            return Err(format!("the order and the manifest of {} differ in hardware", manifest.release));
        }
    }
    for artifact in &manifest.artifacts {
        let ordered = order
            .members
            .iter()
            .any(|member| member.sha256 == artifact.sha256 && member.length == artifact.length);
        if !ordered {
            return Err(format!("artifact {} of {} is not in the order", artifact.sha256, manifest.release));
        }
    }
    Ok(())
}

/// All members are on disk: fix what will be switched and how.
fn staged(
    job: &Job,
    manifest: &Manifest,
    name: WorkloadName,
    sha256: &Sha256Digest,
    hook: Option<&str>,
    facts: &Facts,
) -> Decision {
    let (strategy, warnings) = match manifest.containers().map(|set| choose(set, job, facts)) {
        None => (None, Vec::new()),
        Some(Ok((strategy, warnings))) => (Some(strategy), warnings),
        Some(Err(why)) => return failed(job, &why),
    };
    let new = Workload { manifest: manifest.clone(), manifest_sha256: *sha256, name };
    let swap = Swap {
        new,
        strategy,
        checkpoint: None,
        left_over: None,
        memory: None,
        warnings,
        began: None,
        reboots: Vec::new(),
        up: None,
        moved: None,
        stuck: BTreeMap::new(),
        hooks: hook.map(|said| (HookPoint::PreFetch, said.to_owned())).into_iter().collect(),
        baseline: None,
        timing: Timing::default(),
        bounds: Bounds::default(),
    };
    Decision::Remember(Phase::Staged {
        job: Box::new(job.clone()),
        swap: Box::new(swap),
        tries: Tries::default(),
    })
}

/// The first allowed strategy that this device is able to do, and warnings about those it is not.
fn choose(set: &ContainerSet, job: &Job, facts: &Facts) -> Result<(Strategy, Vec<String>), String> {
    let Some(old) = job.old.as_ref().filter(|old| old.has_containers()) else {
        return Ok((Strategy::Replace, Vec::new()));
    };
    let mut warnings = Vec::new();
    for strategy in &set.strategies {
        let able = match strategy {
            Strategy::Replace => Ok(()),
            Strategy::Preserve => facts.checkpoint_ability.clone(),
            Strategy::Handover => handover(old, facts),
        };
        match able {
            Ok(()) => return Ok((*strategy, warnings)),
            Err(why) => warnings.push(format!("strategy {strategy} is not possible here: {why}")),
        }
    }
    Err(format!("no strategy that the release allows is possible here: {}", warnings.join("; ")))
}

/// Ports can only be moved away from a release whose ports the agent publishes: otherwise it holds them itself.
fn handover(old: &Workload, facts: &Facts) -> Result<(), String> {
    facts.handover_ability.clone()?;
    let publishes = old.manifest.containers().is_some_and(ContainerSet::publishes);
    match facts.routed(old) {
        _ if !publishes => Err("the previous release holds its ports itself".to_owned()),
        Routed::Yes => Ok(()),
        Routed::No => Err("the published ports do not lead to the previous release".to_owned()),
        Routed::Unknown(why) => Err(why),
    }
}

fn workload_name(component: &Name, job: &Job) -> WorkloadName {
    let order = &job.accepted.order;
    let role = if job.role() == Role::StandIn { "-standin" } else { "" };
    let device = order.device.to_string();
    WorkloadName(format!("takt-{}-{component}{role}-g{}-{}", &device[..12], order.epoch, order.generation))
}
