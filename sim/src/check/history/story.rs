//! Histories made by hand, for the tests of the checkers. They speak of one partition of `t#1`.

use super::{Excuse, Rules, Summary, check};
use crate::check::Invariant;
use crate::history::{Answer, Entry, Expected, Operation, What};

pub const TOPIC: &str = "t#1";

pub struct Story {
    entries: Vec<Entry>,
    rules: Rules,
    ops: u64,
}

/// How a batch differs from the usual one: idempotent, with acks=all.
pub struct Sent {
    pub acks: i16,
    pub once: bool,
    pub ordered: bool,
    pub bytes: u32,
    pub times: Vec<i64>,
}

impl Story {
    /// Nothing is deleted, and the broker gives no times.
    pub fn begin() -> Story {
        Story::expecting(|_| {})
    }

    pub fn expecting(change: impl FnOnce(&mut Expected)) -> Story {
        let mut expected = Expected {
            retention: false,
            records_deleted: false,
            deleted: false,
            append_time: false,
            batch_bytes_taken: 1000,
            batch_bytes_max: 2000,
            producers_expire: false,
        };
        change(&mut expected);
        let story = Story { entries: vec![], rules: Rules::default(), ops: 0 };
        story.tell("run", What::Expect { name: "t".to_string(), expected })
    }

    pub fn under(mut self, change: impl FnOnce(&mut Rules)) -> Story {
        change(&mut self.rules);
        self
    }

    pub fn excused(self, excuse: Excuse) -> Story {
        self.under(|rules| _ = rules.excuses.insert(excuse))
    }

    /// One second after what was told before it.
    pub fn tell(mut self, process: &str, what: What) -> Story {
        let (at, process) = (self.now(), process.to_string());
        self.entries.push(Entry { at, process, what });
        self
    }

    fn now(&self) -> u64 {
        1_000_000_000 * (self.entries.len() as u64 + 1)
    }

    pub fn send(self, batch: u64, records: &[u64]) -> Story {
        self.send_as("p", batch, records, |_| {})
    }

    pub fn send_as(
        self,
        process: &str,
        batch: u64,
        records: &[u64],
        change: impl FnOnce(&mut Sent),
    ) -> Story {
        let times = records.iter().map(|record| *record as i64).collect();
        let mut sent = Sent { acks: -1, once: true, ordered: true, bytes: 100, times };
        change(&mut sent);
        let Sent { acks, once, ordered, bytes, times } = sent;
        let what = What::Produce {
            topic: TOPIC.to_string(),
            partition: 0,
            batch,
            records: records.to_vec(),
            times,
            acks,
            idempotent: once,
            once,
            ordered,
            sequence: None,
            bytes,
        };
        self.tell(process, what)
    }

    pub fn acknowledged(self, batch: u64, base: i64) -> Story {
        self.acknowledged_to("p", batch, base)
    }

    pub fn acknowledged_to(self, process: &str, batch: u64, base: i64) -> Story {
        let (base, append_ms, attempts) = (Some(base), None, 1);
        self.tell(process, What::Produced { batch, base, append_ms, attempts })
    }

    pub fn read(self, base: i64, records: &[u64]) -> Story {
        self.read_as("c", base, records, |_| {})
    }

    pub fn read_as(
        self,
        process: &str,
        base: i64,
        records: &[u64],
        change: impl FnOnce(&mut What),
    ) -> Story {
        let mut what = What::Read {
            topic: TOPIC.to_string(),
            partition: 0,
            // A position of its own, so that readings go on where they like.
            session: self.entries.len() as u64,
            base,
            records: records.to_vec(),
            append_ms: None,
            high_watermark: base + records.len() as i64,
            asked: self.now(),
            last: process == "last",
        };
        change(&mut what);
        self.tell(process, what)
    }

    /// An answer of ListOffsets that was asked for just before.
    pub fn listed(self, timestamp: i64, offset: Option<i64>, found_ms: Option<i64>) -> Story {
        let (topic, asked) = (TOPIC.to_string(), self.now());
        let what = What::Listed { topic, partition: 0, timestamp, offset, found_ms, asked };
        self.tell("c", what)
    }

    /// The last reading, of all that there is.
    pub fn log(self, records: &[u64]) -> Story {
        self.log_from(0, records)
    }

    pub fn log_from(self, start: i64, records: &[u64]) -> Story {
        let (topic, end) = (TOPIC.to_string(), start + records.len() as i64);
        self.read_as("last", start, records, |_| {})
            .tell("last", What::Bounds { topic, partition: 0, start, end })
            .tell("last", What::Standing { topics: vec![TOPIC.to_string()] })
    }

    pub fn ask(mut self, process: &str, operation: Operation) -> Story {
        self.ops += 1;
        let op = self.ops;
        self.tell(process, What::Ask { op, operation })
    }

    /// The answer to what was asked last.
    pub fn answer(self, process: &str, answer: Answer) -> Story {
        let op = self.ops;
        self.tell(process, What::Answered { op, answer })
    }

    /// The answer to what was asked as the `op`th, from 1.
    pub fn answer_to(self, op: u64, process: &str, answer: Answer) -> Story {
        self.tell(process, What::Answered { op, answer })
    }

    pub fn denied(self, process: &str, code: i16) -> Story {
        let op = self.ops;
        self.tell(process, What::Denied { op, code })
    }

    pub fn verdict(&self) -> Result<Summary, Invariant> {
        check(&self.entries, &self.rules).map_err(|violation| violation.invariant)
    }

    pub fn passes(&self) -> Summary {
        match check(&self.entries, &self.rules) {
            Ok(summary) => summary,
            Err(violation) => panic!("{}: {}", violation.invariant, violation.evidence),
        }
    }

    pub fn breaks(&self, invariant: Invariant) {
        assert_eq!(self.verdict(), Err(invariant));
    }
}
