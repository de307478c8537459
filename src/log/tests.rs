//! The log on a disk in memory: against a model, through crashes, full disks and torn sectors.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::Env;
use crate::env::disk::{Disk, File};
use crate::env::memory::{MemoryEnv, MemoryFile};
use crate::env::tokio::TokioEnv;
use crate::log::append::Appended;
use crate::log::commit::Round;
use crate::log::producers::Origin;
use crate::log::read::Wanted;
use crate::log::recovery::{Known, OpenError, Recovered};
use crate::log::sync;
use crate::log::{Log, LogConfig};
use crate::protocol::records::batch::Batch;
use crate::protocol::records::build::{self, BatchBuilder, BatchOptions, NewRecord};
use crate::types::{LeaderEpoch, Offset, ProducerId, Uuid};

mod append;
mod crash;
mod full;
mod model;

const DIR: &str = "/data/t-0";
const ID: Uuid = Uuid([9; 16]);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

fn memory() -> MemoryEnv {
    let env = MemoryEnv::new(TokioEnv::new(tokio::runtime::Handle::current()));
    // The log directory itself is durable before logs are made in it.
    env.disk().put(Path::new("/data/meta.properties"), Vec::new());
    env
}

/// Small enough to roll often.
fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 2000,
        segment_index_bytes: 400,
        index_interval_bytes: 150,
        retention_ms: None,
        ..LogConfig::default()
    }
}

async fn open(
    env: &MemoryEnv,
    config: &LogConfig,
    known: Known,
) -> Result<(Log<MemoryEnv>, Recovered), OpenError> {
    Log::open(env.clone(), Path::new(DIR), ID, Arc::new(config.clone()), known, 0).await
}

fn unclean(recovery_point: Offset) -> Known {
    Known { clean: false, recovery_point, log_start: Offset(0) }
}

/// `count` records of about `bytes` bytes in all.
fn batch(count: usize, bytes: usize, timestamp_ms: i64) -> Batch {
    numbered(None, count, bytes, timestamp_ms)
}

fn numbered(producer: Option<(i64, i32)>, count: usize, bytes: usize, timestamp_ms: i64) -> Batch {
    let producer = producer.map(|(id, base_sequence)| build::Producer {
        id: ProducerId(id),
        epoch: 0,
        base_sequence,
    });
    let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
    for n in 0..count {
        let value = vec![(timestamp_ms % 251) as u8 ^ n as u8; bytes / count];
        let value = Some(Bytes::from(value));
        builder.push(NewRecord { timestamp_ms, value, ..NewRecord::default() });
    }
    builder.build_batch()
}

fn append(log: &mut Log<MemoryEnv>, batch: &Batch) -> Appended {
    append_at(log, batch, 0)
}

fn append_at(log: &mut Log<MemoryEnv>, batch: &Batch, epoch: i32) -> Appended {
    log.append_as_leader(batch, LeaderEpoch(epoch), Origin::Client, 0).unwrap()
}

async fn sync(log: &mut Log<MemoryEnv>) {
    let mut round = Round::default();
    if let Some(end) = log.begin_sync(&mut round) {
        carry_out(log, round).await;
        log.on_synced(end);
    }
}

async fn carry_out(log: &Log<MemoryEnv>, round: Round<MemoryFile>) {
    let (files, directories) = round.into_parts();
    for file in files {
        file.sync().await.unwrap();
    }
    for directory in directories {
        log.env.disk().sync_dir(&directory).await.unwrap();
    }
}

async fn checkpoint(log: &mut Log<MemoryEnv>) {
    let Some(checkpoint) = log.begin_checkpoint().unwrap() else { return };
    finish(log, checkpoint).await;
}

async fn close(mut log: Log<MemoryEnv>) -> Known {
    sync(&mut log).await;
    if let Some(checkpoint) = log.begin_close().unwrap() {
        finish(&mut log, checkpoint).await;
    }
    assert_eq!(log.recovery_point(), log.end());
    let log_start = log.start_to_checkpoint().unwrap_or(Offset(0));
    Known { clean: true, recovery_point: log.recovery_point(), log_start }
}

async fn finish(log: &mut Log<MemoryEnv>, checkpoint: sync::Checkpoint<MemoryEnv>) {
    let env = log.env.clone();
    let done = sync::carry_out(&env, Path::new("/data"), &mut vec![checkpoint]).await.unwrap();
    done.into_iter().for_each(|done| log.on_checkpointed(done));
}

/// All batches from `from` on, read as a consumer reads.
async fn read(log: &Log<MemoryEnv>, from: Offset, bytes_max: u32) -> Vec<Batch> {
    let (mut from, limit) = (from, log.end());
    let mut batches = Vec::new();
    while from < limit {
        let wanted = Wanted { from, limit, bytes_max, at_least_one: true, aborted: false };
        let region = log.read(&wanted).unwrap().resolve().await.unwrap();
        let Some(file) = region.file else { break };
        let mut bytes = file.read_at(region.at, region.len).await.unwrap();
        assert_eq!(bytes.len(), region.len as usize);
        let before = from;
        while let Ok(Some(batch)) = Batch::split(&mut bytes) {
            batch.verify_crc().unwrap();
            assert!(batch.last_offset() >= from, "nothing before what was asked for");
            from = batch.next_offset();
            batches.push(batch);
        }
        assert!(from > before, "a read brings at least one batch");
    }
    batches
}

async fn all(log: &Log<MemoryEnv>) -> Vec<Batch> {
    read(log, log.start(), 1 << 20).await
}
