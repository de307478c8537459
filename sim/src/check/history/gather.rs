//! A history, sorted by what it speaks of: logs, batches, records.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Invariant::I10;
use crate::check::Violation;
use crate::history::{self, Entry, Expected, Sequence, What};

/// A place is an index into the history; the entries stand in the order of real time.
pub struct Tables<'a> {
    pub history: &'a [Entry],
    pub logs: Vec<Log<'a>>,
    /// In the order in which they were handed over.
    pub batches: Vec<Batch<'a>>,
    expected: BTreeMap<&'a str, &'a Expected>,
    standing: Option<BTreeSet<&'a str>>,
    log_of: BTreeMap<(&'a str, u32), usize>,
    batch_of: BTreeMap<(&'a str, u64), usize>,
    /// Each record's batch and its index there, sorted by record.
    senders: Vec<(u64, u32, u32)>,
}

/// One partition of one incarnation of a topic.
pub struct Log<'a> {
    pub topic: &'a str,
    pub partition: u32,
    /// Of what consumers were told of it.
    pub places: Vec<usize>,
    pub batches: Vec<usize>,
    /// What the last reading found it to hold.
    pub bounds: Option<(i64, i64)>,
    /// Records that were read, and those of them that the last reading gave.
    pub read: u64,
    pub read_last: u64,
}

pub struct Batch<'a> {
    pub process: &'a str,
    pub number: u64,
    pub log: usize,
    pub records: &'a [u64],
    pub times: &'a [i64],
    pub acks: i16,
    /// The log may hold it only once.
    pub once: bool,
    pub ordered: bool,
    pub sequence: Option<Sequence>,
    pub bytes: u32,
    /// Where it was handed over, and where its fate was told.
    pub handed_over: usize,
    pub settled: Option<usize>,
    /// 0 where that is not known.
    pub attempts: u32,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Acknowledged { base: Option<i64>, append_ms: Option<i64> },
    Refused { code: i16 },
    Unknown,
}

impl<'a> Tables<'a> {
    pub fn gather(history: &'a [Entry]) -> Result<Tables<'a>, Violation> {
        let mut tables = Tables {
            history,
            logs: vec![],
            batches: vec![],
            expected: BTreeMap::new(),
            standing: None,
            log_of: BTreeMap::new(),
            batch_of: BTreeMap::new(),
            senders: vec![],
        };
        for (place, entry) in history.iter().enumerate() {
            tables.add(place, &entry.process, &entry.what);
        }
        tables.senders.sort_unstable();
        tables.everything_was_read()?;
        Ok(tables)
    }

    fn add(&mut self, place: usize, process: &'a str, what: &'a What) {
        match what {
            What::Expect { name, expected } => {
                self.expected.insert(name, expected);
            }
            What::Produce { .. } => self.add_batch(place, process, what),
            What::Produced { batch, base, append_ms, attempts } => {
                let fate = Fate::Acknowledged { base: *base, append_ms: *append_ms };
                self.settle(place, process, *batch, fate, *attempts);
            }
            What::Refused { batch, code, attempts } => {
                self.settle(place, process, *batch, Fate::Refused { code: *code }, *attempts);
            }
            What::Unknown { batch, attempts, .. } => {
                self.settle(place, process, *batch, Fate::Unknown, *attempts);
            }
            What::Read { topic, partition, records, last, .. } => {
                let log = self.tell_of(place, topic, *partition);
                log.read += records.len() as u64;
                log.read_last += if *last { records.len() as u64 } else { 0 };
            }
            What::Position { topic, partition, .. }
            | What::OutOfRange { topic, partition, .. }
            | What::Listed { topic, partition, .. } => {
                self.tell_of(place, topic, *partition);
            }
            What::Bounds { topic, partition, start, end } => {
                self.tell_of(place, topic, *partition).bounds = Some((*start, *end));
            }
            What::Standing { topics } => {
                self.standing = Some(topics.iter().map(String::as_str).collect());
            }
            _ => {}
        }
    }

    fn tell_of(&mut self, place: usize, topic: &'a str, partition: u32) -> &mut Log<'a> {
        let log = self.log(topic, partition);
        self.logs[log].places.push(place);
        &mut self.logs[log]
    }

    fn log(&mut self, topic: &'a str, partition: u32) -> usize {
        *self.log_of.entry((topic, partition)).or_insert_with(|| {
            let (places, batches) = (vec![], vec![]);
            let (bounds, read, read_last) = (None, 0, 0);
            self.logs.push(Log { topic, partition, places, batches, bounds, read, read_last });
            self.logs.len() - 1
        })
    }

    fn add_batch(&mut self, place: usize, process: &'a str, what: &'a What) {
        let What::Produce { topic, partition, batch, records, .. } = what else { return };
        let What::Produce { times, acks, once, ordered, sequence, bytes, .. } = what else {
            return;
        };
        let (log, index) = (self.log(topic, *partition), self.batches.len());
        self.logs[log].batches.push(index);
        self.batch_of.insert((process, *batch), index);
        let sender = |(i, record): (usize, &u64)| (*record, index as u32, i as u32);
        self.senders.extend(records.iter().enumerate().map(sender));
        self.batches.push(Batch {
            process,
            number: *batch,
            log,
            records,
            times,
            acks: *acks,
            once: *once,
            ordered: *ordered,
            sequence: *sequence,
            bytes: *bytes,
            handed_over: place,
            settled: None,
            attempts: 0,
            fate: Fate::Unknown,
        });
    }

    fn settle(&mut self, place: usize, process: &'a str, number: u64, fate: Fate, attempts: u32) {
        if let Some(&index) = self.batch_of.get(&(process, number)) {
            let batch = &mut self.batches[index];
            (batch.settled, batch.fate, batch.attempts) = (Some(place), fate, attempts);
        }
    }

    /// What stands at the end must have been looked at, and what does not must have been deleted.
    fn everything_was_read(&self) -> Result<(), Violation> {
        for log in self.logs.iter().filter(|log| log.bounds.is_none()) {
            let evidence = match (&self.standing, self.expected(log)) {
                (Some(standing), _) if standing.contains(log.topic) => {
                    format!("{log} stands and was never read to its end")
                }
                (_, Some(expected)) if expected.deleted => continue,
                _ => format!("{log} was never read to its end, and nobody deletes it"),
            };
            return Err(Violation::new(I10, evidence));
        }
        Ok(())
    }

    /// From here on a log holds all that it ever held: as far as its start ever moved. None where
    /// nobody knows.
    pub fn never_deleted(&self, log: &Log) -> Option<i64> {
        let told = |&place: &usize| match *self.what(place) {
            What::Listed { timestamp: -2, offset, .. } => offset,
            What::Bounds { start, .. } => Some(start),
            _ => None,
        };
        let farthest = log.places.iter().filter_map(told).max().unwrap_or(0);
        let expected = self.expected(log);
        let stays = expected.is_some_and(|it| !it.retention && !it.records_deleted);
        (log.bounds.is_some() || stays).then_some(farthest)
    }

    pub fn find_batch(&self, process: &str, number: u64) -> Option<&Batch<'a>> {
        self.batch_of.get(&(process, number)).map(|&index| &self.batches[index])
    }

    /// The batch in which a record was sent, and its index there.
    pub fn sender_of(&self, record: u64) -> Option<(usize, usize)> {
        let at = self.senders.partition_point(|(other, ..)| *other < record);
        let (other, batch, index) = *self.senders.get(at)?;
        (other == record).then_some((batch as usize, index as usize))
    }

    pub fn expected(&self, log: &Log) -> Option<&'a Expected> {
        self.expected_of(history::name_of(log.topic))
    }

    pub fn expected_of(&self, name: &str) -> Option<&'a Expected> {
        self.expected.get(name).copied()
    }

    pub fn topics_are_deleted(&self) -> bool {
        self.expected.values().any(|expected| expected.deleted)
    }

    pub fn what(&self, place: usize) -> &'a What {
        &self.history[place].what
    }

    /// An entry, as evidence.
    pub fn quote(&self, place: usize) -> String {
        let Entry { at, process, what } = &self.history[place];
        let what = match what {
            What::Read { base, records, high_watermark, .. } => format!(
                "read {} records from {base} on, high watermark {high_watermark}",
                records.len()
            ),
            other => format!("{other:?}"),
        };
        format!("at {:.6} s {process}: {what}", *at as f64 / 1e9)
    }
}

impl std::fmt::Display for Log<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl std::fmt::Display for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "batch {} of {}", self.number, self.process)
    }
}
