//! Linear regression that takes one sample after the other.

/// Directions that carry less than this part of a feature's own weight are rounding: the feature follows from others.
const DEPENDENT: f64 = 1e-10;

/// Least squares in square-root form: the triangle R of the QR decomposition of all samples, to which Givens rotations add one
/// sample at a time. So a new sample costs the square of the number of features, and no inverse of a matrix of normal equations
/// loses digits (Golub and Van Loan, "Matrix Computations", 6.5.3 in the fourth edition).
#[derive(Debug, Clone, PartialEq)]
pub struct LeastSquares {
    /// Features and the constant 1, which is the first.
    size: usize,
    /// Row by row, each with the target at its end: the upper triangle of a square, and last what no feature explains.
    triangle: Vec<f64>,
    /// The lengths of the features' columns, squared.
    lengths: Vec<f64>,
    samples: usize,
}

impl LeastSquares {
    /// For so many features beside the constant.
    ///
    /// # Panics
    /// If there are more than 30.
    pub fn new(features: usize) -> Self {
        assert!(features <= FEATURES_MAX, "{features} features, at most {FEATURES_MAX}");
        let size = features + 1;
        Self { size, triangle: vec![0.0; (size + 1) * (size + 1)], lengths: vec![0.0; size], samples: 0 }
    }

    /// How many samples it has taken.
    pub const fn samples(&self) -> usize {
        self.samples
    }

    /// Adds a sample. One that is not finite is left out.
    ///
    /// # Panics
    /// If there are not as many features as at the start.
    pub fn add(&mut self, features: &[f64], target: f64) {
        assert_eq!(features.len() + 1, self.size, "as many features as at the start");
        if !target.is_finite() || features.iter().any(|feature| !feature.is_finite()) {
            return;
        }
        self.samples += 1;
        let width = self.size + 1;
        let mut row = [0.0; FEATURES_MAX + 2];
        let row = &mut row[..width];
        row[0] = 1.0;
        row[1..self.size].copy_from_slice(features);
        row[self.size] = target;
        for (length, value) in self.lengths.iter_mut().zip(&*row) {
            *length += value * value;
        }
        for (pivot, kept) in self.triangle.chunks_exact_mut(width).enumerate() {
            if row[pivot] == 0.0 {
                continue;
            }
            let length = kept[pivot].hypot(row[pivot]);
            let (cos, sin) = (kept[pivot] / length, row[pivot] / length);
            for (kept, new) in kept[pivot..].iter_mut().zip(&mut row[pivot..]) {
                (*kept, *new) = (cos * *kept + sin * *new, cos * *new - sin * *kept);
            }
        }
    }

    /// The constant and the factor of each feature; a feature that follows from those before it has 0. Nothing with fewer samples
    /// than factors.
    pub fn solve(&self) -> Option<Vec<f64>> {
        if self.samples < self.size {
            return None;
        }
        let width = self.size + 1;
        let mut factors = vec![0.0; self.size];
        for pivot in (0..self.size).rev() {
            let row = &self.triangle[pivot * width..(pivot + 1) * width];
            if row[pivot] * row[pivot] <= DEPENDENT * DEPENDENT * self.lengths[pivot] {
                continue;
            }
            let known: f64 =
                row[pivot + 1..self.size].iter().zip(&factors[pivot + 1..]).map(|(r, f)| r * f).sum();
            factors[pivot] = (row[self.size] - known) / row[pivot];
        }
        Some(factors)
    }
}

/// No model has more features.
pub(super) const FEATURES_MAX: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_relation_is_found() {
        let mut fit = LeastSquares::new(2);
        for number in 0..10_i32 {
            let (a, b) = (f64::from(number), f64::from(number * number));
            fit.add(&[a, b], 2.0 * a + 3.0 - b);
        }
        let factors = fit.solve().unwrap();
        for (found, expected) in factors.iter().zip([3.0, 2.0, -1.0]) {
            assert!((found - expected).abs() < 1e-10, "{factors:?}");
        }
    }

    #[test]
    fn features_that_follow_from_others_get_nothing_and_samples_that_are_no_numbers_are_left_out() {
        let mut fit = LeastSquares::new(3);
        for number in 0..20_i32 {
            let a = f64::from(number % 7);
            fit.add(&[a, 5.0, 2.0 * a], 1.0 + a);
        }
        fit.add(&[f64::NAN, 5.0, 1.0], 1.0);
        fit.add(&[1.0, 5.0, 1.0], f64::INFINITY);
        let factors = fit.solve().unwrap();
        assert_eq!(fit.samples(), 20);
        let expected = [1.0, 1.0, 0.0, 0.0];
        assert!(
            factors.iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 1e-9),
            "{factors:?}"
        );
    }

    #[test]
    fn too_few_samples_say_nothing() {
        let mut fit = LeastSquares::new(1);
        fit.add(&[1.0], 1.0);
        assert_eq!(fit.solve(), None);
    }
}
