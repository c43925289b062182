//! What holds for `decide` whatever the world looks like.

#![allow(clippy::unwrap_used, missing_docs)]

mod arbitrary;
mod cases;

use arbitrary::{TEMPLATES, facts, job, nature, phase, policy, swap, template, tries};
use cases::{Case, accepted, at_rest, name};
use proptest::prelude::*;
use takt_agent_core::facts::Routed;
use takt_agent_core::phase::{TakenMemory, Way};
use takt_agent_core::{
    Action, ActionFailure, Attempt, ContainerName, ContainerState, Decision, Facts, Phase, Policy, Record,
    StepState, WaitingOn, Workload, WorkloadName, decide,
};
use takt_common::UnixTime;
use takt_common::order::{Action as OrderAction, Takeover};
use takt_common::release::{HookPoint, Kind, Strategy as SwapStrategy};
use takt_common::report::Outcome;

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
        || arbitrary::low_battery(facts, policy)
        || (installs && (facts.stand_in.is_some() || arbitrary::standby_is_silent(facts)))
}

fn names(workload: Option<&Workload>) -> Vec<ContainerName> {
    workload.map(|workload| workload.containers().map(|(name, _)| name).collect()).unwrap_or_default()
}

/// The containers that the order in hand replaces, and those it brings.
fn old_and_new(phase: &Phase) -> (Vec<ContainerName>, Vec<ContainerName>) {
    let old = phase.job().and_then(|job| job.old.as_ref());
    (names(old), names(phase.swap().map(|swap| &swap.new)))
}

/// Whether a phase takes such an action at all.
fn fits(phase: &Phase, action: &Action, facts: &Facts) -> bool {
    let hook = |points: &[HookPoint]| matches!(action, Action::Hook { point, .. } if points.contains(point));
    match phase {
        Phase::Idle => tends(action, facts),
        Phase::Fetching { .. } => {
            matches!(action, Action::Fetch { .. }) || keeps(action, facts) || hook(&[HookPoint::PreFetch])
        }
        Phase::Staged { .. } => {
            matches!(action, Action::LoadImage { .. } | Action::Create { .. } | Action::Prepare { .. })
                || keeps(action, facts)
                || hook(&[HookPoint::PreSwitch, HookPoint::ExportState])
        }
        Phase::Checkpointing { .. } => matches!(action, Action::Checkpoint { .. }),
        Phase::Switching { job, swap, .. } => {
            let restores =
                matches!(job.accepted.order.action, OrderAction::TakeOver { how: Takeover::Restore, .. });
            let memory = match action {
                Action::TakeMemory { .. } => restores && swap.memory.is_none(),
                Action::Restore { .. } => restores && swap.memory == Some(TakenMemory::Here),
                _ => false,
            };
            memory
                || matches!(
                    action,
                    Action::Stop { .. }
                        | Action::Start { .. }
                        | Action::Route { .. }
                        | Action::Prepare { .. }
                        | Action::Apply { .. }
                        | Action::Restart { .. }
                )
                || hook(&[HookPoint::ImportState, HookPoint::PostSwitch])
        }
        Phase::Probation { .. } => matches!(action, Action::Route { .. }) || hook(&[HookPoint::Takeover]),
        Phase::Confirming { .. } => matches!(action, Action::Route { .. } | Action::Confirm { .. }),
        Phase::RollingBack { way, .. } => match action {
            Action::Stop { .. } | Action::Route { .. } | Action::Revert { .. } | Action::Restart { .. } => {
                true
            }
            Action::Restore { .. } => *way == Way::Restore,
            Action::Start { .. } => *way == Way::Cold,
            _ => hook(&[HookPoint::Rollback]),
        },
        Phase::GivingMemory { .. } => matches!(action, Action::GiveMemory { .. }),
        Phase::HandingBack { .. } => {
            matches!(action, Action::Stop { .. } | Action::Remove { .. }) || hook(&[HookPoint::HandBack])
        }
        Phase::Ended { .. } => matches!(
            action,
            Action::KeepRunning { .. }
                | Action::Stop { .. }
                | Action::Remove { .. }
                | Action::DeleteCheckpoint { .. }
                | Action::Settle { .. }
                | Action::Prune { .. }
        ),
    }
}

/// What a reboot undoes of the installed workloads, and what an order that waits does not make wait.
fn keeps(action: &Action, facts: &Facts) -> bool {
    match action {
        Action::Route { .. } => true,
        Action::Apply { key, step } => {
            let installed = facts.installed.iter().any(|workload| workload.name == key.workload);
            installed && step.kind() == Kind::LivePatch
        }
        _ => false,
    }
}

/// What looking after the installed workloads takes.
fn tends(action: &Action, facts: &Facts) -> bool {
    match action {
        Action::Create { .. } | Action::Start { .. } | Action::KeepRunning { .. } => true,
        _ => keeps(action, facts),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decide_is_total_and_never_repeats_what_has_just_succeeded(
        (phase, facts, policy, nature) in (phase(), facts(), policy(), nature())
    ) {
        let mut facts = facts;
        if let Some(action) = action_of(&phase, &facts, &policy) {
            facts.last = Some(Attempt { action: action.clone(), result: Ok("said".into()) });
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
                keeps(&action, &facts)
                    || matches!(
                        action,
                        Action::LoadImage { .. } | Action::Create { .. } | Action::Prepare { .. }
                    ),
                "{:?}", action
            ),
            // It ends, or it still waits and asks its hooks anew.
            Decision::Remember(next) => {
                prop_assert!(matches!(next, Phase::Ended { .. } | Phase::Staged { .. }), "{:?}", next);
            }
            Decision::Wait(_) => {}
        }
    }

    #[test]
    fn intent_first_each_phase_takes_only_its_own_actions(
        (phase, facts, policy) in (phase(), facts(), policy())
    ) {
        let Some(action) = action_of(&phase, &facts, &policy) else { return Ok(()) };
        prop_assert!(fits(&phase, &action, &facts), "{:?} from {}", action, phase.name());
    }

    #[test]
    fn without_an_order_in_hand_only_what_is_installed_is_looked_after(
        (facts, policy) in (facts(), policy())
    ) {
        let mut facts = facts;
        facts.next = None;
        let Some(action) = action_of(&Phase::Idle, &facts, &policy) else { return Ok(()) };
        let own: Vec<WorkloadName> = facts.installed.iter().map(|workload| workload.name.clone()).collect();
        let standing_in = facts.stand_in.iter().map(|stand_in| &stand_in.workload);
        let all: Vec<&Workload> = facts.installed.iter().chain(standing_in).collect();
        match &action {
            Action::Create { name, .. } | Action::Start { name } | Action::KeepRunning { name } => {
                prop_assert!(all.iter().any(|workload| names(Some(workload)).contains(name)), "{:?}", action);
            }
            Action::Route { to } => prop_assert!(all.iter().any(|workload| workload.name == to.name)),
            // A stand-in only runs containers.
            Action::Apply { key, step } => {
                prop_assert!(own.contains(&key.workload) && step.kind() == Kind::LivePatch, "{:?}", action);
            }
            _ => prop_assert!(false, "{:?}", action),
        }
    }

    #[test]
    fn every_wait_has_a_reason(
        (phase, facts, policy) in (phase(), facts(), policy())
    ) {
        let Decision::Wait(waiting) = decide(&phase, &facts, &policy) else { return Ok(()) };
        prop_assert!(!waiting.to_string().is_empty());
        match waiting {
            WaitingOn::Orders => {
                prop_assert!(matches!(phase, Phase::Idle) && facts.next.is_none(), "from {}", phase.name());
            }
            WaitingOn::Blockers(blockers) => prop_assert!(!blockers.is_empty()),
            WaitingOn::Engine => prop_assert!(arbitrary::engine_is_away(&facts), "the engine answers"),
            WaitingOn::Step { why, .. } => {
                let unseen = StepState::Unknown(why);
                let own = facts.installed.iter().chain(phase.swap().map(|swap| &swap.new));
                let mut keys = own.flat_map(|workload| workload.steps().map(|(key, _)| key).collect::<Vec<_>>());
                prop_assert!(keys.any(|key| facts.step(&key) == unseen), "{:?}", unseen);
            }
            WaitingOn::Draining { connections, left_millis } => {
                prop_assert!(connections > 0 && left_millis > 0);
            }
            _ => {}
        }
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
        let (old, new) = old_and_new(&phase);
        // Handing over is the one switch in which both run.
        let handover = phase.swap().is_some_and(|swap| swap.strategy == Some(SwapStrategy::Handover));
        if handover && matches!(phase, Phase::Switching { .. }) {
            return Ok(());
        }
        let others = if old.contains(&started) { new } else { old };
        for other in others {
            let state = facts.container(&other).state;
            prop_assert!(!matches!(state, ContainerState::Running | ContainerState::Unknown), "{:?}", state);
        }
    }

    #[test]
    fn way_back_what_ran_before_goes_only_when_the_new_one_is_verified(
        (phase, facts, policy) in (phase(), facts(), policy())
    ) {
        match action_of(&phase, &facts, &policy) {
            Some(Action::Remove { name }) if old_and_new(&phase).0.contains(&name) => prop_assert!(
                matches!(phase.outcome(), Some(Outcome::Verified { .. })), "{:?}", phase.outcome()
            ),
            // While a step may still have to be taken back, what is needed for that stays.
            Some(Action::Settle { .. }) => prop_assert!(
                !matches!(phase.outcome(), None | Some(Outcome::Stranded { .. })), "{:?}", phase.outcome()
            ),
            _ => {}
        }
    }

    #[test]
    fn a_step_is_taken_back_only_on_the_way_back_and_only_after_those_that_came_after_it(
        (phase, facts, policy) in (phase(), facts(), policy())
    ) {
        let Some(Action::Revert { key, .. }) = action_of(&phase, &facts, &policy) else { return Ok(()) };
        prop_assert!(matches!(phase, Phase::RollingBack { .. }), "{}", phase.name());
        let swap = phase.swap().unwrap();
        for (later, step) in swap.new.steps().filter(|(later, _)| later.index > key.index) {
            if step.kind() == Kind::Container {
                let runs = |name| facts.container(name).state == ContainerState::Running;
                prop_assert!(!old_and_new(&phase).1.iter().any(runs), "a container of it still runs");
            } else if !swap.stuck.contains_key(&later.index) {
                let state = facts.step(&later);
                prop_assert!(
                    matches!(state, StepState::Untouched | StepState::Prepared),
                    "step {} is {:?}", later, state
                );
            }
        }
    }
}

/// One look at a world in which anything may have happened since the last one.
fn anything(case: &mut Case, dice: u64) {
    let exited = ContainerState::Exited(1);
    let states = [ContainerState::Running, exited, ContainerState::Running, ContainerState::Created];
    let pick = |shift: u64| states[usize::try_from(dice >> shift & 3).unwrap()];
    for (place, found) in case.facts.containers.values_mut().enumerate() {
        *found = at_rest(pick(2 * place as u64));
    }
    let steps = [
        StepState::Applied,
        StepState::Prepared,
        StepState::Half("one of two".into()),
        StepState::Untouched,
        StepState::NewAfterReboot,
        StepState::Applied,
        StepState::OldAfterReboot,
        StepState::Confirmed,
    ];
    for (place, found) in case.facts.steps.values_mut().enumerate() {
        found.clone_from(&steps[usize::try_from(dice >> (20 + 3 * place) & 7).unwrap()]);
    }
    for (place, routed) in case.facts.routes.values_mut().enumerate() {
        *routed = if dice >> (50 + place) & 1 == 0 { Routed::Yes } else { Routed::No };
    }
    match dice >> 14 & 7 {
        0 => case.reboot(),
        1 => case.sick(3),
        2 => case.sick(1),
        _ => {}
    }
    case.pass(dice >> 8 & 0xfff);
    let gone = case.facts.boot.millis % 7;
    case.facts.now = UnixTime::from_secs(case.facts.now.as_secs() + gone);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody gets well here, and nothing stays as it was: all the more must there be an end.
    #[test]
    fn told_bounded_every_order_ends_in_a_world_where_nothing_goes_right(
        (seed, template, failing) in (any::<u64>(), template(), 0..8_u64)
    ) {
        let mut case = TEMPLATES[template].clone();
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
                    case.forget();
                }
                Decision::Do(Action::Fetch { sha256, .. }) => {
                    case.facts.staged.insert(sha256);
                    case.forget();
                }
                Decision::Do(action) if dice >> 40 & 7 < failing => case.failed(action, nature_of(dice)),
                Decision::Do(Action::Restart { .. }) => case.reboot(),
                Decision::Do(action) => case.succeeded(action),
                Decision::Wait(waiting) => {
                    prop_assert_ne!(waiting, WaitingOn::Engine);
                    case.forget();
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

fn nature_of(dice: u64) -> takt_agent_core::Nature {
    use takt_agent_core::Nature;
    if (dice >> 44).trailing_zeros() >= 3 { Nature::NotNow } else { Nature::Transient }
}
