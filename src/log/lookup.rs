//! ListOffsets by time: the first record at or after a timestamp, and the one with the largest.
//!
//! The time index leads to a place before the record, the batches' headers to its batch, and the
//! batch is looked into. All of it happens outside the lock, on a view of the log.

use std::io;

use crate::env::Env;
use crate::env::disk::File;
use crate::log::Log;
use crate::log::index;
use crate::log::read::{Part, ReadError, View};
use crate::log::scan::{Scanner, Step};
use crate::log::segment::Kind;
use crate::protocol::records::batch::Batch;
use crate::types::{LeaderEpoch, Offset};

/// Batches of records larger than this, decompressed, are answered by their first offset.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
const BATCH_BYTES_MAX: u32 = 128 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOffset {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub leader_epoch: LeaderEpoch,
}

/// A search that does not need the log any more.
pub struct TimeLookup<E: Env> {
    view: View<E>,
    start: Offset,
}

impl<E: Env> Log<E> {
    /// Prepares a search by time.
    pub fn time_lookup(&self) -> TimeLookup<E> {
        TimeLookup { view: self.view([self.start, self.end]), start: self.start }
    }
}

impl<E: Env> TimeLookup<E> {
    /// The first record below `limit` with a timestamp of `timestamp_ms` or later. When the first
    /// such record lies past the limit there is none to show.
    pub async fn at_or_after(
        &self,
        timestamp_ms: i64,
        limit: Offset,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let parts = self.view.closed.len() + 1;
        for part in (0..parts).map(|at| self.view.part(at)) {
            if part.end <= self.start && !part.is_open {
                continue;
            }
            if part.base >= limit {
                break;
            }
            if self.largest(&part).await?.is_none_or(|largest| largest < timestamp_ms) {
                continue;
            }
            if let Some(found) = self.find(&part, timestamp_ms).await? {
                return Ok(Some(found).filter(|found| found.offset < limit));
            }
        }
        Ok(None)
    }

    /// The first record that has the largest timestamp of all; none when it lies past the limit.
    pub async fn largest_timestamp(&self, limit: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let mut best: Option<(i64, Part)> = None;
        for part in (0..=self.view.closed.len()).map(|at| self.view.part(at)) {
            if part.end <= self.start && !part.is_open {
                continue;
            }
            let Some(largest) = self.largest(&part).await? else { continue };
            if best.is_none_or(|(timestamp_ms, _)| timestamp_ms < largest) {
                best = Some((largest, part));
            }
        }
        let Some((timestamp_ms, part)) = best else { return Ok(None) };
        let found = self.find(&part, timestamp_ms).await?;
        Ok(found.filter(|found| found.offset < limit))
    }

    /// The largest timestamp of a segment; `None` when no record has one.
    async fn largest(&self, part: &Part) -> Result<Option<i64>, ReadError> {
        if part.is_open {
            return Ok(self.view.active.max_timestamp_ms);
        }
        Ok(largest_timestamp(&self.view, part.base).await?)
    }

    async fn find(&self, part: &Part, timestamp_ms: i64) -> Result<Option<TimedOffset>, ReadError> {
        let (log, size) = self.view.open_log(part)?;
        let from = self.earlier(part, timestamp_ms).await?.max(self.start);
        let Some((at, _)) = self.view.position(part, &log, size, from).await? else {
            return Ok(None);
        };
        let mut scanner = Scanner::new(log, at, size);
        loop {
            let header = match scanner.header().await? {
                Step::Batch(header) => header,
                Step::End => return Ok(None),
                Step::Invalid(_) => {
                    return Err(ReadError::Damaged { base: part.base, at: scanner.at() });
                }
            };
            if header.max_timestamp_ms() >= timestamp_ms {
                let batch = scanner.batch(&header, BATCH_BYTES_MAX).await?;
                let found = batch.and_then(|batch| first_record(&batch, timestamp_ms, self.start));
                if found.is_some() {
                    return Ok(found);
                }
            }
            scanner.skip(&header);
        }
    }

    /// An offset of the segment before which all timestamps are earlier.
    async fn earlier(&self, part: &Part, timestamp_ms: i64) -> Result<Offset, ReadError> {
        let entries_max = if part.is_open { self.view.active.times_written } else { u32::MAX };
        if entries_max == 0 {
            return Ok(part.base);
        }
        let file = match self.view.open(part.base, Kind::TimeIndex) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(part.base),
            other => other?,
        };
        let earlier = |entry: index::TimeEntry| entry.timestamp_ms < timestamp_ms;
        let found = index::floor_time(&file, entries_max, earlier).await?;
        Ok(found.map_or(part.base, |(_, entry)| part.base.plus(u64::from(entry.last) + 1)))
    }
}

fn first_record(batch: &Batch, timestamp_ms: i64, start: Offset) -> Option<TimedOffset> {
    let leader_epoch = batch.leader_epoch();
    for record in batch.records(DECOMPRESSED_BYTES_MAX) {
        let Ok(record) = record else {
            // What cannot be looked into is named by where it begins.
            let (offset, timestamp_ms) = (batch.base_offset(), batch.max_timestamp_ms());
            return Some(TimedOffset { offset, timestamp_ms, leader_epoch });
        };
        let (offset, at_ms) = (batch.offset_of(&record), batch.timestamp_ms_of(&record));
        if at_ms >= timestamp_ms && offset >= start {
            return Some(TimedOffset { offset, timestamp_ms: at_ms, leader_epoch });
        }
    }
    None
}

/// The largest timestamp of a closed segment, as its time index ends; `None` when it is empty.
pub(super) async fn largest_timestamp<E: Env>(
    view: &View<E>,
    base: Offset,
) -> io::Result<Option<i64>> {
    let file = match view.open(base, Kind::TimeIndex) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if file.is_empty()? {
        return Ok(None);
    }
    let last = index::floor_time(&file, u32::MAX, |_| true).await?;
    Ok(last.map(|(_, entry)| entry.timestamp_ms))
}
