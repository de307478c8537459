//! A partition's log in the long run: checkpoints, retention, deletion by request, closing.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::config::topic::TopicConfig;
use crate::env::clock::Clock;
use crate::env::probe::Cause;
use crate::env::{Env, probe};
use crate::log::LogConfig;
use crate::log::sync::{Checkpoint, Checkpointed};
use crate::log::write_error::WriteError;
use crate::partition::{Gone, Partition, ReadRefused};
use crate::types::{LeaderEpoch, Offset};

/// Asks DeleteRecords for everything up to the high watermark.
pub const HIGH_WATERMARK: i64 = -1;

impl<E: Env> Partition<E> {
    pub fn recovery_point(&self) -> Offset {
        self.lock().log.recovery_point()
    }

    pub fn log_start(&self) -> Offset {
        self.lock().log.start()
    }

    pub fn start_to_checkpoint(&self) -> Option<Offset> {
        let state = self.lock();
        state.log.start_to_checkpoint().max(state.start_wanted)
    }

    pub fn high_watermark(&self) -> Offset {
        self.lock().replica.high_watermark()
    }

    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.lock().log.bytes_since_checkpoint()
    }

    pub fn file_delete_delay(&self) -> Duration {
        Duration::from_millis(self.lock().config.file_delete_delay_ms.max(0) as u64)
    }

    pub fn expire_producers(&self) {
        let now_ms = self.env.clock().wall_ms();
        let mut state = self.lock();
        state.log.expire_producers(now_ms);
        self.tell_producers(&state, Some(now_ms));
    }

    /// What has to be written so that recovery may start later. `None`: nothing new.
    pub fn begin_checkpoint(&self) -> io::Result<Option<Checkpoint<E>>> {
        let mut state = self.lock();
        if state.is_deleted() {
            return Ok(None);
        }
        self.tell_producers(&state, None);
        state.log.begin_checkpoint()
    }

    pub fn on_checkpointed(&self, done: Checkpointed) {
        self.lock().log.on_checkpointed(done);
    }

    pub fn on_checkpoint_abandoned(&self, abandoned: Checkpoint<E>) {
        self.lock().log.on_checkpoint_abandoned(abandoned);
    }

    /// Takes no more writes, and asks for a sync of what is not durable yet, before the commit loop
    /// ends.
    pub fn begin_stop(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.gone.is_some() {
            return;
        }
        state.gone = Some(Gone::Stopping);
        if state.log.is_dirty() || state.log.durable_end() < state.log.end() {
            // Offline already: the close tells.
            let _ = self.committer.mark(self);
        }
    }

    /// Completes the files of a partition that takes no more writes and whose last sync is done.
    pub fn begin_close(&self) -> io::Result<Option<Checkpoint<E>>> {
        let mut state = self.lock();
        let stopping = matches!(state.gone, Some(Gone::Stopping));
        if !stopping || state.log.durable_end() < state.log.end() {
            return Err(io::Error::other("its last records are not durable"));
        }
        state.log.begin_close()
    }
}

impl<E: Env> Partition<E> {
    /// Bytes of records on the disk.
    pub async fn size_bytes(&self) -> io::Result<u64> {
        self.measure().await?;
        Ok(self.lock().log.size_bytes())
    }

    async fn measure(&self) -> io::Result<()> {
        let measuring = self.lock().log.begin_measure();
        if let Some(measuring) = measuring {
            let measured = measuring.carry_out().await?;
            self.lock().log.on_measured(measured);
        }
        Ok(())
    }

    /// Deletes the segments that are too old or too many. Says how many went.
    pub async fn retain(&self) -> io::Result<usize> {
        self.measure().await?;
        let _names = self.committer.hold_names().await;
        let now_ms = self.env.clock().wall_ms();
        let removal = {
            let mut state = self.lock();
            if state.gone.is_some() || !state.replica.leads() {
                return Ok(0);
            }
            let high_watermark = state.replica.high_watermark();
            let removal = state.log.retain(high_watermark, now_ms)?;
            if let Some(removal) = &removal {
                self.tell_expired(&state, removal.next(), now_ms);
            }
            removal
        };
        let Some(removal) = removal else { return Ok(0) };
        match removal.rename().await {
            Ok(()) => {}
            Err(WriteError::NoRoom(error)) => {
                self.committer.tell_full(&error);
                return Ok(0);
            }
            Err(WriteError::Failed(error)) => {
                self.committer.fail(io::Error::new(error.kind(), error.to_string()));
                return Err(error);
            }
        }
        {
            let mut state = self.lock();
            state.log.on_renamed(&removal);
            let (topic, partition, start) = (self.topic_id, self.index, state.log.start());
            let cause = Cause::Retention;
            self.env.probe(|| probe::Event::StartMoved { topic, partition, start, cause });
            state.waiters.wake();
        }
        let (segments, delay) = (removal.bases().len(), self.file_delete_delay());
        let (env, log) = (self.env.clone(), self.to_string());
        self.env.spawn("remove-segments", async move {
            env.clock().sleep(delay).await;
            if let Err(error) = removal.remove() {
                warn!(log, %error, "cannot remove deleted segments");
            }
        });
        Ok(segments)
    }

    /// Records below `to` are to be deleted; -1 deletes all that consumers may read. Says where the
    /// log will start once its owner has made that durable (`on_start_durable`): nobody is told of
    /// a start that a power loss could take back.
    pub fn delete_records(&self, to: i64) -> Result<Offset, DeletionError> {
        let mut state = self.lock();
        state.check_readable(LeaderEpoch(-1))?;
        let policy = state.config.cleanup_policy;
        if policy.compact && !policy.delete {
            return Err(DeletionError::Compacted);
        }
        let high_watermark = state.replica.high_watermark();
        let to = if to == HIGH_WATERMARK { high_watermark } else { Offset(to) };
        if to < Offset(0) || to > high_watermark {
            return Err(DeletionError::OutOfRange { to, high_watermark });
        }
        if to > state.log.start() {
            state.start_wanted = state.start_wanted.max(Some(to));
            let (topic, partition) = (self.topic_id, self.index);
            self.env.probe(|| probe::Event::DeletionAsked { topic, partition, start: to });
        }
        Ok(state.log.start().max(to))
    }

    /// The checkpoint says that the log starts at `start`.
    pub fn on_start_durable(&self, start: Offset) {
        let mut state = self.lock();
        // While it was written somebody may have asked for more.
        let Some(to) = state.start_wanted.map(|wanted| wanted.min(start)) else { return };
        state.start_wanted = state.start_wanted.filter(|&wanted| wanted > start);
        if state.gone.is_none() && state.log.raise_start(to) {
            let (topic, partition) = (self.topic_id, self.index);
            let cause = Cause::DeleteRecords;
            self.env.probe(|| probe::Event::StartMoved { topic, partition, start: to, cause });
            state.waiters.wake();
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DeletionError {
    #[error(transparent)]
    Refused(#[from] ReadRefused),
    #[error("cannot delete up to {to}, consumers may read up to {high_watermark}")]
    OutOfRange { to: Offset, high_watermark: Offset },
    #[error("the topic is compacted, and records are not deleted")]
    Compacted,
}

/// What the topic's options mean for its logs. `draw` spreads the rolls of many logs.
pub fn log_config(config: &TopicConfig, producer_id_expiration_ms: i64, draw: u64) -> LogConfig {
    let jitter_ms = config.segment_jitter_ms.max(0) as u64;
    let at_least_0 = |value: i64| u64::try_from(value).ok();
    LogConfig {
        segment_bytes: config.segment_bytes.max(0) as u32,
        segment_ms: config.segment_ms.max(0) as u64,
        segment_jitter_ms: if jitter_ms == 0 { 0 } else { draw % jitter_ms },
        segment_index_bytes: config.segment_index_bytes.max(0) as u32,
        index_interval_bytes: config.index_interval_bytes.max(0) as u32,
        retention_ms: at_least_0(config.retention_ms),
        retention_bytes: at_least_0(config.retention_bytes),
        cleanup_delete: config.cleanup_policy.delete,
        cleanup_compact: config.cleanup_policy.compact,
        file_delete_delay_ms: config.file_delete_delay_ms.max(0) as u64,
        producer_id_expiration_ms,
    }
}

impl<E: Env> fmt::Display for Partition<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}
