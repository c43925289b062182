//! What holds for `decide` whatever the world looks like.

#![allow(clippy::unwrap_used, missing_docs)]

mod cases;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use cases::{Case, MIB, NOW, accepted, at_rest, manifest, name, peer, stand_in, take_over, workload};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use takt_agent_core::phase::Way;
use takt_agent_core::{
    Action, ActionFailure, Attempt, BootTime, ContainerState, Decision, Facts, Job, Nature, Phase, Policy,
    Presence, Record, StandIn, Swap, Tries, WaitingOn, Wellness, Workload, WorkloadState, decide,
};
use takt_common::UnixTime;
use takt_common::order::{Action as OrderAction, AtDeadline, Order, Window};
use takt_common::release::{Manifest, Strategy as SwapStrategy};
use takt_common::report::{Memory, Outcome, Timing};

/// Making manifests and their digests anew for every case would take most of the time.
static TEMPLATES: LazyLock<Vec<Case>> =
    LazyLock::new(|| LISTS.iter().map(|list| Case::allowing(list)).collect());

const LISTS: [&[SwapStrategy]; 4] = [
    &[SwapStrategy::Preserve],
    &[SwapStrategy::Replace],
    &[SwapStrategy::Preserve, SwapStrategy::Replace],
    &[SwapStrategy::Replace, SwapStrategy::Preserve],
];

static OLD: LazyLock<Workload> = LazyLock::new(|| workload(&manifest(1), 2));
static STAND_IN: LazyLock<StandIn> = LazyLock::new(|| stand_in(ContainerState::Running).0);
static NEW: LazyLock<Vec<Workload>> = LazyLock::new(|| {
    let named = |case: &Case| Workload { container: case.new_name(), ..workload(&made(case), 7) };
    TEMPLATES.iter().map(named).collect()
});

/// The release that `case` is to install.
fn made(case: &Case) -> Manifest {
    case.facts.manifest.clone().unwrap().unwrap()
}

fn container_state() -> impl Strategy<Value = ContainerState> {
    prop_oneof![
        Just(ContainerState::Unknown),
        Just(ContainerState::Absent),
        Just(ContainerState::Created),
        Just(ContainerState::Running),
        any::<i64>().prop_map(ContainerState::Exited),
    ]
}

fn presence() -> impl Strategy<Value = Presence> {
    select(vec![Presence::Unknown, Presence::Absent, Presence::Present])
}

fn instant() -> impl Strategy<Value = BootTime> {
    let millis = prop_oneof![0..200_000_u64, Just(60_000), Just(u64::MAX)];
    (1..4_u64, millis).prop_map(|(count, millis)| cases::boot(count, millis))
}

fn time() -> impl Strategy<Value = UnixTime> {
    let around = NOW.as_secs() - 5..NOW.as_secs() + 1_000;
    prop_oneof![around, Just(0), Just(u64::MAX)].prop_map(UnixTime::from_secs)
}

fn tries() -> impl Strategy<Value = Tries> {
    let count = prop_oneof![0..8_u32, Just(99), Just(u32::MAX)];
    (count, proptest::option::of("[a-z]{0,8}"), proptest::option::of(instant()))
        .prop_map(|(count, why, not_before)| Tries { count, why, not_before })
}

/// Which of [`LISTS`].
fn list() -> std::ops::Range<usize> {
    0..LISTS.len()
}

fn an_order() -> BoxedStrategy<Order> {
    let hand_back = OrderAction::HandBack { device: peer(), name: name("camera-2") };
    let actions =
        vec![OrderAction::Install, OrderAction::Install, take_over(), hand_back, OrderAction::Withdraw];
    let window = proptest::option::of((time(), time()).prop_map(|(from, until)| Window { from, until }));
    (select(actions), list(), window, time(), any::<(bool, bool)>(), 0..3_usize)
        .prop_map(|(action, list, window, deadline, (go_ahead, retry), dropped)| {
            let mut made = Order { action, ..TEMPLATES[list].order.clone() };
            made.members.truncate(2 - dropped.min(2));
            (made.window, made.deadline) = (window, deadline);
            made.policy.at_deadline = if go_ahead { AtDeadline::GoAhead } else { AtDeadline::GiveUp };
            made.policy.retry = retry;
            made
        })
        .boxed()
}

fn job() -> BoxedStrategy<Box<Job>> {
    (an_order(), any::<bool>())
        .prop_map(|(order, has_old)| {
            let old = has_old.then(|| OLD.clone());
            Box::new(Job { accepted: accepted(order), old })
        })
        .boxed()
}

fn swap() -> BoxedStrategy<Box<Swap>> {
    let checkpoint = || proptest::option::of(Just("takt-way-back".to_owned()));
    let reboots = proptest::collection::vec("boot-[1-4]", 0..6);
    (list(), checkpoint(), checkpoint(), proptest::option::of(instant()), reboots)
        .prop_map(|(list, checkpoint, left_over, began, reboots)| {
            let new = NEW[list].clone();
            let (strategy, warnings, timing) = (LISTS[list][0], vec![], Timing::default());
            Box::new(Swap { new, strategy, checkpoint, left_over, warnings, began, reboots, timing })
        })
        .boxed()
}

fn outcome() -> BoxedStrategy<Outcome> {
    let cause = String::new;
    select(vec![
        Outcome::Verified { strategy: None },
        Outcome::RolledBack { cause: cause(), memory: Memory::Kept },
        Outcome::Failed { cause: cause() },
        Outcome::GivenUp { cause: cause() },
        Outcome::Withdrawn,
        Outcome::Serving,
        Outcome::HandedBack,
        Outcome::Stranded { cause: cause() },
    ])
    .boxed()
}

fn phase() -> BoxedStrategy<Phase> {
    let way = select(vec![Way::AsIs, Way::Restore, Way::Restart, Way::Cold]);
    prop_oneof![
        Just(Phase::Idle),
        (job(), tries()).prop_map(|(job, tries)| Phase::Fetching { job, tries }),
        (job(), swap(), tries()).prop_map(|(job, swap, tries)| Phase::Staged { job, swap, tries }),
        (job(), swap()).prop_map(|(job, swap)| Phase::Checkpointing { job, swap }),
        (job(), swap(), tries()).prop_map(|(job, swap, tries)| Phase::Switching { job, swap, tries }),
        (job(), swap(), instant()).prop_map(|(job, swap, since)| Phase::Probation { job, swap, since }),
        (job(), swap(), instant(), way, any::<bool>(), tries()).prop_map(
            |(job, swap, since, way, ran, tries)| {
                Phase::RollingBack { job, swap, cause: "sick".into(), since, way, ran, tries }
            }
        ),
        (job(), tries()).prop_map(|(job, tries)| Phase::HandingBack { job, tries }),
        (job(), proptest::option::of(swap()), outcome(), tries())
            .prop_map(|(job, swap, outcome, tries)| Phase::Ended { job, swap, outcome, tries }),
    ]
    .boxed()
}

fn state() -> BoxedStrategy<WorkloadState> {
    (container_state(), any::<bool>(), presence())
        .prop_map(|(container, kept_running, image)| WorkloadState { container, kept_running, image })
        .boxed()
}

fn wellness() -> BoxedStrategy<Wellness> {
    let well_for =
        proptest::option::of(prop_oneof![0..10_000_u64, Just(u64::MAX)].prop_map(Duration::from_millis));
    (0..6_u32, any::<bool>(), well_for, proptest::option::of("[a-z]{0,8}"))
        .prop_map(|(failures_in_a_row, ever_well, well_for, last_failure)| Wellness {
            failures_in_a_row,
            ever_well,
            well_for,
            last_failure,
        })
        .boxed()
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..1_024 * MIB, Just(u64::MAX)]
}

fn facts() -> BoxedStrategy<Facts> {
    let containers = (container_state(), container_state(), state(), state());
    let present = (any::<[bool; 8]>(), presence(), subsequence(vec![0, 1], 0..=2));
    let load = prop_oneof![0.0..20.0_f64, Just(f64::NAN), Just(f64::INFINITY)];
    (containers, present, instant(), time(), wellness(), (number(), number(), load), list(), an_order())
        .prop_map(|(containers, present, boot, now, wellness, (disk, memory, load), list, next)| {
            let (old, new, own, other) = containers;
            let (flags, image, staged) = present;
            let mut case = TEMPLATES[list].clone();
            let members: Vec<_> = case.order.members.iter().map(|member| member.sha256).collect();
            case.set_old(old);
            case.set_new(new);
            let facts = &mut case.facts;
            (facts.boot, facts.now, facts.wellness, facts.image) = (boot, now, wellness, image);
            (facts.free_disk_bytes, facts.free_memory_bytes, facts.load_per_cpu) = (disk, memory, load);
            facts.staged = staged.into_iter().map(|index: usize| members[index]).collect();
            facts.installed[0].1 = own;
            let [none_installed, stands_in, locked, no_criu, unread, unreadable, next_waits, failed] = flags;
            if none_installed {
                facts.installed.clear();
            }
            facts.stand_in = stands_in.then(|| (STAND_IN.clone(), other));
            facts.next = next_waits.then(|| accepted(next));
            if locked {
                facts.locks = vec!["calibration".into()];
            }
            if no_criu {
                facts.checkpoint_ability = Err("no criu".into());
            }
            if unreadable {
                facts.manifest = Some(Err("unreadable".into()));
            }
            if unread {
                facts.manifest = None;
            }
            if failed {
                facts.failed_here = BTreeMap::from([(members[0], "sick".to_owned())]);
            }
            case.facts
        })
        .boxed()
}

fn policy() -> BoxedStrategy<Policy> {
    (0..4_u32, number())
        .prop_map(|(tries, reserve)| Policy {
            fetch_tries_max: tries,
            corrupt_tries_max: tries,
            engine_tries_max: tries,
            rollback_tries_max: tries,
            reserve_disk_bytes: reserve,
            reserve_memory_bytes: reserve,
            ..Policy::default()
        })
        .boxed()
}

fn nature() -> impl Strategy<Value = Nature> {
    select(vec![Nature::Transient, Nature::Corrupt, Nature::Fatal])
}

/// What `decide` would do without a last action; a world in which that has just succeeded or failed is a likely one.
fn action_of(phase: &Phase, facts: &Facts, policy: &Policy) -> Option<Action> {
    match decide(phase, facts, policy) {
        Decision::Do(action) => Some(action),
        _ => None,
    }
}

fn hard_blocker(phase: &Phase, facts: &Facts, policy: &Policy) -> bool {
    let installs = phase.job().is_some_and(|job| job.accepted.order.action == OrderAction::Install);
    facts.free_disk_bytes < policy.reserve_disk_bytes
        || facts.free_memory_bytes < policy.reserve_memory_bytes
        || !facts.locks.is_empty()
        || (installs && facts.stand_in.is_some())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decide_is_total_and_never_repeats_what_has_just_succeeded(
        (phase, facts, policy, nature) in (phase(), facts(), policy(), nature())
    ) {
        let mut facts = facts;
        if let Some(action) = action_of(&phase, &facts, &policy) {
            facts.last = Some(Attempt { action: action.clone(), result: Ok(()) });
            prop_assert_ne!(decide(&phase, &facts, &policy), Decision::Do(action.clone()));
            let failure = ActionFailure { nature, text: "no".into() };
            facts.last = Some(Attempt { action: action.clone(), result: Err(failure) });
            prop_assert_ne!(decide(&phase, &facts, &policy), Decision::Do(action));
        }
    }

    #[test]
    fn own_decision_nothing_is_switched_past_a_hard_blocker(
        (job, swap, tries, facts, policy) in (job(), swap(), tries(), facts(), policy())
    ) {
        let phase = Phase::Staged { job, swap, tries };
        prop_assume!(hard_blocker(&phase, &facts, &policy));
        match decide(&phase, &facts, &policy) {
            Decision::Do(action) => prop_assert!(
                matches!(action, Action::LoadImage { .. } | Action::Create { .. }), "{:?}", action
            ),
            Decision::Remember(next) => prop_assert!(matches!(next, Phase::Ended { .. }), "{:?}", next),
            Decision::Wait(_) => {}
        }
    }

    #[test]
    fn intent_first_each_phase_takes_only_its_own_actions(
        (phase, facts, policy) in (phase(), facts(), policy())
    ) {
        let Some(action) = action_of(&phase, &facts, &policy) else { return Ok(()) };
        let fits = match &phase {
            Phase::Idle => matches!(action, Action::Create { .. } | Action::Start { .. } | Action::KeepRunning { .. }),
            Phase::Fetching { .. } => matches!(action, Action::Fetch { .. }),
            Phase::Staged { .. } => matches!(action, Action::LoadImage { .. } | Action::Create { .. }),
            Phase::Checkpointing { .. } => matches!(action, Action::Checkpoint { .. }),
            Phase::Switching { .. } => matches!(action, Action::Stop { .. } | Action::Start { .. }),
            Phase::Probation { .. } => false,
            Phase::RollingBack { way, .. } => match action {
                Action::Stop { .. } => true,
                Action::Restore { .. } => *way == Way::Restore,
                Action::Start { .. } => *way == Way::Cold,
                _ => false,
            },
            Phase::HandingBack { .. } => matches!(action, Action::Stop { .. } | Action::Remove { .. }),
            Phase::Ended { .. } => matches!(
                action,
                Action::KeepRunning { .. } | Action::Remove { .. } | Action::DeleteCheckpoint { .. } | Action::Prune { .. }
            ),
        };
        prop_assert!(fits, "{:?} from {}", action, phase.name());
    }

    #[test]
    fn one_running_a_release_is_started_only_while_the_other_is_seen_not_to_run(
        (phase, facts, policy) in (phase(), facts(), policy())
    ) {
        let in_switch = matches!(phase, Phase::Switching { .. } | Phase::RollingBack { .. });
        let started = match action_of(&phase, &facts, &policy) {
            Some(Action::Start { name } | Action::Restore { name, .. }) if in_switch => name,
            _ => return Ok(()),
        };
        let old = phase.job().and_then(|job| job.old.as_ref()).map(|old| &old.container);
        let new = phase.swap().map(|swap| &swap.new.container);
        for other in old.into_iter().chain(new).filter(|name| **name != started) {
            let state = facts.container(other);
            prop_assert!(!matches!(state, ContainerState::Running | ContainerState::Unknown), "{:?}", state);
        }
    }

    #[test]
    fn way_back_the_old_container_is_removed_only_when_the_new_one_is_verified(
        (phase, facts, policy) in (phase(), facts(), policy())
    ) {
        let Some(Action::Remove { name }) = action_of(&phase, &facts, &policy) else { return Ok(()) };
        let old = phase.job().and_then(|job| job.old.as_ref()).map(|old| &old.container);
        if old == Some(&name) {
            prop_assert!(matches!(phase.outcome(), Some(Outcome::Verified { .. })), "{:?}", phase.outcome());
        }
    }
}

/// One look at a world in which anything may have happened since the last one.
fn anything(case: &mut Case, dice: u64) {
    let exited = ContainerState::Exited(1);
    let states = [ContainerState::Running, exited, ContainerState::Running, ContainerState::Created];
    let pick = |shift: u64| states[usize::try_from(dice >> shift & 3).unwrap()];
    case.set_old(pick(0));
    case.set_new(pick(2));
    match dice >> 4 & 7 {
        0 => case.reboot(),
        1 => case.sick(3),
        2 => case.sick(1),
        _ => {}
    }
    case.facts.installed[0].1 = at_rest(pick(6));
    case.pass(dice >> 8 & 0xfff);
    let gone = case.facts.boot.millis % 7;
    case.facts.now = UnixTime::from_secs(case.facts.now.as_secs() + gone);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody gets well here, and nothing stays as it was: all the more must there be an end.
    #[test]
    fn told_bounded_every_order_ends_in_a_world_where_nothing_goes_right(
        (seed, list, failing) in (any::<u64>(), list(), 0..8_u64)
    ) {
        let mut case = TEMPLATES[list].clone();
        case.facts.staged.clear();
        let mut record = Record::default();
        record.installed.insert(name("counter"), case.old.clone().unwrap());
        record.accept(accepted(case.order.clone()));
        let mut dice = seed | 1;
        let mut ends = 0;
        for _ in 0..20_000 {
            // xorshift64: all that is wanted is that it repeats with its seed.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            case.facts.next.clone_from(&record.next);
            case.facts.stand_in = None;
            match case.decide(&record.phase) {
                Decision::Remember(phase) => {
                    ends += usize::from(matches!(phase, Phase::Ended { .. }) && record.phase.outcome().is_none());
                    record.enter(phase);
                    case.facts.last = None;
                }
                Decision::Do(Action::Fetch { sha256, .. }) => {
                    case.facts.staged.insert(sha256);
                    case.facts.last = None;
                }
                Decision::Do(action) if dice >> 40 & 7 < failing => case.failed(action, Nature::Transient),
                Decision::Do(action) => case.succeeded(action),
                Decision::Wait(waiting) => {
                    prop_assert_ne!(waiting, WaitingOn::Engine);
                    case.facts.last = None;
                    case.pass(500);
                }
            }
            anything(&mut case, dice);
            if matches!(record.phase, Phase::Idle) && record.next.is_none() {
                break;
            }
        }
        prop_assert_eq!(ends, 1, "one order, one end: {:?}", record.phase);
        prop_assert!(matches!(record.phase, Phase::Idle), "{:?}", record.phase);
    }
}
