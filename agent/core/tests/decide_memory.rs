//! Takeover `restore`: memory goes from a device that runs on to its standby, which serves with it or, told, without it.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation)] // In tests.

mod cases;
mod world;

use cases::{Case, DEADLINE, done, manifest, name, order, outcome, peer, publishing, remembered};
use takt_agent_core::phase::TakenMemory;
use takt_agent_core::{Action, ContainerState, Decision, Nature as Failure, Phase, Tries};
use takt_common::order::{Action as OrderAction, Takeover};
use takt_common::release::Manifest;
use takt_common::report::{Outcome, PhaseName};
use world::{Criu, Cut, Effect, MEMORY, Nature, Part, Releases, World};

/// The device runs 1.0, and its standby wants the memory.
fn giving(of: &Manifest) -> (Case, Phase) {
    let mut case = Case::over(cases::workload(of, 2), of);
    let action = OrderAction::Checkpoint { standby: peer(), name: name("camera-2"), lease: 12 };
    case.order = order(8, action, Some(of));
    case.facts.next = Some(cases::accepted(case.order.clone()));
    let phase = remembered(case.decide(&Phase::Idle));
    case.facts.next = None;
    assert_eq!(phase.name(), PhaseName::Checkpointing);
    (case, phase)
}

#[test]
fn a_device_gives_its_memory_and_runs_on() {
    let (mut case, phase) = giving(&manifest(1));
    let give = done(case.decide(&phase));
    let Action::GiveMemory { workload, standby, lease, .. } = &give else { panic!("{give:?}") };
    assert_eq!((&**workload, *standby, *lease), (case.old.as_ref().unwrap(), peer(), 12));
    case.succeeded(give);
    let decision = case.decide(&phase);
    let ended = case.remember(decision);
    assert_eq!(ended.outcome(), Some(&Outcome::Checkpointed));
    // What a killed agent may have left of it goes; the container stays.
    let Action::DeleteCheckpoint { name, .. } = done(case.decide(&ended)) else { panic!() };
    assert_eq!(name, case.old_name());
}

#[test]
fn memory_that_cannot_be_given_ends_the_order_with_the_reason_and_touches_nothing() {
    let cause = |case: &Case, phase: &Phase| match outcome(case.decide(phase)) {
        Outcome::Failed { cause } | Outcome::GivenUp { cause } => cause,
        other => panic!("{other:?}"),
    };
    let (case, phase) = giving(&manifest(1));
    let mut unable = case.clone();
    unable.facts.checkpoint_ability = Err("criu is not installed".into());
    assert_eq!(cause(&unable, &phase), "criu is not installed");
    let mut stopped = case.clone();
    stopped.set_old(ContainerState::Exited(1));
    assert_eq!(cause(&stopped, &phase), "counter 1.0 does not run: it has no memory to give");
    let mut other = case.clone();
    other.facts.installed = vec![cases::workload(&manifest(2), 2)];
    assert_eq!(cause(&other, &phase), "counter 1.0, whose memory is asked for, does not run here");
    let mut late = case.clone();
    late.facts.now = DEADLINE;
    assert!(cause(&late, &phase).starts_with("the deadline passed"));
    let mut superseded = case.clone();
    superseded.facts.next = Some(cases::accepted(order(9, OrderAction::Withdraw, None)));
    assert_eq!(outcome(superseded.decide(&phase)), Outcome::Withdrawn);
    // A port of the host's network is in the memory, and is another one on the standby.
    let (bound, phase) = giving(&publishing(1));
    assert!(cause(&bound, &phase).contains("published port on the device's own network"));
}

#[test]
fn giving_is_tried_again_but_not_for_ever() {
    let (mut case, mut phase) = giving(&manifest(1));
    for _ in 1..case.policy.engine_tries_max {
        case.pass(600_000);
        let give = done(case.decide(&phase));
        case.failed(give, Failure::Transient);
        let decision = case.decide(&phase);
        phase = case.remember(decision);
        assert!(matches!(case.decide(&phase), Decision::Wait(_)), "there is a pause");
    }
    case.pass(600_000);
    let give = done(case.decide(&phase));
    case.failed(give, Failure::Transient);
    assert!(matches!(outcome(case.decide(&phase)), Outcome::Failed { .. }));
}

/// The standby has created the container, and goes on by `restore`.
fn taking() -> (Case, Phase) {
    let of = manifest(1);
    let mut case = Case::upgrade_to(&of);
    let how = Takeover::Restore;
    let action = OrderAction::TakeOver { device: peer(), name: name("camera-2"), how, lease: 12 };
    (case.order, case.old) = (order(7, action, Some(&of)), None);
    let staged = remembered(case.decide(&case.fetching()));
    case.new = staged.swap().unwrap().new.clone();
    case.set_new(ContainerState::Created);
    let phase = remembered(case.decide(&staged));
    assert!(matches!(phase, Phase::Switching { .. }), "{phase:?}");
    (case, phase)
}

/// The memory is here.
fn taken() -> (Case, Phase) {
    let (mut case, phase) = taking();
    let take = done(case.decide(&phase));
    let Action::TakeMemory { device, lease: 12, .. } = &take else { panic!("{take:?}") };
    assert_eq!(*device, peer());
    case.succeeded(take);
    let decision = case.decide(&phase);
    let phase = case.remember(decision);
    assert_eq!(phase.swap().unwrap().memory, Some(TakenMemory::Here));
    (case, phase)
}

fn warned(phase: &Phase) -> String {
    phase.swap().unwrap().warnings.join("; ")
}

#[test]
fn a_standby_goes_on_from_the_memory_and_deletes_it_once_it_serves() {
    let (mut case, mut phase) = taken();
    let Action::Restore { name, .. } = done(case.decide(&phase)) else { panic!() };
    assert_eq!(name, case.new_name());
    case.set_new(ContainerState::Running);
    phase = remembered(case.decide(&phase));
    case.well_for(0);
    phase = remembered(case.decide(&phase));
    assert_eq!(phase.outcome(), Some(&Outcome::Serving));
    assert_eq!(warned(&phase), "");
    let Action::DeleteCheckpoint { name, .. } = done(case.decide(&phase)) else { panic!() };
    assert_eq!(name, case.new_name());
}

#[test]
fn memory_that_does_not_come_or_does_not_start_is_done_without_and_told() {
    let (mut case, mut phase) = taking();
    for _ in 0..2 {
        let take = done(case.decide(&phase));
        case.failed(take, Failure::Transient);
        let decision = case.decide(&phase);
        phase = case.remember(decision);
        assert_eq!(phase.swap().unwrap().memory, None);
        case.pass(600_000);
    }
    let take = done(case.decide(&phase));
    case.failed(take, Failure::Transient);
    let decision = case.decide(&phase);
    phase = case.remember(decision);
    assert!(matches!(done(case.decide(&phase)), Action::Start { .. }));
    assert!(warned(&phase).starts_with("it serves without the memory of the device"), "{}", warned(&phase));

    let (mut case, mut phase) = taken();
    let restore = done(case.decide(&phase));
    case.failed(restore, Failure::Fatal);
    let decision = case.decide(&phase);
    phase = case.remember(decision);
    // Whatever the engine makes of a container that it could not restore.
    for state in [ContainerState::Created, ContainerState::Exited(137)] {
        case.set_new(state);
        assert!(matches!(done(case.decide(&phase)), Action::Start { .. }), "{state:?}");
    }
    // What dies of itself is not started for ever.
    let start = done(case.decide(&phase));
    case.succeeded(start);
    case.set_new(ContainerState::Exited(1));
    assert!(matches!(remembered(case.decide(&phase)), Phase::RollingBack { .. }));
}

#[test]
fn what_is_sick_of_its_memory_is_started_afresh() {
    let sick = |mut case: Case, mut phase: Phase| {
        phase = {
            let decision = case.decide(&phase);
            case.remember(decision)
        };
        assert_eq!(phase.swap().unwrap().memory, Some(TakenMemory::Sick));
        if case.facts.container(&case.new_name()).state == ContainerState::Running {
            assert!(matches!(done(case.decide(&phase)), Action::Stop { .. }));
            case.set_new(ContainerState::Exited(0));
        }
        phase = remembered(case.decide(&phase));
        assert_eq!(phase.swap().unwrap().memory, Some(TakenMemory::Lost));
        assert!(matches!(done(case.decide(&phase)), Action::Start { .. }));
        assert!(warned(&phase).contains("started afresh"), "{}", warned(&phase));
    };
    let (mut case, phase) = taken();
    case.set_new(ContainerState::Running);
    let probation = remembered(case.decide(&phase));
    assert!(matches!(probation, Phase::Probation { .. }));
    let mut died = case.clone();
    died.set_new(ContainerState::Exited(1));
    sick(died, probation.clone());
    case.sick(9);
    case.pass(600_000);
    sick(case, probation);
    // A machine that boots has no memory left, whatever lies on its disk.
    let (mut case, phase) = taken();
    case.set_new(ContainerState::Exited(137));
    case.reboot();
    let noted = remembered(case.decide_noted(&phase));
    case.facts.started = noted.swap().unwrap().bounds.run.clone().unwrap();
    let mut phase = noted;
    while phase.swap().unwrap().memory == Some(TakenMemory::Here) {
        phase = remembered(case.decide(&phase));
    }
    assert!(warned(&phase).contains("started afresh"), "{}", warned(&phase));
}

fn standby(criu: Criu) -> World {
    let releases = Releases::of(&[Part::Container]);
    let mut world = World::empty(&releases, Nature::Good, criu);
    let action = OrderAction::TakeOver {
        device: world::device(),
        name: name("camera-2"),
        how: Takeover::Restore,
        lease: 1,
    };
    world.accept(action, Some(&releases.old.manifest));
    world
}

#[test]
fn a_takeover_by_restore_serves_whatever_cut_it_short() {
    for criu in [Criu::Works, Criu::RefusesToDump, Criu::RefusesToRestore] {
        let mut whole = standby(criu);
        whole.run(|_| None);
        assert_eq!(whole.outcomes, [(2, Outcome::Serving)], "{criu:?}");
        let (memory, lost) = (whole.memory_of_stand_in(), !whole.warnings.is_empty());
        assert_eq!(lost, criu != Criu::Works, "{criu:?}: {:?}", whole.warnings);
        assert!(memory.iter().all(|memory| *memory == if lost { 0 } else { MEMORY }), "{criu:?}: {memory:?}");
        for kind in Cut::WHOLE {
            for first in 1..=whole.steps {
                let mut world = standby(criu);
                world.run(|step| (step == first).then_some(kind));
                let what = format!("{criu:?}, {kind:?} at {first}: {:?}", world.warnings);
                assert_eq!(world.outcomes, [(2, Outcome::Serving)], "{what}");
                assert!(world.record.stand_in.is_some(), "{what}");
                // Memory that was lost before the report is told to be.
                let lost_before =
                    !world.effects.contains(&Effect::Rebooted) && world.memory_of_stand_in().contains(&0);
                assert!(!lost_before || !world.warnings.is_empty(), "{what}");
                assert!(!world.has_checkpoint(), "{what}: memory lies on the disk");
            }
        }
    }
}

#[test]
fn a_device_that_gives_its_memory_is_not_touched_by_it_whatever_cut_it_short() {
    let releases = Releases::of(&[Part::Container]);
    let device = |criu| {
        let mut world = World::running(&releases, Nature::Good, criu);
        let action = OrderAction::Checkpoint { standby: world::device(), name: name("camera-2"), lease: 1 };
        world.accept(action, Some(&releases.old.manifest));
        world
    };
    for criu in [Criu::Works, Criu::Missing, Criu::RefusesToDump] {
        let mut whole = device(criu);
        whole.run(|_| None);
        for kind in Cut::WHOLE {
            for first in 1..=whole.steps {
                let mut world = device(criu);
                world.run(|step| (step == first).then_some(kind));
                let what = format!("{criu:?}, {kind:?} at {first}");
                let [(2, outcome)] = &world.outcomes[..] else { panic!("{what}: {:?}", world.outcomes) };
                match criu {
                    Criu::Works => assert_eq!(*outcome, Outcome::Checkpointed, "{what}"),
                    _ => assert!(matches!(outcome, Outcome::Failed { .. }), "{what}: {outcome:?}"),
                }
                assert_eq!(world.at_rest().0, "1.0", "{what}");
                assert!(!world.has_checkpoint(), "{what}: memory lies on the disk");
                assert!(
                    !world.effects.iter().any(|effect| matches!(effect, Effect::Stopped { .. })),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn an_agent_from_before_reads_its_journal_again() {
    let (_, phase) = taking();
    let mut journalled = serde_json::to_value(&phase).unwrap();
    assert!(journalled["swap"].get("memory").is_none(), "{journalled}");
    let (_, here) = taken();
    journalled["swap"]["memory"] = serde_json::to_value(here.swap().unwrap().memory).unwrap();
    let read: Phase = serde_json::from_value(journalled).unwrap();
    assert_eq!(read.swap().unwrap().memory, Some(TakenMemory::Here));
    let given = giving(&manifest(1)).1;
    let Phase::GivingMemory { job, .. } = &given else { panic!("{given:?}") };
    let same = Phase::GivingMemory { job: job.clone(), tries: Tries::default() };
    assert_eq!(serde_json::from_value::<Phase>(serde_json::to_value(&given).unwrap()).unwrap(), same);
}
