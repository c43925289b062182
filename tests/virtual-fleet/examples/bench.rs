//! How long many devices take to enrol and to connect, how long orders to all of them take to be accepted, what becomes of them when the
//! coordinator is killed on the way, and how many reports a second it takes. The programs of the coordinator and of `takt` must have been
//! built beside.
//!
//! `cargo run --release -p takt-fleet --example bench [DEVICES [ELEMENT_SIZE [KILLS]]]`

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use takt_common::UnixTime;
use takt_common::api::CampaignView;
use takt_fleet::{Acceptance, FleetSpec, VirtualFleet, raise_open_files};
use takt_tests::bench::{Figure, Goal, Unit, keep, machine, table};
use takt_tests::fleet::{FleetError, Stopwatch, wait_until};

use support::World;

/// Whatever it takes.
const LIMIT: Duration = Duration::from_hours(1);
/// How long the fleet is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(30);
/// How long devices take to fetch a file, of which a release has two: all of an element have their orders before the first goes on.
const FETCH: Range<Duration> = Duration::from_secs(3)..Duration::from_secs(6);
/// Orders a second that are to be accepted.
const ORDERS_GOAL: f64 = 1_000.0;
/// From the death of the coordinator until all devices are back, in milliseconds.
const BACK_MS_GOAL: f64 = 30_000.0;
/// How often devices report while that is measured, as they do in the field.
const BEAT: Duration = Duration::from_secs(10);
/// Enrolments a second that are to be held: a thousand devices in half a minute.
const ENROLMENTS_GOAL: f64 = 1_000.0 / 30.0;
/// Reports a second, one rate after the other, until they are too many; the first is the goal (paper 5).
const RATES: [u32; 8] = [300, 600, 900, 1_200, 1_500, 2_000, 2_500, 3_000];
/// How long 99 of 100 acknowledgements may take at that rate, in milliseconds.
const ACKNOWLEDGED_MS_GOAL: f64 = 10.0;
/// How long devices may take to hear of the first rate: the span of health samples.
const SETTLE: Duration = Duration::from_secs(50);
/// How long a rate is watched at the least.
const WATCHED_MIN: Duration = Duration::from_secs(15);
/// A rate is held when so much of it is acknowledged.
const KEEPS_PACE: f64 = 0.95;

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |usual| numbers.next().unwrap_or(Ok(usual));
    let (devices, element_size, kills) = (next(10_000)?, next(1_000)?, next(2)?);
    let machine = machine(None);
    let mut figures = Vec::new();
    let mut say = |name: String, unit, value: f64, goal: Option<Goal>| {
        println!("{name}: {value:.1} {unit}");
        let figure = Figure::once(&name, unit, value, &machine);
        figures.push(goal.map_or_else(|| figure.clone(), |goal| figure.clone().with(goal)));
    };
    raise_open_files()?;
    let mut world = World::start(devices)?;
    world.publish("1.0")?;
    let spec = FleetSpec { fetch: FETCH, ..world.spec(devices)? };

    let begun = Stopwatch::start();
    let mut fleet = world.runtime.block_on(VirtualFleet::enrol(&spec))?;
    let took = begun.elapsed();
    say(format!("enrolment of {devices} devices"), Unit::Millis, millis(took), None);
    let rate = devices as f64 / took.as_secs_f64();
    say("enrolments a second".to_owned(), Unit::PerSecond, rate, Some(Goal::AtLeast(ENROLMENTS_GOAL)));
    let begun = Stopwatch::start();
    world.connect(&mut fleet, LIMIT)?;
    say(format!("connection of {devices} devices"), Unit::Millis, millis(begun.elapsed()), None);
    wait_acknowledged(&fleet)?;
    let (before, begun) = (busy_secs(), Stopwatch::start());
    world.runtime.block_on(takt_agent::clock::sleep(IDLE));
    let share = (busy_secs() - before) / begun.elapsed().as_secs_f64();
    println!("at rest: {:.1} % of a processor in this process, {} MiB", share * 100.0, memory_mib());

    let begun = Stopwatch::start();
    let size = element_size.to_string();
    world.start_campaign("first", "1.0", &["--element-size", &size])?;
    let view = world.wait_campaign("first", LIMIT)?;
    let name = format!("campaign over {devices} devices, {} elements", view.elements.len());
    say(name, Unit::Millis, millis(begun.elapsed()), None);
    let accepted = accepting_secs(&view, &fleet.accepted_times());
    let name = format!("orders accepted a second, {devices} devices, elements of {element_size}");
    say(name, Unit::PerSecond, devices as f64 / accepted, Some(Goal::AtLeast(ORDERS_GOAL)));
    wait_acknowledged(&fleet)?;
    println!("{}, {} MiB", fleet.counts(), memory_mib());

    world.publish("2.0")?;
    world.start_campaign("second", "2.0", &["--element-size", &size])?;
    for kill in 1..=kills {
        let reached = (devices + devices * kill / (kills + 1)) as u64;
        wait_until("a part of the devices verified", LIMIT, || {
            let counts = fleet.counts();
            Ok(if counts.verified >= reached { Ok(()) } else { Err(counts.to_string()) })
        })?;
        world.coordinator.restart()?;
    }
    let view = world.wait_campaign("second", LIMIT)?;
    wait_acknowledged(&fleet)?;
    let counts = fleet.counts();
    println!("{:?}: {}; {counts}", view.state, view.reason);
    let reached: u64 =
        fleet.in_force().iter().filter(|(id, _)| id.version.as_str() == "2.0").map(|(_, count)| count).sum();
    let lost = (devices as u64).saturating_sub(reached) + counts.twice + counts.refused + counts.otherwise;
    let name = format!(
        "devices of {devices} lost, upgraded twice or not upgraded while the coordinator is killed {kills} times"
    );
    say(name, Unit::Count, lost as f64, Some(Goal::Value(0.0)));

    fleet.let_beat(Some(BEAT));
    world.runtime.block_on(takt_agent::clock::sleep(SETTLE));
    let (before, begun) = (fleet.counts().lost, Stopwatch::start());
    world.coordinator.restart()?;
    wait_until("all devices back", LIMIT, || {
        let counts = fleet.counts();
        let back = counts.lost >= before + devices as u64 && counts.back == devices as u64;
        Ok(if back { Ok(()) } else { Err(counts.to_string()) })
    })?;
    let name = format!(
        "from the death of the coordinator until a report of each of {devices} devices is acknowledged again"
    );
    say(name, Unit::Millis, millis(begun.elapsed()), Some(Goal::Value(BACK_MS_GOAL)));

    let (mut settle, mut held) = (SETTLE, 0);
    for rate in RATES {
        let every = Duration::from_secs(devices as u64) / rate;
        fleet.let_beat(Some(every));
        world.runtime.block_on(takt_agent::clock::sleep(settle + every));
        // Devices that have heard of it at different times do not report evenly within a span.
        let spans = WATCHED_MIN.div_duration_f64(every).ceil();
        let (came, slow) = takes(&world, &fleet, every.mul_f64(spans));
        if rate == RATES[0] {
            let name = format!("from a report to its acknowledgement, 99 of 100, at {rate} a second");
            say(name, Unit::Millis, slow, Some(Goal::Value(ACKNOWLEDGED_MS_GOAL)));
        }
        println!("{rate} reports a second: {came:.0} acknowledged, 99 of 100 within {slow:.1} ms");
        if came < KEEPS_PACE * f64::from(rate) {
            break;
        }
        // The next one is heard of with the next report.
        (settle, held) = (every, rate);
    }
    let name = format!("the highest rate of reports that is held, {devices} devices");
    say(name, Unit::PerSecond, f64::from(held), Some(Goal::AtLeast(f64::from(RATES[0]))));
    world.runtime.block_on(fleet.stop());
    println!("\n{}", table(&figures).join("\n"));
    println!("kept in {}", keep("virtual-fleet", &figures)?.display());
    Ok(())
}

/// How long elements took from their first acceptance to the last, in seconds, all together. The orders of a step, some 300, are signed and
/// committed together, and the first one is accepted some milliseconds after it is sent; when its element has begun is told in whole
/// seconds only, so that the signing of an element's first step, a tenth of a second, is not in it.
fn accepting_secs(view: &CampaignView, acceptances: &[Acceptance]) -> f64 {
    let mut spans: BTreeMap<UnixTime, (u64, u64)> = BTreeMap::new();
    for acceptance in acceptances {
        let began =
            view.elements.iter().rev().map(|element| element.began).find(|began| *began <= acceptance.issued);
        let at = acceptance.at_millis;
        let (first, last) = spans.entry(began.unwrap_or(view.started)).or_insert((at, at));
        (*first, *last) = ((*first).min(at), (*last).max(at));
    }
    spans.values().map(|(first, last)| (last - first) as f64 / 1_000.0).sum()
}

/// Acknowledgements a second now, and within how many milliseconds 99 of 100 of them come.
fn takes(world: &World, fleet: &VirtualFleet, watched: Duration) -> (f64, f64) {
    let (before, begun) = (fleet.counts().acknowledged, Stopwatch::start());
    fleet.take_answers();
    world.runtime.block_on(takt_agent::clock::sleep(watched));
    let mut took = fleet.take_answers();
    let came = (fleet.counts().acknowledged - before) as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    (came, millis(took.get(took.len() * 99 / 100).copied().unwrap_or_default()))
}

fn wait_acknowledged(fleet: &VirtualFleet) -> Result<(), FleetError> {
    wait_until("all reports acknowledged", LIMIT, || {
        let counts = fleet.counts();
        Ok(if counts.waiting() == 0 { Ok(()) } else { Err(counts.to_string()) })
    })
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// Seconds that this process has had a processor.
fn busy_secs() -> f64 {
    /// As Linux counts them for programs.
    const TICKS_PER_SEC: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_ascii_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SEC
}

/// Memory that this process takes.
fn memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
