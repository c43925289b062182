//! Similarities and the dependency chain.

use std::path::Path;

use fastrand::Rng;
use serde_json::json;
use takt_planner::{Call, Direction, Likeness, LiveScores, Metrics, Network};

use super::super::error::BenchError;
use super::super::figure::{Figure, Goal, Unit};
use super::super::process::Memory;
use super::super::spread::Spread;
use super::{peer, threads, timed};

/// In-edges of each device.
const DEGREE: u32 = 3;
const TOLERANCE: f64 = 1e-4;
const PAIRED: u32 = 2_000;
const PAIRED_MANY: u32 = 20_000;
const SCORED: u32 = 100_000;
/// What may be wrong with a score, relatively.
const BOUND: f64 = 1e-3;

const NETWORKX: &str = "NetworkX simrank_similarity";
const PART_OF_NETWORKX: f64 = 1.0 / 50.0;
const PAIRED_MANY_MILLIS_MAX: f64 = 30_000.0;
const PAIRED_MANY_MIB_MAX: f64 = 4_096.0;
const SCORED_MILLIS_MAX: f64 = 20_000.0;

/// Edges that are added one after the other, and how long each may take.
const CHANGES: u32 = 21;
const CHANGED_MILLIS_MAX: f64 = 50.0;

type Edges = Vec<(u32, u32, f64)>;

/// Any devices call each other, so that nearly all of them are in circles.
fn edges(devices: u32) -> Edges {
    let mut random = Rng::with_seed(u64::from(devices));
    (0..devices * DEGREE).map(|edge| (random.u32(0..devices), edge / DEGREE, 1.0)).collect()
}

fn network(devices: u32, edges: &Edges) -> Network {
    let mut builder = Network::builder();
    for device in 0..devices {
        builder.device(&format!("device-{device:06}"));
    }
    for (source, target, weight) in edges {
        let (weight, metrics) = (Some(*weight), Metrics::default());
        builder.call(Call { source: *source, target: *target, requires: false, weight, metrics });
    }
    builder.build()
}

pub(super) fn measure(
    rounds: u32,
    machine: &str,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Figure>, BenchError> {
    let likeness = Likeness { threads: threads(), ..Likeness::default() };
    let near = Likeness { tolerance: TOLERANCE, ..likeness };
    let mut figures = Vec::new();

    let few = edges(PAIRED);
    let (mut ours, mut theirs) = (Spread::default(), Spread::default());
    let question = json!([{"size": PAIRED, "edges": few, "decay": likeness.decay, "tolerance": TOLERANCE}]);
    // A tenth of a second each: more of them, for the median of a few is anything.
    for _ in 0..=2 * rounds {
        let network = network(PAIRED, &few);
        ours.push(timed(|| network.pairs(Direction::Incoming, near))?.1);
        for seconds in peer::seconds("timed-similarities", &question)? {
            theirs.push(seconds * 1_000.0);
        }
        say(&format!("all pairs of {PAIRED}: {:.0} ms, NetworkX {:.0} ms", ours.median(), theirs.median()));
    }
    let name = format!("similarities of all pairs, {PAIRED} devices, {DEGREE} in-edges each, to {TOLERANCE}");
    figures.push(
        Figure::new(&name, Unit::Millis, &ours, machine)
            .beside(NETWORKX, &theirs)
            .with(Goal::Ratio(PART_OF_NETWORKX)),
    );

    let many = network(PAIRED_MANY, &edges(PAIRED_MANY));
    forget_peak()?;
    let (pairs, millis) = timed(|| many.pairs(Direction::Incoming, near))?;
    let peak = Memory::peak_of_this_process()?;
    drop(pairs);
    say(&format!("all pairs of {PAIRED_MANY}: {millis:.0} ms, {peak:.0} MiB"));
    let name =
        format!("similarities of all pairs, {PAIRED_MANY} devices, {DEGREE} in-edges each, to {TOLERANCE}");
    figures.push(
        Figure::new(&name, Unit::Millis, &once(millis), machine).with(Goal::Value(PAIRED_MANY_MILLIS_MAX)),
    );
    let name = format!("most memory for it, {PAIRED_MANY} devices");
    figures.push(
        Figure::new(&name, Unit::Mebibytes, &once(peak), machine).with(Goal::Value(PAIRED_MANY_MIB_MAX)),
    );

    let mut live = LiveScores::new(&many, likeness);
    let mut random = Rng::with_seed(1);
    let mut changed = Spread::default();
    for _ in 0..CHANGES {
        let (source, target) = (random.u32(0..PAIRED_MANY), random.u32(0..PAIRED_MANY));
        changed.push(timed(|| live.set(source, target, 1.0))?.1);
    }
    let bound = live.scores().error_bound;
    if bound > 2.0 * BOUND {
        let went = format!("the bound of the error is {bound} after {CHANGES} changes");
        return Err(BenchError::OtherWay { what: "changed edges".to_owned(), went });
    }
    say(&format!("an edge more among {PAIRED_MANY}: {:.1} ms, bound {bound:.1e}", changed.median()));
    let name = format!("scores after an edge more, {PAIRED_MANY} devices, {DEGREE} in-edges each");
    figures.push(Figure::new(&name, Unit::Millis, &changed, machine).with(Goal::Value(CHANGED_MILLIS_MAX)));

    let scored = network(SCORED, &edges(SCORED));
    let (scores, millis) = timed(|| scored.scores(likeness))?;
    if scores.error_bound > BOUND {
        let went = format!("the bound of the error is {}, not {BOUND}", scores.error_bound);
        return Err(BenchError::OtherWay { what: "scores".to_owned(), went });
    }
    say(&format!("scores of {SCORED}: {millis:.0} ms, bound {:.1e}", scores.error_bound));
    let name = format!("scores of {SCORED} devices with {} edges, to {BOUND}", SCORED * DEGREE);
    figures
        .push(Figure::new(&name, Unit::Millis, &once(millis), machine).with(Goal::Value(SCORED_MILLIS_MAX)));
    Ok(figures)
}

fn once(value: f64) -> Spread {
    let mut spread = Spread::default();
    spread.push(value);
    spread
}

/// From now on the peak of this process's memory is counted anew.
fn forget_peak() -> Result<(), BenchError> {
    let path = Path::new("/proc/self/clear_refs");
    std::fs::write(path, "5").map_err(BenchError::file("write to", path))
}
