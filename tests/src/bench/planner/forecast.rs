//! Regressions, and what forecasts are worth.

use std::f64::consts::TAU;

use fastrand::Rng;
use serde_json::{Value, json};
use takt_planner::{LeastSquares, Sample, Series, outlook};

use super::super::error::BenchError;
use super::super::figure::{Figure, Goal, Unit};
use super::super::spread::Spread;
use super::{peer, threads, timed};

const FEATURES: usize = 8;
/// A week of hours.
const SAMPLES: usize = 168;
const DEVICES: usize = 10_000;
/// Different ones; each is fitted again and again.
const SETS: usize = 100;
const UPDATES: usize = 1_000_000;

const SCIKIT: &str = "scikit-learn LinearRegression";
const PART_OF_SCIKIT: f64 = 1.0 / 20.0;
const UPDATE_MICROS_MAX: f64 = 1.0;
/// How much worse than persistence a forecast may be.
const OF_PERSISTENCE_MAX: f64 = 1.02;
/// Of what the best slot saves over any slot, that is saved by the chosen one.
const OF_ORACLE_MIN: f64 = 0.5;

const HOUR: i64 = 3_600;
/// Devices of each sort whose forecasts are looked at.
const OF_EACH_SORT: u64 = 100;

/// What a regression is made of: features side by side for each sample, and targets.
struct Set {
    rows: Vec<f64>,
    targets: Vec<f64>,
}

impl Set {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let rows: Vec<f64> = (0..FEATURES * SAMPLES).map(|_| random.f64()).collect();
        let target = |row: &[f64]| row.iter().sum::<f64>() + 0.1 * random.f64();
        let targets = rows.chunks(FEATURES).map(target).collect();
        Self { rows, targets }
    }

    fn question(&self) -> Value {
        json!({"features": self.rows.chunks(FEATURES).collect::<Vec<_>>(), "targets": self.targets})
    }

    fn fit(&self) -> Option<Vec<f64>> {
        LeastSquares::of(FEATURES, &self.rows, &self.targets).solve()
    }
}

pub(super) fn measure(
    rounds: u32,
    machine: &str,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Figure>, BenchError> {
    let sets: Vec<Set> = (0..SETS as u64).map(Set::new).collect();
    let (mut ours, mut theirs, mut updates) = (Spread::default(), Spread::default(), Spread::default());
    let samples: Vec<Value> = sets.iter().map(Set::question).collect();
    let question = json!([{"samples": samples, "times": DEVICES / SETS}]);
    for _ in 0..rounds {
        ours.push(refits(&sets)?);
        for seconds in peer::seconds("timed-regressions", &question)? {
            theirs.push(seconds * 1_000.0);
        }
        updates.push(update_micros(&sets[0])?);
        say(&format!(
            "{DEVICES} refits: {:.0} ms, scikit-learn {:.0} ms; an update {:.3} µs",
            ours.median(),
            theirs.median(),
            updates.median()
        ));
    }
    let name = format!("regressions of {DEVICES} devices, {FEATURES} features, {SAMPLES} samples each");
    let refits = Figure::new(&name, Unit::Millis, &ours, machine)
        .beside(SCIKIT, &theirs)
        .with(Goal::Ratio(PART_OF_SCIKIT));
    let name = format!("a sample more for a regression of {FEATURES} features");
    let update = Figure::new(&name, Unit::Micros, &updates, machine).with(Goal::Value(UPDATE_MICROS_MAX));
    let Worth { worst, later, saved } = worth();
    say(&format!(
        "forecasts: at worst {:.3} of persistence's error, {:.3} on days after",
        worst.most(),
        later.most()
    ));
    let name = "error of a forecast by that of persistence on held-out days, the worst device";
    let worst = Figure::new(name, Unit::Count, &worst, machine).instead(worst.most());
    let name = "the same on the day after, the worst sort of devices";
    let later = Figure::new(name, Unit::Count, &later, machine).instead(later.most());
    let name = "load saved by the chosen slot, by what the best one saves over any, the mean";
    let mean = saved.sum() / saved.runs() as f64;
    let saved = Figure::new(name, Unit::Count, &saved, machine).instead(mean);
    Ok(vec![
        refits,
        update,
        worst.with(Goal::Value(OF_PERSISTENCE_MAX)),
        later.with(Goal::Value(OF_PERSISTENCE_MAX)),
        saved.with(Goal::AtLeast(OF_ORACLE_MIN)),
    ])
}

/// Milliseconds for all devices, on all processors.
fn refits(sets: &[Set]) -> Result<f64, BenchError> {
    let threads = threads().get();
    let fit_share = || {
        for _ in 0..DEVICES / SETS / threads {
            for set in sets {
                std::hint::black_box(set.fit());
            }
        }
    };
    let all = || {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(fit_share);
            }
        });
    };
    // Where threads do not divide the devices evenly, the rest is told of as well.
    let done = DEVICES / SETS / threads * threads * SETS;
    timed(all).map(|((), millis)| millis * DEVICES as f64 / done as f64)
}

fn update_micros(set: &Set) -> Result<f64, BenchError> {
    let mut fit = LeastSquares::new(FEATURES);
    let add_all = || {
        let rows = set.rows.chunks(FEATURES).zip(&set.targets).cycle();
        for (row, target) in rows.take(UPDATES) {
            fit.add(row, *target);
        }
    };
    let ((), millis) = timed(add_all)?;
    std::hint::black_box(fit.solve());
    Ok(millis * 1_000.0 / UPDATES as f64)
}

/// Loads hour by hour that rise and fall with the day, drift, or jump.
fn loads(sort: u64, random: &mut Rng, hours: usize) -> Vec<f64> {
    let (mean, swing) = (20.0 + 40.0 * random.f64(), 10.0 + 30.0 * random.f64());
    let (peak, noise) = (24.0 * random.f64(), 1.0 + 6.0 * random.f64());
    let mut drift = 0.0;
    let hour = |hour: usize| {
        drift += 2.0 * noise * (random.f64() - 0.5);
        let rhythm = swing * (TAU * (hour as f64 - peak) / 24.0).cos();
        let chance = 2.0 * noise * (random.f64() - 0.5);
        let load = match sort {
            // By the day, weekends nearly idle.
            1 if hour / 24 % 7 >= 5 => 0.4 * (mean + rhythm) + chance,
            // By the day.
            0 | 1 => mean + rhythm + chance,
            // By nothing.
            2 => mean + drift,
            // All the same.
            3 => mean,
            // By chance.
            _ => 100.0 * random.f64(),
        };
        load.clamp(0.0, 100.0)
    };
    (0..hours).map(hour).collect()
}

const SORTS: u64 = 5;
/// With a rhythm.
const RHYTHMIC: u64 = 2;

/// What forecasts of devices with two weeks of history, or one, are worth.
struct Worth {
    /// Errors on held-out days by those of persistence: of each device.
    worst: Spread,
    /// The same on the day after: of each sort of devices.
    later: Spread,
    /// What the chosen slots save of what the best ones would: of each device with a rhythm.
    saved: Spread,
}

fn worth() -> Worth {
    let mut worth = Worth { worst: Spread::default(), later: Spread::default(), saved: Spread::default() };
    for sort in 0..SORTS {
        let (mut ours, mut theirs) = (0.0, 0.0);
        for number in 0..OF_EACH_SORT {
            let mut random = Rng::with_seed(SORTS * number + sort);
            let days = if random.bool() { 7 } else { 14 };
            let all = loads(sort, &mut random, (days + 1) * 24);
            let (known, truth) = all.split_at(days * 24);
            let Some(outlook) = outlook(&series(known), HOUR, truth.len()) else { continue };
            if let Some(backtest) = outlook.backtest.filter(|backtest| backtest.persistence_mae > 0.0) {
                worth.worst.push(backtest.mae / backtest.persistence_mae);
            }
            for (slot, load) in outlook.slots.iter().zip(truth) {
                ours += (load - slot.load).abs();
                theirs += (load - known[known.len() - 1]).abs();
            }
            if sort < RHYTHMIC {
                let mean = truth.iter().sum::<f64>() / truth.len() as f64;
                let least = truth.iter().copied().fold(f64::INFINITY, f64::min);
                worth.saved.push((mean - truth[outlook.best]) / (mean - least));
            }
        }
        // Loads that never change are forecast without an error by both.
        if theirs > 0.0 {
            worth.later.push(ours / theirs);
        }
    }
    worth
}

fn series(loads: &[f64]) -> Series {
    let sample = |(hour, load): (i64, &f64)| Sample {
        at: hour * HOUR,
        offset: 0,
        compute: *load,
        memory: *load,
        availability: 100.0,
        response_ms: 1.0,
        storage: 0.0,
        load: *load,
    };
    Series { device: "device".to_owned(), samples: (0..).zip(loads).map(sample).collect() }
}
