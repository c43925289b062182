//! From probation to rest: the verdict, the way back, clearing up, and what the journal keeps.

#![allow(clippy::unwrap_used, missing_docs)]

mod cases;

use cases::{Case, at_rest, digest, done, image, manifest, only, outcome, remembered, waited, workload};
use takt_agent_core::phase::Way;
use takt_agent_core::{
    Action, ContainerFacts, ContainerState, Decision, Nature, Phase, Presence, Record, WaitingOn,
};
use takt_common::release::Strategy;
use takt_common::report::{Memory, Outcome};

/// Steps at which the engine obeys at once. Ends at the first wait, or at the end of the order.
fn obeyed(case: &mut Case, mut phase: Phase) -> (Phase, Vec<Action>) {
    let mut taken = vec![];
    for _ in 0..100 {
        match case.decide(&phase) {
            Decision::Wait(_) => return (phase, taken),
            decision @ Decision::Remember(_) => phase = case.remember(decision),
            Decision::Do(action) => {
                let state = match &action {
                    Action::Start { .. } | Action::Restore { .. } => ContainerState::Running,
                    _ => ContainerState::Exited(137),
                };
                if let Action::Start { name }
                | Action::Restore { name, .. }
                | Action::Stop { name, .. }
                | Action::Checkpoint { name, .. } = &action
                {
                    case.facts.containers.insert(name.clone(), at_rest(state));
                }
                case.succeeded(action.clone());
                taken.push(action);
            }
        }
        if matches!(phase, Phase::Ended { .. }) {
            return (phase, taken);
        }
    }
    panic!("neither wait nor end: {phase:?}");
}

/// The same rollback, waiting for the previous release to be well.
fn brought_back(case: &mut Case) -> Phase {
    case.set_new(ContainerState::Exited(1));
    case.set_old(ContainerState::Exited(137));
    let phase = case.rolling_back();
    obeyed(case, phase).0
}

#[test]
fn a_release_is_verified_only_after_its_whole_probation_in_good_health() {
    let mut case = Case::upgrade();
    let phase = case.probation();
    case.set_new(ContainerState::Running);
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::FirstGoodRound { left_millis: 3_000, .. }));
    case.well_for(4_999);
    assert_eq!(waited(case.decide(&phase)), WaitingOn::Probation { left_millis: 1 });
    case.well_for(5_000);
    case.facts.wellness.failures_in_a_row = 1;
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::Probation { left_millis: 0 }));
    case.facts.wellness.failures_in_a_row = 0;
    assert_eq!(outcome(case.decide(&phase)), Outcome::Verified { strategy: Some(Strategy::Preserve) });
}

#[test]
fn probation_begins_anew_after_a_reboot() {
    let mut case = Case::upgrade();
    let phase = case.probation();
    case.reboot();
    case.set_old(ContainerState::Exited(137));
    case.set_new(ContainerState::Exited(137));
    let (phase, taken) = obeyed(&mut case, phase);
    assert_eq!(taken, [Action::Start { name: case.new_name() }]);
    let Phase::Probation { since, .. } = &phase else { panic!("{phase:?}") };
    assert_eq!(*since, case.facts.boot);
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::FirstGoodRound { left_millis: 3_000, .. }));
    case.well_for(5_000);
    assert!(matches!(outcome(case.decide(&phase)), Outcome::Verified { .. }));
}

/// Reboots the machine at every look at `phase` until the agent turns back. Returns how often that was.
fn reboots_until_turned_back(case: &mut Case, mut phase: Phase, new: ContainerState) -> usize {
    for count in 1..=20 {
        case.reboot();
        case.set_new(new);
        while let decision @ Decision::Remember(_) = case.decide(&phase) {
            phase = case.remember(decision);
            if matches!(phase, Phase::RollingBack { .. } | Phase::Ended { .. }) {
                return count;
            }
        }
    }
    panic!("the machine reboots for ever: {phase:?}")
}

#[test]
fn bounded_a_release_that_reboots_the_machine_again_and_again_is_turned_back() {
    for new in [ContainerState::Exited(137), ContainerState::Created] {
        let mut case = Case::allowing(&[Strategy::Replace]);
        case.set_old(ContainerState::Exited(137));
        for phase in [case.switching(), case.probation()] {
            let count = reboots_until_turned_back(&mut case.clone(), phase, new);
            assert!(
                (3..=5).contains(&count),
                "a power cut or two are forgiven, {count} reboots are too many"
            );
        }
    }
}

#[test]
fn bounded_a_checkpoint_that_reboots_the_machine_again_and_again_is_given_up() {
    let mut case = Case::upgrade();
    let mut phase = case.begun();
    for _ in 0..20 {
        case.reboot();
        loop {
            match case.decide(&phase) {
                decision @ Decision::Remember(_) => phase = case.remember(decision),
                Decision::Do(Action::Checkpoint { .. }) => break,
                Decision::Do(Action::Stop { .. }) => {
                    assert_eq!(phase.swap().unwrap().strategy, Some(Strategy::Replace));
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("the machine reboots for ever: {phase:?}")
}

#[test]
fn bounded_told_a_previous_release_that_dies_after_each_start_ends_in_a_report() {
    for strategies in [&[Strategy::Preserve][..], &[Strategy::Replace]] {
        let mut case = Case::allowing(strategies);
        let mut phase = brought_back(&mut case);
        let mut starts = 1;
        while phase.outcome().is_none() {
            // It runs, the agent waits for its health, and then it dies.
            assert!(starts < 20, "started for ever: {phase:?}");
            waited(case.decide(&phase));
            case.facts.last = None;
            case.set_old(ContainerState::Exited(1));
            case.pass(60_000);
            let (next, taken) = obeyed(&mut case, phase);
            case.pass(60_000);
            let (next, later) = obeyed(&mut case, next);
            phase = next;
            starts += taken.len() + later.len();
        }
        let Outcome::Stranded { cause } = phase.outcome().unwrap() else { panic!("{phase:?}") };
        assert!(cause.contains("exited with code 1"), "{cause}");
    }
}

#[test]
fn a_checkpoint_that_dies_again_and_again_is_left_for_a_cold_start() {
    let mut case = Case::upgrade();
    let mut phase = brought_back(&mut case);
    let mut restores = 1;
    while matches!(phase, Phase::RollingBack { way: Way::Restore, .. }) {
        waited(case.decide(&phase));
        case.facts.last = None;
        case.set_old(ContainerState::Exited(139));
        let (next, _) = obeyed(&mut case, phase);
        case.pass(60_000);
        phase = obeyed(&mut case, next).0;
        restores += 1;
        assert!(restores < 10, "restored for ever");
    }
    case.well_for(0);
    assert!(matches!(outcome(case.decide(&phase)), Outcome::RolledBack { memory: Memory::Lost, .. }));
}

#[test]
fn a_previous_release_that_comes_back_sick_from_its_checkpoint_is_started_cold() {
    let mut case = Case::upgrade();
    let mut phase = brought_back(&mut case);
    assert!(matches!(phase, Phase::RollingBack { way: Way::Restore, .. }));
    case.sick(3);
    case.pass(2_999);
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::FirstGoodRound { left_millis: 1, .. }));
    case.pass(1);
    let decision = case.decide(&phase);
    phase = case.remember(decision);
    case.facts.wellness = takt_agent_core::Wellness::default();
    let (phase, taken) = obeyed(&mut case, phase);
    let name = case.old_name();
    let stop = Action::Stop { name: name.clone(), grace: std::time::Duration::from_secs(1) };
    assert_eq!(taken, [stop, Action::Start { name }]);
    case.well_for(0);
    assert!(matches!(outcome(case.decide(&phase)), Outcome::RolledBack { memory: Memory::Lost, .. }));
}

#[test]
fn a_previous_release_that_stays_sick_is_told_of() {
    let mut case = Case::allowing(&[Strategy::Replace]);
    let phase = brought_back(&mut case);
    case.sick(3);
    case.pass(3_000);
    let end = remembered(case.decide(&phase));
    assert!(matches!(end.outcome(), Some(Outcome::RolledBack { memory: Memory::Lost, .. })));
    assert!(end.swap().unwrap().warnings.iter().any(|warning| warning.contains("status 500")), "{end:?}");
}

#[test]
fn a_reboot_before_the_way_back_is_never_told_as_untouched() {
    // CRIU refuses, the order turns back, the power goes: the old one is running again, but without its memory.
    let mut case = Case::allowing(&[Strategy::Preserve]);
    let mut phase = case.begun();
    let checkpoint = done(case.decide(&phase));
    case.failed(checkpoint, Nature::Fatal);
    let decision = case.decide(&phase);
    phase = case.remember(decision);
    case.reboot();
    let told = outcome(case.decide_noted(&phase));
    assert!(matches!(told, Outcome::RolledBack { memory: Memory::Lost, .. }), "{told:?}");
}

#[test]
fn the_way_back_waits_its_pause_before_it_stops_the_new_release_again() {
    let mut case = Case::upgrade();
    case.set_new(ContainerState::Running);
    let phase = case.rolling_back();
    let stop = done(case.decide(&phase));
    case.failed(stop.clone(), Nature::Transient);
    let decision = case.decide(&phase);
    let phase = case.remember(decision);
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::Retry { in_millis: 500, .. }));
    case.pass(500);
    assert_eq!(done(case.decide(&phase)), stop);
}

#[test]
fn a_device_whose_previous_container_is_gone_says_that_it_is_stranded() {
    let mut case = Case::upgrade();
    let phase = case.rolling_back();
    case.set_new(ContainerState::Exited(1));
    case.set_old(ContainerState::Absent);
    let Outcome::Stranded { cause } = outcome(case.decide(&phase)) else { panic!() };
    assert!(cause.contains("exited with code 1 in probation; then container counter-g2"), "{cause}");
}

/// What is cleared away after `phase`, with an engine that does as it is told.
fn cleared(case: &mut Case, mut phase: Phase) -> Vec<Action> {
    let mut taken = vec![];
    while !matches!(phase, Phase::Idle) {
        match case.decide(&phase) {
            decision @ Decision::Remember(_) => phase = case.remember(decision),
            Decision::Do(action) => {
                if let Action::Remove { name } = &action {
                    case.facts.containers.insert(name.clone(), at_rest(ContainerState::Absent));
                }
                taken.push(action.clone());
                case.succeeded(action);
            }
            Decision::Wait(waiting) => panic!("{waiting:?}"),
        }
    }
    taken
}

fn deletes_checkpoint(taken: &[Action], case: &Case) -> bool {
    let old = case.old_name();
    taken.iter().any(|action| matches!(action, Action::DeleteCheckpoint { name, .. } if *name == old))
}

#[test]
fn a_checkpoint_does_not_outlive_the_rollback_it_was_for() {
    let mut case = Case::upgrade();
    let end = case.rolled_back();
    assert_eq!(end.swap().unwrap().checkpoint.as_deref(), Some("takt-way-back"));
    let taken = cleared(&mut case, end);
    assert!(deletes_checkpoint(&taken, &case), "{taken:?}");
    assert!(taken.contains(&Action::Remove { name: case.new_name() }), "{taken:?}");
}

#[test]
fn what_a_failed_checkpoint_left_on_disk_does_not_outlive_the_rollback_either() {
    // The engine fell silent in the dump: it may have come to its end all the same.
    let mut case = Case::upgrade();
    let mut phase = case.begun();
    let checkpoint = done(case.decide(&phase));
    case.failed(checkpoint, Nature::Transient);
    let decision = case.decide(&phase);
    phase = case.remember(decision);
    case.set_old(ContainerState::Exited(137));
    case.set_new(ContainerState::Exited(1));
    phase = obeyed(&mut case, phase).0;
    assert!(matches!(phase, Phase::RollingBack { way: Way::Cold, .. }), "{phase:?}");
    case.well_for(0);
    let decision = case.decide(&phase);
    phase = case.remember(decision);
    assert!(matches!(phase.outcome(), Some(Outcome::RolledBack { memory: Memory::Lost, .. })));
    let taken = cleared(&mut case, phase);
    assert!(deletes_checkpoint(&taken, &case), "{taken:?}");
}

#[test]
fn without_a_checkpoint_the_engine_is_not_asked_to_delete_one() {
    // Most engines do not know the call at all.
    let mut case = Case::allowing(&[Strategy::Replace]);
    let end = case.rolled_back();
    let taken = cleared(&mut case, end);
    assert!(!deletes_checkpoint(&taken, &case), "{taken:?}");
}

#[test]
fn a_verified_release_sheds_the_old_container_and_with_it_its_checkpoint() {
    let mut case = Case::upgrade();
    case.set_new(ContainerState::Running);
    case.set_old(ContainerState::Exited(137));
    let end = case.verified();
    let taken = cleared(&mut case, end);
    assert_eq!(taken[0], Action::Remove { name: case.old_name() });
    assert!(matches!(taken[1..], [Action::Prune { .. }]), "{taken:?}");
}

/// How many failures of clearing up the agent bears before it goes on.
fn failures_borne(case: &mut Case, mut phase: Phase, failing: impl Fn(&Action) -> bool) -> usize {
    for count in 1..=1_000 {
        let action = done(case.decide(&phase));
        if !failing(&action) {
            return 0;
        }
        case.failed(action, Nature::Transient);
        let decision = case.decide(&phase);
        phase = case.remember(decision);
        if matches!(phase, Phase::Idle) {
            return count;
        }
        case.pass(60_000);
    }
    panic!("clearing up never ends");
}

#[test]
fn bounded_containers_that_will_not_go_are_tried_long_and_images_that_will_not_go_only_briefly() {
    let mut case = Case::upgrade();
    case.set_new(ContainerState::Running);
    let end = case.verified();
    // No later order removes this container: giving up would leave it, and a checkpoint in it, for good.
    let borne = failures_borne(&mut case, end.clone(), |action| matches!(action, Action::Remove { .. }));
    assert!((50..=200).contains(&borne), "{borne}");
    // An order that waits is worth more than tidiness.
    let next = cases::accepted(cases::order(8, cases::take_over(), Some(&manifest(1))));
    case.facts.next = Some(next);
    let borne = failures_borne(&mut case, end.clone(), |action| matches!(action, Action::Remove { .. }));
    assert_eq!(borne, case.policy.engine_tries_max as usize);
    case.facts.next = None;
    case.set_old(ContainerState::Absent);
    let borne = failures_borne(&mut case, end, |action| matches!(action, Action::Prune { .. }));
    assert_eq!(borne, case.policy.engine_tries_max as usize, "every later order prunes again");
}

/// The record after version after version was verified, each over the one before.
fn record_after(versions: impl Iterator<Item = u64>, retain: u32) -> Record {
    let mut record = Record::default();
    for major in versions {
        let mut case = Case::upgrade_to(&manifest(2));
        case.order.policy.retain = retain;
        let Phase::Ended { mut job, mut swap, outcome, tries } = case.verified() else { panic!() };
        job.old = record.installed.values().next().cloned();
        swap.as_mut().unwrap().new = workload(&manifest(major), major + 10);
        record.enter(Phase::Idle);
        record.enter(Phase::Ended { job, swap, outcome, tries });
    }
    record
}

#[test]
fn the_images_of_the_last_n_verified_releases_are_kept_and_no_others() {
    let counters = |record: &Record| -> Vec<u64> {
        record.retained.iter().map(|workload| workload.manifest.counter).collect()
    };
    for (retain, expected) in [(0, &[][..]), (1, &[5]), (2, &[5, 4]), (3, &[5, 4, 3])] {
        let record = record_after(2..=6, retain);
        assert_eq!(counters(&record), expected, "retain {retain}");
        let mut case = Case::upgrade();
        let running = record.installed.values().next().unwrap().clone();
        case.facts.containers.insert(only(&running), at_rest(ContainerState::Running));
        case.facts.installed = vec![running];
        case.facts.retained.clone_from(&record.retained);
        let gone = only(record.phase.job().unwrap().old.as_ref().unwrap());
        case.facts.containers.insert(gone, at_rest(ContainerState::Absent));
        let Action::Prune { keep_images, .. } = cleared(&mut case, record.phase).pop().unwrap() else {
            panic!()
        };
        let kept = [6].iter().chain(expected).map(|major| digest(&format!("image {major}")));
        assert_eq!(keep_images, kept.collect::<Vec<_>>());
    }
    assert!(
        record_after(2..=60, u32::MAX).retained.len() <= 16,
        "no order makes the device keep without limit"
    );
}

#[test]
fn bounded_releases_that_failed_here_are_forgotten_but_never_the_latest() {
    let mut record = Record::default();
    let failed = |outcome: Outcome, major: u64| {
        let Phase::Ended { job, mut swap, tries, .. } = Case::upgrade().rolled_back() else { panic!() };
        swap.as_mut().unwrap().new = workload(&manifest(major), major);
        Phase::Ended { job, swap, outcome, tries }
    };
    for major in 1..=200 {
        let outcome = match major % 3 {
            0 => Outcome::RolledBack { cause: "sick".into(), memory: Memory::Lost },
            1 => Outcome::Failed { cause: "will not load".into() },
            _ => Outcome::Stranded { cause: "sick".into() },
        };
        record.enter(Phase::Idle);
        record.enter(failed(outcome, major));
        assert!(record.failed_here.len() <= 64, "{}", record.failed_here.len());
        let latest = workload(&manifest(major), major).manifest_sha256;
        assert!(record.failed_here.contains_key(&latest), "release {major} failed just now");
    }
}

#[test]
fn what_was_brought_back_is_made_to_keep_running() {
    let mut case = Case::upgrade();
    let end = case.rolled_back();
    let name = case.old_name();
    let unkept = ContainerFacts { kept_running: false, ..at_rest(ContainerState::Running) };
    case.facts.containers.insert(name.clone(), unkept);
    assert_eq!(case.decide(&end), Decision::Do(Action::KeepRunning { name }));
}

#[test]
fn a_failed_here_release_is_tried_again_only_by_a_signed_retry() {
    let mut case = Case::upgrade();
    case.facts.failed_here.insert(case.order.members[0].sha256, "status 500".into());
    let Outcome::Failed { cause } = outcome(case.decide(&case.fetching())) else { panic!() };
    assert_eq!(cause, "counter 2.0 failed here before: status 500");
    case.order.policy.retry = true;
    assert!(matches!(remembered(case.decide(&case.fetching())), Phase::Staged { .. }));
    assert_eq!(case.facts.images[&image(&manifest(2))], Presence::Present);
}
