//! The promises, held against what really runs.

use takt_agent_core::{Action, ContainerState, Job, Phase, Record, Role};
use takt_common::api::CampaignState;
use takt_common::order::{Action as OrderAction, Position};
use takt_common::report::{Memory, Outcome};

use crate::device::Device;
use crate::plan::Criu;
use crate::releases::{NEW, Nature, release_of_manifest};
use crate::world::World;

/// What must hold on a device at every step: `one-running` and `way-back`.
pub(crate) fn check_device(device: &Device) {
    let (own, others) = (device.machine.running(Role::Own), device.machine.running(Role::StandIn));
    assert!(own.len() <= 1, "one-running: {own:?} on {}", device.id);
    assert!(others.len() <= 1, "one-running: {others:?} on {}", device.id);
    if let Some(verified) = device.installed() {
        let state = device.machine.state(&verified.name.container(None));
        assert_ne!(state, ContainerState::Absent, "way-back: {} lost {}", device.id, verified.name);
        let image = release_of_manifest(&verified.manifest_sha256).image;
        assert!(device.machine.images.contains(&image), "way-back: {} lost its image", device.id);
    }
}

/// An order's own workload is about to be stopped for a new release: `standby-first` and `requires`.
pub(crate) fn check_touch(world: &mut World, index: usize, action: &Action) {
    let device = &world.devices[index];
    let (Phase::Checkpointing { job, .. } | Phase::Switching { job, .. }) = &device.record.phase else {
        return;
    };
    let (Action::Stop { name, .. } | Action::Checkpoint { name, .. } | Action::Start { name }) = action
    else {
        return;
    };
    if job.accepted.order.action != OrderAction::Install {
        return;
    }
    let targets = &world.targets;
    for required in world.coordinator.graph.requirements(device.id).intersection(targets) {
        let required = world.device(*required);
        let runs = required.installed().map(|workload| workload.manifest_sha256);
        assert_eq!(runs, Some(NEW.digest), "requires: {} before {}", device.id, required.id);
        world.met.requirements += 1;
    }
    let standbys = world.coordinator.drm.standbys_for(device.id);
    if standbys.is_empty() || job.old.as_ref().is_none_or(|old| old.name.container(None) != *name) {
        return;
    }
    let serving = standbys.iter().map(|standby| world.device(*standby)).find(|standby| {
        standby.record.stand_in.as_ref().is_some_and(|stand_in| stand_in.device == device.id)
    });
    let Some(standby) = serving else { panic!("standby-first: nobody serves for {}: {action}", device.id) };
    let stand_in = standby.record.stand_in.as_ref().map(|stand_in| stand_in.workload.name.container(None));
    let sandbox = stand_in.and_then(|name| standby.machine.boxes.get(&name));
    let sandbox = sandbox.expect("standby-first: the stand-in's container is there");
    assert!(sandbox.ever_well, "standby-first: the stand-in for {} was never well", device.id);
    // Only a loss of power of the standby itself, which nobody can forbid, may have ended it since.
    let runs = sandbox.state == ContainerState::Running;
    assert!(runs || !standby.cuts.is_empty(), "standby-first: the stand-in for {} does not run", device.id);
    world.met.relieved += usize::from(runs);
}

/// An order ends: what the report will say is so.
pub(crate) fn check_outcome(device: &Device, record: &Record, job: &Job, outcome: &Outcome) {
    let machine = &device.machine;
    let position = job.accepted.order.position();
    let what = format!("{} ends order {position} with: {outcome}", device.id);
    let own = machine.running(Role::Own);
    let others = machine.running(Role::StandIn);
    let (memory_before, cuts_before) = device.before;
    let uncut = device.cuts.len() == cuts_before as usize;
    let old_broken = device.temper.old_breaks && !device.cuts.is_empty();
    let old_runs = || {
        job.old.as_ref().map(|old| old.name.container(None)).as_ref() == own.first().map(|(name, _)| *name)
    };
    match (&job.accepted.order.action, outcome) {
        (OrderAction::Install, Outcome::Verified { .. }) => {
            let [(name, sandbox)] = own.as_slice() else { panic!("{what}, but {own:?}") };
            assert!(sandbox.image == NEW.image && sandbox.ever_well, "{what}, but {own:?}");
            let installed = record.installed.values().next().map(|workload| workload.name.container(None));
            assert_eq!(installed.as_ref(), Some(*name), "{what}");
        }
        (OrderAction::Install, Outcome::RolledBack { memory, .. }) => {
            assert!(job.old.is_some() && old_runs(), "{what}, but {own:?}");
            let sandbox = own[0].1;
            match memory {
                Memory::Kept => assert_eq!(Some(sandbox.memory), sandbox.checkpoint, "{what}"),
                Memory::Untouched if uncut => assert_eq!(Some(sandbox.memory), memory_before, "{what}"),
                Memory::Untouched | Memory::Lost => {}
            }
        }
        (OrderAction::Install, Outcome::Failed { .. } | Outcome::GivenUp { .. } | Outcome::Withdrawn) => {
            assert!(old_runs() || old_broken, "{what}, but {own:?}");
            if uncut {
                assert_eq!(own.first().map(|(_, sandbox)| sandbox.memory), memory_before, "{what}");
            }
        }
        (OrderAction::Install, Outcome::Stranded { .. }) => assert!(own.is_empty(), "{what}, but {own:?}"),
        (OrderAction::TakeOver { device: of, .. }, Outcome::Serving) => {
            let [(_, sandbox)] = others.as_slice() else { panic!("{what}, but {others:?}") };
            assert!(sandbox.ever_well, "{what}");
            assert_eq!(record.stand_in.as_ref().map(|stand_in| stand_in.device), Some(*of), "{what}");
        }
        (
            OrderAction::TakeOver { .. },
            Outcome::Failed { .. } | Outcome::GivenUp { .. } | Outcome::Withdrawn,
        ) => assert!(others.is_empty() || record.stand_in.is_some(), "{what}, but {others:?}"),
        (OrderAction::HandBack { .. }, Outcome::HandedBack) => {
            assert!(others.is_empty() || record.stand_in.is_some(), "{what}, but {others:?}");
        }
        (
            OrderAction::Checkpoint { .. },
            Outcome::Checkpointed | Outcome::Failed { .. } | Outcome::GivenUp { .. } | Outcome::Withdrawn,
        ) => {
            if uncut {
                assert_eq!(own.first().map(|(_, sandbox)| sandbox.memory), memory_before, "{what}");
            }
        }
        (OrderAction::Withdraw, Outcome::Withdrawn) => {}
        (action, _) => panic!("{what}, which is no end of: {action}"),
    }
}

/// What must be true once the network has healed and all is at rest.
pub(crate) fn check_end(world: &World) {
    let view = world.coordinator.view();
    assert!(!view.reason.is_empty() && view.ended.is_some(), "{view:#?}");
    match view.state {
        CampaignState::Finished => {
            for target in &world.targets {
                let runs = world.device(*target).installed().map(|workload| workload.manifest_sha256);
                assert_eq!(runs, Some(NEW.digest), "finished, but {target} does not run the release");
            }
        }
        CampaignState::Aborted => {
            let named = view.devices.iter().any(|device| view.reason.contains(device.name.as_str()));
            assert!(named, "the reason names no device: {}", view.reason);
        }
        other => panic!("the campaign is {other:?}: {}", view.reason),
    }
    for device in &world.devices {
        check_told(world, device);
        check_at_rest(world, device);
    }
    if world.plan.trouble.is_none() {
        world.devices.iter().for_each(check_deserved);
    }
}

/// `told`: each accepted order has ended exactly once, and the coordinator has heard of it, as it was.
fn check_told(world: &World, device: &Device) {
    for position in &device.accepted {
        let is_of = |of: &Position| of == position;
        let ended: Vec<&Outcome> =
            device.ended.iter().filter(|(of, _)| is_of(of)).map(|(_, outcome)| outcome).collect();
        let told = world.coordinator.told.iter().filter(|(id, of, _)| *id == device.id && is_of(of));
        let told: Vec<&Outcome> = told.map(|(.., outcome)| outcome).collect();
        assert_eq!(ended.len(), 1, "told: order {position} of {} ended {ended:?}", device.id);
        assert_eq!(told, ended, "told: order {position} of {}", device.id);
    }
    assert_eq!(device.ended.len(), device.accepted.len(), "told: {:?}", device.ended);
    let known = &world.coordinator.fleet.devices[&device.id];
    assert_eq!(known.order, None, "told: {} has an order left", device.id);
    assert_eq!(known.installed, device.record.installed_list(), "told: what {} runs", device.id);
    let stands_in = device.record.stand_in.as_ref().map(|stand_in| stand_in.device);
    assert_eq!(known.standing_in_for, stands_in, "told: for whom {} stands in", device.id);
}

/// Exactly what the device says it runs does run, is well, and comes back after a boot; nothing is left over.
fn check_at_rest(world: &World, device: &Device) {
    let own = device.machine.running(Role::Own);
    let names: Vec<_> = own.iter().map(|(name, _)| (*name).clone()).collect();
    let installed: Vec<_> =
        device.record.installed.values().map(|workload| workload.name.container(None)).collect();
    let stranded = is_stranded(device);
    let old_broken = device.temper.old_breaks && (stranded || !device.cuts.is_empty());
    if !old_broken {
        assert!(!stranded, "{} is stranded, and its old release starts: {:?}", device.id, device.ended);
        assert_eq!(names, installed, "{} says that it runs {:?}", device.id, device.record.installed_list());
        assert!(own.iter().all(|(_, sandbox)| sandbox.kept && sandbox.ever_well), "{own:?}");
        let verified = device.ended.iter().any(|(_, outcome)| matches!(outcome, Outcome::Verified { .. }));
        let is_new = device.installed().is_some_and(|workload| workload.manifest_sha256 == NEW.digest);
        assert_eq!(is_new, verified || device.temper.runs == 2, "{}: {:?}", device.id, device.ended);
        let left = device.machine.boxes.values().filter(|sandbox| sandbox.role == Role::Own).count();
        assert_eq!(left, installed.len(), "{} keeps containers that it does not need", device.id);
        let checkpoint = own.iter().any(|(_, sandbox)| sandbox.checkpoint.is_some());
        assert!(!checkpoint, "{} keeps a checkpoint, which holds keys", device.id);
    }
    let others: Vec<_> =
        device.machine.running(Role::StandIn).into_iter().map(|(name, _)| name.clone()).collect();
    let stand_in: Vec<_> =
        device.record.stand_in.iter().map(|stand_in| stand_in.workload.name.container(None)).collect();
    assert_eq!(others, stand_in, "{} stands in for what it says", device.id);
    if let Some(stand_in) = &device.record.stand_in {
        assert!(is_stranded(world.device(stand_in.device)), "{} was never relieved", device.id);
    }
}

fn is_stranded(device: &Device) -> bool {
    device.ended.iter().any(|(_, outcome)| matches!(outcome, Outcome::Stranded { .. }))
}

/// Where nothing disturbs it, an install ends as its release deserves.
fn check_deserved(device: &Device) {
    if device.was_silent {
        return;
    }
    let had_old = device.temper.runs == 1;
    for (position, outcome) in &device.ended {
        let stranded = device.temper.old_breaks && device.temper.criu != Criu::Works;
        let deserved = match (outcome, device.temper.nature) {
            (Outcome::Serving | Outcome::HandedBack | Outcome::Withdrawn, _) => true,
            (Outcome::Checkpointed, _) => matches!(device.temper.criu, Criu::Works | Criu::RefusesToRestore),
            (Outcome::Verified { .. }, nature) => nature == Nature::Good,
            (Outcome::RolledBack { memory, .. }, nature) => {
                let kept = (*memory == Memory::Kept) == (device.temper.criu == Criu::Works);
                had_old && kept && !matches!(nature, Nature::Good | Nature::WillNotFetch)
            }
            (Outcome::Stranded { .. }, nature) => had_old && stranded && nature != Nature::Good,
            (Outcome::Failed { .. }, nature) => {
                nature == Nature::WillNotFetch
                    || device.temper.stand_in_sick
                    || !had_old
                    || device.temper.criu != Criu::Works
            }
            (Outcome::GivenUp { .. }, _) => false,
        };
        assert!(deserved, "{} ends {position} with {outcome}: {:?}", device.id, device.temper);
    }
}
