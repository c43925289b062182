//! When sweeps have come so far that the rest can be told ahead.
//!
//! What a sweep leaves wrong of a graph with circles is made smaller by the next one. The parts of it that differ from pair to pair
//! go soon; the one that goes slowest is nearly equal for all pairs, for `P · J · Pᵀ = J` for the matrix J of ones. So after a few sweeps
//! the growth of all similarities together is a geometric series, whose rest is known from two of its members (Aitken 1926). That
//! it was guessed makes no result wrong: its bound is what the next sweep still moves.

/// A guess is worth its own pass over the matrix if so many sweeps or more would be left without it.
const SWEEPS_MIN: f64 = 3.0;
/// By how much of itself a factor may differ from the one before, so that the series is taken to be geometric.
const STEADY: f64 = 0.1;
/// Of a series that hardly falls, the rest is not known well enough.
const FACTOR_MAX: f64 = 0.95;

/// The growth so far.
#[derive(Debug, Default)]
pub(super) struct Leap {
    last: Option<f64>,
    factor: Option<f64>,
    done: bool,
}

impl Leap {
    /// After a sweep in which all similarities together have grown by `grown`, and which leaves `error`, while `tolerance` is asked
    /// for: how many times that growth is still to come, if it is to be added now. That is so once.
    pub(super) fn after(&mut self, grown: f64, error: f64, tolerance: f64) -> Option<f64> {
        let factor = self.last.replace(grown).map(|last| grown / last);
        let before = std::mem::replace(&mut self.factor, factor);
        let (factor, before) = (factor?, before?);
        let falls = factor > 0.0 && factor <= FACTOR_MAX;
        let steady = (factor - before).abs() <= STEADY * factor;
        let far = (tolerance / error).ln() <= SWEEPS_MIN * factor.ln();
        (!self.done && falls && steady && far).then(|| {
            self.done = true;
            factor / (1.0 - factor)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_geometric_series_is_told_once_it_is_one() {
        let mut leap = Leap::default();
        let told: Vec<Option<f64>> =
            [8.0, 1.0, 0.5, 0.25, 0.125].map(|grown| leap.after(grown, 1.0, 1e-3)).to_vec();
        assert_eq!(told, [None, None, None, Some(1.0), None]);
    }

    #[test]
    fn nothing_is_guessed_shortly_before_the_end_or_of_what_does_not_fall() {
        for (factor, error) in [(0.5, 4e-3), (0.96, 1.0), (1.5, 1.0), (-0.5, 1.0), (f64::NAN, 1.0)] {
            let mut leap = Leap::default();
            let mut grown = 1.0;
            for _ in 0..9 {
                assert_eq!(leap.after(grown, error, 1e-3), None, "{factor}");
                grown *= factor;
            }
        }
    }
}
