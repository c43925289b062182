//! Measured values of one thing, and what is told of them.

/// Values of one thing, measured again and again.
#[derive(Debug, Clone, Default)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// Takes a further value in.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// How many there are.
    pub(super) fn runs(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or the mean of the two in the middle; 0 where there are none.
    pub fn median(&self) -> f64 {
        let values = &self.0;
        match values.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => values[odd / 2],
            even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
        }
    }

    /// Of these values.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// All together by how many there are; 0 where there are none.
    pub(super) fn mean(&self) -> f64 {
        self.sum() / self.0.len().max(1) as f64
    }

    /// All together.
    pub(super) fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// The smallest one; 0 where there are none.
    pub(super) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The largest one; 0 where there are none.
    pub(super) fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_needs_no_order_and_is_not_moved_by_one_wild_value() {
        let mut spread = Spread::default();
        assert!(spread.median().abs() < f64::EPSILON);
        for value in [30.0, 10.0, 9_000.0] {
            spread.push(value);
        }
        assert_eq!((spread.least(), spread.median(), spread.most()), (10.0, 30.0, 9_000.0));
        spread.push(20.0);
        assert_eq!((spread.median(), spread.runs(), spread.sum()), (25.0, 4, 9_060.0));
    }
}
