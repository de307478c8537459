//! What is known to be written in one log of one node: every batch, and what of it was found on the
//! disk. The other checkers compare with this, so each byte is read once when it is written, once
//! when it becomes durable, once after a restart, and once more in the end.

use std::collections::VecDeque;
use std::path::Path;

use ottla::types::{LeaderEpoch, Offset};

use super::image::{self, Batch, View, segment_path, segments};
use super::{Log, Verdict, broken};
use crate::check::Invariant::{I5, I7, I9, I42};
use crate::check::Violation;
use crate::disk::volume::Volume;

#[derive(Default)]
pub struct Batches {
    /// Without gaps, oldest first.
    list: VecDeque<Batch>,
    /// How many of `list`, from the first on, were found on the disk.
    durable: usize,
    /// How many of `list` were there at the last restart: they are looked at again in the end.
    settled: usize,
}

/// How a log that was opened differs from what was known of it.
#[derive(Default)]
pub struct Change {
    pub lost: Vec<Batch>,
    /// Written by an append that failed, and there all the same.
    pub found: Vec<Batch>,
}

impl Batches {
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Batch> {
        self.list.iter()
    }

    pub fn end(&self) -> Option<Offset> {
        self.list.back().map(|batch| batch.end)
    }

    /// Those that end after `offset`.
    pub fn after(&self, offset: Offset) -> impl Iterator<Item = &Batch> {
        let first = self.list.partition_point(|batch| batch.end <= offset);
        self.list.range(first..)
    }

    /// The process says that it wrote `base` to `end` as the leader of `epoch`.
    pub fn append(
        &mut self,
        log: Log,
        (volume, dir): (&Volume, &Path),
        (base, end): (Offset, Offset),
        epoch: LeaderEpoch,
    ) -> Result<&Batch, Violation> {
        let Some(batch) = self.next(volume, dir, base) else {
            let evidence = format!("{log} says that it wrote {base} to {end}; no batch is there");
            return broken(I5, evidence);
        };
        if (batch.base, batch.end) != (base, end) {
            let found = (batch.base, batch.end);
            let evidence =
                format!("{log} says that it wrote {base} to {end}; written is {found:?}");
            return broken(I5, evidence);
        }
        let before = self.list.back().map_or(LeaderEpoch(-1), |last| last.epoch);
        if batch.epoch != epoch || epoch < before {
            let evidence = format!(
                "{log} leads epoch {}, and wrote offset {base} with epoch {} behind epoch {}",
                epoch.0, batch.epoch.0, before.0
            );
            return broken(I7, evidence);
        }
        self.list.push_back(batch);
        Ok(self.list.back().expect("it was just pushed"))
    }

    /// The batch at `base` behind the last one: in the same segment, or the first of its own.
    fn next(&self, volume: &Volume, dir: &Path, base: Offset) -> Option<Batch> {
        let read = |segment: Offset, position| {
            let image = View::Cache.file(volume, &segment_path(dir, segment))?;
            image::read(image, segment, position).filter(|batch| batch.base == base)
        };
        let follows = self.list.back().and_then(|last| read(last.segment, last.position_end()));
        follows.or_else(|| read(base, 0))
    }

    /// Looks for all batches below `end` on the disk that were not found there yet.
    pub fn find_durable(&mut self, log: Log, volume: &Volume, dir: &Path, end: Offset) -> Verdict {
        while let Some(batch) = self.list.get(self.durable).filter(|batch| batch.base < end) {
            if !batch.is_in(volume, View::Disk, dir) {
                let Batch { base, segment, position, .. } = batch;
                let evidence = format!(
                    "{log} says that it is durable below {end}; the disk does not hold the batch \
                     at {base} (segment {segment}, byte {position})"
                );
                return broken(I9, evidence);
            }
            self.durable += 1;
        }
        match self.end() {
            known if known.unwrap_or_default() < end && !self.list.is_empty() => {
                let evidence = format!("{log} says that it is durable below {end}, beyond its end");
                broken(I9, evidence)
            }
            _ => Ok(()),
        }
    }

    /// The log was opened again and holds `start` to `end`: all of that is as it was written.
    pub fn recover(
        &mut self,
        log: Log,
        (volume, dir): (&Volume, &Path),
        (start, end): (Offset, Offset),
    ) -> Result<Change, Violation> {
        let cut = self.list.partition_point(|batch| batch.end <= end);
        if self.list.get(cut).is_some_and(|batch| batch.base < end) {
            let evidence = format!("{log} was recovered to {end}, within a batch");
            return broken(I42, evidence);
        }
        let mut change = Change { lost: self.list.split_off(cut).into(), found: vec![] };
        self.forget_before(start);
        let first = self.list.front().map_or(Offset(i64::MAX), |batch| batch.base);
        if first > start && end > start {
            self.list = read_all(volume, dir, start);
            self.settled = 0;
        }
        let unsettled = self.settled.min(self.list.len());
        let is_left = |batch: &&Batch| batch.end > start;
        self.check(log, volume, dir, self.ends_of_segments(unsettled).filter(is_left))?;
        self.check(log, volume, dir, self.list.range(unsettled..).filter(is_left))?;
        while let Some(next) = self.end().filter(|next| *next < end) {
            let Some(batch) = self.next(volume, dir, next) else { break };
            change.found.push(batch.clone());
            self.list.push_back(batch);
        }
        if self.end().is_some_and(|known| known != end && known > start) {
            let known = self.end().unwrap_or_default();
            let evidence = format!("{log} was recovered to {end}; its batches end at {known}");
            return broken(I42, evidence);
        }
        let gone = self.list.partition_point(|batch| batch.end <= start);
        self.durable = self.durable.min(unsettled).max(gone);
        self.settled = self.list.len();
        Ok(change)
    }

    /// Compares all of it once more.
    pub fn sweep(&self, log: Log, volume: &Volume, dir: &Path, start: Offset) -> Verdict {
        let first = self.list.partition_point(|batch| batch.end <= start);
        self.check(log, volume, dir, self.list.range(first..))
    }

    /// Of the first `count` batches, the last of each segment: where they are, the segment is whole.
    fn ends_of_segments(&self, count: usize) -> impl Iterator<Item = &Batch> {
        let next = self.list.iter().skip(1).map(Some).chain([None]);
        let ends = self.list.iter().zip(next).take(count);
        let is_last = |(batch, next): &(&Batch, Option<&Batch>)| {
            next.is_none_or(|next| next.segment != batch.segment)
        };
        ends.filter(is_last).map(|(batch, _)| batch)
    }

    fn check<'a>(
        &self,
        log: Log,
        volume: &Volume,
        dir: &Path,
        batches: impl Iterator<Item = &'a Batch>,
    ) -> Verdict {
        for batch in batches {
            if !batch.is_in(volume, View::Cache, dir) {
                let Batch { base, segment, position, .. } = batch;
                let evidence = format!(
                    "{log} holds something else than was written at offset {base} (segment \
                     {segment}, byte {position})"
                );
                return broken(I42, evidence);
            }
        }
        Ok(())
    }

    /// The last batch stays: what follows it is found by it.
    pub fn forget_before(&mut self, start: Offset) {
        while self.list.len() > 1 && self.list[0].end <= start {
            self.list.pop_front();
            self.durable = self.durable.saturating_sub(1);
            self.settled = self.settled.saturating_sub(1);
        }
        // The last one stays in mind, and need not be on the disk.
        self.durable = self.durable.max(self.list.partition_point(|batch| batch.end <= start));
    }
}

#[cfg(test)]
impl FromIterator<Batch> for Batches {
    fn from_iter<I: IntoIterator<Item = Batch>>(batches: I) -> Batches {
        Batches { list: batches.into_iter().collect(), ..Batches::default() }
    }
}

/// The batches of the files, from the segment that holds `start` on.
fn read_all(volume: &Volume, dir: &Path, start: Offset) -> VecDeque<Batch> {
    let bases = segments(volume, dir);
    let first = bases.partition_point(|base| *base <= start).saturating_sub(1);
    let mut all: VecDeque<Batch> = VecDeque::new();
    for segment in bases.into_iter().skip(first) {
        let Some(image) = View::Cache.file(volume, &segment_path(dir, segment)) else { break };
        if all.back().is_some_and(|last| last.end != segment) {
            break;
        }
        let mut position = 0;
        while let Some(batch) = image::read(image, segment, position) {
            if all.back().is_some_and(|last| last.end != batch.base) {
                break;
            }
            position = batch.position_end();
            all.push_back(batch);
        }
    }
    all
}
