//! Making a log durable: what the commit loop syncs, and the checkpoint that follows at leisure.
//!
//! A sync covers the records: the open segment, those closed since the last sync, and the
//! directory entries that lead to them. One sync is under way at a time, so what it covers is
//! always a prefix of the log. A checkpoint covers what recovery would otherwise derive again:
//! indexes, epochs, producers. Only then does the recovery point follow the durable end, so
//! everything recovery takes for granted below it is on the disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::env::disk::{Disk, File};
use crate::env::{Env, FileOf};
use crate::log::Log;
use crate::log::commit::Round;
use crate::log::epochs::Epochs;
use crate::log::replace::put;
use crate::log::segment::{Active, Kind, path};
use crate::log::snapshot;
use crate::log::write_error::WriteError;
use crate::types::Offset;

pub const EPOCHS_NAME: &str = "leader-epoch-checkpoint";

/// Bytes of records after the newest producer snapshot before a checkpoint writes another: what
/// recovery reads at least, in each log that was busy.
const SNAPSHOT_BYTES: u64 = 4 << 20;

/// What was written and not synced.
pub struct Unsynced<F> {
    /// Files with records that are no longer written to, and others the records rest on.
    files: Vec<F>,
    /// The open segment has unsynced records.
    open_segment: bool,
    /// The open segment, since a write failed: the disk may hold a part of it behind the records,
    /// and a size that was taken back.
    torn: Option<F>,
    /// Entries of the log's directory.
    pub(super) directory: bool,
    /// The entry of the log's directory itself.
    pub(super) parent: bool,
    /// The end that the sync under way will make durable.
    syncing: Option<Offset>,
    pub(super) index_files: Vec<F>,
    /// The segment whose transaction index is among `index_files`.
    txn_index_listed: Option<Offset>,
    pub(super) epochs_changed: bool,
    /// Producer snapshots, by their offsets; ascending. Those of segment bases and the newest.
    pub(super) snapshots: Vec<Offset>,
    bytes_since_snapshot: u64,
    pub(super) bytes_since_checkpoint: u64,
    /// A checkpoint was begun and did not end: it alone knows of some files.
    checkpointing: bool,
    /// Tells a checkpoint that the log went back after it was begun.
    pub(super) truncations: u32,
    /// The last truncation a sync has covered, and the one the sync under way will.
    truncations_synced: u32,
    truncations_syncing: u32,
    /// Made by this process: its index files may be missing yet.
    pub(super) created: bool,
}

impl<F> Default for Unsynced<F> {
    fn default() -> Unsynced<F> {
        Unsynced {
            files: Vec::new(),
            open_segment: false,
            torn: None,
            directory: false,
            parent: false,
            syncing: None,
            index_files: Vec::new(),
            txn_index_listed: None,
            epochs_changed: false,
            snapshots: Vec::new(),
            bytes_since_snapshot: 0,
            bytes_since_checkpoint: 0,
            checkpointing: false,
            truncations: 0,
            truncations_synced: 0,
            truncations_syncing: 0,
            created: false,
        }
    }
}

impl<F: Clone> Unsynced<F> {
    pub(super) fn on_append(&mut self, bytes: u32) {
        self.open_segment = true;
        self.bytes_since_snapshot += u64::from(bytes);
        self.bytes_since_checkpoint += u64::from(bytes);
    }

    /// A write to the open segment failed. Nothing waits for a sync because of it, but the segment
    /// must be synced before others follow it.
    pub(super) fn on_torn(&mut self, file: F) {
        self.torn = Some(file);
    }

    pub(super) fn on_roll(&mut self, closed: &Active<F>) {
        let torn = self.torn.take();
        self.files.extend(match std::mem::replace(&mut self.open_segment, false) {
            true => closed.log_if_open().cloned(),
            false => torn,
        });
        self.index_files.extend(closed.offset_index_if_open().cloned());
        self.index_files.extend(closed.time_index_if_open().cloned());
        self.directory = true;
    }

    pub(super) fn on_snapshot(&mut self, offset: Offset, file: F) {
        self.index_files.push(file);
        self.directory = true;
        self.bytes_since_snapshot = 0;
        if self.snapshots.last() != Some(&offset) {
            self.snapshots.push(offset);
        }
    }

    /// The log went back: its open segment has to be synced as it is now, and a checkpoint under
    /// way speaks of another log.
    pub(super) fn on_truncated(&mut self, bytes_since_snapshot: u64) {
        self.open_segment = true;
        self.directory = true;
        self.truncations += 1;
        self.bytes_since_snapshot = bytes_since_snapshot;
        self.bytes_since_checkpoint = 0;
    }

    /// The log went back and that is not durable: old bytes could show up again behind new ones.
    pub(super) fn is_truncation_unsynced(&self) -> bool {
        self.truncations_synced != self.truncations
    }

    /// The sync under way makes nothing at or past `end` durable.
    pub(super) fn limit_syncing(&mut self, end: Offset) {
        self.syncing = self.syncing.map(|syncing| syncing.min(end));
    }

    /// So many bytes follow the newest snapshot.
    pub(super) fn on_replayed(&mut self, bytes: u64) {
        self.bytes_since_snapshot = bytes;
    }

    /// An entry was added to the transaction index of the segment at `base`.
    pub(super) fn on_aborted(&mut self, base: Offset, file: F) {
        if self.txn_index_listed != Some(base) {
            self.txn_index_listed = Some(base);
            self.index_files.push(file);
        }
    }

    /// A file that records rest on, such as `partition.metadata`.
    pub(super) fn file(&mut self, file: F) {
        self.files.push(file);
    }
}

/// Files to write, sync and rename so that the recovery point may rise. Carried out outside the
/// lock; then `on_checkpointed`.
pub struct Checkpoint<E: Env> {
    env: E,
    dir: PathBuf,
    /// Of segments that are no longer written to: nobody but this checkpoint knows of them now.
    index_files: Vec<FileOf<E>>,
    /// Of the open segment, and those that the checkpoint writes.
    files: Vec<FileOf<E>>,
    snapshot: Option<(Offset, Vec<u8>)>,
    epochs: Option<Epochs>,
    obsolete_snapshots: Vec<Offset>,
    recovery_point: Offset,
    truncations: u32,
    bytes: u64,
    bytes_since_snapshot: u64,
}

/// A checkpoint that is on the disk.
#[must_use = "tell the log with on_checkpointed"]
pub struct Checkpointed {
    recovery_point: Offset,
    truncations: u32,
    snapshot: Option<Offset>,
    bytes: u64,
}

impl<E: Env> Log<E> {
    /// Adds what is unsynced to `round`; says the end that is durable once the round is synced.
    /// `None` when there is nothing to do.
    pub fn begin_sync(&mut self, round: &mut Round<FileOf<E>>) -> Option<Offset> {
        assert!(self.unsynced.syncing.is_none(), "one sync at a time, so that it is a prefix");
        let unsynced = &mut self.unsynced;
        if !unsynced.open_segment && unsynced.files.is_empty() && self.durable_end == self.end {
            return None;
        }
        unsynced.files.drain(..).for_each(|file| round.file(file));
        if std::mem::replace(&mut unsynced.open_segment, false) {
            unsynced.torn = None;
            let log = self.active.log_if_open().expect("what was written to is open");
            round.file(log.clone());
        }
        if std::mem::replace(&mut unsynced.directory, false) {
            round.directory(&self.dir);
        }
        if std::mem::replace(&mut unsynced.parent, false) {
            round.directory(self.dir.parent().unwrap_or(Path::new(".")));
        }
        self.active.mark(self.end);
        unsynced.syncing = Some(self.end);
        unsynced.truncations_syncing = unsynced.truncations;
        Some(self.end)
    }

    /// The sync that began last succeeded. Says the durable end.
    pub fn on_synced(&mut self, end: Offset) -> Offset {
        let syncing = self.unsynced.syncing.take().expect("a sync ends once");
        assert!(syncing <= end, "the sync covers what it was begun for");
        self.unsynced.truncations_synced = self.unsynced.truncations_syncing;
        // Less than asked for when the log was truncated meanwhile.
        self.durable_end = self.durable_end.max(syncing);
        self.check();
        self.durable_end
    }

    /// The sync failed: what it was to cover may be gone although it still reads back.
    pub fn on_sync_failed(&mut self) {
        self.unsynced.syncing = None;
        self.failed = true;
    }

    /// Whether something waits for a sync.
    pub fn is_dirty(&self) -> bool {
        self.unsynced.open_segment || !self.unsynced.files.is_empty()
    }

    /// To be called every few seconds while the log is dirty, and after about 256 MiB in one
    /// directory: bounds what recovery reads. `None` when a checkpoint would tell nothing new.
    pub fn begin_checkpoint(&mut self) -> io::Result<Option<Checkpoint<E>>> {
        let moves = self.recovery_point < self.durable_end;
        if !moves && !self.unsynced.epochs_changed && self.unsynced.index_files.is_empty() {
            return Ok(None);
        }
        self.write_index()?;
        let due = self.unsynced.bytes_since_snapshot >= SNAPSHOT_BYTES;
        Ok(Some(self.checkpoint(due)))
    }

    /// Completes the files of a log that is to be left alone: its last sync is done. The recovery
    /// point will be the end; then a clean start reads next to nothing.
    pub fn begin_close(&mut self) -> io::Result<Option<Checkpoint<E>>> {
        if self.failed {
            // Recovery will find out what is left.
            return Ok(None);
        }
        assert!(!self.is_dirty() && self.durable_end == self.end, "sync before closing");
        let snapshot =
            self.unsynced.snapshots.last() != Some(&self.end) && self.end > self.first_base();
        let untouched = self.recovery_point == self.end
            && !self.unsynced.epochs_changed
            && !self.unsynced.created
            && self.unsynced.index_files.is_empty();
        if untouched && !snapshot {
            return Ok(None);
        }
        self.complete_index()?;
        self.unsynced.created = false;
        Ok(Some(self.checkpoint(snapshot)))
    }

    fn checkpoint(&mut self, snapshot: bool) -> Checkpoint<E> {
        let unsynced = &mut self.unsynced;
        let others = std::mem::replace(&mut unsynced.checkpointing, true);
        assert!(!others, "one checkpoint at a time, so that it covers what came before");
        let index_files = std::mem::take(&mut unsynced.index_files);
        unsynced.txn_index_listed = None;
        let mut files = Vec::new();
        files.extend(self.active.offset_index_if_open().cloned());
        files.extend(self.active.time_index_if_open().cloned());
        let bytes_since_snapshot = unsynced.bytes_since_snapshot;
        if snapshot {
            unsynced.bytes_since_snapshot = 0;
        }
        let changed = std::mem::replace(&mut unsynced.epochs_changed, false);
        Checkpoint {
            env: self.env.clone(),
            dir: self.dir.to_path_buf(),
            index_files,
            files,
            snapshot: snapshot.then(|| (self.end, snapshot::encode(&self.producers))),
            epochs: changed.then(|| self.epochs.clone()),
            obsolete_snapshots: self.take_obsolete_snapshots(),
            recovery_point: self.durable_end,
            truncations: self.unsynced.truncations,
            bytes: self.unsynced.bytes_since_checkpoint,
            bytes_since_snapshot,
        }
    }

    /// Snapshots that no recovery will want: it takes the newest one at or below the recovery
    /// point. Those at segment bases stay, as Kafka keeps them.
    fn take_obsolete_snapshots(&mut self) -> Vec<Offset> {
        let snapshots = std::mem::take(&mut self.unsynced.snapshots);
        let newest = snapshots.iter().rev().find(|offset| **offset <= self.recovery_point).copied();
        let (obsolete, kept): (Vec<Offset>, Vec<Offset>) = snapshots
            .into_iter()
            .partition(|&offset| newest.is_some_and(|n| offset < n) && !self.is_base(offset));
        self.unsynced.snapshots = kept;
        obsolete
    }

    pub(super) fn is_base(&self, offset: Offset) -> bool {
        offset == self.active.base
            || self.closed.binary_search_by_key(&offset, |closed| closed.base).is_ok()
    }

    /// A checkpoint is on the disk. The log may have gone on meanwhile; when it went back, the
    /// checkpoint says nothing.
    pub fn on_checkpointed(&mut self, done: Checkpointed) {
        self.unsynced.checkpointing = false;
        if done.truncations != self.unsynced.truncations {
            return;
        }
        self.recovery_point = self.recovery_point.max(done.recovery_point);
        let unsynced = &mut self.unsynced;
        unsynced.bytes_since_checkpoint -= done.bytes;
        if let Some(offset) = done.snapshot
            && !unsynced.snapshots.contains(&offset)
        {
            unsynced.snapshots.push(offset);
            unsynced.snapshots.sort_unstable();
        }
        self.check();
    }

    /// There was no room for a checkpoint: the next one has to do what this one was to do.
    pub fn on_checkpoint_abandoned(&mut self, abandoned: Checkpoint<E>) {
        let unsynced = &mut self.unsynced;
        unsynced.checkpointing = false;
        unsynced.index_files.extend(abandoned.index_files);
        unsynced.epochs_changed |= abandoned.epochs.is_some();
        if abandoned.truncations != unsynced.truncations {
            return;
        }
        if abandoned.snapshot.is_some() {
            unsynced.bytes_since_snapshot += abandoned.bytes_since_snapshot;
        }
        unsynced.snapshots.extend(abandoned.obsolete_snapshots);
        unsynced.snapshots.sort_unstable();
        unsynced.snapshots.dedup();
    }
}

impl<E: Env> Checkpoint<E> {
    /// The recovery point once this is carried out.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// Writes what is to be synced, into the page cache.
    fn write(&mut self) -> io::Result<()> {
        let disk = self.env.disk();
        if let Some((offset, bytes)) = &self.snapshot {
            self.files.push(put(disk, &path(&self.dir, *offset, Kind::Snapshot), bytes)?);
        }
        if let Some(epochs) = &self.epochs {
            self.files.push(put(disk, &self.temporary(), epochs.to_text().as_bytes())?);
        }
        Ok(())
    }

    /// What was written is synced: it takes the place of what was there.
    fn publish(&self) -> io::Result<()> {
        let disk = self.env.disk();
        if self.epochs.is_some() {
            disk.rename(&self.temporary(), &self.dir.join(EPOCHS_NAME))?;
        }
        for offset in &self.obsolete_snapshots {
            match disk.remove(&path(&self.dir, *offset, Kind::Snapshot)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join(format!("{EPOCHS_NAME}.tmp"))
    }

    fn done(self) -> Checkpointed {
        Checkpointed {
            recovery_point: self.recovery_point,
            snapshot: self.snapshot.map(|(offset, _)| offset),
            truncations: self.truncations,
            bytes: self.bytes,
        }
    }
}

/// Up to so many logs are synced file by file; more, with one sync of all that is there.
const SINGLE_MAX: usize = 2;

/// Carries out checkpoints of logs of one log directory, and answers one `Checkpointed` for each.
/// Where there is no room, `checkpoints` still holds all of them, to be abandoned. After any other
/// error the directory is not to be trusted.
pub async fn carry_out<E: Env>(
    env: &E,
    directory: &Path,
    checkpoints: &mut Vec<Checkpoint<E>>,
) -> Result<Vec<Checkpointed>, WriteError> {
    let single = checkpoints.len() <= SINGLE_MAX;
    for checkpoint in checkpoints.iter_mut() {
        checkpoint.write().map_err(WriteError::of_write)?;
        if single {
            for file in checkpoint.index_files.iter().chain(&checkpoint.files) {
                file.sync().await.map_err(WriteError::of_sync)?;
            }
        }
    }
    let all = || env.disk().sync_all(directory);
    if !single {
        all().await.map_err(WriteError::of_sync)?;
    }
    for checkpoint in checkpoints.iter() {
        checkpoint.publish().map_err(WriteError::of_write)?;
        if single {
            env.disk().sync_dir(&checkpoint.dir).await.map_err(WriteError::of_sync)?;
        }
    }
    if !single {
        all().await.map_err(WriteError::of_sync)?;
    }
    Ok(checkpoints.drain(..).map(Checkpoint::done).collect())
}
