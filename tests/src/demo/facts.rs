//! The claims of the demo, each checked against what was seen.

use takt_common::api::{CampaignState, CampaignView, DeviceStep};
use takt_common::order::Mode;
use takt_common::release::Strategy;
use takt_common::report::Outcome;

use super::came_back_with_memory;
use super::scene::{CAMERAS, GATEWAY, NAMES, Scene};
use super::story::{Acts, BAD, FIRST, GOOD};
use crate::fleet::{Gap, HttpWatcher, ReleaseSpec};

/// A claim, and what is missing to it.
struct Fact {
    claim: String,
    missing: Option<String>,
}

/// All claims.
pub(super) struct Facts(Vec<Fact>);

impl Facts {
    /// Checks every claim.
    pub(super) fn of(scene: &Scene, acts: &Acts) -> Self {
        let mut facts = Self(Vec::new());
        facts.check(format!("all three devices run and verified {FIRST}"), verified(&acts.first.looks, None));
        facts.check(
            format!(
                "{GOOD} could neither be published nor ordered while one of two publishers had signed it"
            ),
            refused_half_signed(acts),
        );
        let strategy = Some(Strategy::Preserve);
        facts.check(
            format!("all three devices run and verified {GOOD}, switched with `preserve`"),
            verified(&acts.good.looks, strategy),
        );
        facts.check(format!("the {GATEWAY} was verified before a camera began"), gateway_first(scene, acts));
        for camera in CAMERAS {
            facts.check(format!("its standby served while {camera} switched"), stood_in(scene, acts, camera));
        }
        facts.check(
            "each device began in its slot, which was given a reason".to_owned(),
            began_in_slots(acts),
        );
        facts.check("no standby serves any more".to_owned(), relieved(scene));
        for camera in CAMERAS {
            facts.check(format!("`takt why` told why {camera} waited"), told_why(acts, camera));
        }
        facts.check(
            format!("the {GATEWAY} went to {BAD} and back by itself, with its memory"),
            rolled_back(acts),
        );
        facts.check("its counter was not reset, as its client saw it".to_owned(), counter_kept(scene, acts));
        facts.check("the brake stopped the campaign".to_owned(), braked(&acts.bad.looks));
        facts.check(format!("the cameras were not touched and still run {GOOD}"), untouched(scene, acts));
        facts.check("`takt why` tells why the cameras stay behind".to_owned(), told_brake(acts));
        facts
    }

    fn check(&mut self, claim: String, seen: Result<(), String>) {
        self.0.push(Fact { claim, missing: seen.err() });
    }

    /// Whether nothing is missing.
    pub(super) fn all_seen(&self) -> bool {
        self.0.iter().all(|fact| fact.missing.is_none())
    }

    /// One line for each claim.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |fact: &Fact| match &fact.missing {
            None => format!("seen     {}", fact.claim),
            Some(missing) => format!("MISSING  {}: {missing}", fact.claim),
        };
        self.0.iter().map(line).collect()
    }
}

fn ensure(holds: bool, missing: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(missing()) }
}

fn step<'a>(view: &'a CampaignView, name: &str) -> Option<&'a DeviceStep> {
    view.devices.iter().find(|device| device.name.as_str() == name).map(|device| &device.step)
}

fn is_verified(step: Option<&DeviceStep>) -> bool {
    matches!(step, Some(DeviceStep::Done { outcome: Outcome::Verified { .. }, .. }))
}

/// The last look shows a finished campaign with all devices verified, by `strategy` if one is named.
fn verified(looks: &[CampaignView], strategy: Option<Strategy>) -> Result<(), String> {
    let end = looks.last().ok_or("the campaign was not seen")?;
    ensure(end.state == CampaignState::Finished, || format!("the campaign is not finished: {}", end.reason))?;
    ensure(end.devices.len() == NAMES.len(), || format!("it had {} devices", end.devices.len()))?;
    for device in &end.devices {
        let DeviceStep::Done { outcome: Outcome::Verified { strategy: by }, .. } = &device.step else {
            return Err(format!("{} is not verified", device.name));
        };
        ensure(strategy.is_none() || *by == strategy, || {
            format!(
                "{} was switched with {}",
                device.name,
                by.map_or("nothing".to_owned(), |by| by.to_string())
            )
        })?;
    }
    Ok(())
}

fn refused_half_signed(acts: &Acts) -> Result<(), String> {
    for (said, part) in acts.half_signed.iter().zip(["1 of the 2 signatures", GOOD]) {
        ensure(said.code != 0 && said.err.contains(part), || {
            format!("it ended with {} and said: {}{}", said.code, said.out, said.err)
        })?;
    }
    Ok(())
}

/// The one time between two versions, as the device's own client saw it.
pub(super) fn switch_of(watcher: &HttpWatcher, from: &str, to: &str) -> Option<Gap> {
    watcher.gaps().into_iter().find(|gap| gap.before.version == from && gap.after.version == to)
}

fn gateway_first(scene: &Scene, acts: &Acts) -> Result<(), String> {
    for look in &acts.good.looks {
        for camera in CAMERAS {
            let begun = !matches!(step(look, camera), Some(DeviceStep::Pending));
            ensure(!begun || is_verified(step(look, GATEWAY)), || {
                format!("{camera} began while the {GATEWAY} was not verified")
            })?;
        }
    }
    let gateway = switch_of(&scene.of(GATEWAY).1.own, FIRST, GOOD)
        .ok_or(format!("no client saw the {GATEWAY} switch"))?;
    let probation = std::time::Duration::from_secs(
        ReleaseSpec::new(GOOD, takt_workload::Nature::Good).probation_secs.into(),
    );
    for camera in CAMERAS {
        let own = switch_of(&scene.of(camera).1.own, FIRST, GOOD)
            .ok_or_else(|| format!("no client saw {camera} switch"))?;
        ensure(own.before.to >= gateway.after.from + probation, || {
            format!("{camera} was switched before the {GATEWAY} had served for its probation")
        })?;
    }
    Ok(())
}

fn began_in_slots(acts: &Acts) -> Result<(), String> {
    for name in NAMES {
        let begun = acts.good.looks.iter().find_map(|look| {
            let device = look.devices.iter().find(|device| device.name.as_str() == name)?;
            match &device.step {
                DeviceStep::TakingOver { since, .. } | DeviceStep::Upgrading { since, .. } => {
                    Some((device.slot.clone(), *since))
                }
                _ => None,
            }
        });
        let (slot, since) = begun.ok_or_else(|| format!("{name} was not seen to begin"))?;
        let slot = slot.ok_or_else(|| format!("{name} had no slot"))?;
        ensure((slot.start..slot.end).contains(&since), || {
            format!("{name} began at {since}, its slot is from {} to {}", slot.start, slot.end)
        })?;
        ensure(slot.reason.contains("load"), || format!("the slot of {name} says {}", slot.reason))?;
    }
    Ok(())
}

/// The standby that the campaign chose for the camera.
pub(super) fn standby_of<'a>(scene: &'a Scene, acts: &Acts, camera: &str) -> Option<&'a str> {
    acts.good.looks.iter().find_map(|look| match step(look, camera) {
        Some(DeviceStep::Upgrading { mode: Mode::Rolling { standby }, .. }) => Some(scene.name_of(*standby)),
        _ => None,
    })
}

fn stood_in(scene: &Scene, acts: &Acts, camera: &str) -> Result<(), String> {
    let standby = standby_of(scene, acts, camera).ok_or("it was never upgraded rolling, with a standby")?;
    ensure(standby != camera && CAMERAS.contains(&standby), || format!("{standby} was its standby"))?;
    let gap = switch_of(&scene.of(camera).1.own, FIRST, GOOD).ok_or("no client saw it switch")?;
    let spells = scene.of(standby).1.stand_in.spells();
    let covers = spells
        .iter()
        .any(|spell| spell.version == FIRST && spell.from <= gap.before.to && spell.to >= gap.after.from);
    ensure(covers, || {
        format!(
            "{standby} did not answer with {FIRST}, which {camera} ran, without a break from {:.3} s to {:.3} s",
            gap.before.to.as_secs_f64(),
            gap.after.from.as_secs_f64()
        )
    })
}

fn relieved(scene: &Scene) -> Result<(), String> {
    for camera in CAMERAS {
        ensure(scene.of(camera).1.stand_in.current().is_none(), || {
            format!("{camera} still answers for the other one")
        })?;
        let view = scene.fleet.view(camera).map_err(|error| error.to_string())?;
        ensure(view.standing_in_for.is_none(), || format!("{camera} reports that it stands in"))?;
    }
    Ok(())
}

fn told_why(acts: &Acts, camera: &str) -> Result<(), String> {
    let samples = acts.good.samples.iter().filter(|sample| sample.why.device.as_str() == camera);
    let mut reasons = samples.flat_map(|sample| &sample.why.reasons);
    ensure(reasons.any(|reason| reason.contains(GATEWAY) && reason.contains("requires")), || {
        format!("no answer said that it waits for the {GATEWAY}")
    })
}

fn rolled_back(acts: &Acts) -> Result<(), String> {
    match step(acts.bad.end(), GATEWAY) {
        Some(DeviceStep::Done { outcome, .. }) if came_back_with_memory(outcome) => Ok(()),
        Some(DeviceStep::Done { outcome, .. }) => Err(format!("it ended: {outcome}")),
        _ => Err("it has not ended".to_owned()),
    }
}

fn counter_kept(scene: &Scene, acts: &Acts) -> Result<(), String> {
    let own = &scene.of(GATEWAY).1.own;
    let there = switch_of(own, GOOD, BAD).ok_or(format!("no client saw {BAD} serve"))?;
    let back = switch_of(own, BAD, GOOD).ok_or(format!("no client saw {GOOD} return"))?;
    let (before, after) = (there.before.counter_last, back.after.counter_first);
    ensure(before == acts.counter_before && before > 0, || {
        format!("it showed {before} before the switch, {} were counted", acts.counter_before)
    })?;
    ensure(after == before, || format!("it showed {before} before and {after} after"))
}

fn braked(looks: &[CampaignView]) -> Result<(), String> {
    let end = looks.last().ok_or("the campaign was not seen")?;
    ensure(end.state == CampaignState::Aborted, || format!("it is not aborted: {}", end.reason))?;
    ensure(end.reason.contains(GATEWAY), || format!("its reason does not name the {GATEWAY}: {}", end.reason))
}

fn untouched(scene: &Scene, acts: &Acts) -> Result<(), String> {
    let all_pending = |camera: &str| {
        acts.bad.looks.iter().all(|look| matches!(step(look, camera), Some(DeviceStep::Pending)))
    };
    for camera in CAMERAS {
        ensure(all_pending(camera), || format!("the campaign began with {camera}"))?;
        let clients = scene.of(camera).1;
        let spell = clients.own.current().ok_or(format!("{camera} does not answer"))?;
        ensure(spell.version == GOOD, || format!("{camera} runs {}", spell.version))?;
        ensure(spell.from <= acts.bad.from, || format!("{camera} was away during the bad upgrade"))?;
        let stood_in = clients.stand_in.spells().iter().any(|spell| spell.to > acts.bad.from);
        ensure(!stood_in, || format!("{camera} stood in during the bad upgrade"))?;
        let view = scene.fleet.view(camera).map_err(|error| error.to_string())?;
        let reported = view.installed.iter().any(|one| one.release.version.as_str() == GOOD);
        ensure(reported, || format!("{camera} does not report {GOOD}"))?;
    }
    ensure(acts.containers_before == acts.containers_after, || {
        format!("their containers were {:?} and are {:?}", acts.containers_before, acts.containers_after)
    })
}

fn told_brake(acts: &Acts) -> Result<(), String> {
    for why in &acts.whys_after {
        let told = why.waiting && why.reasons.iter().any(|reason| reason.contains("aborted"));
        ensure(told, || format!("of {} it says {:?}", why.device, why.reasons))?;
    }
    Ok(())
}
