//! What was measured of a device.

/// What was measured of a device in one slot: the columns of figure 13 of paper 1, and the load that is forecast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When the slot began: seconds since 1970, UTC.
    pub at: i64,
    /// How far local clocks were ahead of UTC then, in seconds.
    pub offset: i32,
    /// Compute utilization, percent.
    pub compute: f64,
    /// Memory utilization, percent.
    pub memory: f64,
    /// Availability, percent.
    pub availability: f64,
    /// Response time, milliseconds.
    pub response_ms: f64,
    /// Storage utilization, percent.
    pub storage: f64,
    /// What upgrades should keep away from, percent.
    pub load: f64,
}

/// The samples of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub device: String,
    /// In the order of time, one for each slot.
    pub samples: Vec<Sample>,
}

impl Series {
    /// Brings samples into the order of time. Of several for one moment the one that came last counts, and one without a finite
    /// load does not.
    pub fn tidy(&mut self) {
        self.samples.retain(|sample| sample.load.is_finite());
        self.samples.sort_by_key(|sample| sample.at);
        self.samples.dedup_by(|later, kept| {
            let same = later.at == kept.at;
            if same {
                *kept = *later;
            }
            same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: i64, load: f64) -> Sample {
        let (compute, memory, availability, response_ms, storage) = (load, load, 100.0, 1.0, 0.0);
        Sample { at, offset: 0, compute, memory, availability, response_ms, storage, load }
    }

    #[test]
    fn the_last_of_several_samples_of_a_moment_counts() {
        let mut series = Series { device: "a".to_owned(), samples: vec![] };
        series.samples = vec![sample(20, 1.0), sample(10, 2.0), sample(20, 3.0), sample(30, f64::NAN)];
        series.samples.push(sample(10, 4.0));
        series.tidy();
        let found: Vec<(i64, f64)> = series.samples.iter().map(|sample| (sample.at, sample.load)).collect();
        assert_eq!(found, [(10, 4.0), (20, 3.0)]);
    }
}
