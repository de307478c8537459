//! Letting go of old snapshots and of the log below them.
//!
//! The log never starts past a snapshot: where it starts, a snapshot ends. The last snapshot stays.

use std::io;

use crate::env::clock::Clock;
use crate::env::disk::{Disk, File, Open};
use crate::env::{Env, probe};
use crate::log::write_error::WriteError;
use crate::quorum::driver::open::io_error;
use crate::quorum::driver::{PARTITION, Quorum, QuorumError, Shared};
use crate::quorum::snapshot::SnapshotId;
use crate::types::Uuid;

impl<E: Env> Quorum<E> {
    /// Drops the oldest snapshots, and the log up to the next, while together they are larger or
    /// older than allowed.
    pub async fn retain(&self) -> Result<(), QuorumError> {
        while let Some((oldest, next)) = self.superfluous()? {
            let Shared { env, dir, .. } = &*self.shared;
            let measuring = self.shared.replica().log.begin_measure();
            if let Some(measuring) = measuring {
                let measured = measuring.carry_out().await.map_err(io_error("measure", dir))?;
                self.shared.replica().log.on_measured(measured);
            }
            let removal = {
                let mut replica = self.shared.replica();
                let end = replica.raft.high_watermark();
                replica.control.voters.forget_before(next.end);
                if replica.log.raise_start(next.end) {
                    env.probe(|| probe::Event::StartMoved {
                        topic: Uuid::METADATA_TOPIC,
                        partition: PARTITION,
                        start: next.end,
                        cause: probe::Cause::Snapshot,
                    });
                }
                replica.log.retain(end, env.clock().wall_ms()).map_err(io_error("roll", dir))?
            };
            if let Some(removal) = removal {
                match removal.rename().await {
                    Ok(()) => self.shared.replica().log.on_renamed(&removal),
                    Err(WriteError::NoRoom(error)) => {
                        self.shared.committer.tell_full(&error);
                        return Ok(());
                    }
                    Err(WriteError::Failed(error)) => {
                        self.shared.committer.fail(io::Error::new(error.kind(), error.to_string()));
                        return Err(io_error("rename in", dir)(error));
                    }
                }
                removal.remove().map_err(io_error("remove from", dir))?;
            }
            let path = dir.join(oldest.to_string());
            env.disk().remove(&path).map_err(io_error("remove", &path))?;
            self.shared.replica().snapshots.retain(|&id| id != oldest);
        }
        Ok(())
    }

    /// The oldest snapshot and the one after it, when the oldest is to go.
    fn superfluous(&self) -> Result<Option<(SnapshotId, SnapshotId)>, QuorumError> {
        let Shared { env, dir, options, .. } = &*self.shared;
        let replica = self.shared.replica();
        let &[oldest, next, ..] = &replica.snapshots[..] else { return Ok(None) };
        let path = dir.join(oldest.to_string());
        let written_ms = env.disk().modified_ms(&path).map_err(io_error("look at", &path))?;
        let age_ms = env.clock().wall_ms().saturating_sub(written_ms);
        let too_old = options.retention_ms.is_some_and(|max| age_ms > max as i64);
        let mut bytes = replica.log.size_bytes();
        for id in &replica.snapshots {
            let path = dir.join(id.to_string());
            let file = env.disk().open(&path, Open::Existing);
            let len = file.and_then(|file| file.len()).map_err(io_error("look at", &path))?;
            bytes += len;
        }
        let too_large = options.retention_bytes.is_some_and(|max| bytes > max);
        Ok((too_old || too_large).then_some((oldest, next)))
    }
}
