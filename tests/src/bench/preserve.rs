//! The way back of `preserve`, with much memory and little: a release that is sick gives way to the previous one, which
//! returns from its checkpoint, beside a checkpoint and the start from it by hand, in turns.

use std::sync::Arc;
use std::time::Duration;

use takt_common::report::{Memory, Outcome};
use takt_workload::Nature;

use super::campaign::{bring, install, outcome, went_other};
use super::client::{Client, ask};
use super::docker::{self, Peer, PeerSpec};
use super::error::{BenchError, with_last_words};
use super::figure::{Figure, Goal, Unit};
use super::machine::machine;
use super::spread::Spread;
use crate::engine::Engine;
use crate::fleet::{Device, Fleet, FleetError, ReleaseSpec, wait_until};

/// The device.
const DEVICE: &str = "bench";
/// What the workload holds beside its counter.
const HOLD_MIB: [u32; 3] = [8, 64, 256];
/// What a rollback may take of the peer's time.
const RATIO_MAX: f64 = 0.7;
/// How long the client may take to see what the coordinator knows.
const SEEN_LIMIT: Duration = Duration::from_secs(5);
/// How long the agent may take to find out whether it can checkpoint.
const ABILITY_LIMIT: Duration = Duration::from_secs(20);
/// Requests that drive the counter up before a bad release, so that a lost memory shows.
const COUNTS: u64 = 5;

/// The group `preserve`.
#[derive(Debug, Clone, Copy)]
pub struct PreserveGroup {
    /// How many times each size is measured.
    pub rounds: u32,
}

/// For one size, in milliseconds.
#[derive(Debug, Default)]
struct Measured {
    way_back: Spread,
    by_hand: Spread,
}

impl PreserveGroup {
    /// Measures everything, and tells of each round through `say`.
    pub fn run(self, say: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
        let engine = Engine::shared().map_err(FleetError::from)?;
        let machine = machine(Some(&engine));
        let fleet = Fleet::start()?;
        self.measure(&engine, &fleet, &machine, say).map_err(|error| with_last_words(&fleet, error))
    }

    fn measure(
        self,
        engine: &Arc<Engine>,
        fleet: &Fleet,
        machine: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Figure>, BenchError> {
        let device = fleet.devices(&[DEVICE])?.pop().expect("one name gives one device");
        wait_until("the agent able to checkpoint containers (CRIU)", ABILITY_LIMIT, || {
            let health = fleet.view(DEVICE)?.health;
            Ok(health.map_or(Err("no health sample yet".to_owned()), |health| health.checkpoint))
        })?;
        let mut figures = Vec::new();
        for hold_mib in HOLD_MIB {
            let peer = Peer::start(Arc::clone(engine), fleet, PeerSpec { hold_mib, ..PeerSpec::default() })?;
            install(fleet, &release(hold_mib, 0))?;
            let mut measured = Measured::default();
            for round in 1..=self.rounds {
                let by_hand = peer.checkpoint_and_back()?;
                let way_back = roll_back(fleet, &device, hold_mib, round)?;
                say(&format!(
                    "{hold_mib} MiB, round {round} of {}: way back {way_back:.0} ms, by hand {by_hand:.0} ms",
                    self.rounds
                ));
                measured.by_hand.push(by_hand);
                measured.way_back.push(way_back);
            }
            let what = format!("downtime of a rollback of preserve with {hold_mib} MiB of memory");
            let figure = Figure::new(&what, Unit::Millis, &measured.way_back, machine)
                .beside(docker::CHECKPOINT_AND_BACK, &measured.by_hand);
            figures.push(figure.with(Goal::Ratio(RATIO_MAX)));
        }
        Ok(figures)
    }
}

/// Upgrades to a release that is sick: how long nobody was served between its last answer and the first one of the
/// release that returned with its memory, in milliseconds.
fn roll_back(fleet: &Fleet, device: &Device, hold_mib: u32, round: u32) -> Result<f64, BenchError> {
    let (good, sick) = (release(hold_mib, 0), release(hold_mib, round));
    let what = format!("the way back from {} to {}", sick.version, good.version);
    fleet.publish(&sick)?;
    let client = Client::start(device.port(), fleet.stopwatch);
    client.wait_for(&good.version, SEEN_LIMIT)?;
    let counted = (0..COUNTS).filter_map(|_| ask(device.port(), "/").ok()).map(|answer| answer.counter).max();
    let end = bring(fleet, &sick)?;
    match outcome(&end) {
        Some(Outcome::RolledBack { memory: Memory::Kept, .. }) => {}
        other => return Err(went_other(&what, other, &end)),
    }
    let gap = wait_until(&what, SEEN_LIMIT, || {
        Ok(client.gap(&sick.version, &good.version).ok_or_else(|| "nobody was seen to return".to_owned()))
    })?;
    let after = ask(device.port(), "/counter").ok().map(|answer| answer.counter);
    if counted.is_none() || after != counted || Some(gap.after.counter_first) != counted {
        let went = format!("the counter was {counted:?} before and {after:?} after");
        return Err(BenchError::OtherWay { what, went });
    }
    Ok(gap.millis())
}

/// The good release of a size is its round 0; the others are sick.
fn release(hold_mib: u32, round: u32) -> ReleaseSpec {
    let nature = if round == 0 { Nature::Good } else { Nature::Sick };
    ReleaseSpec {
        strategies: "preserve,replace".to_owned(),
        start_secs: 2,
        probation_secs: 1,
        hold_mib,
        ..ReleaseSpec::new(&format!("{hold_mib}.{round}.0"), nature)
    }
}
