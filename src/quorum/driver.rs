//! Carries out what [`Raft`] decides, on one replica's log and files.
//!
//! Appends are written at once and committed when a majority holds them durably; the log
//! directory's commit loop syncs them together with all other logs. For now this replica must be
//! the only voter: what others would be asked over the network is not sent yet.
//!
//! 1. `quorum-state` is replaced durably before anything that follows from it.
//! 2. The end that is told as committed never falls, and what lies below it is never cut.
//! 3. After a failed sync nothing more is appended or committed: the node must stop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::env::clock::Clock;
use crate::env::disk::File;
use crate::env::{Env, FileOf, probe};
use crate::log::append::AppendError;
use crate::log::commit::{Committer, Dirty, Mark, Offline, Round};
use crate::log::producers::Origin;
use crate::log::read::{OutOfRange, ReadError, Wanted};
use crate::log::write_error::{WriteError, is_no_room};
use crate::log::{Log, LogConfig, sync};
use crate::protocol::records::batch::{Batch, BatchError};
use crate::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::records::control::ControlType;
use crate::quorum::control::{self, Control, ControlError};
use crate::quorum::driver::open::io_error;
use crate::quorum::raft::{self, Effect, Raft};
use crate::quorum::snapshot::{self, Contents, SnapshotError, SnapshotId};
use crate::quorum::state::StateError;
use crate::quorum::voters::{ReplicaKey, Voter, VoterEndpoint, Voters};
use crate::types::{LeaderEpoch, NodeId, Offset, Uuid};

pub mod open;
mod retention;

pub const DIRECTORY: &str = "__cluster_metadata-0";
const PARTITION: i32 = 0;

const READ_BYTES: u32 = 8 << 20;

pub struct Options {
    /// The log directory that holds [`DIRECTORY`].
    pub metadata_dir: PathBuf,
    pub me: ReplicaKey,
    /// Where other voters would reach this one.
    pub endpoints: Vec<VoterEndpoint>,
    pub raft: raft::Options,
    pub log: LogConfig,
    /// `metadata.max.retention.bytes`; `None`: as much as there is.
    pub retention_bytes: Option<u64>,
    /// `metadata.max.retention.ms`; `None`: for ever.
    pub retention_ms: Option<u64>,
}

/// A handle; clones share the replica.
pub struct Quorum<E: Env> {
    shared: Arc<Shared<E>>,
}

impl<E: Env> Clone for Quorum<E> {
    fn clone(&self) -> Quorum<E> {
        Quorum { shared: self.shared.clone() }
    }
}

/// What was on the disk before this start.
#[derive(Debug)]
pub struct Opened {
    pub snapshot: Option<(SnapshotId, Contents)>,
    /// The epoch that this replica leads.
    pub epoch: LeaderEpoch,
    /// Everything below was there before, and is committed once anything of this epoch is.
    pub epoch_start: Offset,
    /// Bytes of an unfinished write that were cut off.
    pub cut_bytes: u64,
}

struct Shared<E: Env> {
    env: E,
    dir: PathBuf,
    options: Options,
    committer: Committer<E>,
    mark: Mark,
    replica: Mutex<Replica<E>>,
    committed: watch::Sender<Committed>,
    /// One checkpoint of the log at a time.
    checkpointing: tokio::sync::Mutex<()>,
}

struct Replica<E: Env> {
    raft: Raft,
    log: Log<E>,
    control: Control,
    /// Complete ones, oldest first.
    snapshots: Vec<SnapshotId>,
    effects: Vec<Effect>,
}

#[derive(Clone, Debug)]
pub struct Committed {
    pub end: Offset,
    /// Set when nothing more will be committed.
    pub failed: Option<Arc<Offline>>,
}

/// What DescribeQuorum answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub leader: Option<NodeId>,
    pub epoch: LeaderEpoch,
    pub high_watermark: Option<Offset>,
    pub voters: Vec<ReplicaState>,
    pub observers: Vec<ReplicaState>,
    pub endpoints: Vec<Voter>,
}

/// -1 where nothing is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaState {
    pub key: ReplicaKey,
    pub log_end: i64,
    pub fetched_ms: i64,
    pub caught_up_ms: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    #[error("cannot {what} {}: {error}", path.display())]
    Io { what: &'static str, path: PathBuf, error: io::Error },
    #[error("the metadata log: {0}")]
    Open(#[from] crate::log::recovery::OpenError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the metadata log at offset {at}: {error}")]
    Control { at: Offset, error: ControlError },
    #[error("the metadata log at offset {at}: {error}")]
    Batch { at: Offset, error: BatchError },
    #[error("reading the metadata log: {0}")]
    Read(#[from] ReadError),
    #[error("reading the metadata log: {0}")]
    OutOfRange(#[from] OutOfRange),
    #[error("the metadata log begins at offset {start}, and no snapshot holds what was before")]
    NoSnapshot { start: Offset },
    #[error(
        "this replica is {me}; the metadata log names the voters {voters}: only a quorum of one voter is supported so far"
    )]
    NotSoleVoter { me: ReplicaKey, voters: String },
    #[error("appending to the metadata log: {0}")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Offline(#[from] Arc<Offline>),
    #[error("not the leader of epoch {epoch:?}, which is {current:?} now")]
    NotLeader { epoch: LeaderEpoch, current: LeaderEpoch },
}

impl QuorumError {
    /// Nothing was written, for want of room: it may be asked for again.
    pub fn is_no_room(&self) -> bool {
        match self {
            QuorumError::Append(AppendError::Io(error)) => is_no_room(error),
            QuorumError::Io { error, .. } => is_no_room(error),
            QuorumError::Snapshot(error) => matches!(error, SnapshotError::NoRoom { .. }),
            _ => false,
        }
    }
}

impl<E: Env> Quorum<E> {
    /// Appends records in one batch, as the leader of `epoch`. Says where they end: once that is
    /// committed, so are they.
    pub fn append(&self, epoch: LeaderEpoch, values: Vec<Bytes>) -> Result<Offset, QuorumError> {
        let now_ms = self.shared.env.clock().wall_ms();
        let mut batch = BatchBuilder::new(BatchOptions::default());
        for value in values {
            let value = Some(value);
            batch.push(NewRecord { timestamp_ms: now_ms, key: None, value, headers: vec![] });
        }
        let mut replica = self.shared.replica();
        let current = replica.raft.epoch();
        if !replica.raft.is_leader() || current != epoch {
            return Err(QuorumError::NotLeader { epoch, current });
        }
        let end = replica.append(batch, now_ms).inspect_err(|error| match error {
            AppendError::Io(error) if is_no_room(error) => self.shared.committer.tell_full(error),
            _ => {}
        })?;
        self.shared.committer.mark(&self.shared)?;
        Ok(end)
    }

    /// Nothing can be decided any more: whoever waits for the metadata's directory is told.
    pub fn fail(&self, why: &str) {
        self.shared.committer.fail(io::Error::other(why));
    }

    /// The next offset to be written.
    pub fn end(&self) -> Offset {
        self.shared.replica().log.end()
    }

    /// Follows what is committed.
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.shared.committed.subscribe()
    }

    /// All batches from `from` up to `limit`, in order; the first may begin before.
    pub async fn read(&self, from: Offset, limit: Offset) -> Result<Vec<Batch>, QuorumError> {
        let plan = |at| {
            let (bytes_max, aborted) = (READ_BYTES, false);
            let wanted = Wanted { from: at, limit, bytes_max, at_least_one: true, aborted };
            self.shared.replica().log.read(&wanted)
        };
        let mut batches = Vec::new();
        let mut at = from;
        while at < limit {
            let region = plan(at)?.resolve().await?;
            let Some(file) = region.file else { break };
            let failed = |error| QuorumError::Read(ReadError::Io(error));
            let mut bytes = read_fully(&file, region.at, region.len).await.map_err(failed)?;
            let before = at;
            while let Ok(Some(batch)) = Batch::split(&mut bytes) {
                batch.verify_crc().map_err(|error| QuorumError::Batch { at, error })?;
                at = batch.next_offset();
                batches.push(batch);
            }
            if at == before {
                return Err(QuorumError::Read(ReadError::Gone));
            }
        }
        Ok(batches)
    }

    /// Writes a snapshot of `id`, which must be committed, and lets go of what it makes
    /// superfluous.
    pub async fn write_snapshot(
        &self,
        id: SnapshotId,
        last_contained_ms: i64,
        values: impl Iterator<Item = Bytes>,
    ) -> Result<(), QuorumError> {
        let Shared { env, dir, .. } = &*self.shared;
        let now_ms = env.clock().wall_ms();
        let bytes = {
            let replica = self.shared.replica();
            assert!(id.end <= replica.raft.high_watermark(), "only what is committed is kept");
            if replica.snapshots.contains(&id) {
                return Ok(());
            }
            let control = &replica.control;
            let voters = control.voters.before(id.end).filter(|_| control.kraft_version > 0);
            snapshot::encode(id, last_contained_ms, voters, values, now_ms)
        };
        // Where a snapshot ends recovery begins, and takes epochs and indexes below for granted.
        self.checkpoint(Log::begin_checkpoint).await?;
        let written = snapshot::write(env.disk(), dir, id, bytes, env.random_u64() >> 1).await;
        written.inspect_err(|error| self.shared.on_unwritten(error))?;
        let SnapshotId { end, epoch } = id;
        env.probe(|| probe::Event::SnapshotWritten { end, epoch });
        let mut replica = self.shared.replica();
        replica.snapshots.push(id);
        replica.snapshots.sort_unstable();
        Ok(())
    }

    pub fn latest_snapshot(&self) -> Option<SnapshotId> {
        self.shared.replica().snapshots.last().copied()
    }

    /// Completes the files of the log once everything in it is durable: nothing may be appended
    /// any more. Skipping it costs the next start a longer look, no record.
    pub async fn close(&self) -> Result<(), QuorumError> {
        let mut committed = self.committed();
        let end = self.end();
        // Then what was written last was never marked, and nobody will say that it failed.
        if let Some(offline) = self.shared.committer.offline() {
            return Err(offline.clone().into());
        }
        let settled = |committed: &Committed| committed.end >= end || committed.failed.is_some();
        if let Ok(committed) = committed.wait_for(settled).await
            && let Some(failed) = &committed.failed
        {
            return Err(failed.clone().into());
        }
        self.checkpoint(Log::begin_close).await
    }

    async fn checkpoint(
        &self,
        begin: impl FnOnce(&mut Log<E>) -> io::Result<Option<sync::Checkpoint<E>>>,
    ) -> Result<(), QuorumError> {
        let Shared { env, dir, options, .. } = &*self.shared;
        let _checkpointing = self.shared.checkpointing.lock().await;
        let begun = begin(&mut self.shared.replica().log).map_err(io_error("checkpoint", dir))?;
        let mut begun: Vec<_> = begun.into_iter().collect();
        let done = sync::carry_out(env, &options.metadata_dir, &mut begun).await;
        let log = &mut self.shared.replica().log;
        match done {
            Ok(done) => done.into_iter().for_each(|done| log.on_checkpointed(done)),
            Err(error) => {
                begun.into_iter().for_each(|begun| log.on_checkpoint_abandoned(begun));
                match &error {
                    WriteError::NoRoom(error) => self.shared.committer.tell_full(error),
                    WriteError::Failed(error) => {
                        let told = io::Error::new(error.kind(), error.to_string());
                        self.shared.committer.fail(told);
                    }
                }
                return Err(io_error("checkpoint", dir)(error.into_io()));
            }
        }
        Ok(())
    }

    /// About how much was written since the latest snapshot.
    pub fn bytes_since_snapshot(&self) -> u64 {
        let replica = self.shared.replica();
        let covered = replica.snapshots.last().map_or(Offset(0), |id| id.end);
        if replica.log.end() > covered { replica.log.size_bytes() } else { 0 }
    }

    pub fn describe(&self) -> Description {
        let now_ms = self.shared.env.clock().wall_ms();
        let replica = self.shared.replica();
        let raft = &replica.raft;
        let me = raft.me();
        let state = |key: ReplicaKey| {
            let progress = match raft.role() {
                raft::Role::Leader(progress) => progress.find(key),
                _ => None,
            };
            match progress {
                _ if key.matches(me) => {
                    let (fetched_ms, caught_up_ms) = (now_ms, now_ms);
                    ReplicaState { key, log_end: raft.log().end.0, fetched_ms, caught_up_ms }
                }
                Some(heard) => ReplicaState {
                    key,
                    log_end: heard.end.0,
                    fetched_ms: heard.fetched_wall_ms,
                    caught_up_ms: heard.caught_up_wall_ms.unwrap_or(-1),
                },
                None => ReplicaState { key, log_end: -1, fetched_ms: -1, caught_up_ms: -1 },
            }
        };
        let observers = match raft.role() {
            raft::Role::Leader(progress) => {
                let others = progress.replicas().map(|(key, _)| key);
                others.filter(|&key| !raft.voters().contains(key)).map(state).collect()
            }
            _ => vec![],
        };
        Description {
            leader: raft.leader(),
            epoch: raft.epoch(),
            high_watermark: raft.high_watermark_told(),
            voters: raft.voters().keys().map(state).collect(),
            observers,
            endpoints: raft.voters().iter().cloned().collect(),
        }
    }
}

impl<E: Env> Shared<E> {
    fn replica(&self) -> MutexGuard<'_, Replica<E>> {
        self.replica.lock().expect("nothing panics while it holds the replica")
    }

    /// A full disk is told, and passes; after a failed sync nothing here is to be trusted.
    fn on_unwritten(&self, error: &SnapshotError) {
        match error {
            SnapshotError::NoRoom { error, .. } => self.committer.tell_full(error),
            SnapshotError::Io { what: "sync", error, .. } => {
                self.committer.fail(io::Error::new(error.kind(), error.to_string()));
            }
            SnapshotError::Io { .. } | SnapshotError::Damaged { .. } => {}
        }
    }

    /// Tells those who wait. Under the replica's lock, so that ends are told in order.
    fn publish(&self, replica: &mut Replica<E>) {
        for effect in std::mem::take(&mut replica.effects) {
            match effect {
                Effect::Commit { end } => {
                    self.env.probe(|| probe::Event::MetadataCommitted {
                        offset: end,
                        epoch: replica.raft.epoch(),
                    });
                    replica.log.on_high_watermark(end);
                    self.committed.send_modify(|committed| committed.end = end);
                }
                other => unreachable!("{other:?} from a sync, in a quorum of one"),
            }
        }
    }
}

impl<E: Env> Replica<E> {
    fn append(&mut self, batch: BatchBuilder, now_ms: i64) -> Result<Offset, AppendError> {
        let epoch = self.raft.epoch();
        let batch = batch.build_batch();
        let appended = self.log.append_as_leader(&batch, epoch, Origin::Coordinator, now_ms)?;
        let (base, end) = (appended.base, appended.end);
        let (topic, partition) = (Uuid::METADATA_TOPIC, PARTITION);
        self.log.env().probe(|| probe::Event::Appended { topic, partition, base, end, epoch });
        self.raft.on_appended(end, epoch);
        Ok(end)
    }

    /// A leader's first record: until it is committed, nothing of its epoch is.
    fn begin_epoch(
        &mut self,
        epoch: LeaderEpoch,
        granting: &[NodeId],
        voters_known: bool,
        now_ms: i64,
    ) -> Result<(), AppendError> {
        let (me, voters) = (self.raft.me(), self.raft.voters().clone());
        self.log.begin_epoch(epoch);
        let mut batch =
            BatchBuilder::new(BatchOptions { control: true, ..BatchOptions::default() });
        let change = control::leader_change(me.id, &voters, granting);
        batch.push_control(ControlType::LeaderChange, now_ms, change);
        // Voters that so far stood only in the bootstrap snapshot go into the log.
        if self.control.kraft_version > 0 && !voters_known {
            let level = control::kraft_version(self.control.kraft_version);
            batch.push_control(ControlType::KRaftVersion, now_ms, level);
            batch.push_control(ControlType::KRaftVoters, now_ms, control::voters(&voters));
            self.control.voters.add(self.log.end().plus(2), voters);
        }
        self.append(batch, now_ms)?;
        Ok(())
    }
}

impl<E: Env> Dirty<E> for Shared<E> {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn begin_sync(&self, round: &mut Round<FileOf<E>>) -> Option<Offset> {
        self.replica().log.begin_sync(round)
    }

    fn on_synced(&self, end: Offset) {
        let mut replica = self.replica();
        let durable_end = replica.log.on_synced(end);
        self.env.probe(|| probe::Event::Durable {
            topic: Uuid::METADATA_TOPIC,
            partition: PARTITION,
            end: durable_end,
        });
        let Replica { raft, effects, .. } = &mut *replica;
        raft.on_durable(durable_end, effects);
        self.publish(&mut replica);
    }

    fn on_sync_failed(&self, offline: &Arc<Offline>) {
        let failed = Some(offline.clone());
        self.committed.send_modify(|committed| committed.failed = failed);
    }
}

async fn read_fully<F: File>(file: &F, at: u64, len: u32) -> io::Result<Bytes> {
    let mut bytes = BytesMut::with_capacity(len as usize);
    while bytes.len() < len as usize {
        let have = bytes.len();
        let piece = file.read_at(at + have as u64, len - have as u32).await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

fn listed(voters: &Voters) -> String {
    voters.keys().map(|key| key.to_string()).collect::<Vec<_>>().join(", ")
}

fn path_of(metadata_dir: &Path) -> PathBuf {
    metadata_dir.join(DIRECTORY)
}
