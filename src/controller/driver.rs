//! The one task that decides: takes operations in turn, appends what they decide, answers what is
//! committed.
//!
//! Each decision is applied to the controller's own image before the next operation is looked at,
//! and kept with it until it is committed: what others see is always an image that the log holds.
//! Operations that are ready together go into the log together; one sync commits them all.
//!
//! A single node writes no NoOp records: they tell other brokers of a moving log, and here there
//! are none. An idle broker leaves its disk alone.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use crate::config::layers::Layers;
use crate::controller::bootstrap;
use crate::controller::features::{self, Unsupported};
use crate::controller::handle::ControllerHandle;
use crate::controller::operation::{Chance, Context, ControllerError, Operation, Settings};
use crate::controller::topics::BATCH_RECORDS_MAX;
use crate::env::Env;
use crate::env::clock::Clock;
use crate::log::LogConfig;
use crate::log::commit::Committer;
use crate::metadata::handle::{MetadataHandle, Publisher, Subscription, published};
use crate::metadata::image::{Image, Provenance};
use crate::metadata::record::{MetadataVersion, encode};
use crate::metadata::replay::{Replay, ReplayError};
use crate::metadata::snapshot;
use crate::protocol::messages::{MetadataRecord, decode_metadata_record};
use crate::protocol::wire::{DecodeError, EncodeError};
use crate::quorum::driver::{self, Committed, Quorum, QuorumError};
use crate::quorum::raft;
use crate::quorum::snapshot::SnapshotId;
use crate::quorum::voters::{ReplicaKey, Voter, VoterEndpoint};
use crate::types::{Instant, LeaderEpoch, Offset, Uuid};

#[cfg(test)]
mod tests;

/// Operations waiting for their turn.
const QUEUE_LEN_MAX: usize = 1024;
/// Taken in one turn, before the disk is asked to commit them.
const TURN_LEN_MAX: usize = 256;
/// How long half of a decision waits for room on the disk before it tries again.
const ROOM_RETRY: Duration = Duration::from_secs(1);

pub struct Options {
    /// The log directory that holds the metadata log, its id, and the loop that commits it.
    pub metadata_dir: PathBuf,
    pub directory_id: Uuid,
    /// Where other controllers would reach this one.
    pub endpoints: Vec<VoterEndpoint>,
    pub raft: raft::Options,
    pub log: LogConfig,
    pub retention_bytes: Option<u64>,
    pub retention_ms: Option<u64>,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_after_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; `None`: no bound.
    pub snapshot_interval: Option<Duration>,
    pub settings: Settings,
}

/// A controller that leads, and all that others need of it.
pub struct Started<E: Env> {
    pub controller: ControllerHandle<E>,
    pub metadata: MetadataHandle,
    /// For the broker: publishes what it has applied.
    pub publisher: Publisher,
    /// For the broker: committed images.
    pub updates: Subscription,
    pub quorum: Quorum<E>,
    /// The committed image at the start.
    pub image: Arc<Image>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("the bootstrap snapshot: {0}")]
    Decode(#[from] DecodeError),
    #[error("the metadata log could not be committed: {why}")]
    Failed { why: String },
}

/// Opens the metadata log, formatting it when there is none; leads; replays it; writes the first
/// records of a new cluster; and runs the controller.
pub async fn start<E: Env>(
    env: &E,
    committer: Committer<E>,
    options: Options,
) -> Result<Started<E>, StartError> {
    let me = ReplicaKey { id: options.settings.node, directory: Some(options.directory_id) };
    let voter = Voter { key: me, endpoints: options.endpoints.clone(), kraft_versions: 0..=1 };
    let first = bootstrap::format_records();
    let level = bootstrap::fresh_version();
    let values = first.iter().map(|record| encode(record, level)).collect::<Result<_, _>>()?;
    if driver::open::format(env, &options.metadata_dir, voter, values).await? {
        info!(directory = %options.metadata_dir.display(), "formatted a new cluster");
    }
    let quorum_options = driver::Options {
        metadata_dir: options.metadata_dir.clone(),
        me,
        endpoints: options.endpoints.clone(),
        raft: options.raft,
        log: options.log.clone(),
        retention_bytes: options.retention_bytes,
        retention_ms: options.retention_ms,
    };
    let (quorum, opened) = Quorum::open(env, committer, quorum_options).await?;
    if opened.cut_bytes > 0 {
        warn!(bytes = opened.cut_bytes, "cut an unfinished write off the metadata log");
    }
    let mut committed = quorum.committed();
    let beyond = opened.epoch_start;
    let (replay, bootstrapping) = replay(&quorum, &opened, &mut committed, beyond).await?;
    let in_transaction = replay.is_in_transaction();
    features::check(replay.image())?;

    let (sender, operations) = mpsc::channel(QUEUE_LEN_MAX);
    let (publisher, metadata) = published(Arc::default());
    let (images, updates) = watch::channel(Arc::default());
    let layers = options.settings.layers_at(replay.image());
    let mut controller = Controller {
        env: env.clone(),
        quorum: quorum.clone(),
        epoch: opened.epoch,
        chance: Chance::new(env.random_u64()),
        layers,
        replay,
        pending: VecDeque::new(),
        images,
        committed,
        snapshots: Snapshots::new(env, &options, &quorum),
        settings: options.settings,
    };
    let records = match in_transaction {
        true => vec![bootstrap::abort_record()],
        false if bootstrapping => bootstrap::log_records(&formatted(&opened)?.unwrap_or(first)),
        false => vec![],
    };
    controller.append_all(&records).await?;
    controller.settle().await?;
    let image = controller.images.borrow().clone();
    info!(
        epoch = opened.epoch.0,
        offset = image.provenance.end.0,
        topics = image.topics.len(),
        "controller is active"
    );
    env.spawn("controller", controller.run(operations));
    let controller = ControllerHandle::new(env.clone(), sender, metadata.clone());
    let updates = Subscription::new(updates);
    Ok(Started { controller, metadata, publisher, updates, quorum, image })
}

/// The records that the cluster was formatted with, by us or by Kafka.
fn formatted(opened: &driver::Opened) -> Result<Option<Vec<MetadataRecord>>, StartError> {
    let Some((SnapshotId::BOOTSTRAP, contents)) = &opened.snapshot else { return Ok(None) };
    let values = contents.values.iter().cloned();
    let records = values.map(|value| Ok(decode_metadata_record(value)?.0));
    let records: Vec<MetadataRecord> = records.collect::<Result<_, StartError>>()?;
    Ok((!records.is_empty()).then_some(records))
}

/// Everything that was in the log before this epoch, once it is committed. Says also whether there
/// was nothing.
async fn replay<E: Env>(
    quorum: &Quorum<E>,
    opened: &driver::Opened,
    committed: &mut watch::Receiver<Committed>,
    beyond: Offset,
) -> Result<(Replay, bool), StartError> {
    let led = |committed: &Committed| committed.end > beyond || committed.failed.is_some();
    let (limit, failed) = match committed.wait_for(led).await {
        Ok(committed) => (committed.end, committed.failed.clone()),
        Err(_) => (Offset(0), None),
    };
    if limit <= beyond {
        let why = failed.map_or("its commit loop ended".to_owned(), |failed| failed.to_string());
        return Err(StartError::Failed { why });
    }
    let mut replay = match &opened.snapshot {
        // The records of a new cluster: they are still to be written into the log.
        Some((SnapshotId::BOOTSTRAP, _)) | None => Replay::default(),
        Some((id, contents)) => {
            let (end, epoch, timestamp_ms) = (id.end, id.epoch, contents.timestamp_ms);
            let provenance = Provenance { end, epoch, timestamp_ms };
            Replay::from_snapshot(contents.values.iter().cloned(), provenance)?
        }
    };
    for batch in quorum.read(replay.end(), limit).await? {
        replay.batch(&batch)?;
    }
    let bootstrapping = replay.is_empty();
    Ok((replay, bootstrapping))
}

struct Controller<E: Env> {
    env: E,
    quorum: Quorum<E>,
    epoch: LeaderEpoch,
    settings: Settings,
    layers: Layers,
    chance: Chance,
    /// With everything decided, committed or not.
    replay: Replay,
    /// Decided and not committed, in order.
    pending: VecDeque<Pending>,
    images: watch::Sender<Arc<Image>>,
    committed: watch::Receiver<Committed>,
    snapshots: Snapshots,
}

/// One batch on its way to being committed, and who waits for it.
struct Pending {
    end: Offset,
    /// `None` inside a transaction: others do not see half of it.
    image: Option<Arc<Image>>,
    operations: Vec<Box<dyn Operation>>,
}

impl<E: Env> Controller<E> {
    async fn run(mut self, mut operations: mpsc::Receiver<Box<dyn Operation>>) {
        let mut turn = Vec::with_capacity(TURN_LEN_MAX);
        let ended: Result<&str, String> = loop {
            tokio::select! {
                biased;
                changed = self.committed.changed() => {
                    if changed.is_err() {
                        break Ok("its log was closed");
                    }
                    if let Err(why) = self.on_committed() {
                        break Err(why);
                    }
                    self.snapshot_if_due().await;
                }
                taken = operations.recv_many(&mut turn, TURN_LEN_MAX) => {
                    if taken == 0 {
                        break Ok("nobody asks any more");
                    }
                    if let Err(why) = self.take_turn(&mut turn).await {
                        break Err(why.to_string());
                    }
                }
            }
        };
        let why: Arc<str> = match ended {
            Ok(why) => {
                info!(why, "controller stops");
                why.into()
            }
            Err(why) => {
                error!(%why, "controller stops");
                self.quorum.fail(&why);
                why.into()
            }
        };
        operations.close();
        let waiting = self.pending.drain(..).flat_map(|pending| pending.operations);
        for operation in turn.into_iter().chain(waiting) {
            operation.fail(ControllerError::Stopped { why: why.clone() });
        }
        while let Some(operation) = operations.recv().await {
            operation.fail(ControllerError::Stopped { why: why.clone() });
        }
    }

    /// After an error those that were not looked at are still in `turn`.
    async fn take_turn(&mut self, turn: &mut Vec<Box<dyn Operation>>) -> Result<(), StartError> {
        let now = self.env.clock().now();
        turn.reverse();
        while let Some(operation) = turn.pop() {
            self.on_operation(operation, now).await?;
        }
        Ok(())
    }

    async fn on_operation(
        &mut self,
        mut operation: Box<dyn Operation>,
        now: Instant,
    ) -> Result<(), StartError> {
        let name = operation.name();
        if operation.deadline() <= now {
            operation.fail(ControllerError::TimedOut { name });
            return Ok(());
        }
        let mut context = Context {
            image: self.replay.image(),
            next: self.replay.end(),
            settings: &self.settings,
            layers: &self.layers,
            chance: &mut self.chance,
        };
        let records = operation.decide(&mut context);
        debug!(name, records = records.len(), "decided");
        if records.is_empty() {
            // It may have looked at what is not committed yet, so it waits for that.
            match self.pending.back_mut() {
                Some(last) => last.operations.push(operation),
                None => operation.answer(self.replay.end()),
            }
            return Ok(());
        }
        match self.append_all(&records).await {
            Ok(()) => {
                let last = self.pending.back_mut().expect("it was just appended");
                last.operations.push(operation);
                Ok(())
            }
            Err(StartError::Quorum(error)) if error.is_no_room() => {
                operation.fail(ControllerError::NoRoom);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Appends in batches of bounded size. Where there is no room for the first, nothing happened;
    /// where there is none for a later one, what began must be ended, and waits for room.
    async fn append_all(&mut self, records: &[MetadataRecord]) -> Result<(), StartError> {
        for (nth, batch) in records.chunks(BATCH_RECORDS_MAX).enumerate() {
            loop {
                match self.append(batch) {
                    Ok(()) => break,
                    Err(StartError::Quorum(error)) if nth > 0 && error.is_no_room() => {
                        self.env.clock().sleep(ROOM_RETRY).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, records: &[MetadataRecord]) -> Result<(), StartError> {
        let level = MetadataVersion::of(self.replay.image());
        let values = records.iter().map(|record| encode(record, level));
        let values: Vec<Bytes> = values.collect::<Result<_, _>>()?;
        let bytes: usize = values.iter().map(Bytes::len).sum();
        let base = self.replay.end();
        let mut next = self.replay.clone();
        for (at, value) in (base.0..).map(Offset).zip(&values) {
            next.replay_value(value.clone(), at)?;
        }
        let end = self.quorum.append(self.epoch, values)?;
        assert_eq!(end, base.plus(records.len() as u64), "only the controller writes here");
        let timestamp_ms = self.env.clock().wall_ms();
        next.stands_at(Provenance { end, epoch: self.epoch, timestamp_ms });
        let touched_configs = next.image().configs != self.replay.image().configs;
        self.replay = next;
        if touched_configs {
            self.layers = self.settings.layers_at(self.replay.image());
        }
        self.snapshots.bytes += bytes as u64;
        let image = self.replay.settled();
        self.pending.push_back(Pending { end, image, operations: vec![] });
        Ok(())
    }

    fn on_committed(&mut self) -> Result<(), String> {
        let Committed { end, failed } = self.committed.borrow_and_update().clone();
        while let Some(pending) = self.pending.front().filter(|pending| pending.end <= end) {
            if let Some(image) = &pending.image {
                self.images.send_replace(image.clone());
            }
            let pending = self.pending.pop_front().expect("it was just looked at");
            for operation in pending.operations {
                operation.answer(pending.end);
            }
        }
        failed.map_or(Ok(()), |failed| Err(failed.to_string()))
    }

    /// Commits what was decided before anyone asked, and shows it.
    async fn settle(&mut self) -> Result<(), StartError> {
        if let Some(image) = self.replay.settled() {
            self.images.send_replace(image);
        }
        while !self.pending.is_empty() {
            let closed = || StartError::Failed { why: "its commit loop ended".to_owned() };
            self.on_committed().map_err(|why| StartError::Failed { why })?;
            if !self.pending.is_empty() {
                self.committed.changed().await.map_err(|_| closed())?;
            }
        }
        Ok(())
    }

    async fn snapshot_if_due(&mut self) {
        let now = self.env.clock().now();
        if !self.snapshots.is_due(now) || !self.pending.is_empty() {
            return;
        }
        let image = self.images.borrow().clone();
        let due = self.snapshots.clone();
        self.snapshots.restart(now);
        match write_snapshot(&self.quorum, &image).await {
            Ok(()) => {}
            // The log still holds everything. It is tried again after the next commit.
            Err(StartError::Quorum(error)) if error.is_no_room() => self.snapshots = due,
            Err(error) => warn!(%error, "cannot write a metadata snapshot"),
        }
    }
}

/// Writes `image` as a snapshot, and lets go of what it makes superfluous.
pub async fn write_snapshot<E: Env>(quorum: &Quorum<E>, image: &Image) -> Result<(), StartError> {
    let Provenance { end, epoch, timestamp_ms } = image.provenance;
    let level = MetadataVersion::of(image);
    let records = snapshot::records(image);
    let values = records.iter().map(|record| encode(record, level));
    let values: Vec<Bytes> = values.collect::<Result<_, _>>()?;
    let id = SnapshotId { end, epoch };
    quorum.write_snapshot(id, timestamp_ms, values.into_iter()).await?;
    quorum.retain().await?;
    info!(offset = end.0, epoch = epoch.0, "metadata snapshot");
    Ok(())
}

/// When the next snapshot is due.
#[derive(Clone)]
struct Snapshots {
    after_bytes: u64,
    interval: Option<Duration>,
    /// Appended since the last.
    bytes: u64,
    last: Instant,
}

impl Snapshots {
    fn new<E: Env>(env: &E, options: &Options, quorum: &Quorum<E>) -> Snapshots {
        let bytes = quorum.bytes_since_snapshot();
        let (after_bytes, interval) = (options.snapshot_after_bytes, options.snapshot_interval);
        Snapshots { after_bytes, interval, bytes, last: env.clock().now() }
    }

    fn is_due(&self, now: Instant) -> bool {
        let old = self.interval.is_some_and(|interval| now.since(self.last) >= interval);
        self.bytes >= self.after_bytes || (old && self.bytes > 0)
    }

    fn restart(&mut self, now: Instant) {
        self.bytes = 0;
        self.last = now;
    }
}
