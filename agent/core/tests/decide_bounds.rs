//! Every loop has an end, and every wait: whatever a release, a device or somebody else does.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation)] // In tests.

mod cases;
mod world;

use cases::{Case, allowing, at_rest, between_files, done, publishing, waited, workload};
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
fn one_running_a_new_release_that_still_runs_on_a_stranded_device_is_stopped() {
    // It would not stop then; at rest the previous one is started.
    let mut case = Case::upgrade();
    let Phase::Ended { job, swap, tries, .. } = case.rolled_back() else { panic!() };
    let phase =
        Phase::Ended { job, swap, outcome: Outcome::Stranded { cause: "it would not stop".into() }, tries };
    case.set_old(ContainerState::Exited(0));
    case.set_new(ContainerState::Running);
    let stop = done(case.decide(&phase));
    assert!(matches!(&stop, Action::Stop { name, .. } if *name == case.new_name()), "{stop:?}");
    case.set_new(ContainerState::Exited(0));
    case.succeeded(stop);
    assert!(matches!(done(case.decide(&phase)), Action::Prune { .. }));
}

#[test]
fn steps_that_are_undone_by_turns_on_the_way_back_are_passed_over() {
    let mut case = Case::upgrade_to(&between_files());
    let mut phase = case.rolling_back();
    case.set_new(ContainerState::Exited(1));
    case.set_steps(&StepState::Applied);
    let keys = [case.key(0), case.key(2)];
    for _ in 0..500 {
        match case.decide(&phase) {
            Decision::Do(action) => {
                let Action::Revert { key, .. } = &action else { return };
                // It goes back, and somebody puts the other one in force again.
                for other in &keys {
                    let state = if other == key { StepState::Prepared } else { StepState::Applied };
                    case.facts.steps.insert(other.clone(), state);
                }
                case.succeeded(action);
            }
            Decision::Wait(_) => {
                case.forget();
                case.pass(60_000);
            }
            decision @ Decision::Remember(_) => phase = case.remember(decision),
        }
        if !phase.swap().unwrap().stuck.is_empty() {
            return;
        }
    }
    panic!("they fight for ever: {phase:?}");
}

#[test]
fn what_has_failed_at_rest_is_tried_again_after_pauses_that_grow_to_the_longest() {
    let old = workload(&cases::with_steps(cases::manifest(1), vec![cases::patch_step()]), 2);
    let mut case = Case::over(old.clone(), &between_files());
    case.facts.steps.insert(old.key(0), StepState::Untouched);
    let (mut pauses, mut tried) = (vec![], case.facts.boot.millis);
    for _ in 0..5_000 {
        match case.decide(&Phase::Idle) {
            Decision::Do(action) => {
                assert!(matches!(action, Action::Apply { .. }), "{action:?}");
                pauses.push(case.facts.boot.millis - tried);
                tried = case.facts.boot.millis;
                case.failed(action, Failure::Transient);
            }
            Decision::Wait(waiting) => {
                let WaitingOn::Retry { why, count, .. } = &waiting else { panic!("{waiting}") };
                assert!(
                    why.contains("failed to apply live-patch step counter-g2.0: the engine said no"),
                    "{why}"
                );
                assert_eq!(*count as usize, pauses.len());
                case.forget();
                case.pass(500);
            }
            decision @ Decision::Remember(_) => panic!("{decision:?}"),
        }
        if pauses.len() == 11 {
            break;
        }
    }
    let secs: Vec<u64> = pauses.iter().map(|millis| millis / 500).collect();
    assert_eq!(secs, [0, 1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
    // Once it has come to an end, the next failure begins anew.
    let action = Action::Apply { key: old.key(0), step: Box::new(cases::patch_step()) };
    let done = takt_agent_core::Attempt { action: action.clone(), result: Ok(String::new()) };
    case.facts.helpless.note(&done, &case.facts.boot.clone(), &case.policy);
    case.failed(action, Failure::Transient);
    assert!(matches!(waited(case.decide(&Phase::Idle)), WaitingOn::Retry { count: 1, in_millis: 500, .. }));
}

#[test]
fn an_order_that_waits_with_go_ahead_is_given_up_when_a_step_cannot_be_looked_at() {
    let mut case = Case::upgrade_to(&between_files());
    case.order.policy.at_deadline = takt_common::order::AtDeadline::GoAhead;
    let phase = case.staged();
    case.set_step(0, StepState::Unknown("the bus does not answer".into()));
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::Step { .. }));
    case.facts.now = cases::DEADLINE;
    let Outcome::GivenUp { cause } = cases::outcome(case.decide(&phase)) else { panic!() };
    assert!(cause.contains("the bus does not answer"), "{cause}");
}

/// The old containers run again, and one step is still not back.
fn almost_back(case: &mut Case, index: usize) -> Phase {
    let mut phase = case.rolling_back();
    case.set_old(ContainerState::Running);
    case.set_new(ContainerState::Exited(1));
    case.well_for(1);
    let Phase::RollingBack { swap, .. } = &mut phase else { panic!("{phase:?}") };
    swap.stuck.insert(index, "the last try failed".into());
    phase
}

#[test]
fn a_restart_that_did_not_come_is_asked_for_once_more_when_all_else_is_back() {
    let set = allowing(&[Strategy::Replace]).steps[0].clone();
    let mut case = Case::upgrade_to(&cases::with_steps(cases::manifest(2), vec![set, cases::os_step()]));
    let phase = almost_back(&mut case, 1);
    case.set_step(1, StepState::OldAfterReboot);
    let phase = case.remember(case.clone().decide(&phase));
    assert!(phase.swap().unwrap().stuck.is_empty(), "{phase:?}");
    assert!(matches!(done(case.decide(&phase)), Action::Restart { .. }));
    // Also that one does not come: now it is over.
    let mut phase = phase;
    for _ in 0..100 {
        match case.decide(&phase) {
            Decision::Do(action @ Action::Restart { .. }) => case.failed(action, Failure::Transient),
            Decision::Wait(_) => {
                case.forget();
                case.pass(60_000);
            }
            decision => phase = case.remember(decision),
        }
        if let Some(outcome) = phase.outcome() {
            let Outcome::Stranded { cause } = outcome else { panic!("{outcome:?}") };
            assert!(cause.contains("failed to restart the machine out of os-image step"), "{cause}");
            return;
        }
    }
    panic!("{phase:?}");
}

#[test]
fn ports_that_could_not_be_led_back_are_tried_once_more_when_the_old_containers_run() {
    let mut new = publishing(2);
    cases::containers(&mut new).strategies = vec![Strategy::Replace];
    let mut case = Case::over(workload(&publishing(1), 2), &new);
    let phase = almost_back(&mut case, 0);
    let old = case.old.clone().unwrap();
    case.facts.routes.insert(old.name.clone(), Routed::No);
    let phase = case.remember(case.clone().decide(&phase));
    let route = done(case.decide(&phase));
    assert!(matches!(&route, Action::Route { to } if to.name == old.name), "{route:?}");
    case.facts.routes.insert(old.name, Routed::Yes);
    case.succeeded(route);
    assert!(matches!(cases::outcome(case.decide(&phase)), Outcome::RolledBack { .. }));
}

#[test]
fn an_agent_that_dies_of_the_way_back_is_found_out_also_when_each_run_has_to_wait_first() {
    let mut case = Case::upgrade_to(&between_files());
    let mut phase = case.rolling_back();
    case.set_new(ContainerState::Exited(1));
    for _ in 0..30 {
        case.reboot();
        // What a boot brings up takes a moment.
        case.set_steps(&StepState::Unknown("the bus does not answer".into()));
        for _ in 0..3 {
            match case.decide(&phase) {
                decision @ Decision::Remember(_) => phase = case.remember(decision),
                Decision::Wait(_) => case.forget(),
                Decision::Do(action) => panic!("{action:?}"),
            }
        }
        case.set_steps(&StepState::Applied);
        while let decision @ Decision::Remember(_) = case.decide(&phase) {
            phase = case.remember(decision);
        }
        if let Some(why) = phase.swap().unwrap().stuck.get(&2) {
            let said = "the agent was started 11 times, the last time to revert file step";
            assert!(why.starts_with(said), "{why}");
            return;
        }
        // It dies of this.
        assert!(matches!(done(case.decide(&phase)), Action::Revert { key, .. } if key.index == 2));
    }
    panic!("it dies for ever: {phase:?}");
}
