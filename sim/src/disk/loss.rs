//! What a power loss does to the changes that no sync covers.
//!
//! Works sector by sector (512 bytes): each piece of a write is there, or not, or noise. Bytes that
//! were synced and not rewritten since are never touched: a drive writes whole sectors, and the
//! kernel hands it the synced bytes again.

use serde::{Deserialize, Serialize};

use super::image::Image;
use super::volume::Change;
use crate::chance::Chance;

const SECTOR_BYTES: u64 = 512;

/// How the disk and its file system treat what was in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persona {
    /// The cache was just written back.
    Everything,
    /// The cache was never written back.
    Nothing,
    /// All changes up to some moment, the one at that moment torn.
    InOrder,
    /// Any subset of names and sectors, in any order, and some noise.
    Scattered,
}

impl Persona {
    pub const ALL: [Persona; 4] =
        [Persona::Everything, Persona::Nothing, Persona::InOrder, Persona::Scattered];

    pub fn keeps_name(self, seq: u64, cut: u64, chance: &mut Chance) -> bool {
        match self {
            Persona::Scattered => chance.happens(0.5),
            _ => seq < cut,
        }
    }
}

/// The fate of one file, drawn once and applied to each of its pending changes.
pub struct Loss<'a> {
    persona: Persona,
    cut: u64,
    keep: f64,
    noise: f64,
    len: Len,
    chance: &'a mut Chance,
}

#[derive(Clone, Copy)]
enum Len {
    /// As the kept changes make it.
    Natural,
    /// The inode had not been written: kept data beyond the old end is gone.
    Old,
    /// The inode had been written: lost data reads as zeroes.
    New,
}

impl<'a> Loss<'a> {
    pub fn draw(persona: Persona, cut: u64, chance: &'a mut Chance) -> Loss<'a> {
        let keep = *chance.pick(&[0.0, 0.1, 0.5, 0.9, 1.0]);
        let noise = *chance.pick(&[0.0, 0.0, 0.05]);
        let len = *chance.pick(&[Len::Natural, Len::Natural, Len::Old, Len::New]);
        Loss { persona, cut, keep, noise, len, chance }
    }

    /// Leaves in `durable` what survives; processes saw `cache_len` bytes before.
    pub fn strike(&mut self, pending: &[(u64, Change)], cache_len: u64, durable: &mut Image) {
        let old_len = durable.len();
        self.apply(pending, durable);
        match self.len {
            _ if self.persona != Persona::Scattered || pending.is_empty() => {}
            Len::Natural => {}
            Len::New => durable.set_len(cache_len),
            Len::Old => durable.set_len(old_len.min(durable.len())),
        }
    }

    pub fn apply(&mut self, pending: &[(u64, Change)], durable: &mut Image) {
        for (seq, change) in pending {
            match change {
                Change::SetLen(len) => {
                    if self.keeps_whole(*seq) {
                        durable.set_len(*len);
                    }
                }
                Change::Write { at, data } => self.apply_write(*seq, *at, data, durable),
            }
        }
    }

    fn apply_write(&mut self, seq: u64, at: u64, data: &[u8], durable: &mut Image) {
        // At the cut the change is torn: its first sectors are there.
        let torn_at = match (self.persona, seq == self.cut) {
            (Persona::InOrder, true) => self.chance.between(at..at + data.len() as u64 + 1),
            _ => u64::MAX,
        };
        let mut from = 0;
        while from < data.len() {
            let sector_end = (at + from as u64) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
            let to = data.len().min((sector_end - at) as usize);
            let position = at + from as u64;
            let kept = match self.persona {
                Persona::Everything => true,
                Persona::Nothing => false,
                Persona::InOrder => seq < self.cut || (seq == self.cut && position < torn_at),
                Persona::Scattered => self.chance.happens(self.keep),
            };
            if kept {
                durable.write(position, &data[from..to]);
            } else if self.persona == Persona::Scattered && self.chance.happens(self.noise) {
                let mut noise = vec![0; to - from];
                self.chance.fill(&mut noise);
                durable.write(position, &noise);
            }
            from = to;
        }
    }

    fn keeps_whole(&mut self, seq: u64) -> bool {
        match self.persona {
            Persona::Everything => true,
            Persona::Nothing => false,
            Persona::InOrder => seq < self.cut,
            Persona::Scattered => self.chance.happens(self.keep),
        }
    }
}
