//! One log of one node: how far it is written, durable, committed and acknowledged, as its process
//! says, and whether the disk agrees (I5, I8, I9, I10, I42).
//!
//! A process is believed nothing: each word is checked when it is given, so that an acknowledgement
//! that comes too early is caught then, and not by the rare power loss that would prove it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ottla::env::probe::Cause;
use ottla::types::{LeaderEpoch, Offset};

use super::batches::{Batches, Change};
use super::image::Batch;
use super::waits::Moved;
use super::{Log, Verdict, broken};
use crate::check::Invariant::{I5, I8, I9, I10, I37, I42, I46};
use crate::check::Violation;
use crate::disk::volume::Volume;

pub struct Replica {
    log: Log,
    pub dir: PathBuf,
    pub batches: Batches,
    /// Records count once they are synced; else when they are written.
    synced: bool,
    /// It did not always sync: what is committed may be lost with the power.
    pub relaxed: bool,
    /// What the process that runs has said.
    pub start: Offset,
    pub end: Offset,
    pub high_watermark: Offset,
    /// Its last move.
    pub moved: Moved,
    /// What any process of the node has said, and all must keep.
    pub durable_end: Offset,
    acknowledged_end: Offset,
    deleted_end: Offset,
    /// Where a client wants the log to begin: a crash may find it there.
    wanted_start: Offset,
    /// Segments before it are to go by retention, and may be gone.
    expired: Offset,
    /// Batches below were compared with what is committed.
    pub compared_end: Offset,
    /// How often the node had lost its power when the log was opened last.
    power_losses: u64,
    pub deleted: bool,
}

impl Replica {
    pub fn new(log: Log) -> Replica {
        Replica {
            log,
            dir: PathBuf::new(),
            batches: Batches::default(),
            synced: true,
            relaxed: false,
            start: Offset(0),
            end: Offset(0),
            high_watermark: Offset(0),
            moved: Moved::default(),
            durable_end: Offset(0),
            acknowledged_end: Offset(0),
            deleted_end: Offset(0),
            wanted_start: Offset(0),
            expired: Offset(0),
            compared_end: Offset(0),
            power_losses: 0,
            deleted: false,
        }
    }

    /// The log was opened. None that was durable is lost, and with the power on none at all.
    pub fn recovered(
        &mut self,
        volume: &Volume,
        dir: &Path,
        (start, end): (Offset, Offset),
        power_losses: u64,
    ) -> Result<Change, Violation> {
        let log = self.log;
        if self.deleted {
            return broken(I37, format!("{log} was opened again, and its topic was deleted"));
        }
        let lost_power = power_losses != std::mem::replace(&mut self.power_losses, power_losses);
        let (acknowledged, durable) = (self.acknowledged_end, self.durable_end);
        let promised = if lost_power { acknowledged.min(durable) } else { acknowledged };
        if end < promised {
            let evidence = format!("{log} recovered to {end}, and {promised} was acknowledged");
            return broken(I10, evidence);
        }
        if end < durable {
            let evidence = format!("{log} recovered to {end}, and {durable} was durable");
            return broken(I42, evidence);
        }
        if !lost_power && end < self.end {
            let evidence = format!(
                "{log} recovered to {end}; {} was written, and the power was never lost",
                self.end
            );
            return broken(I42, evidence);
        }
        self.begins(start)?;
        self.dir = dir.to_owned();
        let change = self.batches.recover(log, (volume, dir), (start, end))?;
        (self.start, self.end, self.high_watermark) = (start, end, start);
        self.expired = start;
        self.acknowledged_end = acknowledged.min(end);
        // What recovery keeps counts as durable from then on.
        self.durable(volume, end)?;
        self.compared_end = self.compared_end.min(end);
        Ok(change)
    }

    /// A log begins where it was said to begin, or before: what retention removes may come back.
    fn begins(&self, start: Offset) -> Verdict {
        let latest = self.latest_start();
        if start > latest {
            let evidence = format!(
                "{} was opened and begins at {start}; nobody wants it to begin after {latest}",
                self.log
            );
            return broken(I10, evidence);
        }
        if start < self.deleted_end {
            let evidence = format!(
                "{} was opened and begins at {start}; a client was told that records below {} are \
                 gone",
                self.log, self.deleted_end
            );
            return broken(I46, evidence);
        }
        Ok(())
    }

    pub fn configured(&mut self, synced: bool) {
        self.synced = synced;
        self.relaxed |= !synced;
    }

    /// A client wants records below `start` to go.
    pub fn deletion_asked(&mut self, start: Offset) -> Verdict {
        if start > self.high_watermark {
            let evidence = format!(
                "{} is to begin at {start}, and its high watermark is {}",
                self.log, self.high_watermark
            );
            return broken(I46, evidence);
        }
        self.wanted_start = self.wanted_start.max(start);
        Ok(())
    }

    /// Segments before `first` are about to go: a crash may find them gone.
    pub fn segments_expired(&mut self, first: Offset) -> Verdict {
        self.deletion_asked(first)?;
        self.expired = first;
        Ok(())
    }

    /// The log begins later now: where somebody wants it to begin, and below what was committed.
    pub fn start_moved(&mut self, to: Offset, cause: &Cause) -> Verdict {
        let (log, from, high_watermark) = (self.log, self.start, self.high_watermark);
        let wanted = match cause {
            Cause::Retention => from.max(self.expired),
            Cause::DeleteRecords => self.wanted_start,
            Cause::Snapshot => to,
        };
        if to < from || to > high_watermark || to > wanted {
            let evidence = format!(
                "{log} begins at {to} by {cause:?}, where {wanted} was wanted; it began at {from}, \
                 and its high watermark is {high_watermark}"
            );
            return broken(I46, evidence);
        }
        self.start = to;
        if *cause == Cause::Retention {
            self.batches.forget_before(self.expired);
        }
        Ok(())
    }

    /// Where the segments begin that nobody takes away.
    pub fn whole_from(&self) -> Offset {
        self.start.max(self.expired)
    }

    /// Where the log may begin after a crash, at most.
    pub fn latest_start(&self) -> Offset {
        self.start.max(self.wanted_start)
    }

    /// A client is told that records below `start` are gone.
    pub fn records_deleted(&mut self, start: Offset) -> Verdict {
        if start > self.start {
            let evidence = format!(
                "{} tells that records below {start} are gone, and begins at {}",
                self.log, self.start
            );
            return broken(I46, evidence);
        }
        self.deleted_end = self.deleted_end.max(start);
        Ok(())
    }

    pub fn appended(
        &mut self,
        volume: &Volume,
        base: Offset,
        end: Offset,
        epoch: LeaderEpoch,
    ) -> Result<&Batch, Violation> {
        let (log, expected) = (self.log, self.end);
        if base != expected || end <= base {
            let evidence = format!("{log} appended {base} to {end} where {expected} was next");
            return broken(I5, evidence);
        }
        self.end = end;
        self.batches.append(log, (volume, &self.dir), (base, end), epoch)
    }

    pub fn durable(&mut self, volume: &Volume, end: Offset) -> Verdict {
        if end > self.end {
            let evidence = format!("{} is durable below {end}, and ends at {}", self.log, self.end);
            return broken(I9, evidence);
        }
        self.batches.find_durable(self.log, volume, &self.dir, end)?;
        self.durable_end = self.durable_end.max(end);
        Ok(())
    }

    pub fn high_watermark(&mut self, offset: Offset, now: Duration) -> Verdict {
        let (before, counted) = (self.high_watermark, self.counted_end());
        if offset < before || (offset > before && offset > counted) {
            let evidence = format!(
                "{} moved its high watermark from {before} to {offset}, and {counted} counts",
                self.log
            );
            return broken(I8, evidence);
        }
        self.high_watermark = offset;
        if offset > before {
            self.moved = Moved { to: offset, at: now };
        }
        Ok(())
    }

    pub fn acknowledged(&mut self, end: Offset, acks: i16) -> Verdict {
        let counted = self.counted_end();
        if end > counted || (acks == -1 && end > self.high_watermark) {
            let evidence = format!(
                "{} acknowledges below {end} (acks={acks}) where {counted} counts, with durable \
                 end {} and high watermark {}",
                self.log, self.durable_end, self.high_watermark
            );
            return broken(I9, evidence);
        }
        self.acknowledged_end = self.acknowledged_end.max(end);
        Ok(())
    }

    /// What is committed there counts as acknowledged: it is told by deeds.
    pub fn acknowledged_by(&mut self, end: Offset) {
        self.acknowledged_end = self.acknowledged_end.max(end);
    }

    /// The topic is gone: what its process still says of it, and its files, count for nothing.
    pub fn deleted(&mut self) {
        *self = Replica { deleted: true, ..Replica::new(self.log) };
    }

    fn counted_end(&self) -> Offset {
        match self.synced {
            // What counted before the topic was told to sync still does.
            true if self.relaxed => self.durable_end.max(self.high_watermark),
            true => self.durable_end,
            false => self.end,
        }
    }
}
