//! What happens by the clock: checkpoints, retention, forgetting silent producers.
//!
//! Checkpoints bound what a start after a crash has to read. They are taken every
//! `log.flush.offset.checkpoint.interval.ms` while something is written, and sooner when much is.
//! On a full disk they wait for room: nothing is lost, a start only has to read more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, warn};

use crate::broker::data_directory::DataDirectory;
use crate::broker::{Broker, Hosted};
use crate::env::Env;
use crate::env::clock::Clock;
use crate::log::checkpoint::{Checkpoint, Offsets};
use crate::log::directory::error::DirectoryError;
use crate::log::name::LogName;
use crate::log::sync;
use crate::log::write_error::WriteError;
use crate::partition::Partition;
use crate::types::Offset;

const TICK: Duration = Duration::from_secs(1);
/// So many bytes in one directory are reason enough for a checkpoint: reading them again takes a
/// fraction of a second.
const UNCHECKED_BYTES_MAX: u64 = 256 << 20;
/// Logs that are checkpointed together: each has a few files open until they are synced.
const TOGETHER_MAX: usize = 500;
/// Retention waits for the dust of the start to settle.
const RETENTION_DELAY: Duration = Duration::from_secs(30);
const PRODUCERS_EXPIRE_EVERY: Duration = Duration::from_secs(600);
/// How long whatever found the disk full waits before it tries again.
pub(super) const ROOM_RETRY: Duration = Duration::from_secs(1);

/// What became of something that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It is durable.
    Written,
    /// The disk is full: as before, and to be tried again.
    NoRoom,
    /// Its directory takes no writes any more.
    Offline,
}

impl<E: Env> Broker<E> {
    /// Starts the tasks; they end with the broker.
    pub(super) fn start_upkeep(self: &Arc<Self>) {
        let env = &self.env;
        self.keep(env.spawn("checkpoint", self.clone().checkpoint_by_time()));
        self.keep(env.spawn("checkpoint-hw", self.clone().checkpoint_high_watermarks()));
        self.keep(env.spawn("retention", self.clone().retain_by_time()));
        self.keep(env.spawn("expire-producers", self.clone().expire_producers()));
    }

    async fn checkpoint_by_time(self: Arc<Self>) {
        let clock = self.env.clock().clone();
        let interval_ms = self.settings().config.log_flush_offset_checkpoint_interval_ms;
        let interval = Duration::from_millis(interval_ms.max(0) as u64);
        let mut last = clock.now();
        let mut waits_for_room = vec![false; self.directories.len()];
        loop {
            clock.sleep(TICK).await;
            let _working = self.working.read().await;
            let due = clock.now().since(last) >= interval;
            if due {
                last = clock.now();
            }
            for (directory, waits) in self.directories.iter().zip(&mut waits_for_room) {
                let due = due || *waits;
                if !directory.has_committed() && !due {
                    continue;
                }
                let logs = self.hosted_in(directory);
                let unchecked = |hosted: &Hosted<E>| hosted.partition.bytes_since_checkpoint();
                let bytes: u64 = logs.iter().map(unchecked).sum();
                if due || bytes >= UNCHECKED_BYTES_MAX {
                    *waits = matches!(self.checkpoint(directory, &logs).await, Done::NoRoom);
                }
            }
        }
    }

    pub(super) fn hosted_in(&self, directory: &DataDirectory<E>) -> Vec<Hosted<E>> {
        let mut logs = self.hosted();
        logs.retain(|hosted| std::ptr::eq(&*hosted.directory, directory));
        logs
    }

    /// Logs that could not be opened.
    pub(super) fn unopened_in(&self, directory: &DataDirectory<E>) -> usize {
        let partitions = self.read_partitions();
        partitions.failed.values().filter(|found| std::ptr::eq(&***found, directory)).count()
    }

    /// Makes indexes, epochs and producers durable up to the records, then says so in the
    /// directory's files. A failure takes the directory offline, unless there was no room.
    async fn checkpoint(&self, directory: &DataDirectory<E>, logs: &[Hosted<E>]) -> Done {
        let begin = |partition: &Partition<E>| partition.begin_checkpoint();
        self.carry_out(directory, logs, begin).await
    }

    /// The same for logs that take no more writes, completed so that a clean start trusts them.
    pub(super) async fn close_logs(
        &self,
        directory: &DataDirectory<E>,
        logs: &[Hosted<E>],
    ) -> Done {
        self.carry_out(directory, logs, |partition| partition.begin_close()).await
    }

    async fn carry_out(
        &self,
        directory: &DataDirectory<E>,
        logs: &[Hosted<E>],
        begin: impl Fn(&Partition<E>) -> io::Result<Option<sync::Checkpoint<E>>>,
    ) -> Done {
        for some in logs.chunks(TOGETHER_MAX) {
            if directory.committer.offline().is_some() {
                return Done::Offline;
            }
            let _names = directory.committer.hold_names().await;
            let (mut begun, mut members, mut failed) = (Vec::new(), Vec::new(), None);
            for Hosted { partition, .. } in some {
                match begin(partition).map_err(WriteError::of_write) {
                    Ok(None) => {}
                    Ok(Some(checkpoint)) => {
                        begun.push(checkpoint);
                        members.push(partition);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            let path = directory.directory.path();
            let done = match failed {
                None => sync::carry_out(&self.env, path, &mut begun).await,
                Some(error) => Err(error),
            };
            match done {
                // Its own syncs may have found clean what a failed one left.
                Ok(_) if directory.committer.offline().is_some() => return Done::Offline,
                Ok(done) => {
                    let each = members.into_iter().zip(done);
                    each.for_each(|(partition, done)| partition.on_checkpointed(done));
                }
                Err(error) => {
                    let each = members.into_iter().zip(begun);
                    each.for_each(|(partition, begun)| partition.on_checkpoint_abandoned(begun));
                    return self.not_written(directory, error);
                }
            }
        }
        self.write_lines(directory).await
    }

    /// Writes where recovery begins and where logs start: without the lines of deleted logs.
    pub(super) async fn write_lines(&self, directory: &DataDirectory<E>) -> Done {
        let of = |partition: &Partition<E>| Some(partition.recovery_point());
        match self.write(directory, Checkpoint::RecoveryPoint, of).await {
            Done::Written => self.checkpoint_starts(directory).await,
            done => done,
        }
    }

    /// Takes the lines of deleted logs out of all checkpoints.
    pub(super) async fn forget_lines(&self, directory: &DataDirectory<E>) -> Done {
        match self.write_lines(directory).await {
            Done::Written => self.write_high_watermarks(directory).await,
            done => done,
        }
    }

    async fn checkpoint_starts(&self, directory: &DataDirectory<E>) -> Done {
        let of = Partition::start_to_checkpoint;
        let done = self.write(directory, Checkpoint::LogStart, of).await;
        if done == Done::Written {
            for Hosted { partition, .. } in self.hosted_in(directory) {
                let name = LogName::new(&*partition.topic, partition.index);
                if let Some(start) = directory.checkpointed(Checkpoint::LogStart, &name) {
                    partition.on_start_durable(start);
                }
            }
        }
        done
    }

    fn not_written(&self, directory: &DataDirectory<E>, error: WriteError) -> Done {
        match error {
            WriteError::NoRoom(error) => {
                directory.committer.tell_full(&error);
                Done::NoRoom
            }
            WriteError::Failed(error) => {
                let path = directory.directory.path().display();
                error!(directory = %path, %error, "cannot write a checkpoint");
                directory.committer.fail(error);
                Done::Offline
            }
        }
    }

    /// Before DeleteRecords is answered: what was deleted must not come back.
    pub async fn make_starts_durable(&self, partition: &Arc<Partition<E>>) -> bool {
        let hosted = self.hosted();
        let found = hosted.iter().find(|hosted| Arc::ptr_eq(&hosted.partition, partition));
        let Some(directory) = found.map(|hosted| hosted.directory.clone()) else { return false };
        matches!(self.checkpoint_starts(&directory).await, Done::Written)
    }

    async fn write(
        &self,
        directory: &DataDirectory<E>,
        which: Checkpoint,
        of: impl Fn(&Partition<E>) -> Option<Offset>,
    ) -> Done {
        if directory.committer.offline().is_some() {
            return Done::Offline;
        }
        let gather = || offsets(&self.hosted_in(directory), of);
        match directory.checkpoint(which, gather).await {
            Ok(()) => Done::Written,
            Err(DirectoryError::NoRoom { error, .. }) => {
                self.not_written(directory, WriteError::NoRoom(error))
            }
            Err(error) => {
                let error = io::Error::other(error.to_string());
                self.not_written(directory, WriteError::Failed(error))
            }
        }
    }

    async fn checkpoint_high_watermarks(self: Arc<Self>) {
        let every = self.settings().config.replica_high_watermark_checkpoint_interval_ms;
        let every = Duration::from_millis(every.max(1) as u64);
        loop {
            self.env.clock().sleep(every).await;
            let _working = self.working.read().await;
            for directory in &self.directories {
                self.write_high_watermarks(directory).await;
            }
        }
    }

    pub(super) async fn write_high_watermarks(&self, directory: &DataDirectory<E>) -> Done {
        let of = |partition: &Partition<E>| Some(partition.high_watermark());
        self.write(directory, Checkpoint::Replication, of).await
    }

    async fn retain_by_time(self: Arc<Self>) {
        let clock = self.env.clock().clone();
        let every = self.settings().config.log_retention_check_interval_ms;
        let every = Duration::from_millis(every.max(1) as u64);
        clock.sleep(RETENTION_DELAY.min(every)).await;
        loop {
            let working = self.working.read().await;
            for Hosted { partition, directory } in self.hosted() {
                if directory.committer.offline().is_some() {
                    continue;
                }
                match partition.retain().await {
                    Ok(0) => {}
                    Ok(segments) => debug!(%partition, segments, "deleted old segments"),
                    Err(error) => warn!(%partition, %error, "cannot delete old segments"),
                }
            }
            for directory in &self.directories {
                self.checkpoint_starts(directory).await;
            }
            drop(working);
            clock.sleep(every).await;
        }
    }

    async fn expire_producers(self: Arc<Self>) {
        loop {
            self.env.clock().sleep(PRODUCERS_EXPIRE_EVERY).await;
            for Hosted { partition, .. } in self.hosted() {
                partition.expire_producers();
            }
        }
    }
}

fn offsets<E: Env>(logs: &[Hosted<E>], of: impl Fn(&Partition<E>) -> Option<Offset>) -> Offsets {
    let line = |hosted: &Hosted<E>| {
        let partition = &hosted.partition;
        Some((LogName::new(&*partition.topic, partition.index), of(partition)?))
    };
    logs.iter().filter_map(line).collect()
}
