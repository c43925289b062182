//! Hooks: when they run, and what becomes of an order whose hook fails or asks to wait.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation)] // In tests.

mod cases;
mod world;

use cases::{
    Case, DEADLINE, allowing, between_files, done, manifest, order, outcome, remembered, waited, with_hooks,
};
use takt_agent_core::{Action, Blocker, Decision, Nature as Failure, Phase, StandIn, Tries, WaitingOn};
use takt_common::order::{Action as OrderAction, Takeover};
use takt_common::release::{HookPoint, Strategy};
use takt_common::report::Outcome;
use world::{Criu, Effect, Nature, Part, Releases, World};

const REPLACED: Part = Part::Containers(Strategy::Replace);

fn ended(parts: &[Part], nature: Nature) -> World {
    let mut world = World::running(&Releases::with_hooks(parts), nature, Criu::Works);
    world.install_new();
    world.run(|_| None);
    world.check_end(&format!("{parts:?}, {nature:?}"));
    world
}

fn ran(world: &World) -> Vec<HookPoint> {
    let points = world.effects.iter().filter_map(|effect| match effect {
        Effect::Hook(point) => Some(*point),
        _ => None,
    });
    points.collect()
}

#[test]
fn hooks_run_once_each_and_in_their_order_whatever_the_release_changes() {
    let forward = [
        HookPoint::PreFetch,
        HookPoint::PreSwitch,
        HookPoint::ExportState,
        HookPoint::ImportState,
        HookPoint::PostSwitch,
    ];
    for parts in [
        &[REPLACED][..],
        &[Part::Containers(Strategy::Preserve)],
        &[Part::Containers(Strategy::Handover)],
        &[Part::File],
        &[Part::OsImage],
        &[Part::File, REPLACED, Part::OsImage],
    ] {
        assert_eq!(ran(&ended(parts, Nature::Good)), forward, "{parts:?}");
        // A sick release is turned back before it gets the ports, so before the switch has come to its end.
        let reached = if matches!(parts, [Part::Containers(Strategy::Handover)]) { 4 } else { 5 };
        let back = [&forward[..reached], &[HookPoint::Rollback]].concat();
        assert_eq!(ran(&ended(parts, Nature::StartsSick)), back, "{parts:?}");
    }
}

#[test]
fn state_is_exported_right_before_the_switch_and_imported_once_the_new_release_runs() {
    let (stop, start) = (Effect::Stopped { new: false }, Effect::Started { new: true });
    let (export, import) = (Effect::Hook(HookPoint::ExportState), Effect::Hook(HookPoint::ImportState));
    let ahead = [Effect::Hook(HookPoint::PreFetch), Effect::Hook(HookPoint::PreSwitch)];
    let after = [Effect::Hook(HookPoint::PostSwitch)];
    let route = Effect::Routed { new: true };
    for (parts, between) in [
        (&[REPLACED][..], vec![export, stop, stop, start, start, import, route]),
        (&[Part::Container], vec![export, stop, start, import]),
        (&[Part::File, REPLACED], vec![export, Effect::Applied(0), stop, stop, start, start, import, route]),
        (&[Part::File, Part::File], vec![export, Effect::Applied(0), Effect::Applied(1), import]),
        (&[Part::Containers(Strategy::Handover)], vec![export, start, start, import, route, stop, stop]),
    ] {
        let expected = [&ahead[..], &between[..], &after[..]].concat();
        assert_eq!(ended(parts, Nature::Good).effects, expected, "{parts:?}");
    }
}

#[test]
fn a_hook_that_fails_ends_the_order_as_its_point_says() {
    for point in [
        HookPoint::PreFetch,
        HookPoint::PreSwitch,
        HookPoint::ExportState,
        HookPoint::ImportState,
        HookPoint::PostSwitch,
        HookPoint::Healthy,
    ] {
        for parts in [&[REPLACED][..], &[Part::Package]] {
            ended(parts, Nature::HookFails(point));
        }
    }
}

#[test]
fn a_failing_hook_on_the_way_back_is_only_a_warning() {
    for parts in [&[REPLACED][..], &[Part::File]] {
        let world = ended(parts, Nature::RollbackHookFails);
        assert!(world.warnings.iter().any(|said| said.contains("hook rollback")), "{:?}", world.warnings);
    }
}

#[test]
fn a_hook_that_asks_to_wait_is_asked_again_until_the_deadline() {
    for point in [HookPoint::PreFetch, HookPoint::PreSwitch] {
        for parts in [&[REPLACED][..], &[Part::File]] {
            ended(parts, Nature::NotNow(point, 7));
            let world = ended(parts, Nature::NotNow(point, u32::MAX));
            let Outcome::GivenUp { cause } = &world.outcomes[0].1 else { panic!("{:?}", world.outcomes) };
            let expected = format!(
                "the deadline passed; waited on the hook {point}, which asks to wait: the line is running"
            );
            assert_eq!(*cause, expected);
            let told = world.waits.iter().any(|waiting| {
                waiting.to_string().starts_with(&format!(
                    "the hook {point}, which asks to wait: the line is running; asked again in "
                ))
            });
            assert!(told, "{:?}", world.waits);
        }
    }
}

#[test]
fn a_hook_that_asked_to_wait_uses_up_no_tries_of_anything() {
    let mut case = Case::upgrade_to(&with_hooks(manifest(2)));
    let mut phase = case.staged();
    for _ in 0..20 {
        let hook = done(case.decide(&phase));
        assert!(matches!(hook, Action::Hook { point: HookPoint::PreSwitch, .. }), "{hook:?}");
        case.failed(hook, Failure::NotNow);
        let decision = case.decide(&phase);
        phase = case.remember(decision);
        case.pass(60_000);
    }
    case.set_new(takt_agent_core::ContainerState::Absent);
    let create = done(case.decide(&phase));
    case.failed(create, Failure::Transient);
    let Phase::Staged { tries, .. } = remembered(case.decide(&phase)) else { panic!() };
    assert_eq!((tries.count, tries.held), (1, false));
}

#[test]
fn once_the_switch_has_begun_a_hook_that_asks_to_wait_has_failed() {
    for point in [HookPoint::ImportState, HookPoint::PostSwitch] {
        let mut world =
            World::running(&Releases::with_hooks(&[REPLACED]), Nature::NotNow(point, 1), Criu::Works);
        world.install_new();
        world.run(|_| None);
        let Outcome::RolledBack { cause, .. } = &world.outcomes[0].1 else { panic!("{:?}", world.outcomes) };
        assert_eq!(*cause, format!("failed to run the hook {point}: the line is running"));
    }
}

/// A switch that was about to begin when its state was exported.
fn exporting(case: &mut Case) -> Phase {
    let mut phase = case.staged();
    for _ in 0..10 {
        match case.decide(&phase) {
            decision @ Decision::Remember(_) => phase = case.remember(decision),
            Decision::Do(action @ Action::Hook { point: HookPoint::ExportState, .. }) => {
                case.succeeded(action);
                let noted = case.decide(&phase);
                return case.remember(noted);
            }
            Decision::Do(action) => case.succeeded(action),
            Decision::Wait(waiting) => panic!("{waiting}"),
        }
    }
    panic!("{phase:?}")
}

#[test]
fn own_decision_nothing_is_switched_that_a_lock_holds_since_the_state_was_exported() {
    let mut case = Case::upgrade_to(&with_hooks(allowing(&[Strategy::Replace])));
    let mut phase = exporting(&mut case);
    // The load is the export's own.
    case.facts.load_per_cpu = 50.0;
    let begun = remembered(case.decide(&phase));
    assert!(matches!(begun, Phase::Switching { .. }), "{begun:?}");
    case.facts.load_per_cpu = 0.1;
    case.facts.locks = vec!["calibration".into()];
    for _ in 0..5 {
        match case.decide(&phase) {
            decision @ Decision::Remember(_) => phase = case.remember(decision),
            Decision::Wait(waiting) => {
                let expected = Blocker::Locked { lock: "calibration".into() };
                assert_eq!(waiting, WaitingOn::Blockers(vec![expected]));
                break;
            }
            Decision::Do(action) => panic!("{action:?}"),
        }
    }
    // What was exported is old by then.
    case.forget();
    case.facts.locks.clear();
    exporting_again(&mut case, phase);
}

/// Both hooks are asked again before the switch.
fn exporting_again(case: &mut Case, mut phase: Phase) {
    let mut points = vec![];
    for _ in 0..10 {
        match case.decide(&phase) {
            decision @ Decision::Remember(_) => phase = case.remember(decision),
            Decision::Do(action) => {
                let Action::Hook { point, .. } = &action else { panic!("{action:?}") };
                points.push(*point);
                case.succeeded(action);
            }
            Decision::Wait(waiting) => panic!("{waiting}"),
        }
        if matches!(phase, Phase::Switching { .. }) {
            assert_eq!(points, [HookPoint::PreSwitch, HookPoint::ExportState]);
            return;
        }
    }
    panic!("{phase:?}")
}

#[test]
fn hooks_run_for_orders_to_install_only_and_the_one_for_takeovers_for_those() {
    let mut case = Case::upgrade_to(&with_hooks(between_files()));
    case.order.action = cases::take_over();
    (case.old, case.facts.installed) = (None, vec![]);
    let staged = remembered(case.decide(&case.fetching()));
    case.new = staged.swap().unwrap().new.clone();
    case.set_new(takt_agent_core::ContainerState::Created);
    // A stand-in only runs the containers: no other step is asked about.
    case.facts.steps.clear();
    let mut phase = remembered(case.decide(&staged));
    case.set_new(takt_agent_core::ContainerState::Running);
    phase = remembered(case.decide(&phase));
    assert!(matches!(phase, Phase::Probation { .. }), "{phase:?}");
    case.well_for(0);
    let hook = done(case.decide(&phase));
    assert!(matches!(hook, Action::Hook { point: HookPoint::Takeover, .. }), "{hook:?}");
    // One that fails ends the takeover.
    let mut failing = case.clone();
    failing.failed(hook.clone(), Failure::Fatal);
    assert!(matches!(remembered(failing.decide(&phase)), Phase::RollingBack { .. }));
    case.succeeded(hook);
    let decision = case.decide(&phase);
    phase = case.remember(decision);
    assert_eq!(outcome(case.decide(&phase)), Outcome::Serving);
}

/// A takeover that fails in this phase: what was told to serve is told that it need not.
fn takes_back(case: &mut Case, phase: &Phase) {
    let decision = case.decide(phase);
    let mut back = case.remember(decision);
    let hook = loop {
        match case.decide(&back) {
            Decision::Do(action) => break action,
            decision => back = case.remember(decision),
        }
    };
    let Action::Hook { point: HookPoint::HandBack, hook: program, .. } = &hook else { panic!("{hook:?}") };
    assert_eq!(program.args, ["camera-2", "--fence=12"]);
    case.succeeded(hook);
    let decision = case.decide(&back);
    back = case.remember(decision);
    assert!(matches!(outcome(case.decide(&back)), Outcome::Failed { .. }));
}

#[test]
fn a_standby_that_is_notified_starts_nothing_and_serves_by_its_health_checks() {
    let mut release = with_hooks(manifest(1));
    let said = vec!["{device}".to_owned(), "--fence={lease}".to_owned()];
    for point in [HookPoint::Takeover, HookPoint::HandBack] {
        release.hooks.get_mut(&point).unwrap().args.clone_from(&said);
    }
    let mut case = Case::upgrade_to(&release);
    let how = OrderAction::TakeOver {
        device: cases::peer(),
        name: cases::name("camera-2"),
        how: Takeover::Notify,
        lease: 12,
    };
    case.order = order(7, how, Some(&release));
    case.old = None;
    let staged = remembered(case.decide(&case.fetching()));
    case.new = staged.swap().unwrap().new.clone();
    assert!(!case.new.has_containers(), "nothing is started");
    case.facts.steps.clear();
    let mut phase = staged;
    while !matches!(phase, Phase::Probation { .. }) {
        phase = remembered(case.decide(&phase));
    }
    // What serves there must hear of it first.
    let hook = done(case.decide(&phase));
    let Action::Hook { point: HookPoint::Takeover, hook: program, .. } = &hook else { panic!("{hook:?}") };
    assert_eq!(program.args, ["camera-2", "--fence=12"]);
    let mut refusing = case.clone();
    refusing.failed(hook.clone(), Failure::Fatal);
    takes_back(&mut refusing, &phase);
    case.succeeded(hook);
    let decision = case.decide(&phase);
    phase = case.remember(decision);
    assert!(matches!(case.decide(&phase), Decision::Wait(_)), "not before it is well");
    let mut ill = case.clone();
    ill.facts.wellness.failures_in_a_row = 9;
    ill.facts.boot.millis += 3_600_000;
    takes_back(&mut ill, &phase);

    case.well_for(0);
    assert_eq!(outcome(case.decide(&phase)), Outcome::Serving);

    // The hook that ends it runs before anything is stopped, once, and with the token of the takeover that it ends.
    case.facts.stand_in = Some(StandIn { workload: case.new.clone(), ..cases::stand_in() });
    case.order =
        order(8, OrderAction::HandBack { device: cases::peer(), name: cases::name("camera-2") }, None);
    let phase = Phase::HandingBack { job: case.job(), tries: Tries::default() };
    case.forget();
    let hook = done(case.decide(&phase));
    let Action::Hook { point: HookPoint::HandBack, hook: program, .. } = &hook else { panic!("{hook:?}") };
    assert_eq!(program.args, ["camera-2", "--fence=12"]);
    case.succeeded(hook);
    assert_eq!(outcome(case.decide(&phase)), Outcome::HandedBack);
}

#[test]
fn at_the_deadline_what_holds_an_order_back_ends_it_also_where_it_may_go_ahead() {
    use takt_agent_core::StepState;
    use takt_agent_core::facts::Baseline;
    use takt_common::order::AtDeadline;
    let mut case = Case::upgrade_to(&between_files());
    case.order.policy.at_deadline = AtDeadline::GoAhead;
    case.facts.now = DEADLINE;
    // A step that nobody can look at.
    let phase = case.staged();
    case.set_step(2, StepState::Unknown("the disk does not answer".into()));
    let Outcome::GivenUp { cause } = outcome(case.decide(&phase)) else { panic!() };
    assert!(cause.ends_with("the file step, which cannot be looked at: the disk does not answer"), "{cause}");
    case.set_step(2, StepState::Prepared);
    // A measurement that never ends is not worth an order.
    case.facts.baseline = Baseline::Measuring { left_millis: 1_000 };
    assert!(matches!(remembered(case.decide(&phase)), Phase::Checkpointing { .. }));
    case.facts.now = cases::NOW;
    assert_eq!(waited(case.decide(&phase)), WaitingOn::Baseline { left_millis: 1_000 });
}
