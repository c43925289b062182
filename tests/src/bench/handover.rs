//! `handover` under load: thousands of new connections a second to a published port while release after release takes it
//! over, beside `docker rm -f && docker run -d` with a published port under the same load, in turns.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use takt_common::release::{ContainerSet, Manifest, Strategy};
use takt_common::report::Outcome;
use takt_load::{Clients, Report, Spec, now};
use takt_workload::Nature;

use super::campaign::{bring, install, outcome, went_other};
use super::docker::{self, Peer, PeerSpec};
use super::error::{BenchError, with_last_words};
use super::figure::{Figure, Goal, Unit};
use super::machine::machine;
use super::spread::Spread;
use crate::engine::Engine;
use crate::fleet::{self, Device, Fleet, FleetError, More, ReleaseSpec, pause, wait_until};

/// The device that is upgraded.
const DEVICE: &str = "bench";
/// New connections a second that are tried, and that must be reached in each swap.
const PER_SEC: u32 = 6_000;
const PER_SEC_MIN: f64 = 5_000.0;
/// Clients that make them.
const CLIENTS: u32 = 8;
/// What the longest time without an answer may be of the peer's.
const GAP_RATIO_MAX: f64 = 1.0 / 15.0;
/// From one turn of the peer to the next, in swaps.
const PEER_EVERY: u32 = 5;
/// The load alone, before each swap: it must be steady, and shows what the machine does without a swap.
const QUIET: Duration = Duration::from_millis(500);
/// How long the previous container may take to be gone.
const CLEAR_LIMIT: Duration = Duration::from_secs(20);

/// The group `handover`.
#[derive(Debug, Clone, Copy)]
pub struct HandoverGroup {
    /// How many releases take over.
    pub swaps: u32,
}

/// What is measured, for each swap. Times are in milliseconds.
#[derive(Debug, Default)]
struct Measured {
    failed: Spread,
    per_sec: Spread,
    gap: Spread,
    quiet_gap: Spread,
    slowest: Spread,
    peer_failed: Spread,
    peer_gap: Spread,
}

/// A load with the time at which the new release was seen first.
struct Load {
    clients: Clients,
    start: Instant,
    switched: Arc<OnceLock<Instant>>,
}

/// The stage. The order of the fields is that of the end.
struct Stage<'a> {
    peer: Peer,
    device: Device,
    fleet: &'a Fleet,
}

impl HandoverGroup {
    /// Measures everything, and tells of each swap through `say`.
    pub fn run(self, say: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
        let engine = Engine::shared().map_err(FleetError::from)?;
        let machine = machine(Some(&engine));
        let fleet = Fleet::start()?;
        let measured = Stage::open(engine, &fleet).and_then(|mut stage| self.measure(&mut stage, say));
        match measured {
            Ok(measured) => Ok(figures(&measured, &machine)),
            Err(error) => Err(with_last_words(&fleet, error)),
        }
    }

    fn measure(self, stage: &mut Stage<'_>, say: &mut dyn FnMut(&str)) -> Result<Measured, BenchError> {
        let mut measured = Measured::default();
        for swap in 1..=self.swaps {
            let (report, start, switched) = stage.hand_over(swap)?;
            for failure in &report.failures {
                let since = |at: Duration| at.as_secs_f64() * 1_000.0 - millis(switched - start);
                say(&format!(
                    "FAILED in swap {swap}: {}, begun {:+.1} ms from the first answer of the new release, after {:.1} ms",
                    failure.what,
                    since(failure.begun),
                    millis(failure.took)
                ));
            }
            let quiet = report.largest_gap(start, start + QUIET);
            let gaps = report.gaps.iter().filter(|gap| gap.to >= start + QUIET);
            let longest = gaps.max_by_key(|gap| gap.length());
            let gap = longest.map(takt_load::Gap::length).unwrap_or_default();
            let gap_at = longest.map_or(0.0, |gap| millis(gap.from - start) - millis(switched - start));
            say(&format!(
                "swap {swap:3} of {}: {} answered, {} failed, {:.0} a second, longest time without an answer {:.1} ms \
                 at {gap_at:+.0} ms from the first answer of the new release ({:.1} ms without a swap)",
                self.swaps,
                report.answered,
                report.failed,
                report.per_sec(),
                millis(gap),
                millis(quiet)
            ));
            measured.failed.push(report.failed as f64);
            measured.per_sec.push(report.per_sec());
            measured.gap.push(millis(gap));
            measured.quiet_gap.push(millis(quiet));
            measured.slowest.push(millis(report.slowest));
            if swap % PEER_EVERY == 1 {
                let report = stage.peer_swap()?;
                let gap = report.gaps.iter().map(takt_load::Gap::length).max().unwrap_or_default();
                say(&format!(
                    "by hand: {} answered, {} failed, longest time without an answer {:.1} ms",
                    report.answered,
                    report.failed,
                    millis(gap)
                ));
                measured.peer_failed.push(report.failed as f64);
                measured.peer_gap.push(millis(gap));
            }
        }
        Ok(measured)
    }
}

impl<'a> Stage<'a> {
    fn open(engine: Arc<Engine>, fleet: &'a Fleet) -> Result<Self, BenchError> {
        let device = fleet.devices(&[DEVICE])?.pop().expect("one name gives one device");
        let peer = Peer::start(engine, fleet, PeerSpec { published: true, ..PeerSpec::default() })?;
        install(fleet, &release(0))?;
        Ok(Self { peer, device, fleet })
    }

    /// One campaign under load, from before its start until the previous container is gone. Gives what came of the load,
    /// when it began, and when the new release answered first.
    fn hand_over(&mut self, swap: u32) -> Result<(Report, Instant, Instant), BenchError> {
        let (before, after) = (release(swap - 1), release(swap));
        self.fleet.publish(&after)?;
        let load = Load::start(self.device.port(), &[&before.version, &after.version], &after.version)?;
        pause(QUIET);
        let end = bring(self.fleet, &after)?;
        let what = format!("the handover to {}", after.version);
        match outcome(&end) {
            Some(Outcome::Verified { strategy: Some(Strategy::Handover) }) => {}
            other => return Err(went_other(&what, other, &end)),
        }
        wait_until("the end of the previous container", CLEAR_LIMIT, || {
            self.device.check()?;
            let left = self.device.containers()?;
            Ok(if left.len() == 1 { Ok(()) } else { Err(format!("{left:?}")) })
        })?;
        let Load { clients, start, switched } = load;
        let report = clients.stop();
        let never = || BenchError::OtherWay { what, went: "the new release was never seen".to_owned() };
        Ok((report, start, *switched.get().ok_or_else(never)?))
    }

    /// The peer's turn under the same load.
    fn peer_swap(&mut self) -> Result<Report, BenchError> {
        let load = Load::start(self.peer.port(), &[], "")?;
        pause(QUIET);
        self.peer.swap()?;
        pause(QUIET);
        Ok(load.clients.stop())
    }
}

impl Load {
    /// Clients to whom only these versions may answer; any one where none is named.
    fn start(port: u16, allowed: &[&str], after: &str) -> Result<Self, BenchError> {
        let switched = Arc::new(OnceLock::new());
        let spec = Spec::http(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "/counter");
        let status = Arc::clone(&spec.judge);
        let told = |version: &str| format!("\"version\":\"{version}\"").into_bytes();
        let allowed: Vec<Vec<u8>> = allowed.iter().map(|version| told(version)).collect();
        let (after, seen) = (told(after), Arc::clone(&switched));
        let has = |answer: &[u8], text: &[u8]| answer.windows(text.len()).any(|part| part == text);
        let judge = move |begun: Instant, answer: &[u8]| {
            status(begun, answer)?;
            if seen.get().is_none() && has(answer, &after) {
                seen.get_or_init(now);
            }
            if allowed.is_empty() || allowed.iter().any(|version| has(answer, version)) {
                return Ok(());
            }
            Err(format!("neither release has said '{}'", String::from_utf8_lossy(answer)))
        };
        let spec = Spec { clients: CLIENTS, per_sec: Some(PER_SEC), judge: Arc::new(judge), ..spec };
        let start = now();
        Ok(Self { clients: Clients::start(&spec)?, start, switched })
    }
}

fn release(swap: u32) -> ReleaseSpec {
    ReleaseSpec {
        strategies: Strategy::Replace.to_string(),
        start_secs: 10,
        probation_secs: 1,
        more: Some(More { artifacts: Vec::new(), edit: publish_port }),
        ..ReleaseSpec::new(&format!("1.{swap}.0"), Nature::Good)
    }
}

/// The agent publishes the port; no other way is allowed.
fn publish_port(manifest: &mut Manifest) {
    fleet::publish_port(manifest, &[Strategy::Handover], ContainerSet::DRAIN_SECS_DEFAULT);
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

fn figures(measured: &Measured, machine: &str) -> Vec<Figure> {
    let figure = |what: &str, unit, spread: &Spread| Figure::new(what, unit, spread, machine);
    let swaps = measured.failed.runs();
    let peer = &measured.peer_gap;
    vec![
        figure(
            &format!("connections that failed in {swaps} handovers, all together"),
            Unit::Count,
            &measured.failed,
        )
        .instead(measured.failed.sum())
        .with(Goal::Value(0.0)),
        figure("new connections a second during a handover, the fewest", Unit::PerSecond, &measured.per_sec)
            .instead(measured.per_sec.least())
            .with(Goal::AtLeast(PER_SEC_MIN)),
        figure(
            "longest time without an answer in a handover, the longest of all",
            Unit::Millis,
            &measured.gap,
        )
        .instead(measured.gap.most())
        .beside(docker::SWAP_PUBLISHED, peer)
        .with(Goal::Ratio(GAP_RATIO_MAX)),
        figure("longest time without an answer in a handover", Unit::Millis, &measured.gap)
            .beside(docker::SWAP_PUBLISHED, peer)
            .with(Goal::Ratio(GAP_RATIO_MAX)),
        figure(
            "longest time without an answer in half a second without a handover",
            Unit::Millis,
            &measured.quiet_gap,
        ),
        figure("slowest connection in a handover", Unit::Millis, &measured.slowest),
        figure("connections that failed in a swap by hand", Unit::Count, &measured.peer_failed),
    ]
}
