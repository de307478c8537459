//! The times of records: kept as they were sent or given by the broker, and found again by
//! ListOffsets.

use super::gather::{Fate, Log, Tables};
use super::records::Shown;
use super::{Rules, Summary};
use crate::check::Invariant::{I6, I48};
use crate::check::{Invariant, Violation};
use crate::history::What;

pub fn check(
    tables: &Tables,
    rules: &Rules,
    index: usize,
    shown: &[Shown],
    summary: &mut Summary,
) -> Result<(), Violation> {
    let judge = Judge { tables, log: &tables.logs[index], shown };
    judge.stamped_where_wanted()?;
    judge.stamped_as_told()?;
    if !rules.clock_jumped {
        judge.stamped_in_order()?;
    }
    summary.looked_up += judge.found_by_time()?;
    Ok(())
}

struct Judge<'a> {
    tables: &'a Tables<'a>,
    log: &'a Log<'a>,
    shown: &'a [Shown],
}

impl Judge<'_> {
    fn fail<T>(&self, invariant: Invariant, evidence: String) -> Result<T, Violation> {
        Err(Violation::new(invariant, format!("{}: {evidence}", self.log)))
    }

    /// That a producer's own time is kept needs no look here: it is part of a record's name.
    fn stamped_where_wanted(&self) -> Result<(), Violation> {
        if self.tables.expected(self.log).is_none_or(|expected| expected.append_time) {
            return Ok(());
        }
        match self.shown.iter().find(|shown| shown.append_ms.is_some()) {
            Some(shown) => self.fail(
                I6,
                format!("the broker's time instead of the producer's at offset {}", shown.offset),
            ),
            None => Ok(()),
        }
    }

    fn stamped_as_told(&self) -> Result<(), Violation> {
        for &index in &self.log.batches {
            let batch = &self.tables.batches[index];
            let Fate::Acknowledged { base: Some(base), append_ms: Some(told) } = batch.fate else {
                continue;
            };
            let at = self.shown.partition_point(|shown| shown.offset < base);
            // What stood there may be gone, and the next one shown be the same record, sent again.
            let found = self.shown.get(at).filter(|shown| shown.offset == base);
            let Some(first) = found else { continue };
            // To a batch that it knows again a broker says the time it has, whosever that is.
            let known_again = first.append_ms.is_none() && batch.attempts != 1;
            let stands = first.record == batch.records[0] && !known_again;
            if stands && first.append_ms != Some(told) {
                let evidence = format!(
                    "{batch} was told the time {told} and stands at {base} with {:?}",
                    first.append_ms
                );
                return self.fail(I6, evidence);
            }
        }
        Ok(())
    }

    /// While its clock goes forward, so do the times that the broker gives.
    fn stamped_in_order(&self) -> Result<(), Violation> {
        let mut stamped = self.shown.iter().filter_map(|it| Some((it.offset, it.append_ms?)));
        let Some(mut last) = stamped.next() else { return Ok(()) };
        for (offset, append_ms) in stamped {
            if append_ms < last.1 {
                let evidence = format!(
                    "the broker's time falls from {} at offset {} to {append_ms} at {offset}",
                    last.1, last.0
                );
                return self.fail(I6, evidence);
            }
            last = (offset, append_ms);
        }
        Ok(())
    }

    /// The answer to a time is the first record that is not older, of those that are still there.
    fn found_by_time(&self) -> Result<u64, Violation> {
        let kept = self.kept();
        let mut newest_ms = i64::MIN;
        let newest: Vec<i64> = kept
            .iter()
            .map(|(_, ms)| {
                newest_ms = newest_ms.max(*ms);
                newest_ms
            })
            .collect();
        let (ends, mut compared) = (self.ends(), 0);
        for &place in &self.log.places {
            let What::Listed { timestamp, offset, found_ms, asked, .. } = *self.tables.what(place)
            else {
                continue;
            };
            if timestamp < 0 {
                continue;
            }
            // Everything below this was there when the question was asked.
            let reached = match offset {
                Some(offset) => offset,
                None => ends[..ends.partition_point(|(at, _)| *at < asked)]
                    .last()
                    .map_or(0, |(_, highest)| *highest),
            };
            let below = kept.partition_point(|(offset, _)| *offset < reached);
            let missed = below > 0 && newest[below - 1] >= timestamp;
            let wrong = offset.is_some_and(|offset| {
                let answer = kept.get(below).filter(|(at, _)| *at == offset);
                let is_right = |(_, ms): &(i64, i64)| *ms >= timestamp && found_ms == Some(*ms);
                answer.is_some_and(|answer| !is_right(answer))
            });
            if missed || wrong {
                let first = newest.partition_point(|ms| *ms < timestamp);
                let first = kept.get(first).map_or("none".to_string(), |(offset, ms)| {
                    format!("the one at {offset} with {ms}")
                });
                let evidence = format!(
                    "of the records that are there, {first} is the first that is not older:\n{}",
                    self.tables.quote(place)
                );
                return self.fail(I48, evidence);
            }
            compared += 1;
        }
        Ok(compared)
    }

    /// Offsets and times of the records that were there from when they were stored to the end.
    fn kept(&self) -> Vec<(i64, i64)> {
        let Some(start) = self.tables.never_deleted(self.log) else { return vec![] };
        let time_of = |shown: &Shown| match shown.append_ms {
            Some(append_ms) => Some(append_ms),
            None => {
                let (batch, index) = self.tables.sender_of(shown.record)?;
                self.tables.batches[batch].times.get(index).copied()
            }
        };
        let kept = self.shown.iter().filter(|shown| shown.offset >= start);
        kept.filter_map(|shown| Some((shown.offset, time_of(shown)?))).collect()
    }

    /// The highest end that was known, by the time of the answer.
    fn ends(&self) -> Vec<(u64, i64)> {
        let mut highest = 0;
        let end_told = |&place: &usize| {
            let told = match *self.tables.what(place) {
                What::Read { high_watermark, .. } => high_watermark,
                What::Listed { timestamp: -1, offset: Some(offset), .. } => offset,
                _ => return None,
            };
            highest = highest.max(told);
            Some((self.tables.history[place].at, highest))
        };
        self.log.places.iter().filter_map(end_told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use super::*;

    /// Records 1 to 3 at offsets 0 to 2, sent at the times 10, 30, 20.
    fn sent_to(story: Story) -> Story {
        let sent = story.send_as("p", 0, &[1, 2, 3], |sent| sent.times = vec![10, 30, 20]);
        sent.acknowledged(0, 0).listed(-1, Some(3), None)
    }

    fn sent() -> Story {
        sent_to(Story::begin())
    }

    #[test]
    fn a_search_by_time_finds_the_first_that_is_not_older() {
        let found = |timestamp, offset, ms| sent().listed(timestamp, offset, ms).log(&[1, 2, 3]);
        for (timestamp, offset, ms) in [(0, 0, 10), (10, 0, 10), (11, 1, 30), (20, 1, 30)] {
            assert_eq!(found(timestamp, Some(offset), Some(ms)).passes().looked_up, 1);
        }
        found(31, None, None).passes();
        found(11, Some(0), Some(10)).breaks(I48);
        found(11, Some(2), Some(20)).breaks(I48);
        found(20, Some(2), Some(20)).breaks(I48);
        found(11, Some(1), Some(29)).breaks(I48);
        found(30, None, None).breaks(I48);
    }

    #[test]
    fn a_search_need_not_see_what_came_meanwhile() {
        let early = Story::begin().listed(5, None, None);
        sent_to(early).log(&[1, 2, 3]).passes();
    }

    #[test]
    fn a_search_need_not_see_what_was_deleted() {
        let retained = sent_to(Story::expecting(|expected| expected.retention = true));
        retained.listed(5, Some(2), Some(20)).log_from(2, &[3]).passes();
    }

    fn stamped(ms: i64) -> impl FnOnce(&mut What) {
        move |what| {
            if let What::Read { append_ms, high_watermark, .. } = what {
                (*append_ms, *high_watermark) = (Some(ms), 2);
            }
        }
    }

    fn two_stamped(first: i64, second: i64) -> Story {
        let story = Story::expecting(|expected| expected.append_time = true);
        let story = story.send(0, &[1]).send(1, &[2]);
        let (base, append_ms, attempts) = (Some(0), Some(100), 1);
        let story = story.tell("p", What::Produced { batch: 0, base, append_ms, attempts });
        story.read_as("c", 0, &[1], stamped(first)).read_as("c", 1, &[2], stamped(second))
    }

    fn to_the_end(story: Story, first: i64, second: i64) -> Story {
        let story = story.read_as("last", 0, &[1], stamped(first));
        let story = story.read_as("last", 1, &[2], stamped(second));
        let topic = super::super::story::TOPIC.to_string();
        story.tell("last", What::Bounds { topic, partition: 0, start: 0, end: 2 })
    }

    #[test]
    fn times_that_the_broker_gives_go_forward_with_its_clock() {
        to_the_end(two_stamped(100, 100), 100, 100).passes();
        to_the_end(two_stamped(100, 99), 100, 99).breaks(I6);
        let jumped = two_stamped(100, 99).under(|rules| rules.clock_jumped = true);
        to_the_end(jumped, 100, 99).passes();
    }

    #[test]
    fn a_time_that_changes_or_was_not_wanted_is_found() {
        to_the_end(two_stamped(101, 102), 101, 102).breaks(I6);
        to_the_end(two_stamped(100, 102), 100, 103).breaks(Invariant::I2);
        let (base, append_ms) = (Some(0), Some(100));
        let told = |attempts| {
            let story = Story::begin().send(0, &[1]);
            story.tell("p", What::Produced { batch: 0, base, append_ms, attempts }).log(&[1])
        };
        told(1).breaks(I6);
        told(2).passes();
        let unwanted = Story::begin().send(0, &[1]).send(1, &[2]);
        let unwanted = unwanted.read_as("last", 0, &[1], stamped(5));
        let topic = super::super::story::TOPIC.to_string();
        let unwanted = unwanted.read_as("last", 1, &[2], stamped(5));
        let bounds = What::Bounds { topic, partition: 0, start: 0, end: 2 };
        unwanted.tell("last", bounds).breaks(I6);
    }

    #[test]
    fn the_copy_of_a_record_that_is_gone_has_its_own_time() {
        let story = Story::expecting(|expected| {
            (expected.append_time, expected.retention) = (true, true);
        });
        let story = story.send_as("p", 0, &[1], |sent| {
            (sent.once, sent.ordered) = (false, false);
        });
        let (base, append_ms, attempts) = (Some(0), Some(100), 2);
        let story = story.tell("p", What::Produced { batch: 0, base, append_ms, attempts });
        let story = story.read_as("last", 1, &[1], stamped(200));
        let topic = super::super::story::TOPIC.to_string();
        story.tell("last", What::Bounds { topic, partition: 0, start: 1, end: 2 }).passes();
    }
}
