//! Every loop has an end, and every wait: whatever a release, a device or somebody else does.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation)] // In tests.

mod cases;
mod world;

use cases::{Case, allowing, at_rest, between_files, done, publishing, remembered, stand_in, waited, workload};
use takt_agent_core::facts::Routed;
use takt_agent_core::{
    Action, ContainerState, Decision, Nature as Failure, Phase, StepState, WaitingOn, Workload,
};
use takt_common::release::{Kind, Strategy};
use takt_common::report::Outcome;
use world::{Criu, Effect, Nature, Part, Releases, World};

const REPLACED: Part = Part::Containers(Strategy::Replace);

fn ended(parts: &[Part], nature: Nature) -> World {
    let mut world = World::running(&Releases::of(parts), nature, Criu::Works);
    world.install_new();
    world.run(|_| None);
    world.check_end(&format!("{parts:?}, {nature:?}"));
    world
}

fn restarts(world: &World) -> usize {
    let restarts = [Effect::Rebooted, Effect::AgentRestarted];
    world.effects.iter().filter(|effect| restarts.contains(effect)).count()
}

#[test]
fn bounded_a_step_that_no_restart_brings_in_force_is_turned_back() {
    for (part, kind) in [(Part::Agent, Kind::Package), (Part::OsImage, Kind::OsImage)] {
        let world = ended(&[part], Nature::StaysOut(kind));
        assert!(restarts(&world) <= 15, "{} restarts", restarts(&world));
    }
}

#[test]
fn bounded_a_step_that_no_restart_brings_back_is_passed_over() {
    for (part, kind) in [(Part::Agent, Kind::Package), (Part::OsImage, Kind::OsImage)] {
        let world = ended(&[REPLACED, part], Nature::StaysIn(kind));
        assert!(restarts(&world) <= 20, "{} restarts", restarts(&world));
    }
}

#[test]
fn bounded_an_agent_that_dies_of_a_step_again_and_again_turns_back() {
    for (part, kind) in [
        (Part::File, Kind::File),
        (Part::Package, Kind::Package),
        (Part::OsImage, Kind::OsImage),
        (Part::LivePatch, Kind::LivePatch),
    ] {
        let world = ended(&[part], Nature::DiesApplying(kind));
        assert!(restarts(&world) <= 15, "{} restarts", restarts(&world));
        let Outcome::RolledBack { cause, .. } = &world.outcomes[0].1 else { panic!("{:?}", world.outcomes) };
        assert!(cause.contains("the agent was started"), "{cause}");
    }
}

#[test]
fn bounded_an_agent_that_dies_of_the_way_back_again_and_again_passes_the_step_over() {
    let parts = [Part::File, REPLACED, Part::Package];
    for kind in [Kind::Package, Kind::File] {
        let world = ended(&parts, Nature::DiesReverting(kind));
        assert!(restarts(&world) <= 25, "{} restarts", restarts(&world));
    }
}

#[test]
fn bounded_a_step_that_cannot_be_looked_at_any_more_is_turned_back_and_passed_over() {
    for (part, kind) in
        [(Part::File, Kind::File), (Part::Package, Kind::Package), (Part::OsImage, Kind::OsImage)]
    {
        let world = ended(&[REPLACED, part], Nature::UnseenWhenNew(kind));
        let Outcome::Stranded { cause } = &world.outcomes[0].1 else { panic!("{:?}", world.outcomes) };
        assert!(cause.contains("the bus does not answer"), "{cause}");
    }
}

#[test]
fn bounded_an_engine_that_another_step_has_broken_is_repaired_by_taking_that_back() {
    for parts in [&[Part::File, REPLACED][..], &[REPLACED, Part::File], &[Part::File, Part::Container]] {
        ended(parts, Nature::EngineFailsWith(Kind::File));
    }
}

#[test]
fn bounded_ports_that_cannot_be_looked_at_any_more_turn_the_release_back() {
    for strategy in [Strategy::Replace, Strategy::Handover, Strategy::Preserve] {
        ended(&[Part::Containers(strategy)], Nature::PortsUnseenWithNew);
    }
}

#[test]
fn what_could_not_be_looked_at_for_a_moment_is_forgiven() {
    let mut case = Case::upgrade_to(&between_files());
    let mut phase = case.probation();
    case.set_new(ContainerState::Running);
    case.well_for(100);
    // A minute of silence every hour is not an hour of silence.
    for _ in 0..100 {
        for state in [StepState::Unknown("busy".into()), StepState::Applied] {
            case.set_steps(&state);
            for _ in 0..3 {
                match case.decide(&phase) {
                    decision @ Decision::Remember(_) => phase = case.remember(decision),
                    Decision::Wait(_) => case.forget(),
                    Decision::Do(action) => panic!("{action:?}"),
                }
                assert!(matches!(phase, Phase::Probation { .. }), "{phase:?}");
            }
            case.pass(60_000);
        }
    }
}

/// The containers of a workload by their names: first started first.
fn names(workload: &Workload) -> Vec<takt_agent_core::ContainerName> {
    workload.containers().map(|(name, _)| name).collect()
}

#[test]
fn bounded_somebody_who_starts_the_old_containers_again_and_again_is_found_out() {
    let mut new = publishing(2);
    cases::containers(&mut new).strategies = vec![Strategy::Replace];
    let mut case = Case::over(workload(&publishing(1), 2), &new);
    let mut phase = case.switching();
    let old = names(case.old.as_ref().unwrap());
    for _ in 0..100 {
        match case.decide(&phase) {
            Decision::Do(action) => {
                let Action::Stop { name, .. } = &action else { panic!("{action:?}") };
                // It stops, and the other one is started by somebody.
                for other in &old {
                    let state =
                        if other == name { ContainerState::Exited(0) } else { ContainerState::Running };
                    case.facts.containers.insert(other.clone(), at_rest(state));
                }
                case.succeeded(action);
            }
            Decision::Wait(_) => {
                case.forget();
                case.pass(60_000);
            }
            decision @ Decision::Remember(_) => {
                phase = case.remember(decision);
                if matches!(phase, Phase::RollingBack { .. }) {
                    return;
                }
            }
        }
    }
    panic!("they fight for ever: {phase:?}");
}

#[test]
fn bounded_containers_that_die_by_turns_at_rest_do_not_keep_the_agent_busy() {
    let old = workload(&publishing(1), 2);
    let mut case = Case::over(old.clone(), &publishing(2));
    let names = names(&old);
    case.set_old(ContainerState::Exited(1));
    for _ in 0..20 {
        match case.decide(&Phase::Idle) {
            Decision::Do(action) => {
                let Action::Start { name } = &action else { panic!("{action:?}") };
                for other in &names {
                    let state =
                        if other == name { ContainerState::Running } else { ContainerState::Exited(1) };
                    case.facts.containers.insert(other.clone(), at_rest(state));
                }
                case.succeeded(action);
            }
            Decision::Wait(waiting) => {
                assert!(matches!(waiting, WaitingOn::Retry { .. }), "{waiting}");
                return;
            }
            decision @ Decision::Remember(_) => panic!("{decision:?}"),
        }
    }
    panic!("it never rests");
}

#[test]
fn bounded_clearing_up_goes_on_although_what_is_cleared_stays() {
    // Two checkpoints, and a way back that will not be forgotten.
    let mut new = publishing(2);
    cases::containers(&mut new).strategies = vec![Strategy::Preserve];
    let new = cases::with_steps(new.clone(), vec![new.steps[0].clone(), cases::file_step("last")]);
    let mut case = Case::over(workload(&publishing(1), 2), &new);
    let end = case.rolled_back();
    case.facts.kept.insert(case.key(1));
    let (mut phase, mut taken) = (end, vec![]);
    for _ in 0..2_000 {
        match case.decide(&phase) {
            decision @ Decision::Remember(_) => phase = case.remember(decision),
            Decision::Do(action) => {
                if let Action::Remove { name } = &action {
                    case.facts.containers.insert(name.clone(), at_rest(ContainerState::Absent));
                }
                taken.push(action.to_string());
                case.succeeded(action);
            }
            Decision::Wait(_) => {
                case.forget();
                case.pass(60_000);
            }
        }
        if matches!(phase, Phase::Idle) {
            assert!(taken.len() < 500, "{} actions", taken.len());
            return;
        }
    }
    panic!("clearing up never ends: {:?}", &taken[taken.len() - 6..]);
}

#[test]
fn an_engine_that_does_not_answer_does_not_keep_an_order_waiting_for_ever() {
    // The order that waits may be the one that repairs it.
    let mut case = Case::upgrade();
    let mut phase = case.verified();
    case.set_new(ContainerState::Unknown);
    case.set_old(ContainerState::Unknown);
    assert_eq!(case.decide(&phase), Decision::Wait(WaitingOn::Engine));
    case.facts.next = Some(cases::accepted(cases::order(8, cases::take_over(), Some(&cases::manifest(1)))));
    let mut waited = 0;
    for _ in 0..1_000 {
        match case.decide(&phase) {
            decision @ Decision::Remember(_) => phase = case.remember(decision),
            Decision::Wait(_) => {
                waited += 1;
                case.forget();
                case.pass(1_000);
            }
            Decision::Do(action) => panic!("{action:?}"),
        }
        if matches!(phase, Phase::Idle) {
            assert!(waited > 60, "an engine may take a while to start: {waited} s");
            return;
        }
    }
    panic!("it waits for ever: {phase:?}");
}

#[test]
fn ways_back_of_a_stranded_order_stay_until_a_later_one_is_verified() {
    let mut case = Case::upgrade_to(&between_files());
    let stranded = takt_agent_core::StepKey { workload: takt_agent_core::WorkloadName("counter-g5".into()), index: 0 };
    case.facts.kept.insert(stranded.clone());
    case.set_new(ContainerState::Running);
    case.set_old(ContainerState::Exited(0));
    let settles = |case: &Case, outcome: Outcome| {
        let Phase::Ended { job, swap, tries, .. } = case.rolled_back() else { panic!() };
        let (mut case, mut taken) = (case.clone(), vec![]);
        let phase = Phase::Ended { job, swap, outcome, tries };
        while let Decision::Do(action) = case.decide(&phase) {
            match &action {
                Action::Remove { name } => {
                    case.facts.containers.insert(name.clone(), at_rest(ContainerState::Absent));
                }
                Action::Stop { name, .. } => {
                    case.facts.containers.insert(name.clone(), at_rest(ContainerState::Exited(0)));
                }
                Action::Settle { key } => {
                    case.facts.kept.remove(key);
                    taken.push(key.clone());
                }
                _ => {}
            }
            case.succeeded(action);
        }
        taken
    };
    let own = case.key(0);
    case.facts.kept.insert(own.clone());
    let rolled_back = Outcome::RolledBack { cause: "sick".into(), memory: takt_common::report::Memory::Lost };
    assert_eq!(settles(&case, rolled_back), [own.clone()]);
    assert_eq!(settles(&case, Outcome::Withdrawn), [own.clone()]);
    assert_eq!(settles(&case, Outcome::Stranded { cause: "sick".into() }), []);
    let verified = Outcome::Verified { strategy: Some(Strategy::Replace) };
    assert_eq!(settles(&case, verified), [stranded, own]);
}

#[test]
fn one_running_a_new_release_that_still_runs_on_a_stranded_device_is_stopped() {
    // It would not stop then; at rest the previous one is started.
    let mut case = Case::upgrade();
    let Phase::Ended { job, swap, tries, .. } = case.rolled_back() else { panic!() };
    let phase = Phase::Ended { job, swap, outcome: Outcome::Stranded { cause: "it would not stop".into() }, tries };
    case.set_old(ContainerState::Exited(0));
    case.set_new(ContainerState::Running);
    let stop = done(case.decide(&phase));
    assert!(matches!(&stop, Action::Stop { name, .. } if *name == case.new_name()), "{stop:?}");
    case.set_new(ContainerState::Exited(0));
    case.succeeded(stop);
    assert!(matches!(done(case.decide(&phase)), Action::Prune { .. }));
}

#[test]
fn ports_and_live_patches_that_a_reboot_has_undone_come_back_while_an_order_waits() {
    // Waiting for a window may take days.
    let publishes = Case::over(workload(&publishing(1), 2), &publishing(2));
    let patched = cases::with_steps(cases::manifest(1), vec![cases::patch_step()]);
    let patched = Case::over(workload(&patched, 2), &cases::with_steps(cases::manifest(2), vec![cases::patch_step()]));
    for mut case in [publishes, patched] {
        let (fetching, staged) = (case.fetching(), case.staged());
        case.facts.locks = vec!["calibration".into()];
        let old = case.old.clone().unwrap();
        case.facts.routes.insert(old.name.clone(), Routed::No);
        case.facts.steps.insert(old.key(0), StepState::Untouched);
        for phase in [fetching, staged] {
            let action = done(case.decide(&phase));
            match &action {
                Action::Route { to } => assert_eq!(to.name, old.name),
                Action::Apply { key, .. } => assert_eq!(*key, old.key(0)),
                other => panic!("{other:?}"),
            }
            // It is no fault of the order, and nothing to be busy with.
            for result in ["fails", "has no effect"] {
                let mut case = case.clone();
                if result == "fails" {
                    case.failed(action.clone(), Failure::Fatal);
                } else {
                    case.succeeded(action.clone());
                }
                let decision = case.decide(&phase);
                assert_ne!(decision, Decision::Do(action.clone()), "{result}");
                if let Decision::Remember(phase) = decision {
                    assert!(matches!(phase, Phase::Staged { .. }), "{result}: {phase:?}");
                }
            }
        }
    }
}

#[test]
fn ports_of_another_workload_come_back_while_a_release_is_on_probation() {
    // The order's own reboot may have undone them.
    let mut case = Case::upgrade_to(&between_files());
    let mut other = publishing(1);
    other.release.name = cases::name("recorder");
    let other = Workload { name: takt_agent_core::WorkloadName("recorder-g3".into()), ..workload(&other, 3) };
    case.facts.containers.extend(names(&other).into_iter().map(|name| (name, at_rest(ContainerState::Running))));
    case.facts.routes.insert(other.name.clone(), Routed::No);
    case.facts.installed.push(other.clone());
    case.set_new(ContainerState::Running);
    case.set_old(ContainerState::Exited(0));
    case.set_steps(&StepState::Applied);
    let phase = case.probation();
    let action = done(case.decide(&phase));
    assert!(matches!(&action, Action::Route { to } if to.name == other.name), "{action:?}");
    case.failed(action, Failure::Fatal);
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::FirstGoodRound { .. }));
}

#[test]
fn after_a_reboot_in_a_handover_clients_come_to_the_old_release_until_the_new_one_is_well() {
    let mut case = Case::over(workload(&publishing(1), 2), &publishing(2));
    let mut phase = case.switching();
    case.reboot();
    case.set_new(ContainerState::Exited(137));
    for routed in case.facts.routes.values_mut() {
        *routed = Routed::No;
    }
    let old = case.old.clone().unwrap();
    for _ in 0..10 {
        match case.decide(&phase) {
            decision @ Decision::Remember(_) => phase = case.remember(decision),
            Decision::Do(action @ Action::Start { .. }) => {
                case.set_new(ContainerState::Running);
                case.succeeded(action);
            }
            Decision::Do(Action::Route { to }) => {
                assert_eq!(to.name, old.name);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("{phase:?}");
}

#[test]
fn a_stand_in_runs_containers_and_no_live_patch() {
    let mut case = Case::upgrade();
    let set = case.new.manifest.steps[0].clone();
    let mut patched = stand_in();
    patched.workload.manifest.steps = vec![set, cases::patch_step()];
    case.stands_in(ContainerState::Running);
    case.facts.steps.insert(patched.workload.key(1), StepState::Untouched);
    case.facts.images.insert(cases::image(&patched.workload.manifest), takt_agent_core::Presence::Present);
    case.facts.stand_in = Some(patched);
    assert_eq!(case.decide(&Phase::Idle), Decision::Wait(WaitingOn::Orders));
}

#[test]
fn a_live_patch_is_applied_again_at_rest_although_the_engine_does_not_answer() {
    let set = allowing(&[Strategy::Replace]).steps[0].clone();
    let old = workload(&cases::with_steps(cases::manifest(1), vec![set, cases::patch_step()]), 2);
    let mut case = Case::over(old.clone(), &between_files());
    case.set_old(ContainerState::Unknown);
    case.facts.steps.insert(old.key(1), StepState::Untouched);
    let action = done(case.decide(&Phase::Idle));
    assert!(matches!(&action, Action::Apply { key, .. } if *key == old.key(1)), "{action:?}");
    // And that nobody can tell where it stands is said.
    case.set_old(ContainerState::Running);
    case.facts.steps.insert(old.key(1), StepState::Unknown("no sysfs".into()));
    let waiting = waited(case.decide(&Phase::Idle));
    assert_eq!(waiting, WaitingOn::Step { kind: Kind::LivePatch, why: "no sysfs".into() });
}

#[test]
fn memory_for_both_releases_is_needed_only_where_both_run() {
    use takt_agent_core::Blocker;
    let mut new = publishing(2);
    let set = cases::containers(&mut new);
    set.containers[0].memory_mib = Some(300);
    let needed = |case: &Case| match case.decide(&case.staged()) {
        Decision::Wait(WaitingOn::Blockers(blockers)) => match blockers.as_slice() {
            [Blocker::LowMemory { needed_bytes, .. }] => needed_bytes / cases::MIB,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let mut old = publishing(1);
    cases::containers(&mut old).containers[0].memory_mib = Some(250);
    let old = workload(&old, 2);
    let with = |strategies: &[Strategy], able: bool| {
        let mut new = new.clone();
        cases::containers(&mut new).strategies = strategies.to_vec();
        let mut case = Case::over(old.clone(), &new);
        case.facts.free_memory_bytes = 0;
        if !able {
            case.facts.checkpoint_ability = Err("no criu".into());
            case.facts.handover_ability = Err("no nft".into());
        }
        case
    };
    assert_eq!(needed(&with(&[Strategy::Handover], true)), 332);
    assert_eq!(needed(&with(&[Strategy::Replace], true)), 82);
    // The first that is possible counts, not the first that is allowed.
    let mut case = with(&[Strategy::Preserve, Strategy::Handover], true);
    case.facts.checkpoint_ability = Err("no criu".into());
    let phase = remembered(case.decide(&case.fetching()));
    let Decision::Wait(WaitingOn::Blockers(blockers)) = case.decide(&phase) else { panic!() };
    assert_eq!(blockers, [Blocker::LowMemory { free_bytes: 0, needed_bytes: 332 * cases::MIB }]);
    let case = with(&[Strategy::Handover, Strategy::Replace], false);
    let phase = remembered(case.decide(&case.fetching()));
    let Decision::Wait(WaitingOn::Blockers(blockers)) = case.decide(&phase) else { panic!() };
    assert_eq!(blockers, [Blocker::LowMemory { free_bytes: 0, needed_bytes: 82 * cases::MIB }]);
}
