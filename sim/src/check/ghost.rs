//! Watches the broker from inside: compares every probe with the disk as it is at that moment.
//!
//! The broker says when something is appended, durable, committed or acknowledged. Here each such
//! word is sent to the checkers that it concerns. They know what was written, from the files alone
//! (`batches`), and derive the rest from that. A checker looks at what changed, never at all there
//! is; `finish` looks at everything once more when a run is over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use ottla::env::probe::Event;
use ottla::types::{Offset, Uuid};

use self::canon::Canon;
use self::fetches::Fetched;
use self::image::View;
use self::leaks::Held;
use self::metadata::Metadata;
use self::replica::Replica;
use self::retention::Expired;
use self::sequences::Sequences;
use self::waits::{Expired as FetchExpired, Now};
use super::Invariant::{self, I2, I3, I8, I9, I10, I37, I42};
use super::Violation;
use crate::disk::NodeDisk;
use crate::disk::volume::Volume;
use crate::world::World;

mod batches;
mod canon;
mod epochs;
mod fetches;
mod files;
mod image;
mod indexes;
mod leaks;
mod metadata;
mod replica;
mod retention;
mod sequences;
mod waits;

#[cfg(test)]
mod tests;

/// Where the brokers of the simulation keep their data.
pub const DATA_DIR: &str = "/data";

type Verdict = Result<(), Violation>;

fn broken<T>(invariant: Invariant, evidence: String) -> Result<T, Violation> {
    Err(Violation::new(invariant, evidence))
}

/// One partition on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Log {
    node: usize,
    topic: Uuid,
    partition: i32,
}

#[derive(Default)]
pub struct Ghost {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    logs: BTreeMap<Log, Watched>,
    /// One for each partition, whichever nodes hold it.
    canons: BTreeMap<(Uuid, i32), Canon>,
    metadata: Metadata,
    /// Records that producers were told are taken.
    acknowledged: i64,
    /// When the last event happened.
    now: Now,
}

struct Watched {
    replica: Replica,
    sequences: Sequences,
}

impl Ghost {
    pub fn observe(&self, world: &World, node: usize, event: &Event) {
        let disk = world.disk(node);
        let mut state = self.state.lock().unwrap();
        state.now = Now { at: world.now(), runs_since: world.runs_since(node) };
        let checked = state.check(&disk, node, event);
        drop(state);
        raise(world, node, checked);
    }

    /// The last copy of a log was destroyed: nothing is to be held against it any more, nor against an
    /// earlier one whose directory it has.
    pub fn forget(&self, node: usize, event: &Event) {
        let logs = &mut self.state.lock().unwrap().logs;
        if let Some((topic, partition)) = event.log() {
            logs.remove(&Log { node, topic, partition });
        }
        if let Event::Recovered { dir, .. } = event {
            logs.retain(|log, watched| log.node != node || watched.replica.dir != *dir);
        }
    }

    /// Everything once more, when nothing moves any longer and all clients are gone.
    pub fn finish(&self, world: &World) {
        let state = self.state.lock().unwrap();
        let mut segments: BTreeMap<usize, usize> = BTreeMap::new();
        for (log, watched) in &state.logs {
            let Replica { batches, dir, deleted, .. } = &watched.replica;
            // Retention may be about to take the first segments away.
            let start = watched.replica.whole_from();
            if *deleted || !state.metadata.has_topic(log.topic) {
                continue;
            }
            let look = |volume: &Volume| {
                batches.sweep(*log, volume, dir, start)?;
                indexes::check(*log, batches, (volume, dir), start)
            };
            let disk = world.disk(log.node);
            raise(world, log.node, disk.with_volume(look));
            *segments.entry(log.node).or_default() +=
                disk.with_volume(|v| image::segments(v, dir).len());
        }
        for (node, segments) in segments {
            let open_files = world.disk(node).with_volume(Volume::open_files);
            raise(world, node, Held { tasks: world.tasks(node), open_files, segments }.check());
        }
    }

    /// How many records were acknowledged: 0 means that a run tried nothing.
    pub fn acknowledged(&self) -> i64 {
        self.state.lock().unwrap().acknowledged
    }
}

/// What would be lost records of a topic is a lost decision there.
fn of_metadata(log: Log, broken: Violation) -> Violation {
    let Violation { invariant, evidence } = broken;
    let is_loss = matches!(invariant, I2 | I3 | I8 | I9 | I10);
    let is_metadata = log.topic == Uuid::METADATA_TOPIC;
    Violation::new(if is_metadata && is_loss { I37 } else { invariant }, evidence)
}

fn raise(world: &World, node: usize, checked: Verdict) {
    if let Err(Violation { invariant, evidence }) = checked {
        Violation::new(invariant, format!("{}: {evidence}", world.name(node))).raise();
    }
}

fn check_fetch(log: Log, replica: &Replica, event: &Event, now: Now) -> Verdict {
    let Replica { batches, high_watermark, moved, .. } = replica;
    match *event {
        Event::Fetched { from, at, len, limit, .. } => {
            Fetched { from, at, len, limit }.check(log, batches, *high_watermark)
        }
        Event::FetchExpired { from, limit, bytes_min, bytes_max, waited, .. } => {
            let expired = FetchExpired { from, limit, bytes_min, bytes_max, waited };
            expired.check(log, batches, *moved, now)
        }
        _ => Ok(()),
    }
}

impl State {
    fn check(&mut self, disk: &NodeDisk, node: usize, event: &Event) -> Verdict {
        match event {
            Event::ProducerIdAllocated { id } => self.metadata.producer_id_given(*id),
            Event::MetadataPublished { end } => self.metadata.published(node, *end),
            _ => match event.log() {
                Some((topic, partition)) => {
                    let log = Log { node, topic, partition };
                    self.check_log(disk, log, event).map_err(|broken| of_metadata(log, broken))
                }
                None => Ok(()),
            },
        }
    }

    fn check_log(&mut self, disk: &NodeDisk, log: Log, event: &Event) -> Verdict {
        let now = self.now;
        if let Event::Recovered { .. } = event {
            return self.recovered(disk, log, event);
        }
        let Watched { replica, sequences } = self.watched(log);
        if replica.deleted {
            return Ok(());
        }
        match event {
            Event::Refused { is_damaged: true, why, .. } => {
                return broken(I42, format!("{log} is refused, and its disk is sound: {why}"));
            }
            Event::Configured { synced, .. } => replica.configured(*synced),
            Event::Appended { base, end, epoch, .. } => {
                let appended =
                    disk.with_volume(|v| replica.appended(v, *base, *end, *epoch).cloned())?;
                sequences.appended(log, &appended)?;
                self.canon(log).written(log, &appended)?;
            }
            Event::Duplicate { base, end, sent, .. } => {
                sequences.duplicate(log, sent, (*base, *end))?;
            }
            Event::OutOfSequence { sent, .. } => sequences.refused(log, sent)?,
            Event::ProducersKnown { producers, .. } => {
                sequences.told(log, producers)?;
                let (batches, dir, start) = (&replica.batches, &replica.dir, replica.whole_from());
                disk.with_volume(|v| indexes::check(log, batches, (v, dir), start))?;
            }
            Event::Durable { end, .. } => disk.with_volume(|v| replica.durable(v, *end))?,
            Event::HighWatermark { offset, .. } => self.high_watermark(disk, log, *offset)?,
            Event::MetadataCommitted { offset, .. } => {
                replica.acknowledged_by(*offset);
                self.high_watermark(disk, log, *offset)?;
            }
            Event::SnapshotWritten { end, epoch } => {
                let dir = replica.dir.clone();
                let State { metadata, .. } = self;
                disk.with_volume(|v| metadata.snapshot_written((v, &dir), *end, *epoch))?;
            }
            Event::Acknowledged { base, end, acks, .. } => {
                replica.acknowledged(*end, *acks)?;
                self.acknowledged += end.0 - base.0;
            }
            Event::DeletionAsked { start, .. } => replica.deletion_asked(*start)?,
            Event::SegmentsExpired { first, rules, .. } => {
                let expired = Expired { log, from: replica.start, first: *first, rules: *rules };
                disk.with_volume(|v| expired.check(&replica.batches, v, &replica.dir))?;
                replica.segments_expired(*first)?;
            }
            Event::StartMoved { start, cause, .. } => {
                replica.start_moved(*start, cause)?;
                if log.topic == Uuid::METADATA_TOPIC {
                    disk.with_volume(|v| metadata::check_start(v, &replica.dir, *start))?;
                }
            }
            Event::RecordsDeleted { start, .. } => replica.records_deleted(*start)?,
            Event::Fetched { from, .. } | Event::FetchExpired { from, .. }
                if *from >= replica.start =>
            {
                check_fetch(log, replica, event, now)?;
            }
            Event::Deleted { .. } => {
                replica.deleted();
                *sequences = Sequences::default();
                self.canons.remove(&(log.topic, log.partition));
            }
            _ => {}
        }
        Ok(())
    }

    fn recovered(&mut self, disk: &NodeDisk, log: Log, event: &Event) -> Verdict {
        let Event::Recovered { dir, start, end, epochs, producers, .. } = event else {
            return Ok(());
        };
        let span = (*start, *end);
        let losses = disk.losses();
        if log.topic == Uuid::METADATA_TOPIC {
            self.process_started(disk, log.node, dir, *start)?;
        }
        self.forget_others(log, dir);
        let Watched { replica, sequences } = self.watched(log);
        let (change, snapshot) = disk.with_volume(|volume| {
            let change = replica.recovered(volume, dir, span, losses)?;
            files::check_epochs(volume, dir)?;
            Ok::<_, Violation>((change, image::newest_snapshot(volume, dir, *end)))
        })?;
        epochs::recovered(log, epochs, &replica.batches, span)?;
        sequences.rewind(&change.lost, &replica.batches);
        change.found.iter().for_each(|batch| sequences.take(batch));
        sequences.recovered(log, producers, &replica.batches, (snapshot, *start))?;
        let relaxed = replica.relaxed;
        let canon = self.canon(log);
        if relaxed {
            canon.forfeit(*end);
        }
        change.found.iter().try_for_each(|batch| canon.written(log, batch))?;
        Ok(())
    }

    /// What it covers joins what is committed.
    fn high_watermark(&mut self, disk: &NodeDisk, log: Log, offset: Offset) -> Verdict {
        let State { logs, canons, metadata, now, .. } = self;
        let Watched { replica, .. } = logs.entry(log).or_insert_with(|| Watched::new(log));
        replica.high_watermark(offset, now.at)?;
        let canon = canons.entry((log.topic, log.partition)).or_default();
        for batch in replica.batches.after(replica.compared_end) {
            if batch.end > offset {
                break;
            }
            canon.commit(log, batch)?;
            replica.compared_end = batch.end;
            if log.topic == Uuid::METADATA_TOPIC {
                let whole = disk.with_volume(|v| batch.whole(v, View::Disk, &replica.dir));
                whole.map_or(Ok(()), |whole| metadata.committed(log, &whole))?;
            }
        }
        Ok(())
    }

    /// A process has opened its metadata log, and written nothing yet.
    fn process_started(
        &self,
        disk: &NodeDisk,
        node: usize,
        metadata_dir: &Path,
        start: Offset,
    ) -> Verdict {
        let of_node = self.logs.iter().filter(|(log, _)| log.node == node);
        let replicas = of_node.map(|(_, watched)| &watched.replica);
        let epoch = self.metadata.epoch();
        disk.with_volume(|volume| {
            metadata::check_start(volume, metadata_dir, start)?;
            files::check(volume, metadata_dir, epoch, replicas)
        })
    }

    /// A log of the same name was there, of a topic that is gone by now.
    fn forget_others(&mut self, log: Log, dir: &Path) {
        let others = self.logs.iter_mut().filter(|(other, watched)| {
            other.node == log.node && **other != log && watched.replica.dir == dir
        });
        others.for_each(|(_, other)| other.replica.deleted());
    }

    fn watched(&mut self, log: Log) -> &mut Watched {
        self.logs.entry(log).or_insert_with(|| Watched::new(log))
    }

    fn canon(&mut self, log: Log) -> &mut Canon {
        self.canons.entry((log.topic, log.partition)).or_default()
    }
}

impl Watched {
    fn new(log: Log) -> Watched {
        Watched { replica: Replica::new(log), sequences: Sequences::default() }
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log {}-{}", self.topic, self.partition)
    }
}
