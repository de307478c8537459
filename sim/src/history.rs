//! What clients did and were told, in order. All that the black-box checkers know.
//!
//! Written as one JSON object per line. Every operation is invoked once and completed at most once;
//! one without completion is unknown, as is one that says so: it may have happened, or happen yet.

use std::io::{self, Write};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Simulated nanoseconds since the run began, or real ones of a recorded process.
    pub at: u64,
    /// Who: `producer-0`, `reader`. One does one thing at a time.
    pub process: String,
    #[serde(flatten)]
    pub what: What,
}

/// `batch` numbers a process's batches from 0; its records are numbered across batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A batch is handed over, to be stored once.
    Produce { topic: String, partition: u32, batch: u64, records: Vec<u64> },
    /// It is stored, at `base` when that was said.
    Produced { batch: u64, base: Option<i64> },
    /// It is not stored and will not be.
    Refused { batch: u64, code: i16 },
    /// It may be stored, now or later.
    Unknown { batch: u64 },
    /// Records as a consumer got them, the first at `base`, without a gap.
    Read { topic: String, partition: u32, base: i64, records: Vec<u64>, last: bool },
    /// The offsets that a partition holds, when all is over.
    Bounds { topic: String, partition: u32, start: i64, end: i64 },
}

/// `records` name records by a hash of all that a producer said in them.
pub fn name_record(key: &[u8], value: &[u8], headers: &[(&[u8], &[u8])], timestamp_ms: i64) -> u64 {
    let mut hash = Hash::default();
    hash.add(key);
    hash.add(value);
    for (name, value) in headers {
        hash.add(name);
        hash.add(value);
    }
    hash.add(&timestamp_ms.to_le_bytes());
    hash.0
}

/// FNV-1a, each part with its length.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn add(&mut self, part: &[u8]) {
        for byte in part.iter().copied().chain((part.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[derive(Default)]
pub struct History {
    entries: Mutex<Vec<Entry>>,
}

impl History {
    pub fn add(&self, at: u64, process: &str, what: What) {
        let process = process.to_string();
        self.entries.lock().unwrap().push(Entry { at, process, what });
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }
}

pub fn write(entries: &[Entry], to: &mut impl Write) -> io::Result<()> {
    for entry in entries {
        serde_json::to_writer(&mut *to, entry)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg_attr(not(test), allow(dead_code, reason = "tests look"))]
pub fn parse(lines: &str) -> serde_json::Result<Vec<Entry>> {
    lines.lines().map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_survives_its_file() {
        let history = History::default();
        let records = vec![u64::MAX, 7];
        let topic = "orders".to_string();
        history.add(1, "producer-0", What::Produce { topic, partition: 2, batch: 0, records });
        history.add(2, "producer-0", What::Produced { batch: 0, base: None });
        let mut file = vec![];
        write(&history.entries(), &mut file).unwrap();
        assert_eq!(parse(std::str::from_utf8(&file).unwrap()).unwrap(), history.entries());
    }

    #[test]
    fn records_that_differ_anywhere_have_different_names() {
        let base = name_record(b"k", b"v", &[(b"h", b"1")], 5);
        for other in [
            name_record(b"kv", b"", &[(b"h", b"1")], 5),
            name_record(b"k", b"w", &[(b"h", b"1")], 5),
            name_record(b"k", b"v", &[(b"h", b"2")], 5),
            name_record(b"k", b"v", &[], 5),
            name_record(b"k", b"v", &[(b"h", b"1")], 6),
        ] {
            assert_ne!(base, other);
        }
    }
}
