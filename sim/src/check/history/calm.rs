//! A run in which nothing is broken: no error, no second attempt, nothing unknown.

use std::collections::BTreeSet;

use super::gather::{Fate, Tables};
use super::{Excuse, Rules};
use crate::check::Invariant::I55;
use crate::check::Violation;
use crate::history::{What, name_of};

/// What a sound broker answers when somebody else was faster: the topic is there already, is not
/// there, has as many partitions, has another id; or when records are to go that are not there.
const ORDINARY: [i16; 5] = [36, 3, 37, 100, 1];

/// Of a topic that is just being deleted, too.
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const MESSAGE_TOO_LARGE: i16 = 10;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

/// A broker closes connections that were idle for so long, unless it is told otherwise
/// (`connections.max.idle.ms`).
const IDLE_MAX_NS: u64 = 600_000_000_000;

pub fn check(tables: &Tables, rules: &Rules) -> Result<(), Violation> {
    if !rules.calm {
        return Ok(());
    }
    // Whoever had a batch refused for its size: those after it in the same numbering do not follow.
    let mut gaps = BTreeSet::new();
    for batch in &tables.batches {
        let numbering = batch.sequence.map(|s| (batch.log, s.producer_id, s.epoch));
        if let (Fate::Refused { code: MESSAGE_TOO_LARGE }, Some(numbering)) =
            (batch.fate, numbering)
        {
            gaps.insert(numbering);
        }
        let name = name_of(tables.logs[batch.log].topic);
        let expected = tables.expected_of(name);
        let may_be_deleted = expected.is_some_and(|expected| expected.deleted);
        let learns_late = rules.excuses.contains(&Excuse::StaleMetadata);
        let wrong = match batch.fate {
            Fate::Acknowledged { .. } => batch.attempts > 1 && !learns_late,
            Fate::Refused { code: MESSAGE_TOO_LARGE } => false,
            Fate::Refused { code: OUT_OF_ORDER_SEQUENCE_NUMBER }
                if numbering.is_some_and(|numbering| gaps.contains(&numbering)) =>
            {
                false
            }
            // It waited for one that is too large: with acks=0 the broker only ends the connection.
            Fate::Refused { .. } if batch.acks == 0 && batch.attempts == 0 => false,
            Fate::Refused { .. } => !may_be_deleted,
            Fate::Unknown => batch.acks != 0 && !may_be_deleted,
        };
        if wrong {
            let place = batch.settled.unwrap_or(batch.handed_over);
            return fail(tables, place);
        }
    }
    // Where topics come and go, clients run into topics that are gone.
    let passing = rules.excuses.contains(&Excuse::StaleMetadata) || tables.topics_are_deleted();
    for (place, entry) in tables.history.iter().enumerate() {
        let wrong = match entry.what {
            What::Denied { code: NOT_LEADER_OR_FOLLOWER, .. } => !tables.topics_are_deleted(),
            What::Denied { code, .. } => !ORDINARY.contains(&code),
            What::Unanswered { .. } => true,
            What::Trouble { .. } => !passing && entry.at < IDLE_MAX_NS,
            _ => false,
        };
        if wrong {
            return fail(tables, place);
        }
    }
    Ok(())
}

fn fail(tables: &Tables, place: usize) -> Result<(), Violation> {
    let evidence = format!("nothing was broken, and yet:\n{}", tables.quote(place));
    Err(Violation::new(I55, evidence))
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, TOPIC};
    use super::*;
    use crate::history::{Operation, Sequence};

    fn calm(story: Story) -> Story {
        story.under(|rules| rules.calm = true)
    }

    fn sent() -> Story {
        calm(Story::begin()).send(0, &[1])
    }

    #[test]
    fn a_run_without_trouble_is_calm() {
        sent().acknowledged(0, 0).log(&[1]).passes();
        calm(Story::begin()).send_as("p", 0, &[1], |sent| sent.acks = 0).log(&[1]).passes();
    }

    #[test]
    fn what_is_unknown_refused_or_sent_twice_is_found() {
        sent().log(&[1]).breaks(I55);
        let refused = What::Refused { batch: 0, code: 2, attempts: 1 };
        sent().tell("p", refused).log(&[]).breaks(I55);
        let base = Some(0);
        let twice = What::Produced { batch: 0, base, append_ms: None, attempts: 2 };
        sent().tell("p", twice).log(&[1]).breaks(I55);
        let trouble = What::Trouble { text: "reset".to_string() };
        sent().acknowledged(0, 0).tell("c", trouble).log(&[1]).breaks(I55);
    }

    #[test]
    fn what_follows_a_batch_that_was_too_large_may_be_refused() {
        let refused = |batch, code| What::Refused { batch, code, attempts: 1 };
        let numbered = |story: Story, batch: u64| {
            let producer_id = 7;
            let what = What::Produce {
                topic: TOPIC.to_string(),
                partition: 0,
                batch,
                records: vec![batch + 1],
                times: vec![1],
                acks: -1,
                idempotent: true,
                once: true,
                ordered: true,
                sequence: Some(Sequence { producer_id, epoch: 0, base: batch as i32 }),
                bytes: if batch == 0 { 5000 } else { 100 },
            };
            story.tell("p", what)
        };
        let both = || numbered(numbered(calm(Story::begin()), 0), 1);
        both().tell("p", refused(0, 10)).tell("p", refused(1, 45)).log(&[]).passes();
        both().tell("p", refused(0, 3)).tell("p", refused(1, 45)).log(&[]).breaks(I55);
        sent().tell("p", refused(0, 45)).log(&[]).breaks(I55);
    }

    #[test]
    fn what_waits_for_a_batch_that_nobody_answers_may_never_be_sent() {
        let given_up = |acks, attempts| {
            let sent = calm(Story::begin()).send_as("p", 0, &[1], |sent| sent.acks = acks);
            sent.tell("p", What::Refused { batch: 0, code: 0, attempts }).log(&[])
        };
        given_up(0, 0).passes();
        given_up(0, 1).breaks(I55);
        given_up(-1, 0).breaks(I55);
    }

    #[test]
    fn a_no_that_a_request_earned_is_no_trouble() {
        let delete = Operation::DeleteTopic { name: "other".to_string() };
        let denied =
            |code| calm(Story::begin()).ask("a", delete.clone()).denied("a", code).log(&[]);
        denied(3).passes();
        denied(41).breaks(I55);
    }
}
