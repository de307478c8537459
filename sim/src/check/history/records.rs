//! What was sent, against what is there: loss, phantoms, doubles, torn batches, changed pasts.

use super::Rules;
use super::gather::{Batch, Fate, Log, Tables};
use crate::check::Invariant::{I2, I5, I6, I10, I11, I17};
use crate::check::{Invariant, Violation};
use crate::history::What;

/// A record that somebody was given at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub offset: i64,
    pub record: u64,
    pub append_ms: Option<i64>,
    /// Where somebody was, first.
    pub place: usize,
}

/// A batch, or a part of it, that was seen in the log as if its first record stood at `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    pub batch: usize,
    pub base: i64,
}

/// Everything that was ever shown of a log, by offset. An offset shows one record, to everybody,
/// for ever; the last reading shows all of the log, each offset once.
pub fn shown(tables: &Tables, log: &Log) -> Result<Vec<Shown>, Violation> {
    let mut all = Vec::with_capacity(log.read as usize);
    let mut last = Vec::with_capacity(log.read_last as usize);
    for &place in &log.places {
        let What::Read { base, records, append_ms, last: is_last, .. } = tables.what(place) else {
            continue;
        };
        for (offset, &record) in (*base..).zip(records) {
            all.push(Shown { offset, record, append_ms: *append_ms, place });
            if *is_last {
                last.push(offset);
            }
        }
    }
    whole(log, last)?;
    all.sort_unstable_by_key(|shown| (shown.offset, shown.place));
    for pair in all.windows(2) {
        let [a, b] = pair else { continue };
        if a.offset == b.offset && (a.record, a.append_ms) != (b.record, b.append_ms) {
            let (offset, one, other) = (a.offset, a.record, b.record);
            let evidence = format!(
                "{log} shows {one:016x} at offset {offset}, and then {other:016x}:\n{}\n{}",
                tables.quote(a.place),
                tables.quote(b.place)
            );
            return Err(Violation::new(I2, evidence));
        }
    }
    all.dedup_by_key(|shown| shown.offset);
    beyond_the_end(tables, log, &all)?;
    Ok(all)
}

/// The last reading covers the log without a gap, and gives nothing twice.
fn whole(log: &Log, mut last: Vec<i64>) -> Result<(), Violation> {
    let Some((start, end)) = log.bounds else { return Ok(()) };
    last.sort_unstable();
    last.retain(|offset| (start..end).contains(offset));
    let held = format!("{log} holds offsets {start} to {end} and a reading of all of it gave");
    if let Some(twice) = last.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Violation::new(I5, format!("{held} offset {} twice", twice[0])));
    }
    match (start..end).zip(last.iter().copied().chain([end])).find(|(want, have)| want != have) {
        Some((gap, _)) => Err(Violation::new(I5, format!("{held} none at {gap}"))),
        None => Ok(()),
    }
}

fn beyond_the_end(tables: &Tables, log: &Log, all: &[Shown]) -> Result<(), Violation> {
    let (Some((_, end)), Some(last)) = (log.bounds, all.last()) else { return Ok(()) };
    if last.offset < end {
        return Ok(());
    }
    let evidence = format!(
        "{log} showed {:016x} at offset {}, and ends at {end} now:\n{}",
        last.record,
        last.offset,
        tables.quote(last.place)
    );
    Err(Violation::new(I2, evidence))
}

/// Compares what was shown of a log with what was sent to it, and gives what it holds of each
/// batch, sorted.
pub fn check(
    tables: &Tables,
    rules: &Rules,
    index: usize,
    shown: &[Shown],
) -> Result<Vec<Copy>, Violation> {
    let log = &tables.logs[index];
    let deleted = tables.never_deleted(log).unwrap_or(i64::MAX);
    let judge = Judge { tables, rules, log, shown, deleted };
    let copies = judge.copies(index)?;
    for copy in &copies {
        judge.is_whole(copy)?;
    }
    for of_one in copies.chunk_by(|a, b| a.batch == b.batch) {
        judge.are_few(of_one)?;
    }
    for &batch in &judge.log.batches {
        judge.is_kept(batch, &copies)?;
    }
    Ok(copies)
}

struct Judge<'a> {
    tables: &'a Tables<'a>,
    rules: &'a Rules,
    log: &'a Log<'a>,
    shown: &'a [Shown],
    /// Below this nothing need be there any more. A producer whose batches are all gone may be
    /// forgotten, and then a batch that comes once more is a new one.
    deleted: i64,
}

impl Judge<'_> {
    fn fail<T>(&self, invariant: Invariant, evidence: String) -> Result<T, Violation> {
        Err(Violation::new(invariant, format!("{}: {evidence}", self.log)))
    }

    fn at(&self, offset: i64) -> Option<&Shown> {
        let at = self.shown.partition_point(|shown| shown.offset < offset);
        self.shown.get(at).filter(|shown| shown.offset == offset)
    }

    /// Everything that was shown was sent here.
    fn copies(&self, index: usize) -> Result<Vec<Copy>, Violation> {
        let mut copies = vec![];
        for shown in self.shown {
            let Some((batch, place_in_batch)) = self.tables.sender_of(shown.record) else {
                return self.nobody_sent(shown);
            };
            let sent = &self.tables.batches[batch];
            if sent.log != index {
                let evidence = format!(
                    "at offset {} stands a record of {sent}, which was sent to {}",
                    shown.offset, self.tables.logs[sent.log]
                );
                return self.fail(I11, evidence);
            }
            copies.push(Copy { batch, base: shown.offset - place_in_batch as i64 });
        }
        copies.sort_unstable();
        copies.dedup();
        Ok(copies)
    }

    fn nobody_sent<T>(&self, shown: &Shown) -> Result<T, Violation> {
        let covers = |batch: &&Batch| match batch.fate {
            Fate::Acknowledged { base: Some(base), .. } => {
                (base..base + batch.records.len() as i64).contains(&shown.offset)
            }
            _ => false,
        };
        let mut batches = self.log.batches.iter().map(|&batch| &self.tables.batches[batch]);
        let strange = format!("{:016x} at offset {} was never sent", shown.record, shown.offset);
        match batches.find(covers) {
            Some(batch) => {
                self.fail(I6, format!("{strange}; {batch} is what was acknowledged there"))
            }
            None => self.fail(I11, format!("{strange}:\n{}", self.tables.quote(shown.place))),
        }
    }

    /// Where a part of a batch is, the rest is beside it.
    fn is_whole(&self, copy: &Copy) -> Result<(), Violation> {
        let batch = &self.tables.batches[copy.batch];
        for (offset, record) in (copy.base..).zip(batch.records) {
            let torn = match self.at(offset) {
                Some(shown) => shown.record != *record,
                None => self.log.bounds.is_some_and(|(_, end)| offset >= end),
            };
            if torn {
                let evidence = format!(
                    "{batch} has {} records and stands at {}, but not as a whole: at offset \
                     {offset} is {}",
                    batch.records.len(),
                    copy.base,
                    self.at(offset)
                        .map_or("nothing".to_string(), |it| format!("{:016x}", it.record))
                );
                return self.fail(I6, evidence);
            }
        }
        Ok(())
    }

    /// The copies are those of one batch.
    fn are_few(&self, copies: &[Copy]) -> Result<(), Violation> {
        let batch = &self.tables.batches[copies[0].batch];
        let bases =
            || copies.iter().map(|copy| copy.base.to_string()).collect::<Vec<_>>().join(", ");
        if let Fate::Refused { code } = batch.fate {
            let evidence = format!("{batch} was refused with code {code} and is at {}", bases());
            return self.fail(I11, evidence);
        }
        let copies_max = match (batch.once, batch.attempts) {
            (true, _) => 1,
            (false, 0) => usize::MAX,
            (false, attempts) => attempts as usize,
        };
        let end = |copy: &Copy| copy.base + batch.records.len() as i64;
        let there = copies.iter().filter(|copy| !batch.once || end(copy) > self.deleted);
        if there.count() > copies_max {
            let evidence = format!("{batch} may be there {copies_max} times and is at {}", bases());
            return self.fail(I17, evidence);
        }
        Ok(())
    }

    /// What was acknowledged is there, where it was said to be.
    fn is_kept(&self, index: usize, copies: &[Copy]) -> Result<(), Violation> {
        let batch = &self.tables.batches[index];
        let Fate::Acknowledged { base, .. } = batch.fate else { return Ok(()) };
        let first = copies.partition_point(|copy| copy.batch < index);
        let copies: Vec<i64> = copies[first..]
            .iter()
            .take_while(|copy| copy.batch == index)
            .map(|copy| copy.base)
            .collect();
        let len = batch.records.len() as i64;
        // Above this, all that there is was shown.
        let (start, end) = self.log.bounds.unwrap_or((i64::MAX, i64::MAX));
        let told = batch.settled.map_or(String::new(), |place| self.tables.quote(place));
        let Some(base) = base else {
            if copies.is_empty() && start == 0 && !self.may_be_lost(batch) {
                return self.fail(I10, format!("{batch} was acknowledged and is gone:\n{told}"));
            }
            return Ok(());
        };
        let is_deleted = base + len <= self.deleted && !copies.is_empty();
        if copies.contains(&base) || is_deleted || self.may_be_lost(batch) {
            return Ok(());
        }
        if let Some(there) = copies.first()
            && (batch.once || base >= start)
        {
            let evidence = format!("{batch} was acknowledged at {base} and is at {there}:\n{told}");
            return self.fail(I5, evidence);
        }
        let instead = (base..base + len).find_map(|offset| self.at(offset));
        if base + len <= start && instead.is_none() {
            return Ok(());
        }
        let instead = instead.map_or("nothing".to_string(), |it| format!("{:016x}", it.record));
        let held = self
            .log
            .bounds
            .map_or("a log that was deleted".to_string(), |_| format!("a log of {start} to {end}"));
        let evidence = format!(
            "{batch} of {len} records was acknowledged at offset {base} and is gone from {held}, \
             where {instead} is:\n{told}"
        );
        self.fail(I10, evidence)
    }

    /// Nobody but its producer heard of it, and only the page cache had it. If it is sent once more
    /// it may be stored elsewhere.
    fn may_be_lost(&self, batch: &Batch) -> bool {
        batch.acks == 1 && self.rules.power_failed
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, TOPIC};
    use super::*;

    fn two_sent() -> Story {
        Story::begin().send(0, &[10, 11]).acknowledged(0, 0).send(1, &[12]).acknowledged(1, 2)
    }

    #[test]
    fn a_sound_history_passes() {
        let summary = two_sent().log(&[10, 11, 12]).passes();
        assert_eq!((summary.acknowledged, summary.read), (3, 3));
        let summary = two_sent().read(1, &[11, 12]).log(&[10, 11, 12]).passes();
        assert_eq!((summary.read, summary.consumed), (3, 2));
    }

    #[test]
    fn the_unknown_may_be_there_or_not() {
        let story = || two_sent().send(2, &[13]);
        story().log(&[10, 11, 12]).passes();
        story().log(&[10, 11, 12, 13]).passes();
        let said = || story().tell("p", What::Unknown { batch: 2, code: None, attempts: 1 });
        said().log(&[10, 11, 12, 13]).passes();
    }

    #[test]
    fn a_lost_record_is_found() {
        two_sent().log(&[10, 11]).breaks(I10);
        two_sent().log(&[]).breaks(I10);
        let no_base = What::Produced { batch: 2, base: None, append_ms: None, attempts: 2 };
        two_sent().send(2, &[13]).tell("p", no_base).log(&[10, 11, 12]).breaks(I10);
        Story::begin().send(0, &[1]).acknowledged(0, 0).send(1, &[2]).log(&[2]).breaks(I10);
    }

    #[test]
    fn a_log_that_nobody_looked_at_counts_as_lost_unless_topics_of_its_name_are_deleted() {
        two_sent().breaks(I10);
        let sent = || Story::expecting(|expected| expected.deleted = true).send(0, &[1]);
        sent().acknowledged(0, 0).passes();
        let standing = What::Standing { topics: vec![TOPIC.to_string()] };
        sent().acknowledged(0, 0).tell("last", standing).breaks(I10);
        let nothing_stands = What::Standing { topics: vec![] };
        two_sent().tell("last", nothing_stands).breaks(I10);
    }

    #[test]
    fn an_acknowledgement_by_the_leader_alone_outlives_a_crash_and_not_a_power_loss() {
        let alone = || {
            let story = Story::begin().send_as("p", 0, &[1], |sent| sent.acks = 1);
            story.acknowledged(0, 0)
        };
        alone().log(&[]).breaks(I10);
        alone().under(|rules| rules.power_failed = true).log(&[]).passes();
        let elsewhere = alone().send(1, &[2]).acknowledged(1, 0);
        elsewhere.under(|rules| rules.power_failed = true).log(&[2, 1]).passes();
        let read = alone().read(0, &[1]).under(|rules| rules.power_failed = true);
        read.log(&[]).breaks(I2);
    }

    #[test]
    fn a_record_that_comes_twice_is_found() {
        two_sent().log(&[10, 11, 12, 12]).breaks(I17);
    }

    #[test]
    fn a_plain_producer_s_batch_is_there_at_most_as_often_as_it_was_sent() {
        let sent = |attempts| {
            let what = What::Produced { batch: 0, base: Some(1), append_ms: None, attempts };
            Story::begin().send_as("p", 0, &[1], |sent| sent.once = false).tell("p", what)
        };
        sent(2).log(&[1, 1]).passes();
        sent(1).log(&[1, 1]).breaks(I17);
    }

    #[test]
    fn what_nobody_sent_is_found() {
        two_sent().log(&[10, 11, 12, 99]).breaks(I11);
        Story::begin().log(&[99]).breaks(I11);
        two_sent().read(3, &[99]).log(&[10, 11, 12]).breaks(I2);
        let refused = What::Refused { batch: 2, code: 87, attempts: 1 };
        let refused = || two_sent().send(2, &[13]).tell("p", refused.clone());
        refused().log(&[10, 11, 12, 13]).breaks(I11);
    }

    #[test]
    fn a_record_of_another_log_is_found() {
        let read = |what: &mut What| {
            if let What::Read { partition, .. } = what {
                *partition = 1;
            }
        };
        let elsewhere = Story::expecting(|expected| expected.deleted = true).send(0, &[1]);
        elsewhere.read_as("c", 0, &[1], read).breaks(I11);
    }

    #[test]
    fn altered_and_torn_batches_are_found() {
        two_sent().log(&[10, 99, 12]).breaks(I6);
        two_sent().send(2, &[13, 14]).log(&[10, 11, 12, 13]).breaks(I6);
        let apart = Story::begin().send(0, &[1, 2]).acknowledged(0, 0).send(1, &[3]);
        apart.log(&[1, 3, 2]).breaks(I6);
    }

    #[test]
    fn wrong_offsets_and_gaps_are_found() {
        let moved = Story::begin().send(0, &[1]).send(1, &[2]).acknowledged(0, 0);
        moved.log(&[2, 1]).breaks(I5);
        let (topic, partition) = (TOPIC.to_string(), 0);
        let bounds = What::Bounds { topic, partition, start: 0, end: 3 };
        let gap = two_sent().read_as("last", 0, &[10, 11], |_| {}).tell("last", bounds);
        gap.breaks(I5);
        let twice = two_sent().read_as("last", 0, &[10], |_| {}).log(&[10, 11, 12]);
        twice.breaks(I5);
    }

    #[test]
    fn a_past_that_changes_is_found() {
        let changed = || two_sent().send(2, &[13]).read(3, &[13]);
        changed().log(&[10, 11, 12]).breaks(I2);
        let other = changed().send(3, &[14]).acknowledged(3, 3);
        other.log(&[10, 11, 12, 14]).breaks(I2);
        let consumers = two_sent().send(2, &[13]).read(2, &[12]);
        consumers.read_as("d", 2, &[13], |_| {}).log(&[10, 11, 12, 13]).breaks(I2);
    }

    #[test]
    fn what_lies_below_the_start_is_excused() {
        let expecting = || Story::expecting(|expected| expected.retention = true);
        let sent = || expecting().send(0, &[1, 2]).acknowledged(0, 0).send(1, &[3]);
        sent().acknowledged(1, 2).log_from(2, &[3]).passes();
        sent().acknowledged(1, 2).read(0, &[1, 2]).log_from(1, &[2, 3]).passes();
        sent().acknowledged(1, 2).log_from(3, &[]).passes();
        sent().acknowledged(1, 2).log_from(1, &[3, 2]).breaks(I6);
    }

    #[test]
    fn a_producer_whose_batches_were_deleted_may_be_forgotten() {
        let story = || Story::expecting(|expected| expected.retention = true);
        let sent = || story().send(0, &[1]).acknowledged(0, 0).read(0, &[1]).send(1, &[2]);
        sent().acknowledged(1, 1).log_from(1, &[2, 1]).passes();
        sent().acknowledged(1, 1).log_from(0, &[1, 2, 1]).breaks(I17);
        sent().acknowledged(1, 1).log_from(1, &[2, 1, 1]).breaks(I17);
    }
}
