//! What the agent costs a device: its memory and processor time at rest, and its size on disk.

use std::time::Duration;

use takt_workload::Nature;

use super::campaign::install;
use super::error::{BenchError, with_last_words};
use super::figure::{Figure, Goal, Unit};
use super::machine::machine;
use super::process::{Memory, cpu_secs, size_mib};
use super::spread::Spread;
use crate::engine::Engine;
use crate::fleet::{Binaries, Device, Fleet, FleetError, ReleaseSpec, Stopwatch, interrupted, pause};

/// The device.
const DEVICE: &str = "bench";
/// What its agent may take.
const RESIDENT_MIB_MAX: f64 = 8.0;
/// What it may take of one processor, in per cent.
const CPU_PERCENT_MAX: f64 = 0.2;
/// How large its agent may be.
const SIZE_MIB_MAX: f64 = 8.0;
/// Seconds from one health report to the next: the agent's default.
const HEALTH_EVERY_SECS: u32 = 10;
/// Rest before anything is measured: what a start or an upgrade leaves to be done is done by then.
const SETTLE: Duration = Duration::from_secs(15);
/// How long the agent is watched at rest: two health reports, or three.
const WATCH: Duration = Duration::from_secs(20);
/// From one look at its memory to the next.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The group `agent`.
#[derive(Debug, Clone, Copy)]
pub struct AgentGroup {
    /// How many times the agent is started and watched at rest.
    pub rounds: u32,
}

/// The agent at rest, once.
struct Rest {
    /// The most that it had in memory.
    memory: Memory,
    cpu_percent: f64,
}

#[derive(Default)]
struct Measured {
    upgraded: Spread,
    started: Spread,
    anonymous: Spread,
    file: Spread,
    cpu: Spread,
}

impl AgentGroup {
    /// Measures everything, and tells of each round through `say`.
    pub fn run(self, say: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
        let engine = Engine::shared().map_err(FleetError::from)?;
        let machine = machine(Some(&engine));
        let mut size = Spread::default();
        size.push(size_mib(&Binaries::find()?.agent)?);
        let fleet = Fleet::start()?;
        let measured = self.measure(&fleet, say).map_err(|error| with_last_words(&fleet, error))?;
        let memory = |what: &str, spread: &Spread| {
            Figure::new(&format!("memory of the agent at rest, {what}"), Unit::Mebibytes, spread, &machine)
        };
        Ok(vec![
            memory("RSS after an upgrade", &measured.upgraded).with(Goal::Value(RESIDENT_MIB_MAX)),
            memory("RSS after a restart", &measured.started).with(Goal::Value(RESIDENT_MIB_MAX)),
            memory("heap and stacks of that", &measured.anonymous),
            memory("pages of program and libraries of that", &measured.file),
            Figure::new("processor time of the agent at rest", Unit::CpuPercent, &measured.cpu, &machine)
                .with(Goal::Value(CPU_PERCENT_MAX)),
            Figure::new("size of the agent's program", Unit::Mebibytes, &size, &machine)
                .with(Goal::Value(SIZE_MIB_MAX)),
        ])
    }

    /// Each round upgrades the device and watches the same process at rest, then starts a new one and watches that.
    fn measure(self, fleet: &Fleet, say: &mut dyn FnMut(&str)) -> Result<Measured, BenchError> {
        let mut measured = Measured::default();
        let mut devices = fleet.devices(&[DEVICE])?;
        let device = devices.first_mut().expect("one name gives one device");
        report_health_as_usual(device)?;
        restart(fleet, device)?;
        install(fleet, &release(0))?;
        for round in 1..=self.rounds {
            restart(fleet, device)?;
            let started = rest(device)?;
            install(fleet, &release(round))?;
            let upgraded = rest(device)?;
            for (what, rest) in [("a restart ", &started), ("an upgrade", &upgraded)] {
                say(&format!(
                    "round {round} of {}: at rest after {what}: {:.1} MiB ({:.1} heap and stacks, {:.1} program), \
                     {:.2} % of one CPU",
                    self.rounds,
                    rest.memory.resident,
                    rest.memory.anonymous,
                    rest.memory.file,
                    rest.cpu_percent
                ));
                measured.cpu.push(rest.cpu_percent);
            }
            measured.started.push(started.memory.resident);
            measured.anonymous.push(started.memory.anonymous);
            measured.file.push(started.memory.file);
            measured.upgraded.push(upgraded.memory.resident);
        }
        Ok(measured)
    }
}

/// The fleet's devices report more often than devices in the field do.
fn report_health_as_usual(device: &Device) -> Result<(), BenchError> {
    let path = device.settings();
    let text = std::fs::read_to_string(&path).map_err(BenchError::file("read", &path))?;
    let broken = || BenchError::Kernel { what: "settings", path: path.clone() };
    let mut settings: toml::Table = text.parse().map_err(|_| broken())?;
    settings.insert("health_interval_secs".to_owned(), i64::from(HEALTH_EVERY_SECS).into());
    std::fs::write(&path, settings.to_string()).map_err(BenchError::file("write", &path))
}

fn restart(fleet: &Fleet, device: &mut Device) -> Result<(), BenchError> {
    device.run()?;
    fleet.wait_online(device)?;
    Ok(())
}

/// A release of its own for each round.
fn release(round: u32) -> ReleaseSpec {
    ReleaseSpec { probation_secs: 1, ..ReleaseSpec::new(&format!("1.{round}.0"), Nature::Good) }
}

/// Lets the agent come to rest and watches it.
fn rest(device: &mut Device) -> Result<Rest, BenchError> {
    let pid = device.pid().ok_or_else(|| BenchError::NoAgent { device: device.name().to_owned() })?;
    watch(SETTLE, || Ok(()))?;
    let mut most = Memory::of(pid)?;
    let cpu_before = cpu_secs(pid)?;
    let watched = watch(WATCH, || {
        let now = Memory::of(pid)?;
        if now.resident > most.resident {
            most = now;
        }
        Ok(())
    })?;
    let cpu = cpu_secs(pid)? - cpu_before;
    device.check()?;
    Ok(Rest { memory: most, cpu_percent: 100.0 * cpu / watched.as_secs_f64() })
}

/// Looks again and again for `span`, and gives how long it was.
fn watch(span: Duration, mut look: impl FnMut() -> Result<(), BenchError>) -> Result<Duration, BenchError> {
    let stopwatch = Stopwatch::start();
    while stopwatch.elapsed() < span {
        if interrupted() {
            return Err(FleetError::Interrupted.into());
        }
        look()?;
        pause(LOOK_EVERY);
    }
    Ok(stopwatch.elapsed())
}
