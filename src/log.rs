//! One log on disk, in Kafka's format. It does not know what a topic is.
//!
//! A [`Log`] has one owner, who guards it with a short lock: the methods on `&mut self` write to
//! the page cache or to nothing, and never wait. What may wait for a device (opening, looking up,
//! syncing, deleting) is handed out as a plan that its receiver carries out outside the lock.
//!
//! Invariants, checked after each change:
//!   start <= end, recovery_point <= durable_end <= end
//!   segments are in order, do not overlap, and only the last one is written to
//!   what `durable_end` covers was synced, with the directory entries that lead to it
//!
//! `append` and `truncate` change the log, `sync` makes it durable, `read` and `lookup` find
//! records, `retention` lets go of them, `recovery` opens it again. `segment`, `index`, `epochs`,
//! `identity`, `producers`, `snapshot`, `transactions` are the files; `scan` walks a segment's batches.
//! `commit` syncs all logs of a directory together.

use std::path::Path;
use std::sync::Arc;

use crate::env::{Env, FileOf};
use crate::log::epochs::{EpochEnd, Epochs};
use crate::log::producers::Producers;
use crate::log::segment::{Active, Closed};
use crate::log::sync::Unsynced;
use crate::types::{LeaderEpoch, Offset};

pub mod append;
pub mod checkpoint;
pub mod commit;
pub mod deletion;
pub mod directory;
pub mod epochs;
pub mod identity;
pub mod index;
pub mod lookup;
pub mod name;
pub mod producers;
pub mod properties;
pub mod read;
pub mod recovery;
pub mod replace;
pub mod retention;
pub mod scan;
pub mod segment;
pub mod snapshot;
pub mod sync;
pub mod text;
pub mod told;
pub mod transactions;
pub mod truncate;
pub mod write_error;

#[cfg(test)]
mod tests;

/// One partition's records, and what is known of them.
pub struct Log<E: Env> {
    env: E,
    dir: Arc<Path>,
    config: Arc<LogConfig>,
    /// Oldest first; shared with the plans that read them.
    closed: Arc<Vec<Closed>>,
    active: Active<FileOf<E>>,
    /// Records below are gone, or going.
    start: Offset,
    /// The next offset to assign.
    end: Offset,
    /// Everything below survives a power loss.
    durable_end: Offset,
    /// Everything below is durable with its indexes, epochs and producers: recovery starts here.
    recovery_point: Offset,
    epochs: Epochs,
    producers: Producers,
    unsynced: Unsynced<FileOf<E>>,
    /// A write went wrong in a way that leaves memory and disk apart: nothing more is appended.
    failed: bool,
}

/// The options of one log, in Kafka's words and units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub segment_bytes: u32,
    pub segment_ms: u64,
    /// Taken off `segment_ms`, so that many logs do not roll at once. Drawn by the owner.
    pub segment_jitter_ms: u64,
    pub segment_index_bytes: u32,
    pub index_interval_bytes: u32,
    /// `None`: for ever.
    pub retention_ms: Option<u64>,
    /// `None`: as much as there is.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` names `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` names `compact`.
    pub cleanup_compact: bool,
    /// How long a deleted segment's files stay, for those who still read them.
    pub file_delete_delay_ms: u64,
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * 24 * 3600 * 1000),
            retention_bytes: None,
            cleanup_delete: true,
            cleanup_compact: false,
            file_delete_delay_ms: 60_000,
            producer_id_expiration_ms: 24 * 3600 * 1000,
        }
    }
}

impl<E: Env> Log<E> {
    pub fn env(&self) -> &E {
        &self.env
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes effect with the next append or retention pass.
    pub fn set_config(&mut self, config: Arc<LogConfig>) {
        self.config = config;
    }

    /// The first offset that may be read.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The next offset to assign.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Everything below survives a power loss.
    pub fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// What `recovery-point-offset-checkpoint` may say once `Checkpoint` jobs were carried out.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// What `log-start-offset-checkpoint` must say; `None` when the files alone say it.
    pub fn start_to_checkpoint(&self) -> Option<Offset> {
        (self.start > self.first_base()).then_some(self.start)
    }

    /// Bytes written since the last `Checkpoint`: what recovery would read after a crash.
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.unsynced.bytes_since_checkpoint
    }

    /// Whether a write failed so that nothing more can be appended before the log is opened anew.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The end of the largest epoch at or below `asked`; see [`Epochs::end_of`].
    pub fn end_offset_for(&self, asked: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_of(asked, self.end)
    }

    /// A leader begins `epoch` here, at the end of the log.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        if self.epochs.assign(epoch, self.end) {
            self.unsynced.epochs_changed = true;
        }
    }

    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Forgets idle producers (`producer.id.expiration.ms`). To be called now and then.
    pub fn expire_producers(&mut self, now_ms: i64) {
        self.producers.expire(now_ms, self.config.producer_id_expiration_ms);
    }

    /// Where read_committed consumers stop.
    pub fn last_stable(&self, high_watermark: Offset) -> Offset {
        self.producers.last_stable(high_watermark)
    }

    /// To be called when the high watermark moved.
    pub fn on_high_watermark(&mut self, high_watermark: Offset) {
        self.producers.on_high_watermark(high_watermark);
    }

    pub fn segment_count(&self) -> usize {
        self.closed.len() + 1
    }

    /// The base offset of the oldest segment.
    pub fn first_base(&self) -> Offset {
        self.closed.first().map_or(self.active.base, |oldest| oldest.base)
    }

    /// Closes the files of an idle log and gives back its buffers. They come back with the next
    /// append.
    pub fn release(&mut self) {
        if !self.is_dirty() && self.write_index().is_ok() {
            self.active.release();
        }
    }

    fn check(&self) {
        assert!(self.start <= self.end, "the log starts at or before its end");
        assert!(self.recovery_point <= self.durable_end, "recovery trusts synced bytes only");
        assert!(self.durable_end <= self.end, "nothing unwritten is durable");
        assert!(self.active.base <= self.end, "the open segment holds the end");
    }
}
