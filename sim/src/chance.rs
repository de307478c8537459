//! Where every random decision of the simulated world comes from.
//!
//! One seed makes many streams that know nothing of each other, keyed by subsystem, node and a
//! counter. A fault dropped from a plan then leaves the other streams as they were, without which
//! no failing run could be shrunk. Our own generator (SplitMix64), so that a seed means the same
//! run after any update of a library.

use std::ops::Range;
use std::time::Duration;

/// Who draws. The discriminants are part of what a seed means: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    Plan = 1,
    Workload = 2,
    Net = 3,
    Disk = 4,
    Clock = 5,
    Process = 6,
    /// The node is the fault's id.
    Fault = 7,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    pub fn stream(seed: u64, subsystem: Subsystem, node: u64, counter: u64) -> Chance {
        let mut state = mix(seed ^ GOLDEN);
        for part in [subsystem as u64, node, counter] {
            state = mix(state.wrapping_add(GOLDEN) ^ mix(part.wrapping_add(GOLDEN)));
        }
        Chance { state }
    }

    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Another stream, that what is drawn from this one has no influence on.
    pub fn fork(&self, counter: u64) -> Chance {
        Chance { state: mix(self.state ^ mix(counter.wrapping_add(GOLDEN))) }
    }

    /// Uniform in `range`, which must not be empty.
    pub fn between(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "nothing to draw from {range:?}");
        let width = range.end - range.start;
        range.start + ((self.draw() as u128 * width as u128) >> 64) as u64
    }

    pub fn index(&mut self, len: usize) -> usize {
        self.between(0..len as u64) as usize
    }

    pub fn happens(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// In [0, 1).
    pub fn fraction(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    pub fn duration(&mut self, range: Range<Duration>) -> Duration {
        Duration::from_nanos(
            self.between(range.start.as_nanos() as u64..range.end.as_nanos() as u64),
        )
    }

    /// Each order of magnitude in `range` is as likely as the next.
    pub fn log_duration(&mut self, range: Range<Duration>) -> Duration {
        let (low, high) = (range.start.as_secs_f64(), range.end.as_secs_f64());
        assert!(0.0 < low && low < high, "nothing to draw from {range:?}");
        Duration::from_secs_f64(low * (high / low).powf(self.fraction()))
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.draw().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_its_key() {
        let draws = |node, counter| {
            let mut chance = Chance::stream(7, Subsystem::Net, node, counter);
            (0..4).map(|_| chance.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1, 1), draws(1, 1));
        assert_ne!(draws(1, 1), draws(1, 2));
        assert_ne!(draws(1, 2), draws(2, 1));
    }

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut chance = Chance::stream(1, Subsystem::Plan, 0, 0);
        assert_eq!([chance.draw(), chance.draw()], [15921826296462183241, 6521964885047628769]);
    }

    #[test]
    fn draws_stay_in_range_and_reach_its_ends() {
        let mut chance = Chance::stream(3, Subsystem::Disk, 0, 0);
        let drawn: std::collections::BTreeSet<u64> =
            (0..1000).map(|_| chance.between(5..9)).collect();
        assert_eq!(drawn, (5..9).collect());
        let often = (0..10_000).filter(|_| chance.happens(0.25)).count();
        assert!((2200..2800).contains(&often), "{often} of 10000 at p=0.25");
    }
}
