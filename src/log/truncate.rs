//! Going back: a follower cuts what its leader does not have.
//!
//! Where to cut, and what is known of the log that is left, is found outside the lock; the cut
//! itself is quick. The owner lowers the recovery point on the disk first: a checkpoint that says
//! more than the log holds would look like damage.

use std::io;
use std::sync::Arc;

use crate::env::Env;
use crate::env::disk::{Disk, File, Open};
use crate::log::Log;
use crate::log::LogConfig;
use crate::log::read::{Part, ReadError, View};
use crate::log::recovery::listing::{self, Files};
use crate::log::recovery::load::{self, Loaded};
use crate::log::recovery::replay::{self, Restored, Span};
use crate::log::segment::{Active, Kind, path};
use crate::types::Offset;

/// A cut that is being prepared.
pub struct Truncation<E: Env> {
    view: View<E>,
    config: Arc<LogConfig>,
    snapshots: Vec<Offset>,
    to: Offset,
    truncations: u32,
}

/// A cut that is ready to be made.
pub struct Cut {
    part: Part,
    loaded: Loaded,
    restored: Restored,
    txn_bytes: Option<u64>,
    log_end: Offset,
    to: Offset,
    truncations: u32,
    /// A batch spans the offset and went whole.
    end: Offset,
}

#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    #[error("the log changed while the cut was prepared")]
    Stale,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot cut: {0}")]
    Io(#[from] io::Error),
}

impl<E: Env> Log<E> {
    /// Prepares to remove everything at and after `to`. `None` when there is nothing, or when all
    /// goes: then `restart_at` is what is wanted.
    pub fn begin_truncate(&mut self, to: Offset) -> io::Result<Option<Truncation<E>>> {
        if to >= self.end || to <= self.start {
            return Ok(None);
        }
        self.write_index()?;
        let snapshots = self.unsynced.snapshots.iter().copied().filter(|at| *at <= to).collect();
        Ok(Some(Truncation {
            view: self.view([to, self.start]),
            config: self.config.clone(),
            snapshots,
            to,
            truncations: self.unsynced.truncations,
        }))
    }

    /// Makes the cut. Nothing can be appended before it is synced.
    pub fn truncate(&mut self, cut: Cut, now_ms: i64) -> Result<(), TruncateError> {
        if cut.truncations != self.unsynced.truncations || cut.log_end != self.end {
            return Err(TruncateError::Stale);
        }
        // Memory first: after an error the log is no longer appended to, and is opened anew.
        self.failed = true;
        self.go_back(cut.end);
        self.remove_from(cut.part.base, false)?;
        let mut active = Active::new(cut.part.base, now_ms);
        active.size = u32::try_from(cut.loaded.size).expect("segments stay below 2 GiB");
        active.first_timestamp_ms = cut.loaded.first_timestamp_ms.filter(|_| active.size > 0);
        active.index = cut.loaded.index;
        active.index.on_opened();
        active.has_txn_index = cut.part.has_txn_index;
        active.log(self.env.disk(), &self.dir)?.set_len(cut.loaded.size)?;
        if let Some(bytes) = cut.txn_bytes {
            let path = path(&self.dir, cut.part.base, Kind::TxnIndex);
            let file = self.env.disk().open(&path, Open::Existing)?;
            file.set_len(bytes)?;
            self.unsynced.index_files.push(file);
        }
        self.active = active;
        self.trim_index()?;
        self.producers = cut.restored.producers;
        self.unsynced.snapshots = cut.restored.snapshots;
        self.unsynced.on_truncated(cut.restored.replayed_bytes);
        self.failed = false;
        self.check();
        Ok(())
    }

    /// Removes everything and starts again, empty, at `start`.
    pub fn restart_at(&mut self, start: Offset, now_ms: i64) -> io::Result<()> {
        self.failed = true;
        self.remove_from(self.first_base(), true)?;
        for offset in std::mem::take(&mut self.unsynced.snapshots) {
            listing::remove_if_there(&self.env, &path(&self.dir, offset, Kind::Snapshot))?;
        }
        self.active = Active::new(start, now_ms);
        self.active.log(self.env.disk(), &self.dir)?;
        self.epochs.clear();
        self.producers = Default::default();
        (self.start, self.end) = (start, start);
        (self.durable_end, self.recovery_point) = (start, start);
        self.unsynced.on_truncated(0);
        self.unsynced.epochs_changed = true;
        self.unsynced.limit_syncing(start);
        self.failed = false;
        self.check();
        Ok(())
    }

    fn go_back(&mut self, end: Offset) {
        // Where a batch spans the cut, even deleted records before it are gone.
        self.start = self.start.min(end);
        self.end = end;
        self.durable_end = self.durable_end.min(end);
        self.recovery_point = self.recovery_point.min(end);
        self.unsynced.limit_syncing(end);
        self.unsynced.epochs_changed |= self.epochs.truncate_end(end);
    }

    /// Removes the segments after the one at `base`, newest first, and their snapshots; with
    /// `inclusive` that one too.
    fn remove_from(&mut self, base: Offset, inclusive: bool) -> io::Result<()> {
        for &offset in self.unsynced.snapshots.iter().filter(|offset| **offset > self.end) {
            listing::remove_if_there(&self.env, &path(&self.dir, offset, Kind::Snapshot))?;
        }
        let goes = |at: Offset| at > base || (inclusive && at == base);
        let mut closed = self.closed.to_vec();
        if goes(self.active.base) {
            listing::remove_segment(&self.env, &self.dir, self.active.base)?;
        }
        while let Some(last) = closed.last().filter(|last| goes(last.base)) {
            listing::remove_segment(&self.env, &self.dir, last.base)?;
            closed.pop();
        }
        closed.retain(|segment| segment.base < base);
        self.closed = Arc::new(closed);
        Ok(())
    }

    /// Leaves in the index files what the open segment's index says.
    fn trim_index(&mut self) -> io::Result<()> {
        let Active { base, index, .. } = &self.active;
        let trimmed = load::trim_index(&self.env, &self.dir, *base, index)?;
        self.unsynced.index_files.extend(trimmed);
        self.write_index()
    }
}

impl<E: Env> Truncation<E> {
    /// Reads what the log will be after the cut.
    pub async fn resolve(self) -> Result<Cut, TruncateError> {
        let (view, to) = (&self.view, self.to);
        let mut part = view.part_of(to);
        if part.base == to && part.base > view.part(0).base {
            // The whole segment goes: the one before it is open again.
            part = view.part_of(Offset(to.0 - 1));
        }
        let files = self.files(&part)?;
        let limit = Some(to);
        let loaded =
            load::tail(&view.env, &view.dir, part.base, files, &self.config, limit).await?;
        if loaded.invalid.is_some() {
            return Err(ReadError::Damaged { base: part.base, at: loaded.size }.into());
        }
        let end = loaded.end;
        let span = Span {
            end,
            rewrite_from: None,
            // Nobody expires for being cut back to.
            now_ms: 0,
            expiration_ms: self.config.producer_id_expiration_ms,
        };
        let snapshots: Vec<Offset> = self.snapshots.iter().copied().filter(|s| *s <= end).collect();
        let restored = replay::restore(view, &snapshots, &span).await?;
        let mut txn_bytes = None;
        if part.has_txn_index {
            let file = view.open(part.base, Kind::TxnIndex)?;
            let kept = replay::entries_below(&file, end).await?;
            txn_bytes = Some(kept * crate::log::transactions::ENTRY_BYTES as u64);
        }
        let (log_end, truncations) = (view.end, self.truncations);
        Ok(Cut { part, loaded, restored, txn_bytes, log_end, to, truncations, end })
    }

    fn files(&self, part: &Part) -> io::Result<Files> {
        let disk = self.view.env.disk();
        let has = |kind| disk.exists(&path(&self.view.dir, part.base, kind));
        let (index, time_index) = (has(Kind::Index)?, has(Kind::TimeIndex)?);
        Ok(Files { log: true, index, time_index, txn_index: part.has_txn_index })
    }
}

impl Cut {
    /// Where the log will end: before the offset asked for when a batch spans it.
    pub fn end(&self) -> Offset {
        assert!(self.end <= self.to, "a cut leaves nothing past it");
        self.end
    }
}
