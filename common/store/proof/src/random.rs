//! Numbers that look random and come again for the same seed (SplitMix64).

use std::hash::{BuildHasher, Hasher, RandomState};

/// A repeatable source of numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The source that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The source for part `index` of what `seed` stands for.
    pub fn of(seed: u64, index: u64) -> Self {
        let mut random = Self(seed ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.next();
        random
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "an iterator that never ends would only be in the way")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` up to, not including, `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// True in `percent` of all cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// The seed of this run: `TAKT_SEED`, or a new one. Whoever uses it prints it when something fails.
pub fn seed_of_run() -> u64 {
    match std::env::var("TAKT_SEED").ok() {
        Some(text) => text.parse().expect("TAKT_SEED is a number"),
        // Every new one of these is keyed anew.
        None => RandomState::new().build_hasher().finish(),
    }
}
