//! Arbitrary phases and facts, likely and impossible ones.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, missing_docs, unreachable_pub, dead_code)]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use takt_agent_core::facts::{Baseline, ClockState, LinkCost, Power, Routed, StandbyState};
use takt_agent_core::phase::{Bounds, TakenMemory, Unseen, Way};
use takt_agent_core::{
    Accepted, BootTime, ContainerFacts, ContainerState, Facts, Job, Nature, Phase, Policy, Presence, StandIn,
    StepState, Swap, Tries, Vitals, Wellness, Workload,
};
use takt_common::order::{Action as OrderAction, AtDeadline, Order, Takeover, Window};
use takt_common::release::{Kind, Manifest, Strategy as SwapStrategy};
use takt_common::report::{Memory, Outcome, Timing};
use takt_common::{Sha256Digest, UnixTime};

use crate::cases::{
    self, Case, MIB, NOW, POINTS, allowing, between_files, file_step, manifest, name, of_every_kind, only,
    os_step, patch_step, peer, publishing, take_over, with_hooks, with_steps, workload,
};

/// Making manifests and their digests anew for every case would take most of the time.
pub static TEMPLATES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let strategies: [&[SwapStrategy]; 4] = [
        &[SwapStrategy::Preserve],
        &[SwapStrategy::Replace],
        &[SwapStrategy::Preserve, SwapStrategy::Replace],
        &[SwapStrategy::Replace, SwapStrategy::Preserve],
    ];
    let only_containers = strategies.map(allowing);
    let bare = |steps| with_steps(manifest(2), steps);
    let more = [
        with_hooks(manifest(2)),
        publishing(2),
        between_files(),
        of_every_kind(),
        bare(vec![file_step("first"), patch_step()]),
        bare(vec![os_step(), file_step("last")]),
    ];
    let old = |new: &Manifest| {
        if new.containers().is_none() {
            workload(&with_steps(manifest(1), vec![file_step("first")]), 2)
        } else if new.containers().is_some_and(takt_common::release::ContainerSet::publishes) {
            workload(&publishing(1), 2)
        } else {
            workload(&manifest(1), 2)
        }
    };
    let case = |new: Manifest| Case::over(old(&new), &new);
    only_containers.into_iter().chain(more).map(case).collect()
});

/// An order that was accepted; nothing here depends on its digest.
fn taken_in(order: Order) -> Accepted {
    Accepted { digest: *ANY, order, at: NOW }
}

static ANY: LazyLock<Sha256Digest> = LazyLock::new(|| cases::digest("order"));

static STAND_IN: LazyLock<StandIn> = LazyLock::new(cases::stand_in);

/// Which of [`TEMPLATES`].
pub fn template() -> std::ops::Range<usize> {
    0..TEMPLATES.len()
}

/// A text; a regular expression would be read anew for each one.
fn word() -> impl Strategy<Value = String> {
    select(vec!["", "sick", "no answer"]).prop_map(str::to_owned)
}

// Plain lists, likely states more than once: `prop_oneof` makes random numbers for each of its arms.

fn container_state() -> impl Strategy<Value = ContainerState> {
    use ContainerState::{Absent, Created, Exited, Running, Unknown};
    select(vec![
        Unknown,
        Absent,
        Created,
        Running,
        Running,
        Running,
        Exited(0),
        Exited(137),
        Exited(i64::MIN),
    ])
}

fn step_state() -> impl Strategy<Value = StepState> {
    use StepState::{
        Applied, Confirmed, FellBack, Half, NewAfterReboot, OldAfterReboot, Prepared, Unknown, Untouched,
    };
    let (unseen, half, fell) = (Unknown("no answer".into()), Half("1 of 2".into()), FellBack(String::new()));
    let states =
        [unseen, Untouched, Prepared, half, NewAfterReboot, Applied, Confirmed, OldAfterReboot, fell];
    select([&states[..], &[Applied, Applied, Prepared, Prepared, Confirmed]].concat())
}

fn presence() -> impl Strategy<Value = Presence> {
    use Presence::{Absent, Present, Unknown};
    select(vec![Unknown, Absent, Present, Present, Present])
}

fn routed() -> impl Strategy<Value = Routed> {
    select(vec![Routed::Unknown("nft is away".into()), Routed::No, Routed::Yes])
}

fn instant() -> impl Strategy<Value = BootTime> {
    let millis = prop_oneof![0..200_000_u64, Just(60_000), Just(2_000_000), Just(u64::MAX)];
    (1..4_u64, millis).prop_map(|(count, millis)| cases::boot(count, millis))
}

fn time() -> impl Strategy<Value = UnixTime> {
    let around = NOW.as_secs() - 5..NOW.as_secs() + 1_000;
    prop_oneof![around, Just(0), Just(u64::MAX)].prop_map(UnixTime::from_secs)
}

pub fn tries() -> impl Strategy<Value = Tries> {
    let count = prop_oneof![0..8_u32, Just(99), Just(u32::MAX)];
    (count, option::of(word()), option::of(instant()), any::<bool>())
        .prop_map(|(count, why, not_before, held)| Tries { count, why, not_before, held })
}

fn an_order() -> BoxedStrategy<Order> {
    let hand_back = OrderAction::HandBack { device: peer(), name: name("camera-2") };
    let (device, camera) = (peer(), name("camera-2"));
    let restore = OrderAction::TakeOver { device, name: camera.clone(), how: Takeover::Restore, lease: 13 };
    let checkpoint = OrderAction::Checkpoint { standby: device, name: camera, lease: 13 };
    let more = [take_over(), restore, checkpoint, hand_back, OrderAction::Withdraw];
    let actions = [&[OrderAction::Install, OrderAction::Install][..], &more].concat();
    let window = option::of((time(), time()).prop_map(|(from, until)| Window { from, until }));
    (select(actions), template(), window, time(), any::<(bool, bool)>(), 0..4_usize)
        .prop_map(|(action, template, window, deadline, (go_ahead, retry), dropped)| {
            let mut made = Order { action, ..TEMPLATES[template].order.clone() };
            let left = made.members.len() - dropped.saturating_sub(1).min(2);
            made.members.truncate(left);
            (made.window, made.deadline) = (window, deadline);
            made.policy.at_deadline = if go_ahead { AtDeadline::GoAhead } else { AtDeadline::GiveUp };
            made.policy.retry = retry;
            made
        })
        .boxed()
}

pub fn job() -> BoxedStrategy<Box<Job>> {
    (an_order(), template(), any::<bool>())
        .prop_map(|(order, template, has_old)| {
            let old = if has_old { TEMPLATES[template].old.clone() } else { None };
            Box::new(Job { accepted: taken_in(order), old })
        })
        .boxed()
}

pub fn swap() -> BoxedStrategy<Box<Swap>> {
    let checkpoint = || option::of(Just("takt-way-back".to_owned()));
    let reboots = vec((1..5_u32).prop_map(|count| format!("boot-{count}")), 0..6);
    let instants = (option::of(instant()), option::of(instant()), option::of(instant()));
    let stuck = btree_map(0..6_usize, word(), 0..3);
    let hooks = subsequence(POINTS.to_vec(), 0..=POINTS.len());
    let bounds =
        (0..14_u32, any::<u64>(), instant(), btree_map(0..6_usize, tries(), 0..3)).prop_map(bounds_of);
    let chosen =
        option::of(select(vec![SwapStrategy::Handover, SwapStrategy::Preserve, SwapStrategy::Replace]));
    let memory = option::of(select(vec![TakenMemory::Here, TakenMemory::Sick, TakenMemory::Lost]));
    let first = (template(), chosen, (checkpoint(), checkpoint(), memory), reboots);
    (first, instants, stuck, hooks, option::of(vitals()), bounds)
        .prop_map(
            |(
                (template, strategy, (checkpoint, left_over, memory), reboots),
                instants,
                stuck,
                hooks,
                baseline,
                bounds,
            )| {
                let (began, up, moved) = instants;
                Box::new(Swap {
                    new: TEMPLATES[template].new.clone(),
                    strategy,
                    checkpoint,
                    left_over,
                    memory,
                    warnings: vec![],
                    began,
                    reboots,
                    up,
                    moved,
                    stuck,
                    hooks: hooks.into_iter().map(|point| (point, "said".to_owned())).collect(),
                    baseline,
                    timing: Timing::default(),
                    bounds,
                })
            },
        )
        .boxed()
}

/// Mostly of the run that looks.
fn bounds_of((starts, dice, since, back): (u32, u64, BootTime, BTreeMap<usize, Tries>)) -> Bounds {
    let run = [None, Some(since.clone()), Some(TEMPLATES[0].facts.started.clone())];
    let unseen = [Unseen::Engine, Unseen::Ports, Unseen::Step((dice >> 8 & 7) as usize)];
    let place = |shift: u64, count: u64| (dice >> shift) as usize % count as usize;
    Bounds {
        starts,
        run: run[place(0, 12).min(2)].clone(),
        unseen: unseen.get(place(16, 6)).map(|what| (*what, since)),
        back,
        again: (0..6).filter(|index| (dice >> (30 + index)).trailing_zeros() >= 3).collect(),
    }
}

fn vitals() -> impl Strategy<Value = Vitals> {
    let odd = || option::of(prop_oneof![0..1_000_u64, Just(u64::MAX)]);
    (option::of(any::<u32>()), odd(), odd(), any::<u32>()).prop_map(
        |(cpu_permille, memory_bytes, response_millis, restarts)| Vitals {
            cpu_permille,
            memory_bytes,
            response_millis,
            restarts,
        },
    )
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
        Outcome::Checkpointed,
        Outcome::HandedBack,
        Outcome::Stranded { cause: cause() },
    ])
    .boxed()
}

pub fn phase() -> BoxedStrategy<Phase> {
    let way = select(vec![Way::AsIs, Way::Restore, Way::Restart, Way::Cold]);
    prop_oneof![
        1 => Just(Phase::Idle),
        1 => (job(), option::of(word()), tries())
            .prop_map(|(job, hook, tries)| Phase::Fetching { job, hook, tries }),
        1 => (job(), swap(), tries()).prop_map(|(job, swap, tries)| Phase::Staged { job, swap, tries }),
        1 => (job(), swap()).prop_map(|(job, swap)| Phase::Checkpointing { job, swap }),
        2 => (job(), swap(), tries()).prop_map(|(job, swap, tries)| Phase::Switching { job, swap, tries }),
        1 => (job(), swap(), instant()).prop_map(|(job, swap, since)| Phase::Probation { job, swap, since }),
        1 => (job(), swap(), instant(), tries())
            .prop_map(|(job, swap, since, tries)| Phase::Confirming { job, swap, since, tries }),
        3 => (job(), swap(), instant(), way, any::<bool>(), tries()).prop_map(
            |(job, swap, since, way, ran, tries)| {
                Phase::RollingBack { job, swap, cause: "sick".into(), since, way, ran, tries }
            }
        ),
        1 => (job(), tries()).prop_map(|(job, tries)| Phase::HandingBack { job, tries }),
        1 => (job(), tries()).prop_map(|(job, tries)| Phase::GivingMemory { job, tries }),
        1 => (job(), option::of(swap()), outcome(), tries())
            .prop_map(|(job, swap, outcome, tries)| Phase::Ended { job, swap, outcome, tries }),
    ]
    .boxed()
}

fn wellness() -> BoxedStrategy<Wellness> {
    let well_for = option::of(prop_oneof![0..10_000_u64, Just(u64::MAX)].prop_map(Duration::from_millis));
    (0..6_u32, any::<bool>(), well_for, option::of(word()))
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

/// What the device says of itself: power, link, clock, standby, baseline.
fn surroundings() -> BoxedStrategy<(Power, LinkCost, ClockState, StandbyState, Baseline)> {
    let power = prop_oneof![Just(Power::Mains), any::<u8>().prop_map(|percent| Power::Battery { percent })];
    let link = prop_oneof![
        Just(LinkCost::Free),
        option::of(number()).prop_map(|left_bytes| LinkCost::Metered { left_bytes })
    ];
    let clock =
        prop_oneof![Just(ClockState::Trusted), number().prop_map(|by_secs| ClockState::Off { by_secs })];
    let standby =
        select(vec![StandbyState::NotAsked, StandbyState::Serves, StandbyState::Silent("no answer".into())]);
    let baseline = prop_oneof![
        Just(Baseline::None),
        number().prop_map(|left_millis| Baseline::Measuring { left_millis }),
        vitals().prop_map(Baseline::Measured),
    ];
    (power, link, clock, standby, baseline).boxed()
}

/// Container and step states, ports and what lies on disk, for everything that any template knows.
fn states() -> BoxedStrategy<Facts> {
    let containers = vec((container_state(), any::<bool>()), 8);
    let steps = vec(step_state(), 24);
    let routes = vec((routed(), prop_oneof![Just(0), 0..9_u32]), 3);
    (template(), containers, steps, routes, vec(presence(), 2), any::<u64>())
        .prop_map(|(template, containers, steps, routes, images, dice)| {
            let case = &TEMPLATES[template];
            let mut facts = case.facts.clone();
            let (old, new) = (case.old.clone().unwrap(), case.new.clone());
            let names = [&old, &new, &STAND_IN.workload]
                .map(|workload| workload.containers().map(|(name, _)| name).collect::<Vec<_>>());
            let found = names.concat().into_iter().zip(containers);
            facts.containers = found
                .map(|(name, (state, kept_running))| (name, ContainerFacts { state, kept_running }))
                .collect();
            // What nobody has asked about is missing from time to time.
            let asked = |index: usize| dice >> (index % 60) & 15 != 0;
            let keys = old.steps().chain(new.steps()).filter(|(_, step)| step.kind() != Kind::Container);
            let kept: Vec<_> = keys.map(|(key, _)| key).collect();
            facts.kept = kept
                .iter()
                .enumerate()
                .filter(|(index, _)| dice >> (index % 60) & 1 == 0)
                .map(|(_, key)| key.clone())
                .collect();
            facts.steps = kept
                .into_iter()
                .zip(steps)
                .enumerate()
                .filter(|(index, _)| asked(*index))
                .map(|(_, found)| found)
                .collect();
            for (workload, (routed, connections)) in [&old, &new, &STAND_IN.workload].into_iter().zip(routes)
            {
                facts.routes.insert(workload.name.clone(), routed);
                facts.connections.insert(workload.name.clone(), connections);
            }
            let of = |workload: &Workload| workload.containers().next().map(|(_, one)| one.image_id);
            facts.images = [of(&old), of(&new)].into_iter().flatten().zip(images).collect();
            facts
        })
        .boxed()
}

pub fn facts() -> BoxedStrategy<Facts> {
    let load = prop_oneof![0.0..20.0_f64, Just(f64::NAN), Just(f64::INFINITY)];
    let numbers = (number(), number(), load);
    let watched = (wellness(), option::of(vitals()), any::<bool>());
    let staged = any::<u64>();
    (states(), surroundings(), any::<[bool; 8]>(), instant(), time(), watched, numbers, staged, an_order())
        .prop_map(|(mut facts, surroundings, flags, boot, now, watched, numbers, staged, next)| {
            (facts.power, facts.link, facts.clock, facts.standby, facts.baseline) = surroundings;
            (facts.boot, facts.now) = (boot, now);
            (facts.wellness, facts.vitals, facts.heard) = watched;
            (facts.free_disk_bytes, facts.free_memory_bytes, facts.load_per_cpu) = numbers;
            let all = facts.staged.iter().copied().enumerate();
            let partly =
                all.filter(|(index, _)| staged >> (index % 32) & 1 == 0).map(|(_, file)| file).collect();
            // All of it, or some of it.
            if staged >> 40 & 1 == 0 {
                facts.staged = partly;
            }
            let [none_installed, stands_in, locked, unable, unread, unreadable, next_waits, failed] = flags;
            if none_installed {
                facts.installed.clear();
            }
            if stands_in {
                facts.stand_in = Some(STAND_IN.clone());
            } else {
                facts.containers.remove(&only(&STAND_IN.workload));
            }
            facts.next = next_waits.then(|| taken_in(next));
            if locked {
                facts.locks = vec!["calibration".into()];
            }
            if unable {
                facts.checkpoint_ability = Err("no criu".into());
                facts.handover_ability = Err("no nft".into());
            }
            if unreadable {
                facts.manifest = Some(Err("unreadable".into()));
            }
            if unread {
                facts.manifest = None;
            }
            if failed {
                let all = facts.staged.iter().map(|file| (*file, "sick".to_owned()));
                facts.failed_here = all.collect::<BTreeMap<_, _>>();
            }
            facts
        })
        .boxed()
}

pub fn policy() -> BoxedStrategy<Policy> {
    (0..4_u32, number(), any::<u8>())
        .prop_map(|(tries, reserve, percent)| Policy {
            fetch_tries_max: tries,
            corrupt_tries_max: tries,
            engine_tries_max: tries,
            rollback_tries_max: tries,
            reserve_disk_bytes: reserve,
            reserve_memory_bytes: reserve,
            battery_percent_min: percent,
            ..Policy::default()
        })
        .boxed()
}

pub fn nature() -> impl Strategy<Value = Nature> {
    select(vec![Nature::Transient, Nature::Corrupt, Nature::Fatal, Nature::NotNow])
}

pub fn low_battery(facts: &Facts, policy: &Policy) -> bool {
    matches!(facts.power, Power::Battery { percent } if percent < policy.battery_percent_min)
}

pub fn standby_is_silent(facts: &Facts) -> bool {
    matches!(facts.standby, StandbyState::Silent(_))
}

/// Whether the engine has not answered for anything at all.
pub fn engine_is_away(facts: &Facts) -> bool {
    let unknown = |found: &ContainerFacts| found.state == ContainerState::Unknown;
    facts.containers.values().any(unknown)
        || facts.images.values().any(|presence| *presence == Presence::Unknown)
        // What nobody has asked about counts as unknown.
        || facts.containers.len() < 5
}
