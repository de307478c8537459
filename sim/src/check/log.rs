//! The history of producers and consumers against the log that is left: loss, phantoms, doubles,
//! order. Black box: needs nothing but the history, so it also judges a recorded real broker.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant::{I2, I5, I6, I10, I11, I17, I19};
use super::Violation;
use crate::history::{Entry, What};

/// What a sound history holds, for the report and against vacuity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    pub read: u64,
}

type Partition = (String, u32);

#[derive(Default)]
struct Seen {
    /// The last reading, by offset.
    log: BTreeMap<i64, u64>,
    /// Earlier readings.
    tail: Vec<(i64, u64)>,
    bounds: Option<(i64, i64)>,
}

struct Batch {
    partition: Partition,
    process: String,
    number: u64,
    records: Vec<u64>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Acknowledged { base: Option<i64> },
    Refused { code: i16 },
    Unknown,
}

pub fn check(history: &[Entry]) -> Result<Summary, Violation> {
    let (batches, partitions) = gather(history)?;
    let mut summary = Summary::default();
    for (partition, seen) in &partitions {
        let batches: Vec<_> = batches.iter().filter(|b| b.partition == *partition).collect();
        whole(partition, seen)?;
        let places = places(partition, seen)?;
        nothing_strange(partition, seen, &batches)?;
        same_for_all(partition, seen)?;
        for batch in &batches {
            batch.check(seen, &places)?;
        }
        in_order(&batches, &places)?;
        summary.read += seen.log.len() as u64;
    }
    for batch in &batches {
        let records = batch.records.len() as u64;
        match batch.fate {
            Fate::Acknowledged { .. } => summary.acknowledged += records,
            Fate::Unknown => summary.unknown += records,
            Fate::Refused { .. } => summary.refused += records,
        }
    }
    Ok(summary)
}

fn gather(history: &[Entry]) -> Result<(Vec<Batch>, BTreeMap<Partition, Seen>), Violation> {
    let mut batches: Vec<Batch> = vec![];
    let mut by_number: BTreeMap<(String, u64), usize> = BTreeMap::new();
    let mut partitions: BTreeMap<Partition, Seen> = BTreeMap::new();
    for entry in history {
        let mut settle = |number: u64, fate: Fate| {
            if let Some(index) = by_number.get(&(entry.process.clone(), number)) {
                batches[*index].fate = fate;
            }
        };
        match &entry.what {
            What::Produce { topic, partition, batch, records, .. } => {
                by_number.insert((entry.process.clone(), *batch), batches.len());
                let partition = (topic.clone(), *partition);
                partitions.entry(partition.clone()).or_default();
                let (process, records) = (entry.process.clone(), records.clone());
                let (number, fate) = (*batch, Fate::Unknown);
                batches.push(Batch { partition, process, number, records, fate });
            }
            What::Produced { batch, base, .. } => {
                settle(*batch, Fate::Acknowledged { base: *base })
            }
            What::Refused { batch, code } => settle(*batch, Fate::Refused { code: *code }),
            What::Unknown { batch, .. } => settle(*batch, Fate::Unknown),
            What::Read { topic, partition, base, records, last, .. } => {
                let seen = partitions.entry((topic.clone(), *partition)).or_default();
                for (offset, record) in (*base..).zip(records.iter().copied()) {
                    if !*last {
                        seen.tail.push((offset, record));
                    } else if let Some(before) = seen.log.insert(offset, record) {
                        let evidence = format!(
                            "{topic}-{partition}: one reading gave offset {offset} twice, \
                             {before:016x} and {record:016x}"
                        );
                        return Err(Violation::new(I5, evidence));
                    }
                }
            }
            What::Bounds { topic, partition, start, end } => {
                let seen = partitions.entry((topic.clone(), *partition)).or_default();
                seen.bounds = Some((*start, *end));
            }
            _ => {}
        }
    }
    Ok((batches, partitions))
}

/// The last reading covers the partition without a gap.
fn whole((topic, partition): &Partition, seen: &Seen) -> Result<(), Violation> {
    let Some((start, end)) = seen.bounds else {
        let evidence = format!("{topic}-{partition} was never read to its end");
        return Err(Violation::new(I10, evidence));
    };
    match (start..end).find(|offset| !seen.log.contains_key(offset)) {
        Some(gap) => {
            let evidence = format!(
                "{topic}-{partition} holds offsets {start} to {end} and a reading of all of it \
                 gave none at {gap}"
            );
            Err(Violation::new(I5, evidence))
        }
        None => Ok(()),
    }
}

/// Where each record is, once.
fn places((topic, partition): &Partition, seen: &Seen) -> Result<BTreeMap<u64, i64>, Violation> {
    let mut places = BTreeMap::new();
    for (offset, record) in &seen.log {
        if let Some(before) = places.insert(*record, *offset) {
            let evidence = format!(
                "{topic}-{partition}: record {record:016x} is at offset {before} and at {offset}"
            );
            return Err(Violation::new(I17, evidence));
        }
    }
    Ok(places)
}

/// Everything that is read was sent there, and not refused.
fn nothing_strange(
    (topic, partition): &Partition,
    seen: &Seen,
    batches: &[&Batch],
) -> Result<(), Violation> {
    let sent: BTreeSet<u64> = batches.iter().flat_map(|b| b.records.iter().copied()).collect();
    let promised: BTreeMap<i64, &Batch> = batches
        .iter()
        .filter_map(|batch| match batch.fate {
            Fate::Acknowledged { base: Some(base) } => Some((base, *batch)),
            _ => None,
        })
        .collect();
    let read = seen.log.iter().map(|(offset, record)| (*offset, *record));
    for (offset, record) in read.chain(seen.tail.iter().copied()) {
        if sent.contains(&record) {
            continue;
        }
        let at = format!("{topic}-{partition} at offset {offset}: {record:016x}");
        let there = promised.range(..=offset).next_back();
        let (invariant, evidence) = match there {
            Some((base, batch)) if offset < base + batch.records.len() as i64 => (
                I6,
                format!("{at} was never sent; {} is what was acknowledged there", batch.name()),
            ),
            _ => (I11, format!("{at} was never sent")),
        };
        return Err(Violation::new(invariant, evidence));
    }
    Ok(())
}

/// What consumers saw before is what is there now.
fn same_for_all((topic, partition): &Partition, seen: &Seen) -> Result<(), Violation> {
    let start = seen.bounds.map_or(0, |(start, _)| start);
    for (offset, record) in seen.tail.iter().filter(|(offset, _)| *offset >= start) {
        let now = seen.log.get(offset);
        if now != Some(record) {
            let now = now.map_or("nothing".to_string(), |record| format!("{record:016x}"));
            let evidence = format!(
                "{topic}-{partition}: a consumer was given {record:016x} at offset {offset}, \
                 where {now} is now"
            );
            return Err(Violation::new(I2, evidence));
        }
    }
    Ok(())
}

impl Batch {
    fn name(&self) -> String {
        format!("batch {} of {}", self.number, self.process)
    }

    fn check(&self, seen: &Seen, places: &BTreeMap<u64, i64>) -> Result<(), Violation> {
        let (topic, partition) = &self.partition;
        let found: Vec<_> = self.records.iter().map(|record| places.get(record)).collect();
        let there = found.iter().flatten().count();
        let (all, name) = (self.records.len(), self.name());
        let bounds = seen.bounds.unwrap_or_default();
        let fail = |invariant, evidence: String| {
            Err(Violation::new(invariant, format!("{topic}-{partition}: {evidence}")))
        };
        match self.fate {
            Fate::Acknowledged { base } if there < all => fail(
                I10,
                format!(
                    "{name} of {all} records was acknowledged at offset {base:?} and {} of them \
                     are gone from a log of {} to {}",
                    all - there,
                    bounds.0,
                    bounds.1
                ),
            ),
            Fate::Refused { code } if there > 0 => {
                fail(I11, format!("{name} was refused with code {code} and is at {:?}", found[0]))
            }
            _ if 0 < there && there < all => {
                fail(I6, format!("only {there} of the {all} records of {name} are there"))
            }
            _ if there == 0 => Ok(()),
            fate => {
                let first = *found[0].expect("all are there");
                let contiguous = found.iter().flatten().zip(first..).all(|(at, want)| **at == want);
                if !contiguous {
                    return fail(I6, format!("{name} is torn apart: {found:?}"));
                }
                match fate {
                    Fate::Acknowledged { base: Some(base) } if base != first => fail(
                        I5,
                        format!("{name} was acknowledged at offset {base} and is at {first}"),
                    ),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Acknowledged batches of one producer stand in the order of sending.
fn in_order(batches: &[&Batch], places: &BTreeMap<u64, i64>) -> Result<(), Violation> {
    let mut last: BTreeMap<&str, (&Batch, i64)> = BTreeMap::new();
    for batch in batches {
        if !matches!(batch.fate, Fate::Acknowledged { .. }) {
            continue;
        }
        let at = places[&batch.records[0]];
        if let Some((before, before_at)) = last.insert(&batch.process, (batch, at))
            && before_at > at
        {
            let evidence = format!(
                "{} is at offset {before_at}, and {}, sent after it, at {at}",
                before.name(),
                batch.name()
            );
            return Err(Violation::new(I19, evidence));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Invariant;
    use super::*;

    /// Builds histories of one partition.
    #[derive(Default)]
    struct Story(Vec<Entry>);

    impl Story {
        fn add(mut self, process: &str, what: What) -> Story {
            let (at, process) = (self.0.len() as u64, process.to_string());
            self.0.push(Entry { at, process, what });
            self
        }

        fn send(self, batch: u64, records: &[u64]) -> Story {
            let (topic, records) = ("t".to_string(), records.to_vec());
            let produce = What::Produce {
                topic,
                partition: 0,
                batch,
                records,
                acks: -1,
                idempotent: true,
                once: true,
                ordered: true,
                sequence: None,
                bytes: 0,
            };
            self.add("p", produce)
        }

        fn acknowledged(self, batch: u64, base: i64) -> Story {
            self.add("p", What::Produced { batch, base: Some(base), append_ms: None })
        }

        fn read(self, base: i64, records: &[u64], last: bool) -> Story {
            let (topic, records) = ("t".to_string(), records.to_vec());
            let read = What::Read {
                topic,
                partition: 0,
                session: 0,
                base,
                high_watermark: base + records.len() as i64,
                records,
                append_ms: None,
                asked: 0,
                last,
            };
            self.add("c", read)
        }

        fn log(self, records: &[u64]) -> Story {
            let end = records.len() as i64;
            let bounds = What::Bounds { topic: "t".to_string(), partition: 0, start: 0, end };
            self.read(0, records, true).add("c", bounds)
        }

        fn verdict(&self) -> Result<Summary, Invariant> {
            check(&self.0).map_err(|violation| violation.invariant)
        }
    }

    fn two_sent() -> Story {
        Story::default().send(0, &[10, 11]).acknowledged(0, 0).send(1, &[12]).acknowledged(1, 2)
    }

    #[test]
    fn a_sound_history_passes() {
        let summary = two_sent().log(&[10, 11, 12]).verdict().unwrap();
        assert_eq!((summary.acknowledged, summary.read), (3, 3));
        two_sent().read(1, &[11, 12], false).log(&[10, 11, 12]).verdict().unwrap();
    }

    #[test]
    fn the_unknown_may_be_there_or_not() {
        let story = || two_sent().send(2, &[13]);
        story().log(&[10, 11, 12]).verdict().unwrap();
        story().log(&[10, 11, 12, 13]).verdict().unwrap();
        let said = || story().add("p", What::Unknown { batch: 2, code: None });
        said().log(&[10, 11, 12, 13]).verdict().unwrap();
    }

    #[test]
    fn a_lost_record_is_found() {
        assert_eq!(two_sent().log(&[10, 11]).verdict(), Err(Invariant::I10));
        assert_eq!(two_sent().log(&[]).verdict(), Err(Invariant::I10));
        assert_eq!(two_sent().verdict(), Err(Invariant::I10), "nobody looked");
    }

    #[test]
    fn a_record_that_comes_twice_is_found() {
        assert_eq!(two_sent().log(&[10, 11, 12, 12]).verdict(), Err(Invariant::I17));
    }

    #[test]
    fn what_nobody_sent_is_found() {
        assert_eq!(two_sent().log(&[10, 11, 12, 99]).verdict(), Err(Invariant::I11));
        let tail = two_sent().read(3, &[99], false).log(&[10, 11, 12]);
        assert_eq!(tail.verdict(), Err(Invariant::I11));
        let refused = two_sent().send(2, &[13]).add("p", What::Refused { batch: 2, code: 10 });
        assert_eq!(refused.log(&[10, 11, 12, 13]).verdict(), Err(Invariant::I11));
    }

    #[test]
    fn altered_and_torn_batches_are_found() {
        assert_eq!(two_sent().log(&[10, 99, 12]).verdict(), Err(Invariant::I6));
        let torn = two_sent().send(2, &[13, 14]).log(&[10, 11, 12, 13]);
        assert_eq!(torn.verdict(), Err(Invariant::I6));
        let apart = Story::default().send(0, &[1, 2]).acknowledged(0, 0).send(1, &[3]);
        assert_eq!(apart.log(&[1, 3, 2]).verdict(), Err(Invariant::I6));
    }

    #[test]
    fn records_out_of_order_are_found() {
        let turned = Story::default().send(0, &[1]).send(1, &[2]);
        let turned = turned.acknowledged(0, 1).acknowledged(1, 0);
        assert_eq!(turned.log(&[2, 1]).verdict(), Err(Invariant::I19));
    }

    #[test]
    fn wrong_offsets_and_gaps_are_found() {
        let moved = Story::default().send(0, &[1]).acknowledged(0, 0).send(1, &[2]);
        assert_eq!(moved.log(&[2, 1]).verdict(), Err(Invariant::I5));
        let end = What::Bounds { topic: "t".to_string(), partition: 0, start: 0, end: 3 };
        let gap = two_sent().read(0, &[10, 11], true).add("c", end);
        assert_eq!(gap.verdict(), Err(Invariant::I5));
    }

    #[test]
    fn a_consumer_that_saw_another_past_is_found() {
        let changed = two_sent().send(2, &[13]).read(3, &[13], false);
        assert_eq!(changed.log(&[10, 11, 12]).verdict(), Err(Invariant::I2));
    }
}
