//! Everything that happened in a run, in order: hashed whole, the last part kept for the reader.
//!
//! Two runs of one seed must have the same hash (I57), so every delivery, disk operation, probe
//! and fault passes through here with its virtual time and ordinal. Nothing in an entry may depend
//! on an address, a thread or the real clock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// Entries kept for a failure report.
const KEPT_MAX: usize = 4096;

#[derive(Default)]
pub struct Trace {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hash: u64,
    ordinal: u64,
    kept: VecDeque<Entry>,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub at: Duration,
    pub ordinal: u64,
    /// Who it happened to: `node-0`, `client-2`, `net`.
    pub place: String,
    pub what: String,
}

impl Trace {
    pub fn record(&self, at: Duration, place: &str, what: String) {
        let mut state = self.state.lock().unwrap();
        state.ordinal += 1;
        let ordinal = state.ordinal;
        let mut hash = fold(state.hash, at.as_nanos() as u64);
        hash = fold(hash, ordinal);
        hash = fold_bytes(hash, place.as_bytes());
        state.hash = fold_bytes(hash, what.as_bytes());
        if state.kept.len() == KEPT_MAX {
            state.kept.pop_front();
        }
        state.kept.push_back(Entry { at, ordinal, place: place.to_string(), what });
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

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, place) = (self.at.as_secs_f64(), &self.place);
        write!(f, "{at:13.6}s #{:<7} {place:<9} {}", self.ordinal, self.what)
    }
}

fn fold(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn fold_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = fold(hash, u64::from_le_bytes(word));
    }
    fold(hash, bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(entries: &[(u64, &str, &str)]) -> Trace {
        let trace = Trace::default();
        for (at, place, what) in entries {
            trace.record(Duration::from_nanos(*at), place, what.to_string());
        }
        trace
    }

    #[test]
    fn the_hash_sees_time_place_and_what_happened() {
        let base = traced(&[(1, "node-0", "sync"), (2, "net", "cut")]).hash();
        assert_eq!(base, traced(&[(1, "node-0", "sync"), (2, "net", "cut")]).hash());
        assert_ne!(base, traced(&[(1, "node-0", "sync"), (3, "net", "cut")]).hash());
        assert_ne!(base, traced(&[(1, "node-1", "sync"), (2, "net", "cut")]).hash());
        assert_ne!(base, traced(&[(2, "net", "cut"), (1, "node-0", "sync")]).hash());
    }

    #[test]
    fn only_the_last_entries_are_kept() {
        let trace = Trace::default();
        for i in 0..KEPT_MAX as u64 + 10 {
            trace.record(Duration::from_nanos(i), "net", format!("event {i}"));
        }
        assert_eq!(trace.events(), KEPT_MAX as u64 + 10);
        let kept = trace.kept();
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!(kept[KEPT_MAX - 1].ordinal, KEPT_MAX as u64 + 10);
    }
}
