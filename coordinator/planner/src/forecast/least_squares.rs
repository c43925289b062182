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

    /// Of many samples at once: `rows` has the features of each, side by side. The same as adding one after the other, but sooner
    /// (Householder; Golub and Van Loan, 5.2). Samples that are not finite are left out.
    ///
    /// # Panics
    /// If there are more than 30 features, or not as many rows as targets.
    pub fn of(features: usize, rows: &[f64], targets: &[f64]) -> Self {
        assert_eq!(rows.len(), features * targets.len(), "a row of features for each target");
        let mut all = Self::new(features);
        let row = |sample: usize| &rows[sample * features..(sample + 1) * features];
        let is_whole = |sample: &usize| {
            targets[*sample].is_finite() && row(*sample).iter().all(|feature| feature.is_finite())
        };
        let kept: Vec<usize> = (0..targets.len()).filter(is_whole).collect();
        all.samples = kept.len();
        if kept.is_empty() {
            return all;
        }
        let width = all.size + 1;
        // Column by column.
        let mut columns = vec![1.0; width * kept.len()];
        for (place, sample) in kept.iter().enumerate() {
            for (column, value) in row(*sample).iter().chain([&targets[*sample]]).enumerate() {
                columns[(column + 1) * kept.len() + place] = *value;
            }
        }
        for (length, column) in all.lengths.iter_mut().zip(columns.chunks_exact(kept.len())) {
            *length = dot(column, column);
        }
        for pivot in 0..width.min(kept.len()) {
            let (before, behind) = columns.split_at_mut((pivot + 1) * kept.len());
            let mirror = &mut before[pivot * kept.len() + pivot..];
            let length = dot(mirror, mirror).sqrt();
            if length > 0.0 {
                let kept_value = if mirror[0] > 0.0 { -length } else { length };
                // Half of its length squared.
                let scale = length * (length + mirror[0].abs());
                mirror[0] -= kept_value;
                for column in behind.chunks_exact_mut(kept.len()) {
                    let column = &mut column[pivot..];
                    let factor = dot(mirror, column) / scale;
                    for (value, mirror) in column.iter_mut().zip(&*mirror) {
                        *value -= factor * mirror;
                    }
                }
                all.triangle[pivot * width + pivot] = kept_value;
            }
            for (column, values) in (pivot + 1..).zip(behind.chunks_exact(kept.len())) {
                all.triangle[pivot * width + column] = values[pivot];
            }
        }
        all
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

/// With several sums side by side, which a processor adds up at once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, rest_a) = a.as_chunks::<4>();
    let (b, rest_b) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum::<f64>()
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
    fn many_samples_at_once_are_the_same_as_one_after_the_other() {
        let mut random = fastrand::Rng::with_seed(7);
        for features in [1, 3, 8] {
            for samples in [0, 1, features, features + 1, 200] {
                let mut rows: Vec<f64> = (0..features * samples).map(|_| random.f64()).collect();
                let targets: Vec<f64> = (0..samples).map(|_| random.f64()).collect();
                if let Some(value) = rows.get_mut(3) {
                    *value = f64::NAN;
                }
                let mut one = LeastSquares::new(features);
                for (row, target) in rows.chunks(features).zip(&targets) {
                    one.add(row, *target);
                }
                let mut all = LeastSquares::of(features, &rows, &targets);
                assert_eq!(all.samples(), one.samples());
                // Both go on alike.
                for fit in [&mut one, &mut all] {
                    fit.add(&vec![0.25; features], 0.5);
                }
                match (one.solve(), all.solve()) {
                    (Some(one), Some(all)) => {
                        let close = one.iter().zip(&all).all(|(one, all)| (one - all).abs() < 1e-9);
                        assert!(close, "{features} features, {samples} samples: {one:?}, {all:?}");
                    }
                    (one, all) => assert_eq!(one, all),
                }
            }
        }
    }

    #[test]
    fn too_few_samples_say_nothing() {
        let mut fit = LeastSquares::new(1);
        fit.add(&[1.0], 1.0);
        assert_eq!(fit.solve(), None);
    }
}
