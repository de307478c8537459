//! Where batches stand, against when they were sent.

use std::collections::BTreeMap;

use super::gather::{Batch, Fate, Log, Tables};
use super::records::Copy;
use crate::check::Invariant::{I5, I8, I19};
use crate::check::Violation;
use crate::history::What;

/// What is handed over now must stand at `offset` or behind it, because of what was told at `place`.
#[derive(Clone, Copy)]
struct Floor {
    offset: i64,
    place: usize,
}

pub fn check(tables: &Tables, log: usize, copies: &[Copy]) -> Result<(), Violation> {
    in_real_time(tables, &tables.logs[log], copies)?;
    as_sent(tables, &tables.logs[log], copies)
}

/// A batch stands behind all that was there before it was handed over: what was acknowledged by
/// then, to anybody, and what lay below a high watermark.
fn in_real_time(tables: &Tables, log: &Log, copies: &[Copy]) -> Result<(), Violation> {
    let mut floors = floors(tables, log, copies);
    floors.sort_unstable_by_key(|floor| floor.place);
    let mut highest = 0;
    for floor in &mut floors {
        highest = highest.max(floor.offset);
        floor.offset = highest;
    }
    for copy in copies {
        let batch = &tables.batches[copy.batch];
        let before = floors.partition_point(|floor| floor.place < batch.handed_over);
        let Some(floor) = before.checked_sub(1).map(|last| floors[last]) else { continue };
        if copy.base >= floor.offset {
            continue;
        }
        // The one that said so first.
        let floor = floors.iter().find(|it| it.offset == floor.offset).unwrap_or(&floor);
        let acknowledged = matches!(tables.what(floor.place), What::Produced { .. });
        let evidence = format!(
            "{log}: {batch} is at {}, and before it was handed over the log reached {}:\n{}\n{}",
            copy.base,
            floor.offset,
            tables.quote(floor.place),
            tables.quote(batch.handed_over)
        );
        return Err(Violation::new(if acknowledged { I5 } else { I8 }, evidence));
    }
    Ok(())
}

fn floors(tables: &Tables, log: &Log, copies: &[Copy]) -> Vec<Floor> {
    let end_told = |&place: &usize| match *tables.what(place) {
        What::Read { high_watermark, .. } => Some(Floor { offset: high_watermark, place }),
        What::Listed { timestamp: -1, offset: Some(offset), .. } => Some(Floor { offset, place }),
        _ => None,
    };
    let mut floors: Vec<Floor> = log.places.iter().filter_map(end_told).collect();
    for copy in copies {
        let batch = &tables.batches[copy.batch];
        // One that was acknowledged elsewhere and is lost says nothing.
        if let (Fate::Acknowledged { base: Some(base), .. }, Some(place)) =
            (batch.fate, batch.settled)
            && base == copy.base
        {
            floors.push(Floor { offset: base + batch.records.len() as i64, place });
        }
    }
    floors
}

/// What a producer sends in order stands in order: every copy of a batch behind the place where one
/// that was sent before it was acknowledged. Batches without an answer may be anywhere, and set no
/// order for others.
fn as_sent(tables: &Tables, log: &Log, copies: &[Copy]) -> Result<(), Violation> {
    let mut last: BTreeMap<&str, (&Batch, i64)> = BTreeMap::new();
    for &index in &log.batches {
        let batch = &tables.batches[index];
        if !batch.ordered {
            continue;
        }
        let from = copies.partition_point(|copy| copy.batch < index);
        let first = copies.get(from).filter(|copy| copy.batch == index);
        if let (Some(first), Some((before, at))) = (first, last.get(batch.process))
            && first.base <= *at
        {
            let base = first.base;
            let evidence =
                format!("{log}: {before} is at offset {at}, and {batch}, sent after it, at {base}");
            return Err(Violation::new(I19, evidence));
        }
        if let (Some(first), Fate::Acknowledged { base, .. }) = (first, batch.fate) {
            let base = base.unwrap_or(first.base);
            // One that is not where it was acknowledged is lost, and says nothing.
            if copies.binary_search(&Copy { batch: index, base }).is_ok() {
                last.insert(batch.process, (batch, base));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use super::*;

    #[test]
    fn batches_of_one_producer_that_change_places_are_found() {
        let turned = Story::begin().send(0, &[1]).send(1, &[2]);
        turned.acknowledged(0, 1).acknowledged(1, 0).log(&[2, 1]).breaks(I19);
        let unknown = Story::begin().send(0, &[1]).send(1, &[2]).acknowledged(0, 1);
        unknown.log(&[2, 1]).breaks(I19);
    }

    #[test]
    fn what_is_not_ordered_and_what_is_unknown_may_change_places() {
        let plain = |story: Story, batch, record| {
            story.send_as("p", batch, &[record], |sent| sent.ordered = false)
        };
        let turned = plain(plain(Story::begin(), 0, 1), 1, 2);
        turned.acknowledged(0, 1).acknowledged(1, 0).log(&[2, 1]).passes();
        let late = Story::begin().send(0, &[1]).send(1, &[2]).acknowledged(1, 0);
        late.log(&[2, 1]).passes();
    }

    #[test]
    fn a_batch_that_stands_before_what_was_there_is_found() {
        let first = || Story::begin().send_as("q", 0, &[1], |_| {}).acknowledged_to("q", 0, 1);
        first().send(0, &[2]).acknowledged(0, 0).log(&[2, 1]).breaks(I5);
        let overlapping = Story::begin().send_as("q", 0, &[1], |_| {}).send(0, &[2]);
        overlapping.acknowledged_to("q", 0, 1).acknowledged(0, 0).log(&[2, 1]).passes();
    }

    #[test]
    fn a_batch_below_a_high_watermark_that_was_told_before_is_found() {
        let told = Story::begin().listed(-1, Some(2), None).send(0, &[1, 2]).send(1, &[3]);
        told.log(&[1, 2, 3]).breaks(I8);
        let told = Story::begin().send(0, &[1, 2]).listed(-1, Some(2), None).send(1, &[3]);
        told.log(&[1, 2, 3]).passes();
    }
}
