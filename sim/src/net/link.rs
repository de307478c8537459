//! The ways between hosts, each direction for itself: how far, how wide, how lossy, cut or not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::Chance;

/// One direction between two hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    pub latency_micros: Range<u64>,
    pub bytes_per_second: u64,
    /// Of a million segments, those that TCP has to send again, much later.
    pub loss_ppm: u32,
    /// Of a million connections, those whose ends have very little memory.
    pub tiny_window_ppm: u32,
    /// Nothing passes.
    pub cut: bool,
    /// Nobody answers a SYN, and what is established goes on.
    pub connects_hang: bool,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            latency_micros: 50..1500,
            bytes_per_second: 1 << 30,
            loss_ppm: 0,
            tiny_window_ppm: 0,
            cut: false,
            connects_hang: false,
        }
    }
}

#[derive(Default)]
pub struct Links {
    /// Those that differ from the usual.
    changed: BTreeMap<(usize, usize), Link>,
    usual: Link,
}

const LOOPBACK_MICROS: Range<u64> = 5..50;
const RESENT_MICROS: Range<u64> = 200_000..3_000_000;

impl Links {
    pub fn set_usual(&mut self, usual: Link) {
        self.usual = usual;
    }

    pub fn change(&mut self, from: usize, to: usize) -> &mut Link {
        self.changed.entry((from, to)).or_insert_with(|| self.usual.clone())
    }

    /// From now on nothing of `from` reaches `to`. The other direction is another matter.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.change(from, to).cut = true;
    }

    pub fn heal(&mut self, from: usize, to: usize) {
        self.changed.remove(&(from, to));
    }

    /// All links are sound, near and wide from now on.
    pub fn heal_all(&mut self) {
        self.changed.clear();
        self.usual = Link::default();
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        from != to && self.get(from, to).cut
    }

    pub fn connects_hang(&self, from: usize, to: usize) -> bool {
        self.get(from, to).connects_hang
    }

    pub fn latency(&self, from: usize, to: usize, chance: &mut Chance) -> Duration {
        if from == to {
            return Duration::from_micros(chance.between(LOOPBACK_MICROS));
        }
        let link = self.get(from, to);
        let mut micros = chance.between(link.latency_micros.clone());
        if chance.happens(f64::from(link.loss_ppm) / 1e6) {
            micros += chance.between(RESENT_MICROS);
        }
        Duration::from_micros(micros)
    }

    pub fn has_tiny_window(&self, from: usize, to: usize, chance: &mut Chance) -> bool {
        chance.happens(f64::from(self.get(from, to).tiny_window_ppm) / 1e6)
    }

    /// How long the link is busy with `len` bytes.
    pub fn transmission(&self, from: usize, to: usize, len: usize) -> Duration {
        let nanos = len as u128 * 1_000_000_000 / self.get(from, to).bytes_per_second as u128;
        Duration::from_nanos(nanos as u64)
    }

    fn get(&self, from: usize, to: usize) -> &Link {
        self.changed.get(&(from, to)).unwrap_or(&self.usual)
    }
}
