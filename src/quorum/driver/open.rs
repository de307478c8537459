//! Opening a replica: snapshots, votes and log from the disk, then the first election.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;

use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::env::{Env, probe};
use crate::log::Log;
use crate::log::commit::{Committer, Mark};
use crate::log::recovery::Known;
use crate::log::replace;
use crate::quorum::control::Control;
use crate::quorum::driver::{
    Committed, Opened, Options, PARTITION, Quorum, QuorumError, Replica, Shared, listed, path_of,
};
use crate::quorum::raft::{Effect, LogEnd, Raft};
use crate::quorum::snapshot::{self, SnapshotId};
use crate::quorum::state::{self, QuorumState};
use crate::quorum::voters::{Voter, Voters};
use crate::types::{Offset, Uuid};

impl<E: Env> Quorum<E> {
    /// Opens the replica, or makes it when there is none, and elects it.
    pub async fn open(
        env: &E,
        committer: Committer<E>,
        options: Options,
    ) -> Result<(Quorum<E>, Opened), QuorumError> {
        let dir = path_of(&options.metadata_dir);
        let disk = env.disk();
        let now_ms = env.clock().wall_ms();
        disk.create_dir_all(&dir).map_err(io_error("create", &dir))?;
        let snapshots = snapshot::list(disk, &dir).map_err(io_error("list", &dir))?;
        let snapshot = match snapshots.last() {
            Some(&id) => Some((id, snapshot::read(disk, &dir, id).await?)),
            None => None,
        };
        let (state, state_known) = read_state(disk, &dir).await?;

        // What a snapshot contains was committed: below its end nothing may be missing.
        let recovery_point = snapshot.as_ref().map_or(Offset(0), |(id, _)| id.end);
        let known = Known { clean: false, recovery_point, log_start: Offset(0) };
        let config = Arc::new(options.log.clone());
        let (log, report) =
            Log::open(env.clone(), &dir, Uuid::METADATA_TOPIC, config, known, now_ms).await?;
        env.probe(|| probe::Event::Recovered {
            topic: Uuid::METADATA_TOPIC,
            partition: PARTITION,
            dir: dir.clone(),
            start: report.start,
            end: report.end,
            epochs: log.told_epochs(),
            producers: log.told_producers(Some(now_ms)),
        });
        if log.start() > recovery_point {
            return Err(QuorumError::NoSnapshot { start: log.start() });
        }
        let mut log = log;
        if log.end() < recovery_point {
            log.restart_at(recovery_point, now_ms).map_err(io_error("restart", &dir))?;
        }
        let log_end = LogEnd {
            end: log.end(),
            durable_end: log.end(),
            last_epoch: log.latest_epoch().unwrap_or_default(),
        };
        let mut control = Control::default();
        let bootstrap_only = recovery_point == Offset(0);
        if let Some((id, contents)) = &snapshot {
            control.on_snapshot(id.end, contents.control.clone());
        }
        let raft = Raft::new(
            options.me,
            options.raft,
            Voters::default(),
            log_end,
            recovery_point,
            env.random_u64(),
        );
        let replica = Replica { raft, log, control, snapshots, effects: vec![] };
        let (committed, _) = watch::channel(Committed { end: recovery_point, failed: None });
        let mark = Mark::default();
        let (env, replica) = (env.clone(), Mutex::new(replica));
        let checkpointing = tokio::sync::Mutex::default();
        let shared =
            Shared { env, dir, options, committer, mark, replica, committed, checkpointing };
        let quorum = Quorum { shared: Arc::new(shared) };

        let voters_logged = quorum.replay_control(recovery_point, log_end.end).await?;
        quorum.join(bootstrap_only && snapshot.is_none() && !state_known)?;
        let epoch_start = log_end.end;
        quorum.elect(state, voters_logged || !bootstrap_only).await?;
        let epoch = quorum.shared.replica().raft.epoch();
        Ok((quorum, Opened { snapshot, epoch, epoch_start, cut_bytes: report.cut_bytes }))
    }

    /// Takes in the control records of the log. Says whether it names voters.
    async fn replay_control(&self, from: Offset, end: Offset) -> Result<bool, QuorumError> {
        let mut named = false;
        for batch in self.read(from, end).await? {
            let at = batch.base_offset();
            if batch.is_control() {
                let control = &mut self.shared.replica().control;
                let before = control.voters.latest().map(|(at, _)| at);
                let taken = control.on_batch(&batch);
                taken.map_err(|error| QuorumError::Control { at, error })?;
                named |= control.voters.latest().map(|(at, _)| at) != before;
            }
        }
        Ok(named)
    }

    /// Settles who votes: the log's word, else this replica alone.
    fn join(&self, is_new: bool) -> Result<(), QuorumError> {
        let mut replica = self.shared.replica();
        let options = &self.shared.options;
        let alone = || {
            let (key, endpoints) = (options.me, options.endpoints.clone());
            [Voter { key, endpoints, kraft_versions: 0..=1 }].into_iter().collect::<Voters>()
        };
        if is_new {
            replica.control.kraft_version = 1;
        }
        let voters = replica.control.voters.latest().map(|(_, voters)| voters.clone());
        let voters = voters.unwrap_or_else(alone);
        let me = options.me;
        if !voters.is_only(me) {
            return Err(QuorumError::NotSoleVoter { me, voters: listed(&voters) });
        }
        let Replica { raft, effects, .. } = &mut *replica;
        raft.on_voters(voters, effects);
        Ok(())
    }

    async fn elect(&self, state: QuorumState, voters_known: bool) -> Result<(), QuorumError> {
        let Shared { env, dir, committer, .. } = &*self.shared;
        let now_ms = env.clock().wall_ms();
        let effects = {
            let mut replica = self.shared.replica();
            let mut effects = Vec::new();
            replica.raft.on_start(state, env.clock().now(), &mut effects);
            effects
        };
        for effect in effects {
            match effect {
                Effect::Persist(state) => {
                    let bytes = {
                        let replica = self.shared.replica();
                        let voters = replica.raft.voters().keys().map(|key| key.id);
                        state.encode(replica.control.kraft_version, voters)
                    };
                    let path = dir.join(state::FILE_NAME);
                    let replaced = replace::replace(env.disk(), &path, &bytes).await;
                    replaced.map_err(|error| io_error("write", &path)(error.into_io()))?;
                }
                // There is nobody else to ask.
                Effect::RequestVotes(_) => {}
                Effect::Lead { epoch, granting } => {
                    let mut replica = self.shared.replica();
                    replica.begin_epoch(epoch, &granting, voters_known, now_ms)?;
                    committer.mark(&self.shared)?;
                }
                other => unreachable!("{other:?} at the start of a quorum of one"),
            }
        }
        assert!(self.shared.replica().raft.is_leader(), "the only voter elects itself");
        Ok(())
    }
}

async fn read_state<D: Disk>(disk: &D, dir: &Path) -> Result<(QuorumState, bool), QuorumError> {
    let path = dir.join(state::FILE_NAME);
    let bytes = replace::read(disk, &path).await.map_err(io_error("read", &path))?;
    match bytes {
        None => Ok((QuorumState::default(), false)),
        Some(bytes) => Ok((QuorumState::decode(&bytes)?, true)),
    }
}

pub(super) fn io_error(
    what: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> QuorumError + use<> {
    let path = path.to_owned();
    move |error| QuorumError::Io { what, path, error }
}

/// Makes the bootstrap snapshot of a new cluster, as Kafka's format tool does for a single
/// controller: kraft.version 1, this replica as the only voter, and the first records. Nothing
/// happens where a metadata log is already.
pub async fn format<E: Env>(
    env: &E,
    metadata_dir: &Path,
    me: Voter,
    values: Vec<Bytes>,
) -> Result<bool, QuorumError> {
    let dir = path_of(metadata_dir);
    let disk = env.disk();
    disk.create_dir_all(&dir).map_err(io_error("create", &dir))?;
    let entries = disk.list(&dir).map_err(io_error("list", &dir))?;
    let used = |name: &str| !name.ends_with(".checkpoint.part");
    if entries.iter().any(|entry| used(&entry.name)) {
        return Ok(false);
    }
    let now_ms = env.clock().wall_ms();
    let voters: Voters = [me].into_iter().collect();
    let id = SnapshotId::BOOTSTRAP;
    let bytes = snapshot::encode(id, now_ms, Some(&voters), values.into_iter(), now_ms);
    snapshot::write(disk, &dir, id, bytes, env.random_u64() >> 1).await?;
    disk.sync_dir(metadata_dir).await.map_err(io_error("sync", metadata_dir))?;
    Ok(true)
}
