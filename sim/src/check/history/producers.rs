//! What producers are told by idempotence and by limits: identities, batches that come once more,
//! sizes.

use std::collections::BTreeMap;

use super::gather::{Batch, Fate, Tables};
use super::{Rules, Summary};
use crate::check::Invariant::{I18, I20, I45};
use crate::check::Violation;
use crate::history::{What, name_of};

const OK: i16 = 0;
const MESSAGE_TOO_LARGE: i16 = 10;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

/// A broker knows as many batches of a producer again.
const BATCHES_REMEMBERED: usize = 5;

pub fn check(tables: &Tables, rules: &Rules, summary: &mut Summary) -> Result<(), Violation> {
    identities(tables)?;
    for (place, entry) in tables.history.iter().enumerate() {
        if let What::Resent { batch, .. } = entry.what
            && let Some(batch) = tables.find_batch(&entry.process, batch)
        {
            summary.known_again += u64::from(known_again(tables, rules, batch, place)?);
        }
    }
    tables.batches.iter().try_for_each(|batch| size(tables, batch))
}

/// No producer id is given twice.
fn identities(tables: &Tables) -> Result<(), Violation> {
    let mut given: BTreeMap<i64, usize> = BTreeMap::new();
    for (place, entry) in tables.history.iter().enumerate() {
        let What::Identity { producer_id, .. } = entry.what else { continue };
        if let Some(before) = given.insert(producer_id, place) {
            let evidence = format!(
                "producer id {producer_id} was given twice:\n{}\n{}",
                tables.quote(before),
                tables.quote(place)
            );
            return Err(Violation::new(I20, evidence));
        }
    }
    Ok(())
}

/// A batch that comes once more is answered as it was the first time. That it is not stored again
/// shows in the log.
fn known_again(
    tables: &Tables,
    rules: &Rules,
    batch: &Batch,
    place: usize,
) -> Result<bool, Violation> {
    let What::Resent { code, base, append_ms, .. } = *tables.what(place) else { return Ok(false) };
    let Fate::Acknowledged { base: first, append_ms: stamped } = batch.fate else {
        return Ok(false);
    };
    let may_be_lost = batch.acks == 1 && rules.power_failed;
    // Of records that were deleted nobody need remember the producer.
    let deleted = tables.never_deleted(&tables.logs[batch.log]).unwrap_or(i64::MAX);
    let is_deleted = first.unwrap_or(0) + (batch.records.len() as i64) <= deleted;
    if !batch.once || may_be_lost || is_deleted {
        return Ok(false);
    }
    let answered_otherwise = code == OK
        && ((first.is_some() && base != first)
            || (stamped.is_some() && batch.attempts == 1 && append_ms != stamped));
    let forgotten = code == OUT_OF_ORDER_SEQUENCE_NUMBER
        && rules.calm
        && later_batches(tables, batch, place) < BATCHES_REMEMBERED;
    if answered_otherwise || forgotten {
        let told = batch.settled.map_or(String::new(), |settled| tables.quote(settled));
        let evidence = format!(
            "{batch} was sent once more and not answered as before:\n{told}\n{}",
            tables.quote(place)
        );
        return Err(Violation::new(I18, evidence));
    }
    Ok(code == OK)
}

/// Of the same identity and log, up to `place`.
fn later_batches(tables: &Tables, batch: &Batch, place: usize) -> usize {
    let identity = |batch: &Batch| batch.sequence.map(|it| (it.producer_id, it.epoch));
    tables.logs[batch.log]
        .batches
        .iter()
        .map(|&index| &tables.batches[index])
        .filter(|later| batch.handed_over < later.handed_over && later.handed_over < place)
        .filter(|later| identity(later) == identity(batch))
        .count()
}

/// What is small enough is not refused for its size, what is too large is not taken.
fn size(tables: &Tables, batch: &Batch) -> Result<(), Violation> {
    let topic = tables.logs[batch.log].topic;
    let Some(expected) = tables.expected_of(name_of(topic)) else { return Ok(()) };
    if batch.bytes == 0 {
        return Ok(());
    }
    let wrong = match batch.fate {
        Fate::Refused { code: MESSAGE_TOO_LARGE } => batch.bytes <= expected.batch_bytes_taken,
        Fate::Acknowledged { .. } => batch.bytes > expected.batch_bytes_max,
        _ => false,
    };
    if !wrong {
        return Ok(());
    }
    let (taken, max, bytes) = (expected.batch_bytes_taken, expected.batch_bytes_max, batch.bytes);
    let evidence = format!(
        "{batch} has {bytes} bytes, {topic} takes {taken} and at most {max}, and came to {:?}",
        batch.fate
    );
    Err(Violation::new(I45, evidence))
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use super::*;

    fn resent(code: i16, base: Option<i64>) -> What {
        What::Resent { batch: 0, code, base, append_ms: None }
    }

    fn sent_once_more(answer: What) -> Story {
        let sent = Story::begin().send(0, &[1]).acknowledged(0, 0);
        sent.tell("p", What::Resend { batch: 0 }).tell("p", answer).log(&[1])
    }

    #[test]
    fn a_batch_that_comes_once_more_is_answered_as_before() {
        assert_eq!(sent_once_more(resent(OK, Some(0))).passes().known_again, 1);
        sent_once_more(resent(OK, Some(1))).breaks(I18);
        sent_once_more(resent(OK, None)).breaks(I18);
        assert_eq!(sent_once_more(resent(6, None)).passes().known_again, 0);
    }

    #[test]
    fn a_broker_that_was_left_alone_remembers_five_batches() {
        let forgotten = |later: u64| {
            let mut story = Story::begin().send(0, &[1]).acknowledged(0, 0);
            let mut all = vec![1];
            for batch in 1..=later {
                story = story.send(batch, &[batch + 1]).acknowledged(batch, batch as i64);
                all.push(batch + 1);
            }
            story.tell("p", resent(OUT_OF_ORDER_SEQUENCE_NUMBER, None)).log(&all)
        };
        forgotten(1).passes();
        forgotten(4).under(|rules| rules.calm = true).breaks(I18);
        forgotten(5).under(|rules| rules.calm = true).passes();
    }

    #[test]
    fn a_producer_id_that_is_given_twice_is_found() {
        let given = |producer_id| What::Identity { producer_id, epoch: 0 };
        let two = |other| Story::begin().tell("p", given(7)).tell("q", given(other)).log(&[]);
        two(8).passes();
        two(7).breaks(I20);
    }

    #[test]
    fn limits_of_size_hold_both_ways() {
        let sized = |bytes| Story::begin().send_as("p", 0, &[1], |sent| sent.bytes = bytes);
        let refused = |bytes| {
            let answer = What::Refused { batch: 0, code: MESSAGE_TOO_LARGE, attempts: 1 };
            sized(bytes).tell("p", answer).log(&[])
        };
        refused(1001).passes();
        refused(1000).breaks(I45);
        sized(2000).acknowledged(0, 0).log(&[1]).passes();
        sized(2001).acknowledged(0, 0).log(&[1]).breaks(I45);
    }
}
