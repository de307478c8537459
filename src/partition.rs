//! A partition: a handle, and a short lock around its replica and its log.
//!
//! Not a task: an idle partition costs its memory and nothing else. Under the lock bytes are
//! appended and the pure replica takes its steps; nothing is awaited there. Whoever waits for the
//! partition to move registers a waker, and is woken once a commit.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::config::topic::TopicConfig;
use crate::env::clock::Clock;
use crate::env::{Env, FileOf, probe};
use crate::log::Log;
use crate::log::append::AppendError;
use crate::log::commit::{Committer, Dirty, Mark, Offline, Round};
use crate::log::epochs::EpochEnd;
use crate::log::producers::Origin;
use crate::log::read::{OutOfRange, ReadPlan, Region, Wanted};
use crate::log::write_error::is_no_room;
use crate::protocol::records::batch::Batch;
use crate::protocol::records::validate::Invalid;
use crate::types::{LeaderEpoch, NodeId, Offset, Uuid};

use self::check::Check;
use self::replica::{Assignment, Durability, NotServed, Replica};
use self::upkeep::log_config;
use self::waiters::Waiters;

pub mod check;
pub mod lookup;
pub mod replica;
mod told;
pub mod upkeep;
mod waiters;

pub struct Partition<E: Env> {
    env: E,
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub index: i32,
    committer: Committer<E>,
    mark: Mark,
    state: Mutex<State<E>>,
}

struct State<E: Env> {
    log: Log<E>,
    replica: Replica,
    waiters: Waiters,
    config: Arc<TopicConfig>,
    gone: Option<Gone>,
    /// Where DeleteRecords moves the start to, once that is durable.
    start_wanted: Option<Offset>,
}

/// Why a partition serves nobody any more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Gone {
    #[error("the topic was deleted")]
    Deleted,
    #[error("the broker is stopping")]
    Stopping,
    #[error(transparent)]
    Offline(Arc<Offline>),
}

/// When a produced batch counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nobody waits.
    None,
    /// The leader has it.
    Leader,
    /// Every in-sync replica has it.
    All,
}

/// A batch in the log, not yet acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base: Offset,
    pub end: Offset,
    epoch: LeaderEpoch,
    /// What the answer says: the append time of a LogAppendTime topic, of a retry always the
    /// largest timestamp, else -1.
    pub log_append_time_ms: i64,
    pub log_start: Offset,
}

/// What became of the records of a Produce request.
pub enum Submitted {
    Appended(Appended),
    Long(Check),
}

#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    #[error(transparent)]
    NotServed(#[from] NotServed),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// What a fetch asks of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub from: Offset,
    pub bytes_max: u32,
    /// The first batch comes whole, however large.
    pub at_least_one: bool,
    /// Not past the last stable offset (read_committed).
    pub committed_only: bool,
    /// The epoch in which the client believes the leader to be; -1: it does not say.
    pub current_epoch: LeaderEpoch,
    /// Of the last record the client has: finds logs that went apart.
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

pub struct Read<E: Env> {
    pub high_watermark: Offset,
    pub last_stable: Offset,
    pub log_start: Offset,
    pub leader_epoch: LeaderEpoch,
    /// How often the partition had moved (`poll_moved`).
    pub moves: u64,
    /// The client's log and ours part here; nothing is read then.
    pub diverging: Option<EpochEnd>,
    pub plan: ReadPlan<E>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadRefused {
    #[error(transparent)]
    NotServed(#[from] NotServed),
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error(transparent)]
    Gone(#[from] Gone),
}

impl<E: Env> Partition<E> {
    pub fn new(
        env: &E,
        name: (Arc<str>, Uuid, i32),
        me: NodeId,
        log: Log<E>,
        high_watermark: Offset,
        committer: Committer<E>,
    ) -> Arc<Partition<E>> {
        let (topic, topic_id, index) = name;
        // The checkpoint may be from before the start moved.
        let replica = Replica::new(me, high_watermark.max(log.start()), log.end());
        let state = State {
            log,
            replica,
            waiters: Waiters::default(),
            config: Arc::default(),
            gone: None,
            start_wanted: None,
        };
        let (env, state) = (env.clone(), Mutex::new(state));
        let mark = Mark::default();
        Arc::new(Partition { env, topic, topic_id, index, committer, mark, state })
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().expect("a panic under the lock ends the process")
    }

    /// Appends the records of one Produce request as the leader, unless it would take long to check
    /// them: then nothing happened yet, and `Check` says what is to be done. `zstd_allowed`: the
    /// request is of a version whose clients know zstd.
    pub fn append(
        self: &Arc<Self>,
        records: &Bytes,
        acks: Acks,
        zstd_allowed: bool,
    ) -> Result<Submitted, ProduceError> {
        let now_ms = self.env.clock().wall_ms();
        let config = self.check_writable(acks)?;
        // Outside the lock: checksum and records are the larger part of the work.
        let check = Check::new(records, &config, now_ms, zstd_allowed);
        match check.run_briefly()? {
            Some(batch) => self.append_checked(&batch, &check, acks).map(Submitted::Appended),
            None => Ok(Submitted::Long(check)),
        }
    }

    /// Appends what passed `check`.
    pub fn append_checked(
        self: &Arc<Self>,
        batch: &Batch,
        check: &Check,
        acks: Acks,
    ) -> Result<Appended, ProduceError> {
        let mut state = self.lock();
        state.check_writable(acks)?;
        let epoch = state.replica.leader_epoch();
        let appended = state.log.append_as_leader(batch, epoch, Origin::Client, check.now_ms());
        let appended = appended.inspect_err(|error| match error {
            AppendError::Io(error) if is_no_room(error) => self.committer.tell_full(error),
            error => self.tell_refused(batch, error),
        })?;
        if appended.duplicate {
            self.tell_duplicate(batch, &appended);
        } else {
            state.replica.on_appended(appended.end);
            self.env.probe(|| probe::Event::Appended {
                topic: self.topic_id,
                partition: self.index,
                base: appended.base,
                end: appended.end,
                epoch,
            });
            self.request_sync(&mut state)?;
            if state.replica.counted_end() >= appended.end {
                self.advanced(&mut state);
            }
        }
        let told = appended.duplicate || check.stamps();
        Ok(Appended {
            base: appended.base,
            end: appended.end,
            epoch,
            log_append_time_ms: if told { appended.max_timestamp_ms } else { -1 },
            log_start: state.log.start(),
        })
    }

    fn check_writable(&self, acks: Acks) -> Result<Arc<TopicConfig>, ProduceError> {
        let state = self.lock();
        state.check_writable(acks)?;
        Ok(state.config.clone())
    }

    /// Ready once `appended` counts for `acks`, or never will. The outcome of an error is unknown:
    /// the record may yet be read.
    pub fn poll_counted(
        &self,
        appended: &Appended,
        acks: Acks,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ProduceError>> {
        let mut state = self.lock();
        let counted_end = match acks {
            Acks::None => return Poll::Ready(Ok(())),
            Acks::Leader => state.replica.counted_end(),
            Acks::All => state.replica.high_watermark(),
        };
        if state.replica.leader_epoch() == appended.epoch && counted_end >= appended.end {
            return Poll::Ready(Ok(()));
        }
        if let Some(gone) = &state.gone {
            return Poll::Ready(Err(gone.clone().into()));
        }
        let epoch = state.replica.leader_epoch();
        if epoch != appended.epoch || !state.replica.leads() {
            return Poll::Ready(Err(NotServed::NotLeader(epoch).into()));
        }
        state.waiters.register(cx.waker());
        Poll::Pending
    }

    /// What a fetch gets now. The plan is resolved outside the lock.
    pub fn read(&self, asked: &Asked) -> Result<Read<E>, ReadRefused> {
        self.lock().read(asked)
    }

    /// Ready once the partition has moved since a read that told `moves`: more to read, a new
    /// leader, the end.
    pub fn poll_moved(&self, moves: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.waiters.moves() != moves {
            return Poll::Ready(());
        }
        state.waiters.register(cx.waker());
        Poll::Pending
    }

    /// Where an epoch ended (OffsetForLeaderEpoch). `None`: nothing is known of it.
    pub fn end_offset_for(
        &self,
        current: LeaderEpoch,
        asked: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, ReadRefused> {
        let state = self.lock();
        state.check_readable(current)?;
        Ok(state.log.end_offset_for(asked))
    }

    /// Durable mode syncs at once; relaxed mode when enough has gathered, or after a time.
    fn request_sync(self: &Arc<Self>, state: &mut State<E>) -> Result<(), Gone> {
        let (every, within_ms) = (state.config.flush_messages, state.config.flush_ms);
        let unsynced = state.log.end().0 - state.log.durable_end().0;
        let marked = if unsynced >= every {
            self.committer.mark(self)
        } else if within_ms < i64::MAX {
            let wait = Duration::from_millis(within_ms.max(0) as u64);
            self.committer.mark_by(self, self.env.clock().now().after(wait))
        } else {
            Ok(())
        };
        marked.map_err(|offline| self.failed(state, offline))
    }

    fn failed(&self, state: &mut State<E>, offline: Arc<Offline>) -> Gone {
        let gone = Gone::Offline(offline);
        state.gone.get_or_insert_with(|| gone.clone());
        state.waiters.wake();
        gone
    }

    /// What consumers and producers wait for has moved.
    fn advanced(&self, state: &mut State<E>) {
        let high_watermark = state.replica.high_watermark();
        state.log.on_high_watermark(high_watermark);
        self.env.probe(|| probe::Event::HighWatermark {
            topic: self.topic_id,
            partition: self.index,
            epoch: state.replica.leader_epoch(),
            offset: high_watermark,
        });
        state.waiters.wake();
    }

    /// The metadata log decided something about this partition.
    pub fn on_assigned(&self, assignment: Assignment) {
        let mut state = self.lock();
        if state.replica.on_assigned(assignment) {
            let epoch = state.replica.leader_epoch();
            state.log.begin_epoch(epoch);
        }
        self.advanced(&mut state);
    }

    /// The topic's options changed. Tightened durability syncs what was only written.
    pub fn on_configured(
        self: &Arc<Self>,
        config: Arc<TopicConfig>,
        replica_count: usize,
        producer_id_expiration_ms: i64,
    ) {
        let mut state = self.lock();
        let isr_min = usize::try_from(config.min_insync_replicas).unwrap_or(1);
        let durability =
            if config.flush_messages > 1 { Durability::Written } else { Durability::Synced };
        state.replica.on_configured(isr_min.min(replica_count.max(1)), durability);
        self.env.probe(|| probe::Event::Configured {
            topic: self.topic_id,
            partition: self.index,
            synced: durability == Durability::Synced,
        });
        let draw = self.env.random_u64();
        state.log.set_config(Arc::new(log_config(&config, producer_id_expiration_ms, draw)));
        state.config = config;
        if state.log.end() > state.log.durable_end() {
            let _ = self.request_sync(&mut state);
        }
        self.advanced(&mut state);
    }

    /// Why it serves nobody any more.
    pub fn gone(&self) -> Option<Gone> {
        self.lock().gone.clone()
    }

    /// Its directory failed.
    pub fn on_offline(&self, offline: &Arc<Offline>) {
        self.failed(&mut self.lock(), offline.clone());
    }

    /// Serves nobody any more: the topic was deleted.
    pub fn on_deleted(&self) {
        let mut state = self.lock();
        state.gone = Some(Gone::Deleted);
        let (topic, partition) = (self.topic_id, self.index);
        self.env.probe(|| probe::Event::Deleted { topic, partition });
        state.waiters.wake();
    }
}

impl<E: Env> State<E> {
    fn is_deleted(&self) -> bool {
        matches!(self.gone, Some(Gone::Deleted))
    }

    fn check_readable(&self, current: LeaderEpoch) -> Result<(), ReadRefused> {
        if let Some(gone) = &self.gone {
            return Err(gone.clone().into());
        }
        Ok(self.replica.check_leader(current)?)
    }

    fn read(&self, asked: &Asked) -> Result<Read<E>, ReadRefused> {
        self.check_readable(asked.current_epoch)?;
        let high_watermark = self.replica.high_watermark();
        let last_stable = self.log.last_stable(high_watermark);
        let (log_start, end) = (self.log.start(), self.log.end());
        let mut read = Read {
            high_watermark,
            last_stable,
            log_start,
            leader_epoch: self.replica.leader_epoch(),
            moves: self.waiters.moves(),
            diverging: None,
            plan: ReadPlan::Ready(Region::empty()),
        };
        if let Some(fetched) = asked.last_fetched_epoch {
            let out = OutOfRange { asked: asked.from, start: log_start, end };
            let known = self.log.end_offset_for(fetched).ok_or(out)?;
            if asked.from < log_start {
                return Err(out.into());
            }
            if known.epoch < fetched || known.end < asked.from {
                read.diverging = Some(known);
                return Ok(read);
            }
        }
        read.plan = self.log.read(&Wanted {
            from: asked.from,
            limit: if asked.committed_only { last_stable } else { high_watermark },
            bytes_max: asked.bytes_max,
            at_least_one: asked.at_least_one,
            aborted: asked.committed_only,
        })?;
        Ok(read)
    }

    fn check_writable(&self, acks: Acks) -> Result<(), ProduceError> {
        if let Some(gone) = &self.gone {
            return Err(gone.clone().into());
        }
        self.replica.check_leader(LeaderEpoch(-1))?;
        if acks == Acks::All {
            self.replica.check_isr()?;
        }
        Ok(())
    }
}

impl<E: Env> Dirty<E> for Partition<E> {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn begin_sync(&self, round: &mut Round<FileOf<E>>) -> Option<Offset> {
        let mut state = self.lock();
        // Where the log was, another one may be.
        if state.is_deleted() { None } else { state.log.begin_sync(round) }
    }

    fn on_synced(&self, end: Offset) {
        let mut state = self.lock();
        let end = state.log.on_synced(end);
        let high_watermark = state.replica.high_watermark();
        state.replica.on_durable(end);
        let (topic, partition) = (self.topic_id, self.index);
        self.env.probe(|| probe::Event::Durable { topic, partition, end });
        let moved = state.replica.high_watermark() > high_watermark;
        if moved || state.replica.counted_end() == end {
            self.advanced(&mut state);
        }
    }

    fn on_sync_failed(&self, offline: &Arc<Offline>) {
        self.failed(&mut self.lock(), offline.clone());
    }
}
