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
}

/// What is wrong with one direction for a while. Several may be, each until it is mended itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// Nothing passes.
    Cut,
    /// Nobody answers a SYN, and what is established goes on.
    ConnectsHang,
    Slow {
        latency: Duration,
        bytes_per_second: u64,
    },
}

impl Default for Link {
    fn default() -> Link {
        Link {
            latency_micros: 50..1500,
            bytes_per_second: 1 << 30,
            loss_ppm: 0,
            tiny_window_ppm: 0,
        }
    }
}

#[derive(Default)]
pub struct Links {
    usual: Link,
    /// By direction, and by what mends them.
    troubles: BTreeMap<(usize, usize), Vec<(u64, Trouble)>>,
}

const LOOPBACK_MICROS: Range<u64> = 5..50;
const RESENT_MICROS: Range<u64> = 200_000..3_000_000;

impl Links {
    pub fn set_usual(&mut self, usual: Link) {
        self.usual = usual;
    }

    /// The other direction is another matter. `id` is for [`Links::mend`].
    pub fn trouble(&mut self, id: u64, from: usize, to: usize, trouble: Trouble) {
        self.troubles.entry((from, to)).or_default().push((id, trouble));
    }

    pub fn mend(&mut self, id: u64) {
        for troubles in self.troubles.values_mut() {
            troubles.retain(|(other, _)| *other != id);
        }
        self.troubles.retain(|_, troubles| !troubles.is_empty());
    }

    /// All links are sound, near and wide from now on.
    pub fn heal_all(&mut self) {
        self.troubles.clear();
        self.usual = Link::default();
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        from != to && self.troubles(from, to).any(|trouble| *trouble == Trouble::Cut)
    }

    pub fn connects_hang(&self, from: usize, to: usize) -> bool {
        self.troubles(from, to).any(|trouble| *trouble == Trouble::ConnectsHang)
    }

    pub fn latency(&self, from: usize, to: usize, chance: &mut Chance) -> Duration {
        if from == to {
            return Duration::from_micros(chance.between(LOOPBACK_MICROS));
        }
        let mut micros = chance.between(self.usual.latency_micros.clone());
        if chance.happens(f64::from(self.usual.loss_ppm) / 1e6) {
            micros += chance.between(RESENT_MICROS);
        }
        let extra = self.troubles(from, to).filter_map(|trouble| match trouble {
            Trouble::Slow { latency, .. } => Some(*latency),
            _ => None,
        });
        extra.fold(Duration::from_micros(micros), |sum, extra| sum + extra)
    }

    pub fn has_tiny_window(&self, chance: &mut Chance) -> bool {
        chance.happens(f64::from(self.usual.tiny_window_ppm) / 1e6)
    }

    /// How long the link is busy with `len` bytes.
    pub fn transmission(&self, from: usize, to: usize, len: usize) -> Duration {
        let narrowest = self.troubles(from, to).filter_map(|trouble| match trouble {
            Trouble::Slow { bytes_per_second, .. } => Some(*bytes_per_second),
            _ => None,
        });
        let bytes_per_second = narrowest.fold(self.usual.bytes_per_second, u64::min);
        Duration::from_nanos((len as u128 * 1_000_000_000 / bytes_per_second as u128) as u64)
    }

    fn troubles(&self, from: usize, to: usize) -> impl Iterator<Item = &Trouble> {
        self.troubles.get(&(from, to)).into_iter().flatten().map(|(_, trouble)| trouble)
    }
}
