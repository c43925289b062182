//! How long many devices take to enrol and to connect, and how long a campaign over all of them takes from each order to
//! its acceptance. The programs of the coordinator and of `takt` must have been built beside.
//!
//! `cargo run --release -p takt-fleet --example bench [DEVICES [ELEMENT_SIZE]]`

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use takt_fleet::{VirtualFleet, raise_open_files};
use takt_tests::fleet::{FleetError, Stopwatch, wait_until};

use support::World;

/// Whatever it takes.
const LIMIT: Duration = Duration::from_hours(1);
/// How long the fleet is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |usual| numbers.next().unwrap_or(Ok(usual));
    let (devices, element_size) = (next(10_000)?, next(1_000)?);
    raise_open_files()?;
    let world = World::start(devices)?;
    world.publish("1.0")?;
    let spec = world.spec(devices)?;

    let begun = Stopwatch::start();
    let mut fleet = world.runtime.block_on(VirtualFleet::enrol(&spec))?;
    tell(&format!("{devices} devices enrolled"), devices, begun);

    let begun = Stopwatch::start();
    world.connect(&mut fleet, LIMIT)?;
    tell("all connected", devices, begun);
    wait_acknowledged(&fleet)?;
    tell("first reports acknowledged", devices, begun);

    let (before, begun) = (busy_secs(), Stopwatch::start());
    world.runtime.block_on(takt_agent::clock::sleep(IDLE));
    let share = (busy_secs() - before) / begun.elapsed().as_secs_f64();
    println!("at rest: {:.1} % of a processor in this process, {} MiB", share * 100.0, memory_mib());

    let begun = Stopwatch::start();
    world.start_campaign("bench", "1.0", &["--element-size", &element_size.to_string()])?;
    let view = world.wait_campaign("bench", LIMIT)?;
    let elements = view.elements.len();
    tell(&format!("campaign {:?} in {elements} elements", view.state), devices, begun);
    let mut took: Vec<Duration> = fleet.accepted_times().iter().map(takt_fleet::Acceptance::took).collect();
    took.sort_unstable();
    let of = |percent: usize| took.get(took.len() * percent / 101).copied().unwrap_or_default().as_secs_f64();
    println!(
        "from order to acceptance (up to 1 s too long): median {:.1} s, 90 % {:.1} s, 99 % {:.1} s, most {:.1} s",
        of(50),
        of(90),
        of(99),
        of(100)
    );
    wait_acknowledged(&fleet)?;
    tell("all reports acknowledged", devices, begun);
    println!("{}, {} MiB", fleet.counts(), memory_mib());
    world.runtime.block_on(fleet.stop());
    Ok(())
}

fn wait_acknowledged(fleet: &VirtualFleet) -> Result<(), FleetError> {
    wait_until("all reports acknowledged", LIMIT, || {
        let counts = fleet.counts();
        Ok(if counts.waiting() == 0 { Ok(()) } else { Err(counts.to_string()) })
    })
}

fn tell(what: &str, devices: usize, begun: Stopwatch) {
    let took = begun.elapsed().as_secs_f64();
    println!("{what}: {took:.1} s, {:.0} a second", devices as f64 / took);
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
