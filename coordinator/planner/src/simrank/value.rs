//! The numbers of a matrix.

use std::ops::{AddAssign, Mul, Sub};

/// A number: of full precision, or of half the room and half the digits.
pub(super) trait Value:
    Copy + Default + Send + Sync + PartialOrd + AddAssign + Mul<Output = Self> + Sub<Output = Self> + Into<f64>
{
    /// The nearest one.
    fn of(value: f64) -> Self;

    /// The larger one of this and how far two numbers are apart.
    fn or_distance(self, one: Self, other: Self) -> Self {
        // Plain comparisons: a processor makes several of them at once.
        let distance = if one > other { one - other } else { other - one };
        if distance > self { distance } else { self }
    }
}

impl Value for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

impl Value for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "how wrong that makes it is part of every bound")]
    fn of(value: f64) -> Self {
        value as Self
    }
}

/// No rounding to a number of half the room is wrong by more than this part.
pub(super) const SINGLE_ROUNDING: f64 = 1.0 / (1_u32 << 24) as f64;
