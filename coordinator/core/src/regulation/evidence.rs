//! What failures of few devices say about all: when to stop, and how bad a release may still be.

use statrs::distribution::{Beta, ContinuousCDF as _};

/// The chance that a release is stopped although it fails on no more than half of what is tolerated, in a whole campaign.
pub(crate) const FALSE_ALARM: f64 = 0.01;

/// How sure a bound is.
const CONFIDENCE: f64 = 0.95;

/// Failure rates that stand for bad releases, as shares of the way from the rate that is let through to 1 (the first as a multiple of
/// that rate), each with its weight: releases that are slightly bad take the longest to show, so they weigh the most.
const SLIGHTLY_BAD: (f64, f64) = (4.0, 0.7);
const BAD: (f64, f64) = (0.2, 0.2);
const BROKEN: (f64, f64) = (0.6, 0.1);

/// The failure rate that is let through, of a tolerance: half of it.
pub(crate) fn let_through(tolerance: f64) -> f64 {
    tolerance / 2.0
}

/// Whether `errors` of `devices` show a release that fails on more than [`let_through`].
///
/// Compared are the likelihoods of what was seen under three rates of bad releases, in the weighted mean, and under the rate that is let
/// through. For a release that fails no more often this ratio is a supermartingale that begins at 1, whenever it is looked at; so it
/// reaches 1 / [`FALSE_ALARM`] in at most that share of campaigns (Ville's inequality; Robbins 1970, mixture sequential tests).
pub(crate) fn is_bad(errors: u32, devices: u32, tolerance: f64) -> bool {
    let usual = let_through(tolerance);
    let rates = [
        (beyond(usual, SLIGHTLY_BAD.0 * usual), SLIGHTLY_BAD.1),
        (beyond(usual, BAD.0), BAD.1),
        (beyond(usual, BROKEN.0), BROKEN.1),
    ];
    let (failed, passed) = (f64::from(errors), f64::from(devices.saturating_sub(errors)));
    let ratios = rates.map(|(rate, weight)| {
        failed * (rate / usual).ln() + passed * ((1.0 - rate) / (1.0 - usual)).ln() + weight.ln()
    });
    // The largest is taken out, so that none overflows.
    let largest = ratios.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = ratios.iter().map(|ratio| (ratio - largest).exp()).sum();
    largest + sum.ln() >= (1.0 / FALSE_ALARM).ln()
}

fn beyond(rate: f64, share: f64) -> f64 {
    rate + (1.0 - rate) * share.min(0.9)
}

/// The largest share that `count` of `devices` are compatible with, at 95 % (Clopper and Pearson 1934, one-sided); 1 without devices.
pub(crate) fn upper_bound(count: u32, devices: u32) -> f64 {
    if count >= devices {
        return 1.0;
    }
    Beta::new(f64::from(count) + 1.0, f64::from(devices - count))
        .map_or(1.0, |beta| beta.inverse_cdf(CONFIDENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Zero of n: 1 - 0.05^(1/n).
        for devices in [1_u32, 5, 15, 149, 10_000] {
            let exact = 1.0 - 0.05_f64.powf(1.0 / f64::from(devices));
            assert!((upper_bound(0, devices) - exact).abs() < 1e-6, "0 of {devices}");
        }
        // qbeta(0.95, 4, 97) and qbeta(0.95, 21, 980) of R.
        assert!((upper_bound(3, 100) - 0.075_710).abs() < 1e-4, "{}", upper_bound(3, 100));
        assert!((upper_bound(20, 1_000) - 0.028_873).abs() < 1e-4, "{}", upper_bound(20, 1_000));
        assert!(upper_bound(0, 0) >= 1.0 && upper_bound(7, 7) >= 1.0);
    }

    #[test]
    fn a_release_that_fails_everywhere_is_known_by_two_devices_and_one_alone_says_little() {
        assert!(is_bad(2, 2, 0.02) && is_bad(3, 5, 0.02));
        assert!(!is_bad(1, 1, 0.02) && !is_bad(1, 5, 0.02) && !is_bad(0, 0, 0.02));
    }

    #[test]
    fn what_is_let_through_and_what_is_not_is_told_apart_in_a_large_fleet() {
        assert!(!is_bad(100, 10_000, 0.02) && !is_bad(120, 10_000, 0.02));
        assert!(is_bad(500, 10_000, 0.02) && is_bad(20, 400, 0.02));
    }

    #[test]
    fn every_tolerance_can_be_judged() {
        for tolerance in [1e-6, 0.001, 0.02, 0.3, 0.5] {
            assert!(!is_bad(0, 1_000, tolerance), "{tolerance}");
            assert!(is_bad(1_000, 1_000, tolerance), "{tolerance}");
        }
    }
}
