//! The demo: one signed upgrade rolled through three devices, and a bad one rolled back. Everything it claims, it has
//! seen: as an HTTP client of the workloads, in the reports of the devices, and in the decisions of the campaigns.

mod facts;
mod follow;
mod scene;
mod story;
mod timeline;

use std::time::Duration;

use takt_common::report::{Memory, Outcome};

use crate::fleet::{FleetError, heed_signals, interrupted, pause};
use facts::Facts;
use scene::Scene;

/// The variable that leaves the fleet running.
pub const KEEP_VARIABLE: &str = "DEMO_KEEP";
/// What the demo wants to stay below, from its first act until all devices are upgraded and verified.
const UPGRADED_GOAL: Duration = Duration::from_secs(30);
/// From one look for a signal to the next.
const REST: Duration = Duration::from_millis(200);

/// How the demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that it claims was seen.
    AllSeen,
    /// Something was not; it has been printed.
    Missing,
}

/// Runs the demo and prints what happens.
pub fn run() -> Result<Verdict, FleetError> {
    heed_signals();
    let mut scene = Scene::open()?;
    let acts = story::play(&mut scene);
    let acts = match acts {
        Ok(acts) => acts,
        Err(FleetError::Interrupted) => return Err(FleetError::Interrupted),
        Err(error) => {
            eprintln!("{}", scene.fleet.last_words());
            return Err(error);
        }
    };
    let facts = Facts::of(&scene, &acts);
    for part in [timeline::lines(&scene, &acts), timeline::whys(&acts), facts.lines()] {
        println!("\n{}", part.join("\n"));
    }
    println!();
    let took = acts.upgraded_at;
    let met = if took < UPGRADED_GOAL { "met" } else { "not met" };
    println!(
        "three devices enrolled, upgraded and verified in {:.1} s (goal: under {} s, {met})",
        took.as_secs_f64(),
        UPGRADED_GOAL.as_secs()
    );
    println!("{}", if facts.all_seen() { "all was seen" } else { "something is missing; see above" });
    if std::env::var_os(KEEP_VARIABLE).is_some_and(|value| !value.is_empty() && value != "0") {
        stay(&scene);
    }
    Ok(if facts.all_seen() { Verdict::AllSeen } else { Verdict::Missing })
}

/// Leaves everything running until a signal comes.
fn stay(scene: &Scene) {
    println!("\nthe fleet goes on running ({KEEP_VARIABLE}):");
    println!("  coordinator  {}", scene.fleet.coordinator.url());
    println!("  profile      export TAKT_PROFILE={}", scene.fleet.coordinator.profile().display());
    for device in &scene.devices {
        println!("  {:<12} http://127.0.0.1:{}/", device.name(), device.port());
    }
    println!("  to end it    kill {} (or Ctrl-C here)", std::process::id());
    while !interrupted() {
        pause(REST);
    }
}

/// Whether an order ended with the previous release and its memory back.
const fn came_back_with_memory(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::RolledBack { memory: Memory::Kept, .. })
}
