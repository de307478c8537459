//! Where a log starts and ends, as consumers are told: neither goes back, the start only moves for
//! a reason, and a consumer misses nothing in between.

use std::collections::BTreeMap;

use super::gather::{Log, Tables};
use super::{Excuse, Rules};
use crate::check::Invariant::{I5, I8, I11, I46};
use crate::check::{Invariant, Violation};
use crate::history::{self, Entry, Operation, What};

/// One bound of a log as somebody was told it.
#[derive(Clone, Copy)]
struct Told {
    offset: i64,
    place: usize,
    /// When the question was begun.
    asked: u64,
    /// When the answer was there.
    at: u64,
}

pub fn check(tables: &Tables, rules: &Rules, index: usize) -> Result<(), Violation> {
    let log = &tables.logs[index];
    let judge = Judge { tables, log };
    let starts = judge.told(start_told);
    let ends = judge.told(end_told);
    judge.never_falls("the high watermark", I8, &ends)?;
    if !rules.excuses.contains(&Excuse::StartForgotten) {
        judge.never_falls("the start of the log", I46, &starts)?;
        judge.deleted_stays_deleted(&starts)?;
    }
    judge.has_reason(&starts)?;
    if !rules.excuses.contains(&Excuse::WatermarkBehind) {
        judge.below_the_high_watermark()?;
    }
    judge.out_of_range(&ends)?;
    judge.sessions()
}

fn start_told(entry: &Entry) -> Option<(i64, u64)> {
    match entry.what {
        What::Listed { timestamp: -2, offset: Some(offset), asked, .. } => Some((offset, asked)),
        // Asked for before the last reading, told behind it.
        What::Bounds { start, .. } => Some((start, 0)),
        _ => None,
    }
}

fn end_told(entry: &Entry) -> Option<(i64, u64)> {
    match entry.what {
        What::Read { high_watermark, asked, .. } => Some((high_watermark, asked)),
        What::Listed { timestamp: -1, offset: Some(offset), asked, .. } => Some((offset, asked)),
        What::Bounds { end, .. } => Some((end, entry.at)),
        _ => None,
    }
}

struct Judge<'a> {
    tables: &'a Tables<'a>,
    log: &'a Log<'a>,
}

impl Judge<'_> {
    fn fail(&self, invariant: Invariant, evidence: String) -> Result<(), Violation> {
        Err(Violation::new(invariant, format!("{}: {evidence}", self.log)))
    }

    fn told(&self, of: impl Fn(&Entry) -> Option<(i64, u64)>) -> Vec<Told> {
        let history = self.tables.history;
        let told = |&place: &usize| {
            let (offset, asked) = of(&history[place])?;
            Some(Told { offset, place, asked, at: history[place].at })
        };
        self.log.places.iter().filter_map(told).collect()
    }

    /// Whoever asks after an answer was there is told no less.
    fn never_falls(
        &self,
        what: &str,
        invariant: Invariant,
        told: &[Told],
    ) -> Result<(), Violation> {
        let highest = highest_so_far(told);
        for later in told {
            let Some(before) = last_before(told, &highest, later.asked) else { continue };
            if later.offset < before.offset {
                let evidence = format!(
                    "{what} falls from {} to {}:\n{}\n{}",
                    before.offset,
                    later.offset,
                    self.tables.quote(before.place),
                    self.tables.quote(later.place)
                );
                return self.fail(invariant, evidence);
            }
        }
        Ok(())
    }

    /// Nothing is served below a start that was told before.
    fn deleted_stays_deleted(&self, starts: &[Told]) -> Result<(), Violation> {
        let highest = highest_so_far(starts);
        for &place in &self.log.places {
            let What::Read { base, asked, .. } = *self.tables.what(place) else { continue };
            let Some(start) = last_before(starts, &highest, asked) else { continue };
            if base < start.offset {
                let evidence = format!(
                    "offset {base} is served after it was deleted:\n{}\n{}",
                    self.tables.quote(start.place),
                    self.tables.quote(place)
                );
                return self.fail(I46, evidence);
            }
        }
        Ok(())
    }

    /// Old records go by retention, or because somebody asked for it.
    fn has_reason(&self, starts: &[Told]) -> Result<(), Violation> {
        let Some(farthest) = starts.iter().max_by_key(|told| told.offset) else { return Ok(()) };
        let expected = self.tables.expected(self.log);
        if farthest.offset == 0 || expected.is_some_and(|expected| expected.retention) {
            return Ok(());
        }
        let name = history::name_of(self.log.topic);
        let asked_so_far = |entry: &Entry| match &entry.what {
            What::Ask {
                operation: Operation::DeleteRecords { name: of, partition, before },
                ..
            } => {
                (of, *partition) == (&name.to_string(), self.log.partition)
                    && (*before == -1 || *before >= farthest.offset)
            }
            _ => false,
        };
        if self.tables.history[..farthest.place].iter().any(asked_so_far) {
            return Ok(());
        }
        let evidence = format!(
            "the log starts at {} without a reason: nobody asked for that, and it has no \
             retention:\n{}",
            farthest.offset,
            self.tables.quote(farthest.place)
        );
        self.fail(Invariant::I10, evidence)
    }

    fn below_the_high_watermark(&self) -> Result<(), Violation> {
        for &place in &self.log.places {
            let What::Read { base, ref records, high_watermark, .. } = *self.tables.what(place)
            else {
                continue;
            };
            if base + records.len() as i64 > high_watermark {
                let evidence = format!(
                    "records are served above the high watermark:\n{}",
                    self.tables.quote(place)
                );
                return self.fail(I11, evidence);
            }
        }
        Ok(())
    }

    /// Nobody is sent away from an offset that is there.
    fn out_of_range(&self, ends: &[Told]) -> Result<(), Violation> {
        let highest = highest_so_far(ends);
        let Some(start) = self.tables.never_deleted(self.log) else { return Ok(()) };
        for &place in &self.log.places {
            let What::OutOfRange { offset: at, asked, .. } = *self.tables.what(place) else {
                continue;
            };
            let reached = last_before(ends, &highest, asked).map_or(0, |told| told.offset);
            if (start..=reached).contains(&at) {
                let evidence = format!(
                    "offset {at} is said to be out of range, of a log that had reached {reached} \
                     and still starts at {start}:\n{}",
                    self.tables.quote(place)
                );
                return self.fail(I46, evidence);
            }
        }
        Ok(())
    }

    /// A position moves on from record to record.
    fn sessions(&self) -> Result<(), Violation> {
        let mut positions: BTreeMap<(&str, u64), i64> = BTreeMap::new();
        for &place in &self.log.places {
            let process = self.tables.history[place].process.as_str();
            match *self.tables.what(place) {
                What::Position { session, offset, .. } => {
                    positions.insert((process, session), offset);
                }
                What::Read { session, base, ref records, .. } => {
                    let next = base + records.len() as i64;
                    if let Some(at) = positions.insert((process, session), next)
                        && at != base
                    {
                        let evidence = format!(
                            "a consumer at {at} is given {base} as the next offset:\n{}",
                            self.tables.quote(place)
                        );
                        return self.fail(I5, evidence);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// For each answer the index of the highest up to it.
fn highest_so_far(told: &[Told]) -> Vec<usize> {
    let mut highest = 0;
    let of = |i: usize| {
        if told[i].offset > told[highest].offset {
            highest = i;
        }
        highest
    };
    (0..told.len()).map(of).collect()
}

/// The highest answer that was there before `asked`.
fn last_before(told: &[Told], highest: &[usize], asked: u64) -> Option<Told> {
    let answered = told.partition_point(|told| told.at < asked);
    answered.checked_sub(1).map(|last| told[highest[last]])
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, TOPIC};
    use super::*;

    fn sent() -> Story {
        sent_to(Story::begin())
    }

    fn sent_to(story: Story) -> Story {
        story.send(0, &[1, 2, 3]).acknowledged(0, 0)
    }

    fn deletable() -> Story {
        sent_to(Story::expecting(|expected| expected.records_deleted = true))
    }

    fn delete(story: Story, before: i64) -> Story {
        let name = "t".to_string();
        story.ask("a", Operation::DeleteRecords { name, partition: 0, before })
    }

    #[test]
    fn a_high_watermark_that_falls_is_found() {
        let read = |high| {
            move |what: &mut What| {
                if let What::Read { high_watermark, .. } = what {
                    *high_watermark = high;
                }
            }
        };
        sent().read_as("c", 0, &[1], read(3)).listed(-1, Some(3), None).log(&[1, 2, 3]).passes();
        let fallen = sent().read_as("c", 0, &[1], read(3)).listed(-1, Some(2), None);
        fallen.log(&[1, 2, 3]).breaks(I8);
        let of_another = sent().listed(-1, Some(3), None).read_as("d", 0, &[1], read(2));
        of_another.log(&[1, 2, 3]).breaks(I8);
        sent().listed(-1, Some(4), None).log(&[1, 2, 3]).breaks(I8);
    }

    #[test]
    fn answers_to_questions_that_overlap_may_cross() {
        let slow = |what: &mut What| {
            if let What::Read { asked, .. } = what {
                *asked = 0;
            }
        };
        sent().listed(-1, Some(3), None).read_as("d", 0, &[1], slow).log(&[1, 2, 3]).passes();
    }

    #[test]
    fn records_above_the_high_watermark_are_found() {
        let early = |what: &mut What| {
            if let What::Read { high_watermark, .. } = what {
                *high_watermark = 2;
            }
        };
        let above = || sent().read_as("c", 0, &[1, 2, 3], early).log(&[1, 2, 3]);
        above().breaks(I11);
        above().excused(Excuse::WatermarkBehind).passes();
    }

    #[test]
    fn a_start_moves_only_for_a_reason() {
        delete(deletable(), 2).log_from(2, &[3]).passes();
        delete(deletable(), -1).log_from(3, &[]).passes();
        delete(deletable(), 1).log_from(2, &[3]).breaks(Invariant::I10);
        deletable().log_from(2, &[3]).breaks(Invariant::I10);
        let late = deletable().listed(-2, Some(1), None);
        delete(late, 1).log_from(1, &[2, 3]).passes();
        let retained = Story::expecting(|expected| expected.retention = true);
        sent_to(retained).log_from(2, &[3]).passes();
    }

    #[test]
    fn a_start_that_falls_is_found() {
        let fallen = || delete(deletable(), 2).listed(-2, Some(2), None).listed(-2, Some(0), None);
        fallen().log_from(2, &[3]).breaks(I46);
        let excused = fallen().excused(Excuse::StartForgotten);
        let (topic, partition, session) = (TOPIC.to_string(), 0, 7);
        let away = What::OutOfRange { topic, partition, session, offset: 1, asked: u64::MAX };
        excused.tell("c", away).log(&[1, 2, 3]).passes();
    }

    #[test]
    fn deleted_records_that_are_served_are_found() {
        let deleted = || delete(deletable(), 2).listed(-2, Some(2), None);
        deleted().read(1, &[2, 3]).log_from(2, &[3]).breaks(I46);
        deleted().read(2, &[3]).log_from(2, &[3]).passes();
        deleted().log(&[1, 2, 3]).breaks(I46);
    }

    #[test]
    fn an_offset_that_is_there_is_never_out_of_range() {
        let (topic, partition, session) = (TOPIC.to_string(), 0, 7);
        let away = |offset, asked| What::OutOfRange {
            topic: topic.clone(),
            partition,
            session,
            offset,
            asked,
        };
        let story = || sent().listed(-1, Some(3), None);
        story().tell("c", away(1, u64::MAX)).log(&[1, 2, 3]).breaks(I46);
        story().tell("c", away(3, u64::MAX)).log(&[1, 2, 3]).breaks(I46);
        story().tell("c", away(4, u64::MAX)).log(&[1, 2, 3]).passes();
        story().tell("c", away(3, 0)).log(&[1, 2, 3]).passes();
        delete(deletable(), 2).tell("c", away(1, u64::MAX)).log_from(2, &[3]).passes();
    }

    #[test]
    fn a_consumer_that_misses_a_record_is_found() {
        let first = |what: &mut What| {
            if let What::Read { session, .. } = what {
                *session = 7;
            }
        };
        let position =
            What::Position { topic: TOPIC.to_string(), partition: 0, session: 7, offset: 0 };
        let at_start = || sent().tell("c", position.clone()).read_as("c", 0, &[1], first);
        at_start().read_as("c", 1, &[2, 3], first).log(&[1, 2, 3]).passes();
        at_start().read_as("c", 2, &[3], first).log(&[1, 2, 3]).breaks(I5);
        at_start().read_as("c", 0, &[1], first).log(&[1, 2, 3]).breaks(I5);
        sent().tell("c", position).read_as("c", 1, &[2], first).log(&[1, 2, 3]).breaks(I5);
    }
}
