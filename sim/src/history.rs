//! What clients did and were told, in order. All that the black-box checkers know.
//!
//! A file holds one JSON object per line: `at` (nanoseconds since the run began), `process` (who),
//! `what` (the kind, in snake case) and that kind's own fields. A process does one thing at a time,
//! but for batches and administrators' requests, which are numbered. Whatever changes something is
//! written down when it is about to be sent and again when its fate is known; without a second
//! entry it is unknown, as when the second entry says so: it may have happened, or happen yet.
//!
//! `topic` always means one incarnation: `name#id`, as [`incarnation`] writes it. A topic that was
//! deleted and created again is another one. Where only the name is known, the field is `name`.
//!
//! What is definite follows one rule. A batch is refused only if every attempt to send it was
//! answered with a code that promises that nothing was stored; everything else without an
//! acknowledgement is unknown, above all a lost connection, REQUEST_TIMED_OUT,
//! NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR and UNKNOWN_SERVER_ERROR. Administrators' requests
//! are never sent twice, so that theirs is the fate of one request.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Simulated nanoseconds since the run began, or real ones of a recorded process.
    pub at: u64,
    /// Who: `producer-0`, `reader`.
    pub process: String,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    // Of topics.
    /// What may be true of topics of a name while the history lasts. Comes before their use.
    Expect {
        name: String,
        #[serde(flatten)]
        expected: Expected,
    },
    /// This process sees an incarnation for the first time.
    Topic {
        topic: String,
        name: String,
        id: String,
        partitions: u32,
    },

    // Of producers. `batch` numbers a process's batches from 0.
    /// The process was given a producer id.
    Identity {
        producer_id: i64,
        epoch: i16,
    },
    /// A batch is handed over. Its records are named by [`name_record`], and no two are the same.
    Produce {
        topic: String,
        partition: u32,
        batch: u64,
        records: Vec<u64>,
        /// The time of each, in milliseconds, as its producer says.
        #[serde(default)]
        times: Vec<i64>,
        acks: i16,
        idempotent: bool,
        /// The log may hold it at most once. Not so when it is sent again without idempotence, or
        /// when the broker may forget its producer in between.
        once: bool,
        /// Where it and the batch that this process handed over before it to the partition are
        /// both acknowledged, both `ordered`, it stands behind that one.
        ordered: bool,
        /// What its header says, of an idempotent producer that knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence: Option<Sequence>,
        /// As it is sent, compressed; 0 where that is not known.
        bytes: u32,
    },
    /// It is stored, at `base` when that was said.
    Produced {
        batch: u64,
        base: Option<i64>,
        /// The time that the broker gave it, on a topic that wants that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        append_ms: Option<i64>,
        /// How often it was sent, at most; 0 where that is not known.
        #[serde(default)]
        attempts: u32,
    },
    /// It is not stored and will not be. `code` is 0 where it was never sent.
    Refused {
        batch: u64,
        code: i16,
        #[serde(default)]
        attempts: u32,
    },
    /// It may be stored, now or later: so is every batch with acks=0. `code` is the last answer.
    Unknown {
        batch: u64,
        code: Option<i16>,
        #[serde(default)]
        attempts: u32,
    },
    /// A batch that was acknowledged is sent once more, byte by byte. It is stored already and must
    /// not be again, unless it need not be there only `once`.
    Resend {
        batch: u64,
    },
    /// What was answered to that: code 0 must name the first offset (and time), and
    /// OUT_OF_ORDER_SEQUENCE_NUMBER says that the broker no longer remembers it.
    Resent {
        batch: u64,
        code: i16,
        base: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        append_ms: Option<i64>,
    },

    // Of consumers. A `session` is a position that moves on from record to record: a process
    // raises the number when it restarts or seeks. `asked` is when the request was begun.
    /// The position of a session on a partition begins here.
    Position {
        topic: String,
        partition: u32,
        session: u64,
        offset: i64,
    },
    /// Records as they were served, the first at `base`, without a gap; the next of the session go
    /// on behind them. Of one batch, or a part of it.
    Read {
        topic: String,
        partition: u32,
        session: u64,
        base: i64,
        records: Vec<u64>,
        /// The log holds what the broker's clock said, and all records of the batch have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        append_ms: Option<i64>,
        high_watermark: i64,
        asked: u64,
        /// Part of the last reading, of everything, when all is over.
        last: bool,
    },
    /// OFFSET_OUT_OF_RANGE for a fetch at `offset`. The session ends.
    OutOfRange {
        topic: String,
        partition: u32,
        session: u64,
        offset: i64,
        asked: u64,
    },
    /// What ListOffsets says: the first offset with a time of at least `timestamp` and that time;
    /// the start of the log for -2, its end for -1. None: there is none.
    Listed {
        topic: String,
        partition: u32,
        timestamp: i64,
        offset: Option<i64>,
        found_ms: Option<i64>,
        asked: u64,
    },
    /// What a partition holds when all is over: offsets `start..end`.
    Bounds {
        topic: String,
        partition: u32,
        start: i64,
        end: i64,
    },
    /// All topics there are when all is over. The others were deleted.
    Standing {
        topics: Vec<String>,
    },

    // Of administrators. `op` numbers a process's requests from 0.
    Ask {
        op: u64,
        operation: Operation,
    },
    Answered {
        op: u64,
        answer: Answer,
    },
    /// A definite no: nothing changed.
    Denied {
        op: u64,
        code: i16,
    },
    /// It may take effect, now or later.
    Unanswered {
        op: u64,
        code: Option<i16>,
    },

    /// A peer without manners did its worst.
    Hostile {
        manner: String,
    },
    /// An error that a client with good manners met and passed over.
    Trouble {
        text: String,
    },
    /// For who reads the history. Checkers pass over it.
    Note {
        text: String,
    },
}

/// What may be true of topics of one name, at some time in the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Old records may be deleted by retention.
    pub retention: bool,
    /// Records may be deleted on request.
    pub records_deleted: bool,
    /// Topics of the name may be deleted.
    pub deleted: bool,
    /// Records may be stamped by the broker.
    pub append_time: bool,
    /// Batches of at most so many bytes are never refused for their size, as they are sent; those
    /// of more than the second number always are.
    pub batch_bytes_taken: u32,
    pub batch_bytes_max: u32,
    /// The broker may forget idempotent producers in the course of the history.
    pub producers_expire: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    pub producer_id: i64,
    pub epoch: i16,
    /// Of the first record.
    pub base: i32,
}

/// What an administrator asks for: by name, as the protocol has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Operation {
    CreateTopic {
        name: String,
        partitions: u32,
        configs: BTreeMap<String, String>,
    },
    DeleteTopic {
        name: String,
    },
    /// By its id.
    DeleteIncarnation {
        topic: String,
    },
    /// To so many partitions.
    Grow {
        name: String,
        partitions: u32,
    },
    /// `None` takes a setting back.
    Configure {
        name: String,
        changes: BTreeMap<String, Option<String>>,
    },
    /// Below `before`; -1 is the high watermark.
    DeleteRecords {
        name: String,
        partition: u32,
        before: i64,
    },
    DescribeTopic {
        name: String,
    },
    DescribeConfigs {
        name: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Deleted, grown, configured.
    Done,
    Created {
        topic: String,
    },
    /// The start of the log, of DeleteRecords.
    LowWatermark {
        offset: i64,
    },
    Topic {
        topic: String,
        partitions: u32,
    },
    /// What the topic itself has set, without defaults.
    Configs {
        values: BTreeMap<String, String>,
    },
}

/// The name of one incarnation of a topic.
pub fn incarnation(name: &str, id: impl std::fmt::Display) -> String {
    format!("{name}#{id}")
}

/// The name that an incarnation bears.
pub fn name_of(incarnation: &str) -> &str {
    incarnation.rsplit_once('#').map_or(incarnation, |(name, _)| name)
}

/// Names a record by a hash of all that its producer said in it. Where the broker replaced the
/// time, that of the producer is taken from the record's own text.
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

/// Eight bytes at a time, for there are many; each part with its length.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn add(&mut self, part: &[u8]) {
        let (words, rest) = part.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
        self.mix(part.len() as u64);
    }

    fn mix(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
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

pub fn parse(lines: &str) -> serde_json::Result<Vec<Entry>> {
    lines.lines().map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Vec<What> {
        let topic = || incarnation("orders", "AAAAAAAAAAAAAAAAAAAABA");
        let name = || "orders".to_string();
        let expected = Expected {
            retention: true,
            records_deleted: false,
            deleted: true,
            append_time: false,
            batch_bytes_taken: 1000,
            batch_bytes_max: 1_048_588,
            producers_expire: false,
        };
        let configs = BTreeMap::from([("retention.ms".to_string(), "1000".to_string())]);
        let changes = BTreeMap::from([("retention.ms".to_string(), None)]);
        vec![
            What::Expect { name: name(), expected },
            What::Produce {
                topic: topic(),
                partition: 2,
                batch: 0,
                records: vec![u64::MAX, 7],
                times: vec![5, -6],
                acks: -1,
                idempotent: true,
                once: true,
                ordered: true,
                sequence: Some(Sequence { producer_id: 7, epoch: 0, base: 3 }),
                bytes: 120,
            },
            What::Produced { batch: 0, base: None, append_ms: None, attempts: 2 },
            What::Unknown { batch: 1, code: Some(7), attempts: 1 },
            What::Read {
                topic: topic(),
                partition: 2,
                session: 0,
                base: 5,
                records: vec![u64::MAX],
                append_ms: Some(-1),
                high_watermark: 6,
                asked: 1,
                last: false,
            },
            What::Position { topic: topic(), partition: 2, session: 0, offset: 5 },
            What::OutOfRange { topic: topic(), partition: 2, session: 0, offset: 5, asked: 7 },
            What::Ask {
                op: 0,
                operation: Operation::CreateTopic { name: name(), partitions: 1, configs },
            },
            What::Answered { op: 0, answer: Answer::Created { topic: topic() } },
            What::Ask { op: 1, operation: Operation::Configure { name: name(), changes } },
            What::Answered { op: 1, answer: Answer::Done },
            What::Standing { topics: vec![topic()] },
        ]
    }

    #[test]
    fn a_history_survives_its_file() {
        let history = History::default();
        for (at, what) in (1..).zip(told()) {
            history.add(at, "client-0", what);
        }
        let mut file = vec![];
        write(&history.entries(), &mut file).unwrap();
        assert_eq!(parse(std::str::from_utf8(&file).unwrap()).unwrap(), history.entries());
    }

    #[test]
    fn an_incarnation_says_its_name() {
        assert_eq!(name_of(&incarnation("a#b", "AAAAAAAAAAAAAAAAAAAABA")), "a#b");
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
            name_record(b"k", b"v\0", &[(b"h", b"1")], 5),
        ] {
            assert_ne!(base, other);
        }
    }
}
