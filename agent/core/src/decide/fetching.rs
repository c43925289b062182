//! Bringing a release to disk, and finding out whether this device can run it.

use takt_common::order::{Action as OrderAction, Order};
use takt_common::release::{Container, Manifest, Strategy};
use takt_common::report::{Outcome, Timing};
use takt_common::{Name, Sha256Digest};

use super::{Decision, blockers, end, kind_text, pause_left};
use crate::action::{Action, ContainerName};
use crate::facts::{ContainerState, Facts, Presence};
use crate::phase::{Job, Phase, Role, Swap, Tries, Workload};
use crate::policy::Policy;
use crate::waiting::WaitingOn;

pub(super) fn fetching(job: &Job, tries: &Tries, facts: &Facts, policy: &Policy) -> Decision {
    let order = &job.accepted.order;
    if facts.next.is_some() {
        return end(job, None, Outcome::Withdrawn);
    }
    let Some(member) = order.members.iter().find(|member| member.path.starts_with("releases/")) else {
        return failed(job, "the order names no release manifest");
    };
    let manifest = match (&facts.manifest, facts.staged.contains(&member.sha256)) {
        (Some(Ok(manifest)), true) => Some(manifest),
        (Some(Err(why)), true) => return failed(job, why),
        _ => None,
    };
    if let Some(ended) = manifest.and_then(|manifest| unfit(job, manifest, &member.sha256, facts)) {
        return ended;
    }
    let held_up = if manifest.is_some() && facts.image == Presence::Unknown {
        Some(WaitingOn::Engine)
    } else {
        blockers::low_disk(order, manifest, facts, policy).map(|blocker| WaitingOn::Blockers(vec![blocker]))
    };
    if let Some(ended) = give_up_at_deadline(job, tries, held_up.as_ref(), facts) {
        return ended;
    }
    if let Some(waiting) = held_up {
        return Decision::Wait(waiting);
    }
    if let Some(pause) = pause_left(tries, facts) {
        return pause;
    }
    let Some(manifest) = manifest else {
        return Decision::Do(Action::Fetch { sha256: member.sha256, length: member.length });
    };
    // An image that the engine has is named by the digest of its content: its archive is not needed again.
    let needed = |sha256: &Sha256Digest| {
        let is_archive = manifest.container.as_ref().is_some_and(|container| container.archive == *sha256);
        !(is_archive && facts.image == Presence::Present)
    };
    let missing = manifest
        .artifacts
        .iter()
        .find(|artifact| !facts.staged.contains(&artifact.sha256) && needed(&artifact.sha256));
    match (missing, &manifest.container) {
        (Some(artifact), _) => {
            Decision::Do(Action::Fetch { sha256: artifact.sha256, length: artifact.length })
        }
        (None, Some(container)) => staged(job, manifest, container, &member.sha256, facts),
        (None, None) => failed(job, "the release has no container"),
    }
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
    if manifest.container.is_none() {
        let why = format!("this agent cannot install releases of kind {}", kind_text(manifest.kind));
        return Some(failed(job, &why));
    }
    if order.action != OrderAction::Install {
        return None;
    }
    let runs = facts.installed.iter().any(|(workload, state)| {
        workload.manifest_sha256 == *sha256 && state.container == ContainerState::Running
    });
    if runs {
        return Some(end(job, None, Outcome::Verified { strategy: None }));
    }
    // The device rules have said so of what was verified when the order came in; another may have been since.
    let newer = facts.installed.iter().map(|(workload, _)| &workload.manifest).find(|installed| {
        installed.release.name == manifest.release.name && installed.counter > manifest.counter
    });
    if let Some(newer) = newer {
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
    container: &Container,
    sha256: &Sha256Digest,
    facts: &Facts,
) -> Decision {
    let (strategy, warnings) = match choose(container, job, facts) {
        Ok(chosen) => chosen,
        Err(why) => return failed(job, &why),
    };
    let new = Workload {
        manifest: manifest.clone(),
        manifest_sha256: *sha256,
        container: container_name(&manifest.release.name, job),
    };
    let swap = Swap {
        new,
        strategy,
        checkpoint: None,
        left_over: None,
        warnings,
        began: None,
        reboots: Vec::new(),
        timing: Timing::default(),
    };
    Decision::Remember(Phase::Staged {
        job: Box::new(job.clone()),
        swap: Box::new(swap),
        tries: Tries::default(),
    })
}

/// The first allowed strategy that this device is able to do, and warnings about those it is not.
fn choose(container: &Container, job: &Job, facts: &Facts) -> Result<(Strategy, Vec<String>), String> {
    if job.old.is_none() {
        return Ok((Strategy::Replace, Vec::new()));
    }
    let mut warnings = Vec::new();
    for strategy in &container.strategies {
        match (strategy, &facts.checkpoint_ability) {
            (Strategy::Replace, _) | (Strategy::Preserve, Ok(())) => return Ok((*strategy, warnings)),
            (Strategy::Preserve, Err(why)) => {
                warnings.push(format!("strategy preserve is not possible here: {why}"));
            }
        }
    }
    Err(format!("no strategy that the release allows is possible here: {}", warnings.join("; ")))
}

fn container_name(component: &Name, job: &Job) -> ContainerName {
    let order = &job.accepted.order;
    let role = if job.role() == Role::StandIn { "-standin" } else { "" };
    let device = order.device.to_string();
    ContainerName(format!("takt-{}-{component}{role}-g{}-{}", &device[..12], order.epoch, order.generation))
}
