//! Samples as slots of equal length, with gaps.

use std::collections::BTreeMap;

use super::series::Series;

/// The slot of an hour, where samples do not tell another one.
const STEP_USUAL: i64 = 3_600;
/// A day.
pub(super) const DAY: i64 = 86_400;
/// The most slots that are looked at: a year of hours. Of longer series the latest count.
const SLOTS_MAX: usize = 366 * 24;

/// Loads in slots of equal length.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    /// When the first slot begins: seconds since 1970, UTC.
    pub(super) start: i64,
    /// The length of a slot in seconds; a day has a whole number of them.
    pub(super) step: i64,
    /// How far local clocks are ahead of UTC, in seconds, as of each slot; slots without samples have that of the one before.
    offsets: Vec<i32>,
    /// One load for each slot; NaN for a gap.
    pub(super) loads: Vec<f64>,
}

/// The distance between samples that is most common among all series, in seconds, if slots of that length fill a day.
pub fn common_step(all: &[Series]) -> i64 {
    let mut distances: BTreeMap<i64, usize> = BTreeMap::new();
    for series in all {
        for pair in series.samples.windows(2) {
            *distances.entry(pair[1].at - pair[0].at).or_default() += 1;
        }
    }
    let fits = |distance: &i64| *distance > 0 && DAY % *distance == 0 && *distance >= 60;
    let common = distances.iter().filter(|(distance, _)| fits(distance)).max_by_key(|(_, count)| **count);
    common.map_or(STEP_USUAL, |(distance, _)| *distance)
}

impl Grid {
    /// Samples of one slot count as their mean.
    pub(super) fn new(series: &Series, step: i64) -> Self {
        let slot = |at: i64| at.div_euclid(step);
        let last = series.samples.last().map_or(0, |sample| slot(sample.at));
        let oldest = last - i64::try_from(SLOTS_MAX).unwrap_or(i64::MAX) + 1;
        let kept = series.samples.iter().filter(|sample| slot(sample.at) >= oldest);
        let first = kept.clone().next().map_or(0, |sample| slot(sample.at));
        let size = if series.samples.is_empty() { 0 } else { usize::try_from(last - first + 1).unwrap_or(0) };
        let mut sums = vec![(0.0, 0.0); size];
        let mut known: Vec<Option<i32>> = vec![None; size];
        for sample in kept {
            let place = usize::try_from(slot(sample.at) - first).expect("no sample is before the first");
            sums[place].0 += sample.load;
            sums[place].1 += 1.0;
            known[place] = Some(sample.offset);
        }
        let mut offset = known.iter().flatten().next().copied().unwrap_or(0);
        let follow = |known: Option<i32>| {
            offset = known.unwrap_or(offset);
            offset
        };
        Self {
            start: first * step,
            step,
            offsets: known.into_iter().map(follow).collect(),
            loads: sums.into_iter().map(|(sum, count): (f64, f64)| sum / count).collect(),
        }
    }

    /// How many slots there are.
    pub(super) fn size(&self) -> usize {
        self.loads.len()
    }

    /// How many slots have a load.
    pub(super) fn known(&self) -> usize {
        self.loads.iter().filter(|load| load.is_finite()).count()
    }

    /// When a slot begins, which may be after the last: seconds since 1970, UTC.
    pub(super) fn at(&self, slot: usize) -> i64 {
        self.start + self.step * i64::try_from(slot).unwrap_or(i64::MAX / self.step)
    }

    /// Seconds on local clocks since a Monday 00:00, as a slot begins.
    pub(super) fn second_of_week(&self, slot: usize) -> i64 {
        let offset = self.offsets.get(slot).or(self.offsets.last()).copied().unwrap_or(0);
        // 1970 began on a Thursday.
        (self.at(slot) + i64::from(offset) + 3 * DAY).rem_euclid(7 * DAY)
    }

    /// How many slots a day has.
    pub(super) fn day(&self) -> usize {
        usize::try_from(DAY / self.step).unwrap_or(1)
    }

    /// Only the first slots.
    pub(super) fn until(&self, size: usize) -> Self {
        let mut earlier = self.clone();
        earlier.loads.truncate(size);
        earlier
    }
}
