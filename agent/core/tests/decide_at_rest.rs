//! At rest: which orders are taken up, and what keeps running.

#![allow(clippy::unwrap_used, missing_docs)]

mod cases;

use cases::{
    Case, accepted, at_rest, done, image, manifest, name, only, order, outcome, patch_step, remembered,
    stand_in, take_over, waited, with_steps, workload,
};
use takt_agent_core::{
    Action, ContainerFacts, ContainerState, Decision, Nature, Phase, Presence, Record, StepKey, StepState,
    WaitingOn, decide,
};
use takt_common::order::{Action as OrderAction, Takeover};
use takt_common::report::Outcome;

#[test]
fn standing_in_for_another_a_second_takeover_is_refused_and_the_same_one_confirmed() {
    let mut case = Case::upgrade();
    case.stands_in(ContainerState::Running);
    let other = OrderAction::TakeOver {
        device: cases::device(),
        name: name("camera-3"),
        how: Takeover::Launch,
        lease: 1,
    };
    case.facts.next = Some(accepted(order(8, other, Some(&manifest(1)))));
    let Outcome::Failed { cause } = outcome(case.decide(&Phase::Idle)) else { panic!() };
    assert_eq!(cause, "this device already stands in for camera-2");
    case.facts.next = Some(accepted(order(8, take_over(), Some(&manifest(1)))));
    assert_eq!(outcome(case.decide(&Phase::Idle)), Outcome::Serving);
    case.stands_in(ContainerState::Exited(1));
    assert!(matches!(outcome(case.decide(&Phase::Idle)), Outcome::Failed { .. }));
}

#[test]
fn a_hand_back_of_a_device_for_which_nobody_stands_in_leaves_the_stand_in_alone() {
    let mut case = Case::upgrade();
    case.stands_in(ContainerState::Running);
    let mut record = Record { stand_in: Some(stand_in()), ..Record::default() };
    let other = OrderAction::HandBack { device: cases::device(), name: name("camera-3") };
    record.accept(accepted(order(8, other, None)));
    case.facts.next.clone_from(&record.next);
    let phase = remembered(case.decide(&Phase::Idle));
    assert_eq!(phase.outcome(), Some(&Outcome::HandedBack));
    record.enter(phase);
    assert_eq!(record.stand_in, Some(stand_in()), "it still serves, and must be known to");
}

#[test]
fn a_container_stopped_by_hand_is_started_again() {
    let mut case = Case::upgrade();
    assert_eq!(case.decide(&Phase::Idle), Decision::Wait(WaitingOn::Orders));
    let name = case.old_name();
    let mut with = |found: ContainerFacts| {
        case.facts.containers.insert(name.clone(), found);
        decide(&Phase::Idle, &case.facts, &case.policy)
    };
    for state in [ContainerState::Exited(0), ContainerState::Exited(137), ContainerState::Created] {
        assert_eq!(with(at_rest(state)), Decision::Do(Action::Start { name: name.clone() }));
    }
    let unkept = ContainerFacts { kept_running: false, ..at_rest(ContainerState::Running) };
    assert_eq!(with(unkept), Decision::Do(Action::KeepRunning { name: name.clone() }));
    assert!(matches!(with(at_rest(ContainerState::Absent)), Decision::Do(Action::Create { .. })));
}

#[test]
fn a_workload_that_cannot_be_helped_does_not_keep_another_from_being_helped() {
    // The stand-in has the same image: the workload of this device gets another one.
    let mut case = Case::upgrade();
    let old = cases::workload(&manifest(4), 2);
    case.facts.installed = vec![old.clone()];
    case.old = Some(old);
    case.stands_in(ContainerState::Exited(1));
    let help = Decision::Do(Action::Start { name: only(&stand_in().workload) });
    // Its image is gone.
    case.set_old(ContainerState::Absent);
    case.facts.images.insert(image(&manifest(4)), Presence::Absent);
    assert_eq!(case.decide(&Phase::Idle), help);
    // It will not start.
    case.set_old(ContainerState::Exited(1));
    let start = done(case.decide(&Phase::Idle));
    assert_eq!(start, Action::Start { name: case.old_name() });
    case.failed(start, Nature::Fatal);
    assert_eq!(case.decide(&Phase::Idle), help);
    // And when neither can be helped, the agent rests before it tries again.
    case.failed(done(help), Nature::Fatal);
    assert!(matches!(case.decide(&Phase::Idle), Decision::Wait(WaitingOn::Retry { .. })));
}

#[test]
fn one_order_from_the_year_9999_does_not_make_every_later_one_look_expired() {
    let mut record = Record::default();
    let mut late = order(8, OrderAction::Install, Some(&manifest(1)));
    late.issued = takt_common::UnixTime::from_secs(253_000_000_000);
    let late = accepted(late);
    let at = late.at;
    record.accept(late);
    assert_eq!(record.time_floor, at + std::time::Duration::from_hours(24));
}

/// A device on which another component is a live patch that a reboot has taken away, and an order that waits for its lock.
fn waits_without_its_patch() -> (Case, Action, StepKey) {
    let mut case = Case::upgrade();
    let mut patch = with_steps(manifest(4), vec![patch_step()]);
    patch.release.name = name("kernel");
    let patch = workload(&patch, 3);
    let key = patch.key(0);
    case.facts.installed.push(patch);
    case.facts.steps.insert(key.clone(), StepState::Untouched);
    case.facts.locks = vec!["operator".into()];
    (case, Action::Apply { key: key.clone(), step: Box::new(patch_step()) }, key)
}

#[test]
fn a_live_patch_that_a_reboot_took_away_is_applied_again_while_an_order_waits() {
    let (mut case, apply, key) = waits_without_its_patch();
    let staged = case.staged();
    assert_eq!(case.decide(&staged), Decision::Do(apply.clone()));
    case.succeeded(apply);
    case.facts.steps.insert(key, StepState::Confirmed);
    assert!(matches!(waited(case.decide(&staged)), WaitingOn::Blockers(_)));
}

#[test]
fn an_order_that_can_go_on_goes_on_before_a_live_patch_is_applied_again() {
    let (mut case, apply, _) = waits_without_its_patch();
    case.facts.locks.clear();
    assert!(matches!(case.decide(&case.fetching()), Decision::Remember(Phase::Staged { .. })));
    assert!(matches!(case.decide(&case.staged()), Decision::Remember(Phase::Checkpointing { .. })));
    // Applied, and gone again: another patch takes it out each time.
    case.facts.locks = vec!["operator".into()];
    case.succeeded(apply);
    assert!(matches!(waited(case.decide(&case.staged())), WaitingOn::Blockers(_)));
}

#[test]
fn a_live_patch_that_cannot_be_applied_now_neither_ends_an_order_nor_holds_it_up() {
    let (mut case, apply, _) = waits_without_its_patch();
    let staged = case.staged();
    for nature in [Nature::Transient, Nature::Fatal] {
        case.failed(apply.clone(), nature);
        assert!(matches!(waited(case.decide(&staged)), WaitingOn::Retry { .. }));
        case.forget();
        assert!(matches!(waited(case.decide(&staged)), WaitingOn::Blockers(_)), "the order's own reason");
    }
    // After its rest it is tried again.
    case.pass(60_000);
    assert_eq!(case.decide(&staged), Decision::Do(apply));
}

#[test]
fn an_order_that_installs_is_begun_at_once_where_none_is_in_hand_whatever_the_device_is_like() {
    let mut case = Case::upgrade();
    let mut record = Record::default();
    assert!(!record.begins_next());
    record.accept(accepted(case.order.clone()));
    assert!(record.begins_next());
    case.facts.next.clone_from(&record.next);
    for state in [ContainerState::Unknown, ContainerState::Absent, ContainerState::Exited(1)] {
        case.set_old(state);
        let begun = remembered(case.decide(&Phase::Idle));
        assert!(matches!(begun, Phase::Fetching { .. }), "{state:?}: {begun:?}");
        record.enter(begun);
        assert!(!record.begins_next(), "it is in hand");
        record.phase = Phase::Idle;
        record.next.clone_from(&case.facts.next);
    }
    // Others may have to wait for the engine first.
    let take_over = accepted(order(8, take_over(), Some(&manifest(1))));
    record.accept(take_over);
    assert!(!record.begins_next());
}
