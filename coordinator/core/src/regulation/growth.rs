//! How large elements become while all goes well (paper 2: "variation can be Linear, Power, Polynomial, Exponential").

use takt_common::regulation::Growth;

/// Linear growth adds so many parts of the fleet each time: half of the 6.25 % at which the paper's operator goes.
const LINEAR_PARTS: f64 = 32.0;
/// Polynomial growth adds a first step of so many parts of the fleet, and a larger one each time.
const POLYNOMIAL_PARTS: f64 = 512.0;

/// The size that follows `size`, `steps` of the growth later. With `g` steps since the first size `f`, in a fleet of `n` devices:
///
/// * linear `f + g n/32`,
/// * power `f (1 + g)^2`,
/// * polynomial `f + (g + g^2) n/512`,
/// * exponential `f 2^g`.
pub(crate) fn grown(growth: Growth, size: f64, steps: f64, first: f64, fleet: f64) -> f64 {
    let size = size.max(first);
    match growth {
        Growth::Linear => size + steps * (fleet / LINEAR_PARTS).max(1.0),
        Growth::Power => {
            let gone = (size / first).sqrt();
            first * (gone + steps).powi(2)
        }
        Growth::Polynomial => {
            let part = (fleet / POLYNOMIAL_PARTS).max(0.5);
            // g + g^2 = y solved for g.
            let gone = ((1.0 + 4.0 * (size - first) / part).sqrt() - 1.0) / 2.0;
            let next = gone + steps;
            first + part * (next + next * next)
        }
        Growth::Exponential => size * steps.exp2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_growth_follows_its_formula() {
        let after = |growth, steps| {
            let one = |size: f64, _| grown(growth, size, 1.0, 5.0, 1_024.0);
            (0..steps).fold(5.0, one)
        };
        assert!((after(Growth::Linear, 3) - (5.0 + 3.0 * 32.0)).abs() < 1e-9);
        assert!((after(Growth::Power, 3) - 5.0 * 16.0).abs() < 1e-9);
        assert!((after(Growth::Polynomial, 3) - (5.0 + 2.0 * 12.0)).abs() < 1e-9);
        assert!((after(Growth::Exponential, 3) - 40.0).abs() < 1e-9);
    }

    #[test]
    fn every_growth_grows_from_any_size_in_any_fleet() {
        for growth in [Growth::Linear, Growth::Power, Growth::Polynomial, Growth::Exponential] {
            for fleet in [1.0, 7.0, 150.0, 1e6] {
                for size in [0.0, 1.0, 5.0, 333.0] {
                    let next = grown(growth, size, 1.0, 5.0, fleet);
                    assert!(
                        next.is_finite() && next >= size.max(5.0) + 0.9,
                        "{growth} {fleet} {size}: {next}"
                    );
                }
            }
        }
    }
}
