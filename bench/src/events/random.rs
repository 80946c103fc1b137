//! Numbers from a seed: quick, the same everywhere, and good enough for made-up events.

use uuid::Uuid;

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// Small numbers often, great ones seldom: of `bound` things, the first is met most.
    pub fn skewed(&mut self, bound: u64) -> u64 {
        let unit = self.next() as f64 / u64::MAX as f64;
        // Log-uniform: the first tenth of the things makes up most of the calls.
        (((bound as f64 + 1.0).powf(unit) - 1.0) as u64).min(bound - 1)
    }

    /// Microseconds of a call: a few milliseconds, with a long tail.
    pub fn latency(&mut self) -> u64 {
        let unit = self.next() as f64 / u64::MAX as f64;
        (1500.0 * (1.0 / (1.001 - unit)).powf(0.8)) as u64
    }

    pub fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(
            (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes(),
        )
        .into_uuid()
    }

    pub fn bytes(&mut self) -> [u8; 10] {
        let (high, low) = (self.next().to_be_bytes(), self.next().to_be_bytes());
        std::array::from_fn(|i| if i < 8 { high[i] } else { low[i - 8] })
    }
}
