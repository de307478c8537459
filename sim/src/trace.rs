//! Everything that happened in a run, in order: hashed whole, the last part kept for the reader.
//!
//! Two runs of one seed must have the same hash (I57), so every delivery, disk operation, probe
//! and fault passes through here with its virtual time and ordinal. Nothing in an entry may depend
//! on an address, a thread or the real clock. What happens often is kept as numbers, hashed as
//! such, and put into words only when somebody reads it.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::env::probe::Event;

/// Entries kept for a failure report.
pub const KEPT_MAX: usize = 4096;

pub struct Trace {
    state: Mutex<State>,
}

struct State {
    hash: u64,
    ordinal: u64,
    /// Every place that was named: there are few.
    places: Vec<Arc<str>>,
    kept: VecDeque<Entry>,
    kept_max: usize,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub at: Duration,
    pub ordinal: u64,
    /// Who it happened to: `node-0`, `client-2`, `net`.
    pub place: Arc<str>,
    pub what: What,
}

#[derive(Clone, Debug, Hash)]
pub enum What {
    /// A process starts.
    Start {
        incarnation: u64,
    },
    /// A process is ended; how.
    Kill(String),
    /// A process is asked to end in order.
    AskToStop,
    /// A process ended by itself.
    Exit(Result<(), String>),
    Pause,
    Resume,
    Probe(Event),
    /// Bytes that reached the page cache of a file.
    Write {
        ino: u64,
        at: u64,
        bytes: u64,
    },
    SetLen {
        ino: u64,
        len: u64,
    },
    Sync {
        ino: u64,
    },
    /// Bytes that arrived.
    Arrive {
        connection: u64,
        to: SocketAddr,
        bytes: u64,
    },
    /// What is seldom, in words.
    Said(String),
}

impl From<String> for What {
    fn from(words: String) -> What {
        What::Said(words)
    }
}

impl From<&str> for What {
    fn from(words: &str) -> What {
        What::Said(words.to_string())
    }
}

impl Default for Trace {
    fn default() -> Trace {
        let (places, kept) = (vec![], VecDeque::new());
        let state = State { hash: 0, ordinal: 0, places, kept, kept_max: KEPT_MAX };
        Trace { state: Mutex::new(state) }
    }
}

impl Trace {
    /// From now on that many of the last entries.
    pub fn keep(&self, kept_max: usize) {
        assert!(kept_max > 0, "a failure is told by its last event");
        self.state.lock().unwrap().kept_max = kept_max;
    }

    pub fn record(&self, at: Duration, place: &str, what: impl Into<What>) {
        let (mut state, what) = (self.state.lock().unwrap(), what.into());
        state.ordinal += 1;
        let (ordinal, place) = (state.ordinal, state.place(place));
        let mut fold = Fold(state.hash);
        fold.write_u64(at.as_nanos() as u64);
        fold.write_u64(ordinal);
        place.hash(&mut fold);
        what.hash(&mut fold);
        state.hash = fold.finish();
        if state.kept.len() == state.kept_max {
            state.kept.pop_front();
        }
        state.kept.push_back(Entry { at, ordinal, place, what });
    }

    pub fn hash(&self) -> u64 {
        self.state.lock().unwrap().hash
    }

    pub fn events(&self) -> u64 {
        self.state.lock().unwrap().ordinal
    }

    /// The last entries, oldest first.
    pub fn kept(&self) -> Vec<Entry> {
        self.state.lock().unwrap().kept.iter().cloned().collect()
    }
}

impl State {
    fn place(&mut self, name: &str) -> Arc<str> {
        match self.places.iter().find(|place| ***place == *name) {
            Some(place) => place.clone(),
            None => {
                self.places.push(name.into());
                self.places[self.places.len() - 1].clone()
            }
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, place) = (self.at.as_secs_f64(), &self.place);
        write!(f, "{at:13.6}s #{:<7} {place:<9} {}", self.ordinal, self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Start { incarnation } => write!(f, "start {incarnation}"),
            What::Kill(how) => write!(f, "kill {how}"),
            What::AskToStop => f.write_str("is asked to stop"),
            What::Exit(exit) => write!(f, "exit {exit:?}"),
            What::Pause => f.write_str("pause"),
            What::Resume => f.write_str("resume"),
            What::Probe(event) => write!(f, "{event:?}"),
            What::Write { ino, at, bytes } => write!(f, "write {bytes} at {at} of {ino}"),
            What::SetLen { ino, len } => write!(f, "set len {len} of {ino}"),
            What::Sync { ino } => write!(f, "sync of {ino}"),
            What::Arrive { connection, to, bytes } => {
                write!(f, "{bytes} bytes to {to} on {connection}")
            }
            What::Said(words) => f.write_str(words),
        }
    }
}

/// Our own, because the standard library's hash may change with it, and a trace's must not.
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use ottla::types::{LeaderEpoch, Offset};

    use super::*;

    fn hash(entries: &[(u64, &str, What)]) -> u64 {
        let trace = Trace::default();
        for (at, place, what) in entries {
            trace.record(Duration::from_nanos(*at), place, what.clone());
        }
        trace.hash()
    }

    #[test]
    fn the_hash_sees_time_place_and_what_happened() {
        let (sync, cut) = (What::Sync { ino: 3 }, What::from("cut"));
        let traced = |first, place, second| {
            hash(&[(first, place, sync.clone()), (second, "net", cut.clone())])
        };
        let base = traced(1, "node-0", 2);
        assert_eq!(base, traced(1, "node-0", 2));
        assert_ne!(base, traced(1, "node-0", 3));
        assert_ne!(base, traced(1, "node-1", 2));
        assert_ne!(base, hash(&[(2, "net", cut), (1, "node-0", sync)]));
    }

    #[test]
    fn the_hash_sees_every_number() {
        let to = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let committed = |offset, epoch| {
            let (offset, epoch) = (Offset(offset), LeaderEpoch(epoch));
            What::Probe(Event::MetadataCommitted { offset, epoch })
        };
        let entries = [
            What::Start { incarnation: 1 },
            What::Start { incarnation: 2 },
            What::Write { ino: 1, at: 2, bytes: 3 },
            What::Write { ino: 1, at: 3, bytes: 2 },
            What::Write { ino: 2, at: 2, bytes: 3 },
            What::SetLen { ino: 1, len: 2 },
            What::SetLen { ino: 2, len: 1 },
            What::Sync { ino: 1 },
            What::Arrive { connection: 1, to: to(9092), bytes: 5 },
            What::Arrive { connection: 1, to: to(9093), bytes: 5 },
            What::Arrive { connection: 5, to: to(9092), bytes: 1 },
            committed(1, 0),
            committed(0, 1),
            What::Exit(Ok(())),
            What::Exit(Err(String::new())),
            What::AskToStop,
            What::Pause,
            What::Resume,
            What::from("pause"),
        ];
        let hashes: Vec<u64> =
            entries.iter().map(|what| hash(&[(1, "node-0", what.clone())])).collect();
        for (index, one) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(one), "{} has the hash of another", entries[index]);
        }
    }

    #[test]
    fn only_the_last_entries_are_kept() {
        let trace = Trace::default();
        trace.keep(100);
        for i in 0..110 {
            trace.record(Duration::from_nanos(i), "net", format!("event {i}"));
        }
        assert_eq!(trace.events(), 110);
        let kept = trace.kept();
        assert_eq!((kept.len(), kept[0].ordinal, kept[99].ordinal), (100, 11, 110));
    }
}
