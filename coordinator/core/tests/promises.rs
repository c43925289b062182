//! The promises of the campaign loop, held against random fleets in which anything may be lost, late, repeated, sick,
//! silent or killed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use takt_common::api::{CampaignState, CampaignView, DeviceStep};
use takt_common::order::{Action, Mode, Takeover};
use takt_common::report::Outcome;
use takt_common::{DeviceId, UnixTime};
use takt_coordinator_core::{Campaign, OrderRequest, Step, advance, why};
use world::{DEADLINE_SECS, Install, Nature, Plan, SETTLE_SECS, Takes, World, id};

/// The most devices of a random domain.
const DEVICES_MAX: usize = 7;

/// A device waits for its turn, for its takeover, for its own order with withdrawal, and for its hand-back.
const SECS_PER_DEVICE_MAX: u64 = 4 * DEADLINE_SECS + 5 * SETTLE_SECS;

/// Rounds are at most this far apart, so every deadline is seen this much late.
const ROUND_SECS_MAX: u64 = 8;

fn nature() -> impl Strategy<Value = Nature> {
    let runs = prop_oneof![1 => Just(None), 6 => Just(Some(1)), 1 => Just(Some(2))];
    let takes = prop_oneof![
        20 => Just(Takes::Well), 1 => Just(Takes::Refuses), 1 => Just(Takes::Hangs), 1 => Just(Takes::Dead)
    ];
    let install = prop_oneof![
        20 => Just(Install::Verified), 1 => Just(Install::RolledBack),
        1 => Just(Install::Failed), 1 => Just(Install::Stranded)
    ];
    (runs, takes, install, prop::bool::weighted(0.05), 0..4_u64).prop_map(
        |(runs, takes, install, takeover_fails, slowness)| Nature {
            runs,
            takes,
            install,
            takeover_fails,
            slowness,
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let pairs = prop::collection::vec((0..DEVICES_MAX, 0..DEVICES_MAX, any::<bool>()), 0..10);
    let rows = prop::collection::btree_map(
        0..DEVICES_MAX,
        prop::collection::vec(0..DEVICES_MAX, 1..4),
        1..DEVICES_MAX,
    );
    let devices = prop::collection::vec(nature(), 1..=DEVICES_MAX);
    let in_first = prop_oneof![
        2 => Just(vec![true; DEVICES_MAX]), 1 => prop::collection::vec(any::<bool>(), DEVICES_MAX)
    ];
    let members = prop::collection::btree_set(0..DEVICES_MAX, 2..5);
    let sets = prop::collection::vec((members, 1..4_u32), 0..2);
    let slot_secs = prop_oneof![1 => Just(None), 1 => (1..150_u32).prop_map(Some)];
    let orders_max = prop_oneof![2 => Just(usize::MAX), 1 => 1..4_usize];
    let trouble = prop_oneof![Just((0, 0, 0, 0)), (0..60_u64, 0..60_u64, 0..15_u64, 0..50_u64)];
    (devices, pairs, (rows, sets), slot_secs, (1..4_u32, orders_max), in_first, trouble, any::<u64>())
        .prop_map(
            |(
                devices,
                pairs,
                (rows, sets),
                slot_secs,
                (element_size, orders_max),
                in_first,
                (lost, repeated, flapping, crashing),
                seed,
            )| {
                let count = devices.len();
                let pairs = pairs.into_iter().filter(|(from, to, _)| to < from && *from < count);
                let edges = pairs.map(|(from, to, requires)| ((from, to), requires)).collect();
                let row = |(device, standbys): (usize, Vec<usize>)| {
                    let others = standbys.into_iter().map(|standby| standby % count);
                    let standbys: BTreeSet<usize> = others.filter(|standby| *standby != device).collect();
                    (device < count && !standbys.is_empty()).then(|| (device, standbys.into_iter().collect()))
                };
                let standbys = rows.into_iter().filter_map(row).collect();
                let set = |(members, serve_min): (BTreeSet<usize>, u32)| {
                    let members: BTreeSet<usize> =
                        members.into_iter().filter(|member| *member < count).collect();
                    (serve_min < u32::try_from(members.len()).unwrap()).then_some((members, serve_min))
                };
                Plan {
                    devices,
                    edges,
                    standbys,
                    sets: sets.into_iter().filter_map(set).collect(),
                    slot_secs,
                    element_size,
                    orders_max,
                    in_first,
                    lost,
                    repeated,
                    flapping,
                    crashing,
                    seed,
                }
            },
        )
}

/// Advances every campaign once, checks the promises, and stores unless the coordinator dies first.
fn round(world: &mut World) {
    for index in 0..world.campaigns.len() {
        world.plan(index);
        let campaign = world.campaign(index);
        let step = advance(&campaign, &world.look());
        let again = advance(&campaign, &world.look());
        assert_eq!(step, again, "the same arguments give the same step");
        check_orders(world, index, &campaign, &step);
        check_element(world, &step.campaign.view());
        check_reason(&step.campaign.view());
        let crash = world.plan.crashing;
        if world.chance.percent(crash) {
            return;
        }
        world.store(index, &step.campaign, &step.orders);
        let settled = advance(&world.campaign(index), &world.look());
        if step.orders.len() < world.plan.orders_max {
            assert_eq!(settled.orders, [], "a stored step is not taken twice");
            assert_eq!(settled.campaign, step.campaign, "a stored step is whole");
        } else {
            let ordered = |device| step.orders.iter().any(|order: &OrderRequest| order.device == device);
            let twice = settled.orders.iter().find(|order| ordered(order.device));
            assert_eq!(twice, None, "what is left over is for others");
        }
    }
    check_why(world);
}

fn check_orders(world: &World, index: usize, before: &Campaign, step: &Step) {
    let devices: BTreeSet<DeviceId> = step.orders.iter().map(|order| order.device).collect();
    assert_eq!(devices.len(), step.orders.len(), "one order a device a round: {:?}", step.orders);
    for order in &step.orders {
        let state = &world.fleet.devices[&order.device];
        assert_eq!(order.position, state.next);
        match (&order.action, state.order.as_ref().map(|held| &held.action)) {
            // Handing memory over is of no use once the standby serves.
            (_, None | Some(Action::Checkpoint { .. })) | (Action::Withdraw, Some(Action::Install)) => {}
            (Action::HandBack { device, .. }, Some(Action::TakeOver { device: of, .. })) => {
                assert_eq!(device, of);
            }
            (asked, Some(held)) => panic!("one order in hand: {asked} while {held} is open"),
        }
        match &order.action {
            Action::Install => {
                check_slot(world, before, order, order.device);
                check_sets(world, order, order.device);
                check_brake(world, index, before, &step.campaign, order);
                check_requires(world, index, order.device);
                check_standby_first(world, order);
            }
            Action::TakeOver { device, .. } => {
                check_slot(world, before, order, *device);
                check_sets(world, order, *device);
                check_brake(world, index, before, &step.campaign, order);
                check_requires(world, index, *device);
                let standby = &world.devices[&order.device];
                assert!(!standby.is_installing() && standby.standing_in_for.is_none(), "{order:?}");
                assert!(world.drm.standbys_for(*device).contains(&order.device), "{order:?}");
            }
            Action::Checkpoint { standby, .. } => {
                let takes = world.fleet.devices[standby].order.as_ref().map(|order| &order.action);
                let restore = matches!(
                    takes,
                    Some(Action::TakeOver { device, how: Takeover::Restore, .. }) if *device == order.device
                );
                assert!(restore, "memory is asked for, and {standby} does not wait for it: {takes:?}");
            }
            Action::HandBack { .. } | Action::Withdraw => {}
        }
    }
}

/// With a schedule, a device begins in its slot and at no other time.
fn check_slot(world: &World, before: &Campaign, order: &OrderRequest, device: DeviceId) {
    let member = before.view().devices.into_iter().find(|member| member.device == device).unwrap();
    if world.schedule.is_none() || member.step != DeviceStep::Pending {
        return;
    }
    let slot = member.slot.unwrap_or_else(|| panic!("{order:?} without a slot"));
    assert!((slot.start..slot.end).contains(&world.now), "{order:?} at {}, its slot is {slot:?}", world.now);
}

/// So many of a set serve as must, when a device of it begins: the others are online and not in work.
fn check_sets(world: &World, order: &OrderRequest, device: DeviceId) {
    let in_work = |other: &DeviceId| {
        let held = world.fleet.devices.values().filter_map(|state| Some((state.id, state.order.as_ref()?)));
        let mut away = held.filter_map(|(id, held)| match &held.action {
            Action::Install => Some(id),
            Action::TakeOver { device, .. } => Some(*device),
            _ => None,
        });
        away.any(|away| away == *other)
    };
    for set in world.drm.sets().iter().filter(|set| set.members.contains(&device)) {
        let others = set.members.iter().filter(|other| **other != device);
        let away = others.filter(|other| !world.fleet.devices[*other].online || in_work(other)).count();
        // The order on a device that its standby serves for follows its takeover: by then others may have gone.
        let begins = !matches!(order.mode, Mode::Rolling { .. });
        assert!(!begins || away < set.away_max, "{order:?}: {away} others of {set:?} are away");
    }
}

/// From when on the time of an order counts, by the step that it belongs to.
fn began(campaign: &Campaign, order: &OrderRequest) -> Option<UnixTime> {
    campaign.view().devices.iter().find_map(|member| match &member.step {
        DeviceStep::Upgrading { order: position, since, .. }
            if member.device == order.device && *position == order.position =>
        {
            Some(*since)
        }
        DeviceStep::TakingOver { standby, order: position, since }
            if *standby == order.device && *position == order.position =>
        {
            Some(*since)
        }
        _ => None,
    })
}

/// `brake`: nothing begins once the coordinator could know of a failure.
fn check_brake(world: &World, index: usize, before: &Campaign, after: &Campaign, order: &OrderRequest) {
    let view = before.view();
    let all_away = world.fleet.devices.values().all(|state| !state.online);
    assert!(
        matches!(view.state, CampaignState::Pending | CampaignState::Ongoing),
        "{order:?} in {:?}",
        view.state
    );
    for device in &view.devices {
        if let DeviceStep::Done { outcome, .. } | DeviceStep::HandingBack { outcome, .. } = &device.step {
            assert!(outcome.is_success(), "{order:?} although {} {outcome}", device.name);
        }
    }
    for (_, at, earlier) in world.issued.iter().filter(|(of, ..)| *of == index) {
        // Memory that is not handed over is done without.
        if matches!(earlier.action, Action::Checkpoint { .. }) {
            continue;
        }
        let state = &world.fleet.devices[&earlier.device];
        let ended = state.ended.iter().find(|ended| ended.position == earlier.position);
        if let Some(ended) = ended {
            assert!(ended.outcome.is_success(), "brake: {order:?} although {earlier:?} {}", ended.outcome);
        }
        let open =
            state.order.as_ref().is_some_and(|open| open.position == earlier.position && !open.accepted);
        // The clock of a device stands still while nobody of its domain can be heard of.
        let since = began(after, earlier).unwrap_or(*at);
        let late = !all_away && world.now.since(since).as_secs() >= DEADLINE_SECS;
        let begins = matches!(earlier.action, Action::Install | Action::TakeOver { .. });
        assert!(!(open && late && begins), "brake: {order:?} although {earlier:?} was not accepted in time");
        assert!(!(open && state.refused.is_some()), "brake: {order:?} although {earlier:?} was refused");
    }
}

/// A required device is verified, in truth and not by hearsay, before the one that requires it is touched.
fn check_requires(world: &World, index: usize, device: DeviceId) {
    for required in world.graph.requirements(device).intersection(&world.targets(index)) {
        let counter = world.devices[required].installed.as_ref().map(|runs| runs.counter);
        assert_eq!(counter, Some(2), "requires: {device} is touched before {required} is verified");
    }
}

/// `standby-first`: a device that runs something and has standbys is only touched while one serves, in truth.
fn check_standby_first(world: &World, order: &OrderRequest) {
    let device = &world.devices[&order.device];
    assert!(device.standing_in_for.is_none(), "{order:?} on a device that stands in for another");
    let has_standby = !world.drm.standbys_for(order.device).is_empty() && device.installed.is_some();
    match &order.mode {
        Mode::Rolling { standby } => {
            let serves = world.devices[standby].standing_in_for;
            assert_eq!(serves, Some(order.device), "standby-first: {order:?}");
            assert!(!world.devices[standby].is_installing(), "{order:?}");
        }
        Mode::InPlace => assert!(!has_standby, "standby-first: {order:?}"),
    }
}

/// An element is small enough, and its devices do not need each other.
fn check_element(world: &World, view: &CampaignView) {
    let in_work = |step: &DeviceStep| !matches!(step, DeviceStep::Pending | DeviceStep::Done { .. });
    let members: Vec<_> = view.devices.iter().filter(|device| in_work(&device.step)).collect();
    assert!(members.len() <= view.request.element_size.unwrap() as usize, "{members:?}");
    let elements: BTreeSet<_> = members.iter().map(|member| member.element).collect();
    assert!(elements.len() <= 1 && !elements.contains(&None), "one element at a time: {members:?}");
    for a in &members {
        for b in members.iter().filter(|b| b.device != a.device) {
            assert!(
                !world.drm.related(a.device, b.device),
                "{} and {} stand in for each other",
                a.name,
                b.name
            );
            assert!(
                !world.graph.requirements(a.device).contains(&b.device),
                "{} requires {}",
                a.name,
                b.name
            );
        }
    }
}

fn check_reason(view: &CampaignView) {
    assert!(!view.reason.is_empty());
    match view.state {
        CampaignState::Aborted => {
            let named = view.devices.iter().any(|device| view.reason.contains(device.name.as_str()));
            assert!(named || view.reason.contains("operator"), "{}", view.reason);
            assert!(view.ended.is_some());
        }
        CampaignState::Finished => assert!(view.ended.is_some()),
        _ => assert!(view.ended.is_none()),
    }
}

/// Every device has an answer, and one that is not done in a running campaign is held by something or in work.
fn check_why(world: &World) {
    let campaigns: Vec<_> = (0..world.campaigns.len()).map(|index| world.campaign(index)).collect();
    for state in world.fleet.devices.values() {
        let answer = why(
            state,
            &campaigns.iter().collect::<Vec<_>>(),
            &world.fleet,
            &world.graph,
            &world.drm,
            world.now,
        );
        assert!(!answer.reasons.is_empty() && answer.reasons.iter().all(|reason| !reason.is_empty()));
        let pending = campaigns.iter().filter(|campaign| !campaign.is_over()).any(|campaign| {
            let view = campaign.view();
            view.devices.iter().any(|device| device.device == state.id && device.step == DeviceStep::Pending)
        });
        assert!(answer.waiting || !pending, "{} is pending, and nothing holds it: {answer:?}", state.name);
    }
}

/// Runs until all campaigns are over, within the time that they may take.
fn run_until_over(world: &mut World) {
    let count = world.plan.devices.len() as u64;
    // Each round sees a deadline late by its own length, and a crash loses a round; half of all rounds may be lost.
    let slots = 4 * u64::from(world.plan.slot_secs.unwrap_or(0));
    let per_device = SECS_PER_DEVICE_MAX + 40 * ROUND_SECS_MAX + slots;
    let until = world.now.as_secs() + count * per_device;
    while (0..world.campaigns.len()).any(|index| !world.campaign(index).is_over()) {
        assert!(world.now < UnixTime::from_secs(until), "not over in time: {:#?}", views(world));
        world.live();
        round(world);
    }
}

fn views(world: &World) -> Vec<CampaignView> {
    (0..world.campaigns.len()).map(|index| world.view(index)).collect()
}

/// What must be true when a campaign has ended.
fn check_end(world: &World) {
    for view in views(world) {
        if view.state == CampaignState::Finished {
            for device in &view.devices {
                let runs = world.devices[&device.device].installed.as_ref().map(|runs| runs.counter);
                assert_eq!(runs, Some(2), "finished although {} runs {runs:?}", device.name);
            }
        }
    }
    // A standby that is left serving is spoken of by the campaign that left it.
    for state in world.fleet.devices.values() {
        let Some(of) = state.standing_in_for else { continue };
        let left = &world.fleet.devices[&of].name;
        let told = views(world).iter().any(|view| {
            let of_device = view.events.iter().filter(|event| event.device.as_ref() == Some(left));
            let mut texts = of_device.map(|event| event.text.as_str());
            texts.any(|text| text.contains("hand back") || text.contains("keeps serving"))
                || view.reason.contains(&format!("keeps serving for {left}"))
        });
        assert!(told, "{} still serves for {left}: {:#?}", state.name, views(world));
    }
}

/// When every device is heard of again, each standby hands back, unless the one it serves for is stranded.
fn check_handed_back(world: &mut World) {
    const ROUNDS_MAX: u32 = 200;
    world.revive();
    for _ in 0..ROUNDS_MAX {
        world.live();
        round(world);
        let settled = (0..world.campaigns.len()).all(|index| world.campaign(index).is_settled());
        if settled && world.is_quiet() {
            break;
        }
    }
    assert!(world.is_quiet(), "orders are left: {:#?}", world.fleet);
    let stranded: BTreeMap<DeviceId, bool> = world.devices.values().map(|d| (d.id, d.stranded)).collect();
    for device in world.devices.values() {
        if let Some(of) = device.standing_in_for {
            assert!(stranded[&of], "{} still serves for {of}: {:#?}", device.id, views(world));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 2_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn promises_hold_in_any_fleet(plan in plan()) {
        let mut world = World::new(plan);
        run_until_over(&mut world);
        check_end(&world);
        check_handed_back(&mut world);
    }

    /// An operator tries again at once, with silent devices, serving standbys and orders left from the first time.
    #[test]
    fn promises_hold_in_a_second_campaign_over_what_the_first_left(plan in plan()) {
        let mut world = World::new(plan);
        run_until_over(&mut world);
        world.open_again();
        run_until_over(&mut world);
        check_end(&world);
        check_handed_back(&mut world);
    }

    /// An operator aborts at any moment: the same promises, and every device ends where it was or verified.
    #[test]
    fn promises_hold_when_an_operator_aborts(plan in plan(), after in 0..30_u32) {
        let mut world = World::new(plan);
        for _ in 0..after {
            world.live();
            round(&mut world);
        }
        for index in 0..world.campaigns.len() {
            if let Ok(aborted) = takt_coordinator_core::abort(&world.campaign(index), world.now) {
                world.store(index, &aborted, &[]);
            }
        }
        let begun = world.issued.iter().filter(|(.., order)| order.action == Action::Install).count();
        run_until_over(&mut world);
        let later = world.issued.iter().filter(|(.., order)| order.action == Action::Install).count();
        prop_assert_eq!(begun, later, "no device begins after an abort");
        check_end(&world);
        check_handed_back(&mut world);
    }
}

/// Rounds of a run in which anything may happen.
const WILD_ROUNDS: u32 = 80;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Crashes, partitions, messages that are lost, repeated and late, clocks that jump, and a DRM that is edited while devices are
    /// away: no device begins that its sets, as they are then, do not let go. `PROPTEST_CASES=10000` runs as many of them.
    #[test]
    fn as_many_serve_as_must_whatever_happens(plan in plan(), edits in 0..12_u64, jumps in 0..12_u64) {
        let mut world = World::new(plan);
        for _ in 0..WILD_ROUNDS {
            world.live();
            if world.chance.percent(edits) {
                world.edit_drm();
            }
            if world.chance.percent(jumps) {
                world.jump();
            }
            for index in 0..world.campaigns.len() {
                world.plan(index);
                let step = advance(&world.campaign(index), &world.look());
                for order in &step.orders {
                    match &order.action {
                        Action::Install => check_sets(&world, order, order.device),
                        Action::TakeOver { device, .. } => check_sets(&world, order, *device),
                        Action::Checkpoint { .. } | Action::HandBack { .. } | Action::Withdraw => {}
                    }
                }
                let crash = world.plan.crashing;
                if !world.chance.percent(crash) {
                    world.store(index, &step.campaign, &step.orders);
                }
            }
        }
    }
}

#[test]
fn a_fleet_without_trouble_is_finished_in_rolling_steps() {
    let good = Nature {
        runs: Some(1),
        takes: Takes::Well,
        install: Install::Verified,
        takeover_fails: false,
        slowness: 1,
    };
    let plan = Plan {
        devices: vec![good; 4],
        edges: BTreeMap::from([((1, 0), true), ((2, 0), true), ((3, 0), false)]),
        standbys: BTreeMap::from([(1, vec![2]), (2, vec![1]), (3, vec![1, 2])]),
        sets: Vec::new(),
        slot_secs: None,
        element_size: 2,
        orders_max: usize::MAX,
        in_first: vec![true; 4],
        lost: 0,
        repeated: 0,
        flapping: 0,
        crashing: 0,
        seed: 7,
    };
    let mut world = World::new(plan);
    run_until_over(&mut world);
    assert_eq!(world.view(0).state, CampaignState::Finished, "{:#?}", world.view(0));
    let of =
        |action: fn(&Action) -> bool| world.issued.iter().filter(|(.., order)| action(&order.action)).count();
    assert_eq!(of(|action| *action == Action::Install), 4);
    assert_eq!(of(|action| matches!(action, Action::TakeOver { .. })), 3);
    assert_eq!(of(|action| matches!(action, Action::HandBack { .. })), 3);
    let first = world.issued.iter().find(|(.., order)| order.action == Action::Install).unwrap();
    assert!(world.issued.iter().all(|(_, at, _)| *at >= first.1));
    let gateway = world.view(0).devices.iter().position(|device| device.device == id(0)).unwrap();
    let camera = world.view(0).devices.iter().position(|device| device.device == id(1)).unwrap();
    assert!(gateway < camera);
    let verified = |view: &CampaignView| {
        view.devices
            .iter()
            .all(|device| matches!(&device.step, DeviceStep::Done { outcome: Outcome::Verified { .. }, .. }))
    };
    assert!(verified(&world.view(0)));
}

/// The random worlds must be of all kinds, else a promise is kept because nothing ever tried it.
#[test]
fn the_random_worlds_meet_everything_that_can_happen() {
    const WORLDS: usize = 250;
    let mut runner = TestRunner::deterministic();
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..WORLDS {
        let mut world = World::new(plan().new_tree(&mut runner).unwrap().current());
        run_until_over(&mut world);
        for view in views(&world) {
            *met.entry(if view.state == CampaignState::Finished { "finished" } else { "aborted" })
                .or_default() += 1;
        }
        for (.., order) in &world.issued {
            let kind = match (&order.action, &order.mode) {
                (Action::Install, Mode::InPlace) => "in place",
                (Action::Install, Mode::Rolling { .. }) => "rolling",
                (Action::TakeOver { .. }, _) => "take over",
                (Action::Checkpoint { .. }, _) => "checkpoint",
                (Action::HandBack { .. }, _) => "hand back",
                (Action::Withdraw, _) => "withdraw",
            };
            *met.entry(kind).or_default() += 1;
        }
        let texts: Vec<String> = views(&world).into_iter().flat_map(|v| v.events).map(|e| e.text).collect();
        for text in [
            "stranded",
            "until it is heard of",
            "not accepted",
            "was not reported",
            "refused",
            "takeover by",
            "not begun by",
            "rolled back",
            "no standby can take over",
            "has not handed back",
            "did not serve",
            "moved to slot",
            "must serve",
        ] {
            *met.entry(text).or_default() += texts.iter().filter(|event| event.contains(text)).count();
        }
        check_handed_back(&mut world);
        let heard = |view: CampaignView| {
            view.events.into_iter().filter(|e| e.text.contains("heard of again")).count()
        };
        *met.entry("heard of again").or_default() += views(&world).into_iter().map(heard).sum::<usize>();
    }
    let rare: Vec<_> = met.iter().filter(|(_, times)| **times < 3).collect();
    assert!(rare.is_empty(), "hardly met: {rare:?} of {met:?}");
}
