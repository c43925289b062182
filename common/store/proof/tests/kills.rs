//! SIGKILL on an ordinary disk: in start-up and under load.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Size, trial};
use takt_store_proof::random::{Random, seed_of_run};
use takt_store_proof::trial::{Kill, Kind, Record};

/// Longest time under load before a kill.
const LOAD_MICROS_MAX: u64 = 60_000;

#[test]
#[allow(clippy::disallowed_methods, reason = "how long a start takes is measured, not decided upon")]
fn nothing_acknowledged_is_lost_over_kills() {
    let seed = seed_of_run();
    let mut random = Random::new(seed);
    let trial = trial(Kind::Wrapped);
    let folder = tempfile::tempdir().unwrap();
    let mut record = Record::default();
    trial.run_to_end(&mut record, folder.path(), 100).unwrap();
    // Kills in start-up are spread over as long as a start takes here.
    let begun = Instant::now();
    trial.run_to_end(&mut record, folder.path(), 0).unwrap();
    let start_micros = u64::try_from(begun.elapsed().as_micros()).unwrap().max(1000);
    let kills = Size::of_run().kills;
    for number in 0..kills {
        let kill = if random.percent(50) {
            Kill::AfterSpawn(Duration::from_micros(random.between(0, start_micros)))
        } else {
            Kill::UnderLoad(Duration::from_micros(random.between(0, LOAD_MICROS_MAX)))
        };
        if let Err(violation) = trial.kill(&mut record, folder.path(), kill) {
            let kept = folder.keep();
            panic!("kill {number} ({kill:?}, TAKT_SEED={seed}): {violation}; kept in '{}'", kept.display());
        }
    }
    trial.run_to_end(&mut record, folder.path(), 1).unwrap();
    println!(
        "{} kills ({} in start-up, which takes {start_micros} µs), {} starts examined, {} batches acknowledged, \
         none lost (seed {seed})",
        record.ends, record.ends_in_start, record.examined, record.batches
    );
    assert_eq!(record.ends, kills);
    assert!(record.ends_in_start * 4 > kills, "start-up was killed {} times", record.ends_in_start);
    assert!(record.batches > kills, "{} batches over {kills} kills are no load", record.batches);
}
