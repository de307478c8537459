//! Appending: one vectored write into the page cache, then what is known of the log follows.
//!
//! A failed write changes nothing that counts: positions are ours, so the next append overwrites
//! what a failed one left, and readers stop at the size we know.

use std::io::{self, IoSlice};

use crate::env::Env;
use crate::env::disk::{Disk, File, Open};
use crate::log::Log;
use crate::log::index::OffsetEntry;
use crate::log::producers::{Marker, Origin, ProducerError, Verdict};
use crate::log::segment::{Active, Closed, Kind, Measured, path};
use crate::log::snapshot;
use crate::log::transactions::{self, AbortedTransaction};
use crate::protocol::records::batch::{Batch, BatchError, BatchHeader, HEADER_BYTES};
use crate::types::{LeaderEpoch, Offset};

/// Where a batch lies, and whether it was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base: Offset,
    /// The first offset after it: what must become durable before it is acknowledged.
    pub end: Offset,
    /// The batch's largest timestamp: what a retry is told as its append time.
    pub max_timestamp_ms: i64,
    /// A retry: nothing was written.
    pub duplicate: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Producer(#[from] ProducerError),
    #[error("a batch of {batch_bytes} bytes does not fit a segment of {segment_bytes}")]
    TooLarge { batch_bytes: u32, segment_bytes: u32 },
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("a batch at offset {found}, the log ends at {end}")]
    OutOfOrder { found: Offset, end: Offset },
    /// A full or failing disk. What was in the log is still there.
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
    #[error("an earlier write failed; the log must be opened anew")]
    Failed,
    /// Old bytes could show up again behind new ones: sync first.
    #[error("the log was truncated, and that is not synced yet")]
    TruncationUnsynced,
}

impl<E: Env> Log<E> {
    /// Appends a batch that passed validation at the end of the log, as the leader of `epoch`.
    /// Offset and epoch are stamped on the way; the batch itself is not copied.
    pub fn append_as_leader(
        &mut self,
        batch: &Batch,
        epoch: LeaderEpoch,
        origin: Origin,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let marker = transactions::marker(batch);
        match marker {
            Some(marker) => self.producers.check_marker(batch, marker, origin)?,
            None => {
                if let Verdict::Duplicate(known) = self.producers.check(batch, origin)? {
                    return Ok(Appended {
                        base: known.base_offset(),
                        end: known.last_offset.plus(1),
                        max_timestamp_ms: known.timestamp_ms,
                        duplicate: true,
                    });
                }
            }
        }
        let header = batch.stamped(self.end, epoch);
        self.admit(&header, now_ms)?;
        let encoded = header.header().encode();
        self.write(&[IoSlice::new(&encoded), IoSlice::new(batch.body())])?;
        self.on_batch_written(&header, marker)?;
        self.check();
        let (base, end) = (header.base_offset(), header.next_offset());
        Ok(Appended { base, end, max_timestamp_ms: header.max_timestamp_ms(), duplicate: false })
    }

    /// Appends batches of the leader's log unchanged, in one write where they fit one segment.
    /// Says the new end. After an error the batches before the one it names are in the log.
    pub fn append_as_follower(
        &mut self,
        batches: &[Batch],
        now_ms: i64,
    ) -> Result<Offset, AppendError> {
        let mut run = 0;
        for at in 0..batches.len() {
            let checked = self.check_follows(batches, run, at);
            let rolls =
                checked.is_ok() && self.rolls_before(&batches[run..at], &batches[at], now_ms);
            if checked.is_err() || rolls {
                self.write_run(&batches[run..at])?;
                run = at;
            }
            checked?;
            if run == at {
                self.admit(&batches[at], now_ms)?;
            }
        }
        self.write_run(&batches[run..])?;
        self.check();
        Ok(self.end)
    }

    fn check_follows(&self, batches: &[Batch], run: usize, at: usize) -> Result<(), AppendError> {
        let batch = &batches[at];
        let end = if at == run { self.end } else { batches[at - 1].next_offset() };
        if batch.base_offset() < end {
            return Err(AppendError::OutOfOrder { found: batch.base_offset(), end });
        }
        Ok(batch.verify_crc()?)
    }

    fn rolls_before(&self, run: &[Batch], next: &BatchHeader, now_ms: i64) -> bool {
        let run_bytes = run.iter().map(|batch| batch.size_bytes()).sum::<u32>();
        !run.is_empty() && self.must_roll(next, run_bytes, now_ms)
    }

    fn write_run(&mut self, run: &[Batch]) -> Result<(), AppendError> {
        if run.is_empty() {
            return Ok(());
        }
        let headers: Vec<[u8; HEADER_BYTES]> =
            run.iter().map(|batch| batch.header().encode()).collect();
        let parts: Vec<IoSlice<'_>> = headers
            .iter()
            .zip(run)
            .flat_map(|(header, batch)| [IoSlice::new(header), IoSlice::new(batch.body())])
            .collect();
        self.write(&parts)?;
        for batch in run {
            self.on_batch_written(batch, transactions::marker(batch))?;
        }
        Ok(())
    }

    /// Makes room for a batch: rolls the segment when it must.
    fn admit(&mut self, batch: &BatchHeader, now_ms: i64) -> Result<(), AppendError> {
        let (batch_bytes, segment_bytes) = (batch.size_bytes(), self.config.segment_bytes);
        if self.failed {
            return Err(AppendError::Failed);
        }
        if self.unsynced.is_truncation_unsynced() {
            return Err(AppendError::TruncationUnsynced);
        }
        if batch_bytes > segment_bytes {
            return Err(AppendError::TooLarge { batch_bytes, segment_bytes });
        }
        if self.must_roll(batch, 0, now_ms) {
            self.roll(batch.base_offset(), now_ms)?;
        }
        Ok(())
    }

    /// Kafka's rules, in Kafka's order. `pending_bytes` will be in the segment before the batch.
    fn must_roll(&self, batch: &BatchHeader, pending_bytes: u32, now_ms: i64) -> bool {
        let active = &self.active;
        let size = active.size.saturating_add(pending_bytes);
        let waited_ms = match active.first_timestamp_ms {
            Some(first) if first >= 0 => batch.max_timestamp_ms().saturating_sub(first),
            _ => now_ms.saturating_sub(active.created_ms),
        };
        let config = &self.config;
        let wait_max = config.segment_ms.saturating_sub(config.segment_jitter_ms);
        let far = batch.last_offset().0 - active.base.0 > i64::from(i32::MAX);
        let moves = size > 0 || batch.base_offset() > active.base;
        let is_only = self.closed.is_empty() && self.durable_end <= active.base;
        if is_only && !far && i32::try_from(size.saturating_add(batch.size_bytes())).is_ok() {
            // Its name is not durable yet: a power loss could keep the next segment's and not this
            // one, and the log would begin in the middle.
            return false;
        }
        size > config.segment_bytes - batch.size_bytes().min(config.segment_bytes)
            || (size > 0 && waited_ms > i64::try_from(wait_max).unwrap_or(i64::MAX))
            || (size > 0 && active.index.is_full(config))
            || (far && moves)
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) -> Result<(), AppendError> {
        let at = u64::from(self.active.size);
        let log = self.active.log(self.env.disk(), &self.dir)?;
        if let Err(error) = log.write_at(at, parts) {
            self.unsynced.on_torn(log.clone());
            self.active.ragged = true;
            // Gives the space back at once; if this fails too, the next append or roll cuts.
            let cut = self.active.log(self.env.disk(), &self.dir).and_then(|log| log.set_len(at));
            self.active.ragged = cut.is_err();
            return Err(error.into());
        }
        Ok(())
    }

    /// A batch lies at the end of the open segment: everything that is known of the log follows.
    fn on_batch_written(
        &mut self,
        batch: &BatchHeader,
        marker: Option<Marker>,
    ) -> Result<(), AppendError> {
        assert!(batch.base_offset() >= self.end, "offsets are never used twice");
        let active = &mut self.active;
        let (position, size) = (active.size, batch.size_bytes());
        let entry = OffsetEntry { last: active.relative(batch.last_offset()), position };
        active.first_timestamp_ms.get_or_insert(batch.max_timestamp_ms());
        let interval = self.config.index_interval_bytes;
        active.index.on_batch(entry, size, batch.max_timestamp_ms(), interval);
        active.on_batch(batch.base_offset(), batch.next_offset(), position);
        active.size = position.checked_add(size).expect("a segment stays below 2 GiB");
        if self.epochs.assign(batch.leader_epoch(), batch.base_offset()) {
            self.unsynced.epochs_changed = true;
        }
        self.end = batch.next_offset();
        self.unsynced.on_append(size);
        match marker {
            None => self.producers.on_data(batch),
            Some(marker) => self.on_marker(batch, marker)?,
        }
        if self.active.index.wants_write() {
            // They stay pending when this fails; a roll will insist.
            let _ = self.write_index();
        }
        Ok(())
    }

    fn on_marker(&mut self, batch: &BatchHeader, marker: Marker) -> Result<(), AppendError> {
        let Some(ended) = self.producers.on_marker(batch, marker) else { return Ok(()) };
        if !ended.aborted {
            return Ok(());
        }
        let stable = self.producers.stable_after(&ended);
        let aborted = AbortedTransaction {
            producer: ended.producer,
            first: ended.first,
            last: ended.last,
            last_stable: stable,
        };
        // Without the entry, consumers would take aborted records for committed ones.
        self.write_aborted(&aborted).inspect_err(|_| self.failed = true)?;
        Ok(())
    }

    fn write_aborted(&mut self, aborted: &AbortedTransaction) -> io::Result<()> {
        let path = path(&self.dir, self.active.base, Kind::TxnIndex);
        let file = self.env.disk().open(&path, Open::OrCreate)?;
        file.write_at(file.len()?, &[IoSlice::new(&aborted.encode())])?;
        if !self.active.has_txn_index {
            self.active.has_txn_index = true;
            self.unsynced.directory = true;
        }
        self.unsynced.on_aborted(self.active.base, file);
        Ok(())
    }

    /// Writes the index entries held back.
    pub(super) fn write_index(&mut self) -> io::Result<()> {
        if !self.active.index.has_pending() {
            return Ok(());
        }
        let pending = self.active.index.pending();
        if !pending.offsets.is_empty() {
            let file = self.active.offset_index(self.env.disk(), &self.dir)?;
            file.write_at(pending.offsets_at, &[IoSlice::new(&pending.offsets)])?;
        }
        if !pending.times.is_empty() {
            let file = self.active.time_index(self.env.disk(), &self.dir)?;
            file.write_at(pending.times_at, &[IoSlice::new(&pending.times)])?;
        }
        self.active.index.on_written();
        Ok(())
    }

    /// Completes the index files of the open segment: the entry that closes the time index, and no
    /// room beyond the last entries.
    pub(super) fn complete_index(&mut self) -> io::Result<()> {
        self.active.index.add_time();
        self.write_index()?;
        let offsets = u64::from(self.active.index.offsets_written());
        let times = u64::from(self.active.index.times_written());
        let (disk, dir) = (self.env.disk(), &self.dir);
        self.active.offset_index(disk, dir)?.set_len(offsets * 8)?;
        self.active.time_index(disk, dir)?.set_len(times * 12)?;
        Ok(())
    }

    /// Closes the open segment and begins one at `base`. An error leaves the old one open.
    pub(super) fn roll(&mut self, base: Offset, now_ms: i64) -> io::Result<()> {
        assert!(base > self.active.base && base >= self.end, "segments do not overlap");
        if self.active.ragged {
            let size = u64::from(self.active.size);
            self.active.log(self.env.disk(), &self.dir)?.set_len(size)?;
            self.active.ragged = false;
        }
        self.complete_index()?;
        self.write_snapshot(base)?;
        let mut next = Active::new(base, now_ms);
        // What an earlier attempt may have left is not part of the log.
        next.log(self.env.disk(), &self.dir)?.set_len(0)?;
        let old = std::mem::replace(&mut self.active, next);
        self.unsynced.on_roll(&old);
        let largest_timestamp_ms = old.index.max_time().map_or(now_ms, |max| max.timestamp_ms);
        let closed = Closed {
            base: old.base,
            has_txn_index: old.has_txn_index,
            measured: Some(Measured { bytes: u64::from(old.size), largest_timestamp_ms }),
        };
        std::sync::Arc::make_mut(&mut self.closed).push(closed);
        Ok(())
    }

    /// Writes the producers' state at `offset`, the end of the log.
    fn write_snapshot(&mut self, offset: Offset) -> io::Result<()> {
        let bytes = snapshot::encode(&self.producers);
        let file =
            self.env.disk().open(&path(&self.dir, offset, Kind::Snapshot), Open::OrCreate)?;
        file.set_len(0)?;
        file.write_at(0, &[IoSlice::new(&bytes)])?;
        self.unsynced.on_snapshot(offset, file);
        Ok(())
    }
}
