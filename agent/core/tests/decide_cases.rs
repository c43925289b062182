//! From the order to the switch: what holds it back, what ends it, and what it never does.

#![allow(clippy::unwrap_used, missing_docs)]

mod cases;

use cases::{
    Case, DEADLINE, MIB, NOW, accepted, allowing, containers, digest, done, manifest, name, order, outcome,
    publishing, remembered, take_over, waited, workload,
};
use takt_agent_core::facts::Routed;
use takt_agent_core::{
    Action, Blocker, ContainerFacts, ContainerState, Decision, Nature, Phase, Presence, StepState, WaitingOn,
};
use takt_common::UnixTime;
use takt_common::order::{Action as OrderAction, AtDeadline, Window};
use takt_common::release::{HookPoint, Strategy};
use takt_common::report::{Memory, Outcome};

/// What stands between the staged release and its switch.
fn blockers(case: &Case) -> Vec<Blocker> {
    match waited(case.decide(&case.staged())) {
        WaitingOn::Blockers(blockers) => blockers,
        other => panic!("{other:?}"),
    }
}

fn set_blocker(case: &mut Case, which: &str) -> Blocker {
    let policy = case.policy.clone();
    match which {
        "disk" => {
            case.facts.free_disk_bytes = policy.reserve_disk_bytes - 1;
            let free_bytes = case.facts.free_disk_bytes;
            Blocker::LowDisk { free_bytes, needed_bytes: policy.reserve_disk_bytes }
        }
        "memory" => {
            case.facts.free_memory_bytes = 31 * MIB;
            Blocker::LowMemory { free_bytes: 31 * MIB, needed_bytes: policy.reserve_memory_bytes }
        }
        "load" => {
            case.facts.load_per_cpu = 8.5;
            Blocker::HighLoad { load_per_cpu: 8.5, limit: 8.0 }
        }
        "before" => {
            let (from, until) = (UnixTime::from_secs(NOW.as_secs() + 10_000), UnixTime::from_secs(u64::MAX));
            case.order.window = Some(Window { from, until });
            Blocker::BeforeWindow { from }
        }
        "after" => {
            case.order.window = Some(Window { from: UnixTime::from_secs(0), until: NOW });
            Blocker::AfterWindow { until: NOW }
        }
        "lock" => {
            case.facts.locks = vec!["calibration".into()];
            Blocker::Locked { lock: "calibration".into() }
        }
        "standing-in" => {
            case.stands_in(ContainerState::Running);
            Blocker::StandingIn { name: "camera-2".into() }
        }
        other => panic!("{other}"),
    }
}

const HARD: [&str; 4] = ["disk", "memory", "lock", "standing-in"];
const SOFT: [&str; 3] = ["load", "before", "after"];

#[test]
fn every_blocker_holds_the_switch_and_says_its_numbers() {
    for which in HARD.into_iter().chain(SOFT) {
        let mut case = Case::upgrade();
        let expected = set_blocker(&mut case, which);
        assert_eq!(expected.is_soft(), SOFT.contains(&which));
        assert_eq!(blockers(&case), [expected], "{which}");
    }
    let texts = [
        ("disk", "low disk: 255 MiB free, 256 MiB needed"),
        ("memory", "low memory: 31 MiB available, 32 MiB needed"),
        ("load", "high load: 8.50 per processor, at most 8.00 allowed"),
        ("before", "the window opens at 1970-01-24T06:20:00Z"),
        ("after", "the window closed at 1970-01-24T03:33:20Z"),
        ("lock", "the update lock 'calibration' is held"),
        ("standing-in", "this device stands in for camera-2"),
    ];
    for (which, text) in texts {
        assert_eq!(set_blocker(&mut Case::upgrade(), which).to_string(), text);
    }
}

#[test]
fn all_blockers_are_told_at_once() {
    let mut case = Case::upgrade();
    let expected: Vec<Blocker> = ["disk", "memory", "load", "after", "lock", "standing-in"]
        .into_iter()
        .map(|which| set_blocker(&mut case, which))
        .collect();
    assert_eq!(blockers(&case), expected);
}

#[test]
fn memory_that_the_old_release_gives_up_is_not_needed_again() {
    let mut new = manifest(2);
    containers(&mut new).containers[0].memory_mib = Some(300);
    let mut case = Case::upgrade_to(&new);
    case.facts.free_memory_bytes = 200 * MIB;
    let needed = 332 * MIB;
    assert_eq!(blockers(&case), [Blocker::LowMemory { free_bytes: 200 * MIB, needed_bytes: needed }]);
    containers(&mut case.old.as_mut().unwrap().manifest).containers[0].memory_mib = Some(250);
    assert!(matches!(case.decide(&case.staged()), Decision::Remember(_)));
}

#[test]
fn memory_for_both_is_needed_only_where_both_run() {
    let limited = |major, mib| {
        let mut manifest = publishing(major);
        let set = containers(&mut manifest);
        set.strategies = vec![Strategy::Handover, Strategy::Replace];
        set.containers.iter_mut().for_each(|container| container.memory_mib = Some(mib));
        manifest
    };
    let count = u64::try_from(containers(&mut limited(2, 1)).containers.len()).unwrap();
    let mut case = Case::over(workload(&limited(1, 100), 2), &limited(2, 100));
    case.facts.free_memory_bytes = 50 * MIB;
    let needed_bytes = (100 * count + 32) * MIB;
    assert_eq!(blockers(&case), [Blocker::LowMemory { free_bytes: 50 * MIB, needed_bytes }]);
    // Another strategy was chosen than the first one that is allowed.
    let mut replaced = case.staged();
    if let Phase::Staged { swap, .. } = &mut replaced {
        swap.strategy = Some(Strategy::Replace);
    }
    assert!(matches!(case.decide(&replaced), Decision::Remember(Phase::Switching { .. })));
}

#[test]
fn ports_that_a_reboot_has_undone_come_back_while_an_order_waits() {
    let mut case = Case::over(workload(&publishing(1), 2), &publishing(2));
    case.facts.locks = vec!["calibration".into()];
    let old = case.old.clone().unwrap();
    for phase in [case.staged(), case.fetching()] {
        let mut undone = case.clone();
        undone.facts.staged.clear();
        undone.facts.routes.insert(old.name.clone(), Routed::No);
        let route = Action::Route { to: Box::new(old.clone()) };
        assert_eq!(done(undone.decide(&phase)), route);
        // That they cannot be moved is nothing that the order fails by.
        undone.failed(route, Nature::Fatal);
        assert!(matches!(waited(undone.decide(&phase)), WaitingOn::Retry { .. }));
    }
}

#[test]
fn ports_that_cannot_be_led_back_do_not_keep_an_order_without_containers() {
    // One release publishes; the order brings another one, of a file.
    let mut file = cases::with_steps(manifest(2), vec![cases::file_step("first")]);
    file.release.name = name("settings");
    let mut case = Case::over(workload(&publishing(1), 2), &file);
    let old = case.old.take().unwrap();
    case.facts.routes.insert(old.name.clone(), Routed::No);
    let route = Action::Route { to: Box::new(old) };
    let phase = case.staged();
    for (key, _) in phase.swap().unwrap().new.steps() {
        case.facts.steps.insert(key, StepState::Prepared);
    }
    assert_eq!(done(case.decide(&phase)), route);
    case.failed(route.clone(), Nature::Transient);
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::Retry { .. }));
    // After the rest the order goes on, and the ports are tried again when their pause is over.
    case.forget();
    let ahead = case.decide(&phase);
    assert!(!matches!(ahead, Decision::Wait(_)) && ahead != Decision::Do(route.clone()), "{ahead:?}");
    case.pass(60_000);
    assert_eq!(done(case.decide(&phase)), route);
    // One that needs ports itself waits with them.
    let mut case = Case::over(workload(&publishing(1), 2), &publishing(2));
    let old = case.old.clone().unwrap();
    case.facts.routes.insert(old.name.clone(), Routed::No);
    case.failed(Action::Route { to: Box::new(old) }, Nature::Transient);
    case.forget();
    for phase in [case.staged(), case.fetching()] {
        assert!(matches!(waited(case.decide(&phase)), WaitingOn::Retry { .. }));
    }
}

#[test]
fn a_stand_in_fetches_what_it_runs_and_nothing_else() {
    let mut case = Case::upgrade_to(&cases::of_every_kind());
    case.order.action = take_over();
    case.old = None;
    let set = case.new.manifest.containers().unwrap().clone();
    let manifest_digest = case.order.members[0].sha256;
    case.set_images(Presence::Absent);
    case.facts.staged = [manifest_digest].into();
    // Storage for that, and for nothing else.
    let archive = case.new.manifest.artifact(&set.containers[0].archive).unwrap().length;
    case.facts.free_disk_bytes =
        archive + 10 + case.new.manifest.unpacked_bytes + case.policy.reserve_disk_bytes;
    let mut fetched = std::collections::BTreeSet::new();
    while let Decision::Do(Action::Fetch { sha256, .. }) = case.decide(&case.fetching()) {
        assert!(fetched.insert(sha256), "{sha256} twice");
        case.facts.staged.insert(sha256);
    }
    let archives = set.containers.iter().map(|container| container.archive);
    assert_eq!(fetched, archives.chain([digest("hook")]).collect());
    // The programs of the hooks `takeover` and `hand-back` are all that it needs beside them.
    case.new.manifest.hooks.remove(&HookPoint::Takeover);
    case.new.manifest.hooks.remove(&HookPoint::HandBack);
    case.facts.manifest = Some(Ok(case.new.manifest.clone()));
    case.facts.staged.remove(&digest("hook"));
    assert!(matches!(case.decide(&case.fetching()), Decision::Remember(Phase::Staged { .. })));
}

#[test]
fn a_first_byte_is_not_fetched_without_storage_for_all_of_them() {
    let mut case = Case::upgrade();
    case.facts.staged.clear();
    case.facts.manifest = None;
    case.set_images(Presence::Unknown);
    let lengths: u64 = case.order.members.iter().map(|member| member.length).sum();
    let needed_bytes = lengths + case.policy.reserve_disk_bytes;
    let free_bytes = needed_bytes - 1;
    case.facts.free_disk_bytes = free_bytes;
    let waiting = waited(case.decide(&case.fetching()));
    assert_eq!(waiting, WaitingOn::Blockers(vec![Blocker::LowDisk { free_bytes, needed_bytes }]));
    // What is on disk already is not needed again.
    case.facts.partial.insert(case.order.members[1].sha256, 1);
    let first = &case.order.members[0];
    let fetch = Action::Fetch { sha256: first.sha256, length: first.length };
    assert_eq!(done(case.decide(&case.fetching())), fetch);
}

#[test]
fn storage_for_files_beside_a_known_image_is_still_needed() {
    let mut new = manifest(2);
    let beside = takt_common::release::Artifact { sha256: digest("model"), length: 64 * MIB };
    new.artifacts.push(beside.clone());
    let mut case = Case::upgrade_to(&new);
    case.facts.staged.remove(&beside.sha256);
    let needed_bytes = beside.length + case.policy.reserve_disk_bytes;
    case.facts.free_disk_bytes = needed_bytes - 1;
    let waiting = waited(case.decide(&case.fetching()));
    let free_bytes = needed_bytes - 1;
    assert_eq!(waiting, WaitingOn::Blockers(vec![Blocker::LowDisk { free_bytes, needed_bytes }]));
    case.facts.free_disk_bytes = needed_bytes;
    assert_eq!(
        done(case.decide(&case.fetching())),
        Action::Fetch { sha256: beside.sha256, length: beside.length }
    );
}

#[test]
fn at_the_deadline_an_order_gives_up_and_names_what_it_waited_on() {
    for which in HARD.into_iter().chain(SOFT) {
        let mut case = Case::upgrade();
        let blocker = set_blocker(&mut case, which);
        case.facts.now = DEADLINE;
        let told = match outcome(case.decide(&case.staged())) {
            Outcome::GivenUp { cause } => cause,
            other => panic!("{which}: {other:?}"),
        };
        let expected =
            if which == "before" { blocker.to_string() } else { set_blocker(&mut case, which).to_string() };
        assert!(told.ends_with(&expected), "{told}");
    }
}

#[test]
fn at_the_deadline_go_ahead_overrides_soft_blockers_only() {
    for which in SOFT {
        let mut case = Case::upgrade();
        set_blocker(&mut case, which);
        case.order.policy.at_deadline = AtDeadline::GoAhead;
        assert!(matches!(case.decide(&case.staged()), Decision::Wait(_)), "{which}: not before the deadline");
        case.facts.now = DEADLINE;
        assert!(
            matches!(case.decide(&case.staged()), Decision::Remember(Phase::Checkpointing { .. })),
            "{which}"
        );
    }
    for which in HARD {
        let mut case = Case::upgrade();
        set_blocker(&mut case, which);
        case.order.policy.at_deadline = AtDeadline::GoAhead;
        case.facts.now = DEADLINE;
        assert!(matches!(outcome(case.decide(&case.staged())), Outcome::GivenUp { .. }), "{which}");
    }
}

#[test]
fn a_deadline_that_passes_while_fetching_says_whether_something_had_failed() {
    let mut case = Case::upgrade();
    case.facts.staged.clear();
    let mut phase = case.fetching();
    let fetch = done(case.decide(&phase));
    case.facts.now = DEADLINE;
    assert!(matches!(outcome(case.decide(&phase)), Outcome::GivenUp { .. }));
    case.failed(fetch, Nature::Transient);
    phase = remembered(case.decide(&phase));
    case.facts.last = None;
    let Outcome::Failed { cause } = outcome(case.decide(&phase)) else { panic!() };
    assert!(cause.contains("1 failed tries: failed to fetch artifact"), "{cause}");
}

#[test]
fn a_deadline_that_passes_while_something_holds_the_fetch_up_names_it() {
    let mut case = Case::upgrade();
    case.facts.now = DEADLINE;
    case.set_images(Presence::Unknown);
    let given_up = |decision| match outcome(decision) {
        Outcome::GivenUp { cause } => cause,
        other => panic!("{other:?}"),
    };
    let cause = given_up(case.decide(&case.fetching()));
    assert_eq!(cause, "the deadline passed; waited on the container engine, which does not answer");
    case.set_images(Presence::Absent);
    case.facts.free_disk_bytes = 5 * MIB;
    let cause = given_up(case.decide(&case.fetching()));
    assert!(cause.starts_with("the deadline passed; waited on low disk: 5 MiB free, "), "{cause}");
}

#[test]
fn no_engine_no_act_in_any_phase() {
    let mut case = Case::upgrade();
    let (verified, rolled_back) = (case.verified(), case.rolled_back());
    let mut cold = Case::allowing(&[Strategy::Replace]);
    cold.set_old(ContainerState::Exited(0));
    cold.set_new(ContainerState::Exited(1));
    let by_cold = remembered(cold.decide(&cold.rolling_back()));
    let mut with_checkpoint = case.clone();
    with_checkpoint.set_old(ContainerState::Exited(137));
    with_checkpoint.set_new(ContainerState::Exited(1));
    let by_restore = remembered(with_checkpoint.decide(&with_checkpoint.rolling_back()));
    let hand_back = OrderAction::HandBack { device: cases::peer(), name: name("camera-2") };
    let handing_back = {
        let mut case = case.clone();
        case.order = order(9, hand_back, None);
        case.stands_in(ContainerState::Running);
        case.facts.next = Some(accepted(case.order.clone()));
        remembered(case.decide(&Phase::Idle))
    };
    let phases = [
        Phase::Idle,
        case.fetching(),
        case.staged(),
        case.begun(),
        case.switching(),
        case.probation(),
        case.rolling_back(),
        by_restore,
        by_cold,
        handing_back,
        verified,
        rolled_back,
    ];
    case.stands_in(ContainerState::Unknown);
    case.set_images(Presence::Unknown);
    let unseen = ContainerFacts { kept_running: false, ..ContainerFacts::UNKNOWN };
    let everything = [case.old_name(), case.new_name(), cases::only(&cases::stand_in().workload)];
    case.facts.containers.extend(everything.map(|name| (name, unseen)));
    for phase in phases {
        assert_eq!(case.decide_noted(&phase), Decision::Wait(WaitingOn::Engine), "{phase:?}");
    }
    // An order for whom the device stands in already is not answered by guessing either.
    case.facts.next = Some(accepted(order(9, take_over(), Some(&manifest(1)))));
    assert_eq!(case.decide(&Phase::Idle), Decision::Wait(WaitingOn::Engine));
}

#[test]
fn nothing_is_stopped_for_a_release_whose_container_cannot_be_seen_or_is_gone() {
    let mut case = Case::allowing(&[Strategy::Replace]);
    let phase = case.switching();
    case.set_new(ContainerState::Unknown);
    assert_eq!(case.decide_noted(&phase), Decision::Wait(WaitingOn::Engine));
    case.set_new(ContainerState::Absent);
    let back = remembered(case.decide(&phase));
    let Outcome::RolledBack { memory, cause } = outcome(case.decide(&back)) else { panic!() };
    assert_eq!(memory, Memory::Untouched);
    assert!(cause.ends_with("has been removed"), "{cause}");
}

#[test]
fn without_criu_preserve_falls_back_to_replace_with_a_warning() {
    let mut case = Case::upgrade();
    case.facts.checkpoint_ability = Err("criu is not installed".into());
    let phase = remembered(case.decide(&case.fetching()));
    let swap = phase.swap().unwrap();
    assert_eq!(swap.strategy, Some(Strategy::Replace));
    assert_eq!(swap.warnings, ["strategy preserve is not possible here: criu is not installed"]);
    assert!(matches!(case.decide(&phase), Decision::Remember(Phase::Switching { .. })));
}

#[test]
fn without_criu_a_release_that_allows_only_preserve_fails_before_the_switch() {
    let mut case = Case::allowing(&[Strategy::Preserve]);
    case.facts.checkpoint_ability = Err("criu is not installed".into());
    let Outcome::Failed { cause } = outcome(case.decide(&case.fetching())) else { panic!() };
    assert!(cause.contains("criu is not installed"), "{cause}");
    // With nothing to preserve it can be installed all the same.
    (case.old, case.facts.installed) = (None, vec![]);
    let phase = remembered(case.decide(&case.fetching()));
    assert_eq!(phase.swap().unwrap().strategy, Some(Strategy::Replace));
}

#[test]
fn a_refused_checkpoint_falls_back_to_replace_with_a_warning() {
    for nature in [Nature::Fatal, Nature::Transient] {
        let mut case = Case::upgrade();
        let phase = case.begun();
        let checkpoint = done(case.decide(&phase));
        assert!(matches!(checkpoint, Action::Checkpoint { .. }));
        case.failed(checkpoint, nature);
        let phase = case.decide(&phase);
        let phase = case.remember(phase);
        let swap = phase.swap().unwrap();
        assert_eq!((swap.strategy, &swap.checkpoint), (Some(Strategy::Replace), &None));
        assert!(swap.warnings[0].contains("the engine said no; the strategy replace was used"));
        assert!(matches!(done(case.decide(&phase)), Action::Stop { .. }));
    }
}

#[test]
fn a_refused_checkpoint_ends_the_order_untouched_where_replace_is_not_allowed() {
    let mut case = Case::allowing(&[Strategy::Preserve]);
    let mut phase = case.begun();
    let checkpoint = done(case.decide(&phase));
    case.failed(checkpoint, Nature::Fatal);
    while phase.outcome().is_none() {
        // Every step on the way out is a commit: nothing is touched.
        let decision = case.decide(&phase);
        phase = case.remember(decision);
    }
    assert!(matches!(phase.outcome().unwrap(), Outcome::RolledBack { memory: Memory::Untouched, .. }));
}

#[test]
fn a_previous_release_that_does_not_run_leaves_nothing_to_preserve_and_the_report_says_so() {
    let mut case = Case::upgrade();
    case.set_old(ContainerState::Exited(1));
    let phase = remembered(case.decide(&case.staged()));
    assert!(matches!(phase, Phase::Switching { .. }));
    let swap = phase.swap().unwrap();
    assert_eq!((swap.strategy, swap.warnings.len()), (Some(Strategy::Replace), 1));
}

#[test]
fn a_manifest_that_wants_more_than_was_ordered_never_installs() {
    let ordered = manifest(2);
    let mut other_release = ordered.clone();
    other_release.release.version = name("2.1");
    let mut other_component = ordered.clone();
    other_component.release.name = name("kernel");
    let mut more = ordered.clone();
    more.artifacts.push(takt_common::release::Artifact { sha256: digest("more"), length: 1 });
    let mut longer = ordered.clone();
    longer.artifacts[0].length += 1;
    let mut other_hardware = ordered.clone();
    other_hardware.hardware = vec![name("board-b")];
    for wrong in [other_release, other_component, more, longer, other_hardware] {
        let mut case = Case::upgrade();
        case.facts.manifest = Some(Ok(wrong));
        let told = outcome(case.decide(&case.fetching()));
        assert!(matches!(told, Outcome::Failed { .. }), "{told:?}");
    }
    let mut case = Case::upgrade();
    case.facts.manifest = Some(Err("the manifest is unreadable".into()));
    assert_eq!(
        outcome(case.decide(&case.fetching())),
        Outcome::Failed { cause: "the manifest is unreadable".into() }
    );
}

#[test]
fn an_order_that_mixes_releases_or_names_no_manifest_never_installs() {
    let mut case = Case::upgrade();
    case.order.members[1].release.version = name("1.0");
    assert!(matches!(outcome(case.decide(&case.fetching())), Outcome::Failed { .. }));
    let mut case = Case::upgrade();
    case.order.members.remove(0);
    assert!(matches!(outcome(case.decide(&case.fetching())), Outcome::Failed { .. }));
}

#[test]
fn a_manifest_counts_only_while_its_verified_bytes_are_on_disk() {
    let mut case = Case::upgrade();
    case.facts.staged.remove(&case.order.members[0].sha256);
    let action = done(case.decide(&case.fetching()));
    assert!(matches!(action, Action::Fetch { sha256, .. } if sha256 == case.order.members[0].sha256));
}

#[test]
fn a_newer_order_withdraws_one_that_has_not_begun_its_switch() {
    let mut case = Case::upgrade();
    let (fetching, staged) = (case.fetching(), case.staged());
    let before = [case.begun(), case.switching(), case.probation(), case.rolling_back()]
        .map(|phase| (case.decide(&phase), phase));
    case.facts.next = Some(accepted(order(8, OrderAction::Withdraw, None)));
    assert_eq!(outcome(case.decide(&fetching)), Outcome::Withdrawn);
    assert_eq!(outcome(case.decide(&staged)), Outcome::Withdrawn);
    for (undisturbed, phase) in before {
        assert_eq!(case.decide(&phase), undisturbed, "{phase:?}");
    }
}

#[test]
fn never_older_an_order_that_waited_while_a_later_release_was_verified_changes_nothing() {
    let mut case = Case::upgrade();
    let newest = workload(&manifest(3), 6);
    case.facts.installed = vec![newest.clone()];
    case.old = Some(newest);
    case.set_old(ContainerState::Running);
    let Outcome::Failed { cause } = outcome(case.decide(&case.fetching())) else { panic!() };
    assert!(cause.contains("older"), "{cause}");
    case.order.policy.downgrade = true;
    assert!(
        matches!(remembered(case.decide(&case.fetching())), Phase::Staged { .. }),
        "it is what was ordered"
    );
    // A stand-in runs what the other device runs.
    case.order = order(7, take_over(), Some(&manifest(2)));
    case.old = None;
    assert!(matches!(remembered(case.decide(&case.fetching())), Phase::Staged { .. }));
}

#[test]
fn a_release_that_needs_another_before_it_changes_nothing_where_that_does_not_run() {
    let mut new = manifest(3);
    new.requires.counter_min = Some(2);
    let mut case = Case::upgrade_to(&new);
    case.set_old(ContainerState::Running);
    let Outcome::Failed { cause } = outcome(case.decide(&case.fetching())) else { panic!() };
    assert_eq!(
        cause,
        "counter 3.0 needs a release of counter with counter 2 or higher here before, counter 1.0 is installed"
    );
    let between = workload(&manifest(2), 2);
    let mut case = Case::over(between, &new);
    case.set_old(ContainerState::Running);
    assert!(matches!(remembered(case.decide(&case.fetching())), Phase::Staged { .. }));
}

#[test]
fn a_failed_stop_is_tried_again_after_its_pause_not_at_once() {
    let mut case = Case::allowing(&[Strategy::Replace]);
    let phase = case.switching();
    let stop = done(case.decide(&phase));
    assert!(matches!(stop, Action::Stop { .. }));
    case.failed(stop.clone(), Nature::Transient);
    let decision = case.decide(&phase);
    let phase = case.remember(decision);
    assert!(matches!(waited(case.decide(&phase)), WaitingOn::Retry { count: 1, in_millis: 500, .. }));
    case.pass(500);
    assert_eq!(done(case.decide(&phase)), stop);
}

#[test]
fn an_engine_that_says_yes_and_does_nothing_is_found_out() {
    let mut case = Case::upgrade();
    case.set_new(ContainerState::Absent);
    let mut phase = case.staged();
    for count in 1..case.policy.engine_tries_max {
        let create = done(case.decide(&phase));
        case.succeeded(create);
        let decision = case.decide(&phase);
        phase = case.remember(decision);
        let Phase::Staged { tries, .. } = &phase else { panic!("{phase:?}") };
        assert_eq!(tries.count, count);
        assert!(tries.why.as_ref().unwrap().ends_with("it had no effect"));
        case.pass(60_000);
    }
    let create = done(case.decide(&phase));
    case.succeeded(create);
    assert!(matches!(outcome(case.decide(&phase)), Outcome::Failed { .. }));
}

#[test]
fn a_release_without_containers_does_not_replace_one_that_has_some() {
    // Who would stop them, and when?
    let mut new = allowing(&[Strategy::Replace]);
    new.steps = vec![cases::file_step("config")];
    let case = Case::upgrade_to(&new);
    let Outcome::Failed { cause } = outcome(case.decide(&case.fetching())) else { panic!() };
    assert_eq!(cause, "counter 2.0 has no containers, but counter 1.0 has, which it replaces");
}
