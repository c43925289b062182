//! Downtime of container swaps, as an HTTP client sees it: signed orders through coordinator and agent, beside the
//! same swap by hand, in turns.

use std::sync::Arc;
use std::time::Duration;

use takt_common::api::CampaignView;
use takt_common::release::Strategy;
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

/// The device that is upgraded.
const DEVICE: &str = "bench";
/// The release that it begins with.
const FIRST: &str = "1.0.0";
/// What `replace` may take of the peer's downtime.
const REPLACE_RATIO_MAX: f64 = 0.5;
/// How long the client may take to see what the coordinator knows.
const SEEN_LIMIT: Duration = Duration::from_secs(5);
/// How long the agent may take to find out whether it can checkpoint.
const ABILITY_LIMIT: Duration = Duration::from_secs(20);
/// Requests that drive the counter up before a bad release, so that a lost memory shows.
const COUNTS: u64 = 5;

/// The group `swap`.
#[derive(Debug, Clone, Copy)]
pub struct SwapGroup {
    /// How many times each swap is measured.
    pub rounds: u32,
}

/// What is measured, in milliseconds.
#[derive(Debug, Default)]
struct Measured {
    replace: Spread,
    preserve: Spread,
    way_back: Spread,
    by_hand: Spread,
    checkpoint: Spread,
}

/// The stage. The order of the fields is that of the end.
struct Stage<'a> {
    client: Client,
    peer: Peer,
    device: Device,
    fleet: &'a Fleet,
}

impl SwapGroup {
    /// Measures everything, and tells of each round through `say`.
    pub fn run(self, say: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
        let engine = Engine::shared().map_err(FleetError::from)?;
        let machine = machine(Some(&engine));
        let fleet = Fleet::start()?;
        let measured = Stage::open(engine, &fleet).and_then(|stage| self.measure(stage, say));
        match measured {
            Ok(measured) => Ok(figures(&measured, &machine)),
            Err(error) => Err(with_last_words(&fleet, error)),
        }
    }

    fn measure(self, mut stage: Stage<'_>, say: &mut dyn FnMut(&str)) -> Result<Measured, BenchError> {
        let mut measured = Measured::default();
        let mut running = FIRST.to_owned();
        for round in 1..=self.rounds {
            let [replaced, preserved, bad] = [1, 2, 3].map(|minor| format!("1.{round}.{minor}"));
            let by_hand = stage.peer.swap()?;
            let replace = stage.upgrade(&running, &replaced, Strategy::Replace)?;
            let checkpoint = stage.peer.checkpoint()?;
            let preserve = stage.upgrade(&replaced, &preserved, Strategy::Preserve)?;
            let way_back = stage.roll_back(&preserved, &bad)?;
            say(&format!(
                "round {round:2} of {}: replace {replace:.0} ms, by hand {by_hand:.0} ms, preserve {preserve:.0} ms, \
                 its way back {way_back:.0} ms, a checkpoint {checkpoint:.0} ms",
                self.rounds
            ));
            measured.by_hand.push(by_hand);
            measured.replace.push(replace);
            measured.checkpoint.push(checkpoint);
            measured.preserve.push(preserve);
            measured.way_back.push(way_back);
            running = preserved;
        }
        Ok(measured)
    }
}

impl<'a> Stage<'a> {
    fn open(engine: Arc<Engine>, fleet: &'a Fleet) -> Result<Self, BenchError> {
        let devices = fleet.devices(&[DEVICE])?;
        let device = devices.into_iter().next().expect("one name gives one device");
        wait_until("the agent able to checkpoint containers (CRIU)", ABILITY_LIMIT, || {
            let health = fleet.view(DEVICE)?.health;
            Ok(health.map_or(Err("no health sample yet".to_owned()), |health| health.checkpoint))
        })?;
        let peer = Peer::start(engine, fleet, PeerSpec::default())?;
        let client = Client::start(device.port(), fleet.stopwatch);
        let stage = Self { client, peer, device, fleet };
        install(fleet, &release(FIRST, Nature::Good, Strategy::Replace))?;
        stage.client.wait_for(FIRST, SEEN_LIMIT)?;
        Ok(stage)
    }

    /// Upgrades with `strategy`, and gives the downtime in milliseconds.
    fn upgrade(&self, before: &str, after: &str, strategy: Strategy) -> Result<f64, BenchError> {
        let what = format!("{strategy} from {before} to {after}");
        let end = self.campaign(after, Nature::Good, strategy)?;
        match outcome(&end) {
            Some(Outcome::Verified { strategy: Some(by) }) if *by == strategy => {}
            other => return Err(went_other(&what, other, &end)),
        }
        self.gap(before, after, &what).map(|(millis, _)| millis)
    }

    /// Upgrades to a release that is sick, and gives the downtime of the way back with the memory kept.
    fn roll_back(&self, before: &str, bad: &str) -> Result<f64, BenchError> {
        let what = format!("the way back from {bad} to {before}");
        for _ in 0..COUNTS {
            // One that fails only counts less.
            let _answer = ask(self.device.port(), "/");
        }
        let end = self.campaign(bad, Nature::Sick, Strategy::Preserve)?;
        match outcome(&end) {
            Some(Outcome::RolledBack { memory: Memory::Kept, .. }) => {}
            other => return Err(went_other(&what, other, &end)),
        }
        let (_, counted) = self.gap(before, bad, &what)?;
        let (millis, (_, returned)) = self.gap(bad, before, &what)?;
        if counted.0 != returned || returned == 0 {
            let went = format!("the counter was {} before and {returned} after", counted.0);
            return Err(BenchError::OtherWay { what, went });
        }
        Ok(millis)
    }

    /// Publishes a release and brings the device to it.
    fn campaign(
        &self,
        version: &str,
        nature: Nature,
        strategy: Strategy,
    ) -> Result<CampaignView, BenchError> {
        let release = release(version, nature, strategy);
        self.fleet.publish(&release)?;
        bring(self.fleet, &release)
    }

    /// The downtime between two versions in milliseconds, with the last counter before and the first one after.
    fn gap(&self, before: &str, after: &str, what: &str) -> Result<(f64, (u64, u64)), BenchError> {
        // It may be seen a moment later than it is reported; what comes after it does not matter.
        let found =
            wait_until(what, SEEN_LIMIT, || Ok(self.client.gap(before, after).ok_or_else(String::new)))?;
        Ok((found.millis(), (found.before.counter_last, found.after.counter_first)))
    }
}

fn release(version: &str, nature: Nature, strategy: Strategy) -> ReleaseSpec {
    let strategies = match strategy {
        Strategy::Preserve => "preserve,replace".to_owned(),
        Strategy::Replace | Strategy::Handover => strategy.to_string(),
    };
    ReleaseSpec {
        strategies,
        // A sick one is given up after this, a good one is verified after its probation: not measured, so short.
        start_secs: 2,
        probation_secs: 1,
        ..ReleaseSpec::new(version, nature)
    }
}

fn figures(measured: &Measured, machine: &str) -> Vec<Figure> {
    let by_hand = &measured.by_hand;
    let downtime = |what: &str, spread: &Spread| {
        let figure = format!("downtime of {what}, seen by an HTTP client");
        Figure::new(&figure, Unit::Millis, spread, machine).beside(docker::SWAP, by_hand)
    };
    vec![
        downtime("replace", &measured.replace).with(Goal::Ratio(REPLACE_RATIO_MAX)),
        downtime("preserve", &measured.preserve),
        downtime("a rollback of preserve with its memory", &measured.way_back),
        Figure::new("docker checkpoint create, alone", Unit::Millis, &measured.checkpoint, machine),
    ]
}
