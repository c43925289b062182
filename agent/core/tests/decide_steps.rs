//! Steps that are no containers: what is done about each state that they can be in, forward and back.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation)] // In tests.

mod cases;
mod world;

use cases::{Case, between_files, of_every_kind, outcome, remembered};
use takt_agent_core::{Action, ContainerState, Nature as Failure, Phase, StepState};
use takt_common::release::{Kind, Strategy};
use takt_common::report::{Memory, Outcome, PhaseName};
use world::{Criu, End, Nature, Part, Releases, World};

fn upgrading(parts: &[Part], nature: Nature) -> World {
    let mut world = World::running(&Releases::of(parts), nature, Criu::Works);
    world.install_new();
    world
}

fn ended(parts: &[Part], nature: Nature) -> World {
    let mut world = upgrading(parts, nature);
    world.run(|_| None);
    world.check_end(&format!("{parts:?}, {nature:?}"));
    world
}

fn cause(world: &World) -> &str {
    match &world.outcomes[0].1 {
        Outcome::RolledBack { cause, .. } | Outcome::Stranded { cause } | Outcome::Failed { cause } => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reboot_while_a_release_is_confirmed_begins_its_probation_anew() {
    // A live patch is gone then, which is nobody's fault.
    for parts in [&[Part::LivePatch][..], &[Part::File], &[Part::Container, Part::LivePatch]] {
        let mut world = upgrading(parts, Nature::Good);
        world.run_until(|_| None, |world| matches!(world.record.phase, Phase::Confirming { .. }));
        world.cut_power();
        let before = world.phases.len();
        world.run(|_| None);
        world.check_end(&format!("{parts:?}"));
        assert!(world.phases[before..].contains(&PhaseName::Probation), "{parts:?}: {:?}", world.phases);
    }
}

#[test]
fn an_agent_or_an_os_that_does_not_come_up_is_told_with_what_is_known_of_it() {
    for (part, kind, known) in [
        (Part::Agent, Kind::Package, "three starts failed, the launcher took the old one"),
        (Part::OsImage, Kind::OsImage, "slot B did not boot, the loader took slot A"),
    ] {
        let world = ended(&[part], Nature::DoesNotBoot(kind));
        assert!(cause(&world).contains(known), "{}", cause(&world));
        assert!(cause(&world).starts_with(&format!("{kind} step ")), "{}", cause(&world));
    }
    // Also when nothing is known.
    let mut case = Case::upgrade_to(&between_files());
    let phase = case.switching();
    case.set_step(0, StepState::FellBack(String::new()));
    let Phase::RollingBack { cause, .. } = remembered(case.decide(&phase)) else { panic!() };
    assert!(cause.starts_with("file step "), "{cause}");
}

#[test]
fn an_os_image_is_confirmed_only_once_the_coordinator_has_been_heard_from() {
    // It brings a kernel, drivers, network settings and an agent: all that a device needs to be reached again.
    let world = ended(&[Part::OsImage], Nature::NeverHeard);
    assert!(cause(&world).contains("not heard from the coordinator"), "{}", cause(&world));
}

#[test]
fn a_step_that_fails_to_go_back_at_first_does_not_use_up_the_tries_of_the_next() {
    ended(&[Part::File, Part::File, Part::File], Nature::RevertsLate(5));
}

#[test]
fn a_step_that_cannot_go_back_is_passed_over_and_told_with_its_reason() {
    let world = ended(
        &[Part::File, Part::Containers(Strategy::Replace), Part::Package],
        Nature::RevertFails(Kind::Package),
    );
    assert!(cause(&world).contains("read-only file system (6 tries)"), "{}", cause(&world));
    assert_eq!(world.ways_back(), 2, "people still need them");
}

#[test]
fn a_step_that_could_not_go_back_until_the_machine_rebooted_is_told_as_it_is_then() {
    let parts = [Part::Container, Part::LivePatch];
    let mut world = upgrading(&parts, Nature::RevertFails(Kind::LivePatch));
    let stuck = |world: &World| world.record.phase.swap().is_some_and(|swap| !swap.stuck.is_empty());
    world.run_until(|_| None, stuck);
    world.cut_power();
    world.run(|_| None);
    assert!(matches!(world.outcomes[0].1, Outcome::RolledBack { .. }), "{:?}", world.outcomes);
}

#[test]
fn a_stranded_device_names_every_step_that_is_not_back() {
    let mut case = Case::upgrade_to(&between_files());
    let mut phase = case.rolling_back();
    case.set_old(ContainerState::Exited(137));
    case.set_new(ContainerState::Exited(1));
    case.set_steps(&StepState::Applied);
    for _ in 0..200 {
        match case.decide(&phase) {
            takt_agent_core::Decision::Do(action @ Action::Revert { .. }) => {
                case.failed(action, Failure::Transient);
            }
            takt_agent_core::Decision::Do(_) => break,
            decision @ takt_agent_core::Decision::Remember(_) => phase = case.remember(decision),
            takt_agent_core::Decision::Wait(_) => {
                case.forget();
                case.pass(60_000);
            }
        }
    }
    assert_eq!(phase.swap().unwrap().stuck.len(), 2, "{phase:?}");
    // And now the previous container is gone, too.
    case.forget();
    case.set_old(ContainerState::Absent);
    let Outcome::Stranded { cause } = outcome(case.decide(&phase)) else { panic!() };
    for part in ["exited with code 1", "failed to revert", ".0: the engine", ".2: the engine", "was gone"] {
        assert!(cause.contains(part), "'{part}' in {cause}");
    }
}

#[test]
fn a_machine_that_will_not_restart_on_the_way_back_gets_everything_else_back() {
    let parts = [Part::File, Part::Containers(Strategy::Replace), Part::OsImage];
    let world = ended(&parts, Nature::WillNotRestartBack);
    assert!(cause(&world).contains("failed to restart the machine"), "{}", cause(&world));
    assert_eq!(world.deserved(), End::Stranded);
}

#[test]
fn ports_that_cannot_be_led_back_do_not_keep_the_sick_release_running() {
    let world = ended(&[Part::Containers(Strategy::Handover)], Nature::PortsFailBack);
    assert!(cause(&world).contains("failed to publish the ports"), "{}", cause(&world));
    // Both run, and the new one has the ports: it stops although these cannot be moved.
    let mut case = Case::over(cases::workload(&cases::publishing(1), 2), &cases::publishing(2));
    let mut phase = {
        let mut well = case.clone();
        well.set_new(ContainerState::Running);
        let phase = well.switching();
        well.set_new(ContainerState::Exited(1));
        remembered(well.decide(&phase))
    };
    assert!(matches!(phase, Phase::RollingBack { .. }), "{phase:?}");
    case.set_new(ContainerState::Running);
    let names = (case.old.clone().unwrap().name, case.new.name.clone());
    case.facts.routes.insert(names.0, takt_agent_core::facts::Routed::No);
    case.facts.routes.insert(names.1, takt_agent_core::facts::Routed::Yes);
    for _ in 0..100 {
        match case.decide(&phase) {
            takt_agent_core::Decision::Do(action @ Action::Route { .. }) => {
                case.failed(action, Failure::Transient);
            }
            takt_agent_core::Decision::Do(action) => {
                assert!(matches!(action, Action::Stop { .. }), "{action:?}");
                return;
            }
            decision @ takt_agent_core::Decision::Remember(_) => {
                phase = case.remember(decision);
                assert_eq!(phase.outcome(), None);
            }
            takt_agent_core::Decision::Wait(_) => {
                case.forget();
                case.pass(60_000);
            }
        }
    }
    panic!("never stopped: {phase:?}");
}

#[test]
fn a_first_install_that_fails_is_rolled_back_with_nothing_touched() {
    for parts in [&[Part::File][..], &[Part::File, Part::Container], &[Part::OsImage], &[Part::Agent]] {
        let mut world = World::empty(&Releases::of(parts), Nature::StartsSick, Criu::Works);
        world.install_new();
        world.run(|_| None);
        let [(_, outcome)] = world.outcomes.as_slice() else { panic!("{:?}", world.outcomes) };
        assert!(matches!(outcome, Outcome::RolledBack { memory: Memory::Untouched, .. }), "{outcome:?}");
        assert!(world.nothing_runs());
        assert_eq!((world.containers(), world.images(), world.ways_back()), (0, 0, 0));
    }
}

#[test]
fn a_release_that_falls_ill_after_the_agent_was_restarted_is_not_confirmed() {
    // The new run has never seen it well.
    let mut case = Case::upgrade_to(&between_files());
    let phase = case.confirming();
    case.set_steps(&StepState::Applied);
    case.set_new(ContainerState::Running);
    case.kill();
    case.sick(3);
    case.pass(3_000);
    let mut phase = phase;
    while let decision @ takt_agent_core::Decision::Remember(_) = case.decide(&phase) {
        phase = case.remember(decision);
        if matches!(phase, Phase::RollingBack { .. }) {
            return;
        }
    }
    panic!("{:?}", case.decide(&phase));
}

#[test]
fn a_release_of_every_kind_ends_as_its_nature_deserves() {
    let parts =
        [Part::File, Part::Agent, Part::Containers(Strategy::Handover), Part::OsImage, Part::LivePatch];
    for nature in [Nature::Good, Nature::StartsSick, Nature::NeverHeard, Nature::WorseThanBefore] {
        let world = ended(&parts, nature);
        assert_eq!(
            world.warnings.iter().any(|said| said.contains("MiB of memory")),
            nature == Nature::WorseThanBefore
        );
    }
    assert!(of_every_kind().check().is_ok());
}
