use std::f64::consts::TAU;

use super::*;

const HOUR: i64 = 3_600;
/// Monday, 2026-11-02.
const START: i64 = 1_793_577_600;

/// A number in [-1, 1) that looks random.
fn noise(number: u64) -> f64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn sample(hour: usize, load: f64) -> Sample {
    let at = START + HOUR * i64::try_from(hour).unwrap();
    let (compute, memory, availability, response_ms, storage) = (load, load, 100.0, 1.0, 0.0);
    Sample { at, offset: 0, compute, memory, availability, response_ms, storage, load }
}

fn series(days: usize, load: impl Fn(usize) -> f64) -> Series {
    let samples = (0..days * 24).map(|hour| sample(hour, load(hour))).collect();
    Series { device: "a".to_owned(), samples }
}

/// By day 70 %, by night 10 %, and some noise.
fn rhythm(hour: usize) -> f64 {
    40.0 - 30.0 * (TAU * (hour % 24) as f64 / 24.0).cos() + 3.0 * noise(hour as u64)
}

#[test]
fn a_daily_rhythm_is_forecast_within_its_interval() {
    let found = outlook(&series(14, rhythm), HOUR, 24).unwrap();
    let backtest = found.backtest.unwrap();
    assert!(backtest.mae < 0.3 * backtest.persistence_mae, "{backtest:?}");
    assert_eq!(found.slots.len(), 24);
    let inside = found.slots.iter().enumerate().filter(|(lead, slot)| {
        let truth = rhythm(14 * 24 + lead);
        slot.low <= truth && truth <= slot.high
    });
    assert!(inside.count() >= 20, "{:?}", found.slots);
    assert!(matches!(found.best, 23 | 0 | 1), "{}", found.best);
    assert_eq!(found.slots[0].slot_start(), "2026-11-16T00:00:00Z");
}

#[test]
fn a_random_walk_is_best_forecast_by_what_it_is_now() {
    let walk: Vec<f64> = (0..14 * 24)
        .scan(50.0, |load, hour| {
            *load = f64::clamp(*load + 2.0 * noise(hour), 0.0, 100.0);
            Some(*load)
        })
        .collect();
    let found = outlook(&series(14, |hour| walk[hour]), HOUR, 24).unwrap();
    let backtest = found.backtest.unwrap();
    assert!(backtest.mae <= backtest.persistence_mae, "{backtest:?}");
}

#[test]
fn a_week_that_differs_is_seen_with_enough_history() {
    // Nights of weekends are busy.
    let load = |hour: usize| {
        let weekend = hour / 24 % 7 >= 5;
        let night = !(6..22).contains(&(hour % 24));
        (if night == weekend { 80.0 } else { 10.0 }) + noise(hour as u64)
    };
    let found = outlook(&series(28, load), HOUR, 7 * 24).unwrap();
    assert!(found.backtest.unwrap().mae < 5.0, "{found:?}");
    for (lead, slot) in found.slots.iter().enumerate() {
        assert!((slot.load - load(28 * 24 + lead)).abs() < 12.0, "{lead}: {slot:?}");
    }
}

#[test]
fn gaps_constants_and_short_histories_are_no_trouble() {
    let mut gaps = series(14, rhythm);
    gaps.samples.retain(|sample| sample.at / HOUR % 5 != 0);
    let found = outlook(&gaps, HOUR, 24).unwrap();
    assert!(
        found
            .slots
            .iter()
            .all(|slot| slot.load.is_finite() && slot.low <= slot.load && slot.load <= slot.high)
    );
    assert!(found.backtest.unwrap().mae < 6.0, "{:?}", found.backtest);
    let found = outlook(&series(14, |_| 42.0), HOUR, 24).unwrap();
    assert!(found.slots.iter().all(|slot| (slot.load - 42.0).abs() < 1e-6), "{found:?}");
    assert_eq!(found.model, ModelName::Persistence);
    for hours in [1, 2, 23, 25, 49, 71] {
        let mut short = series(3, rhythm);
        short.samples.truncate(hours);
        let found = outlook(&short, HOUR, 30).unwrap();
        assert_eq!((found.slots.len(), found.backtest), (30, None), "{hours}");
        assert!(found.slots.iter().all(|slot| (0.0..=100.0).contains(&slot.load)));
    }
    assert_eq!(outlook(&Series { device: "a".to_owned(), samples: vec![] }, HOUR, 24), None);
}

#[test]
fn summer_time_moves_the_rhythm_with_local_clocks() {
    // From the second week on, clocks are an hour ahead of UTC: people come an hour earlier, as UTC has it.
    let local = |hour: usize| if hour >= 7 * 24 { hour + 1 } else { hour };
    let mut moved = series(14, |hour| if (8..17).contains(&(local(hour) % 24)) { 80.0 } else { 5.0 });
    for (hour, sample) in moved.samples.iter_mut().enumerate() {
        sample.offset = if hour >= 7 * 24 { 3_600 } else { 0 };
    }
    let found = outlook(&moved, HOUR, 24).unwrap();
    for (lead, slot) in found.slots.iter().enumerate() {
        let expected = if (8..17).contains(&((lead + 1) % 24)) { 80.0 } else { 5.0 };
        assert!((slot.load - expected).abs() < 1.0, "{lead}: {slot:?}");
    }
}

#[test]
fn the_most_common_distance_is_the_step() {
    let mut quarters = series(2, rhythm);
    for (number, sample) in quarters.samples.iter_mut().enumerate() {
        sample.at = START + 900 * i64::try_from(number).unwrap();
    }
    quarters.samples.remove(5);
    assert_eq!(common_step(&[quarters]), 900);
    assert_eq!(common_step(&[series(1, rhythm)]), HOUR);
    assert_eq!(common_step(&[]), HOUR);
}
