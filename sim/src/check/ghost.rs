//! Watches the broker from inside: compares every probe with the disk as it is at that moment.
//!
//! The broker says when something is appended, durable, committed or acknowledged. Here each such
//! word is sent to the checkers that it concerns. They know what was written, from the files alone
//! (`batches`), and derive the rest from that. A checker looks at what changed, never at all there
//! is; `finish` looks at everything once more when a run is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use ottla::env::probe::Event;
use ottla::types::{Offset, ProducerId, Uuid};

use self::canon::Canon;
use self::fetches::Fetched;
use self::replica::Replica;
use self::retention::Move;
use self::sequences::Sequences;
use super::Invariant::{self, I20};
use super::Violation;
use crate::disk::NodeDisk;
use crate::disk::volume::Volume;
use crate::world::World;

mod batches;
mod canon;
mod epochs;
mod fetches;
mod image;
mod replica;
mod retention;
mod sequences;

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
    producer_ids: BTreeSet<ProducerId>,
    /// Records that producers were told are taken.
    acknowledged: i64,
}

struct Watched {
    replica: Replica,
    sequences: Sequences,
}

impl Ghost {
    pub fn observe(&self, world: &World, node: usize, event: &Event) {
        let disk = world.disk(node);
        let checked = self.state.lock().unwrap().check(&disk, node, event);
        raise(world, node, checked);
    }

    /// Everything once more, when nothing moves any longer.
    pub fn finish(&self, world: &World) {
        let state = self.state.lock().unwrap();
        for (log, watched) in &state.logs {
            let Replica { batches, dir, start, deleted, .. } = &watched.replica;
            if !deleted {
                let sweep = |volume: &Volume| batches.sweep(*log, volume, dir, *start);
                raise(world, log.node, world.disk(log.node).with_volume(sweep));
            }
        }
    }

    /// How many records were acknowledged: 0 means that a run tried nothing.
    pub fn acknowledged(&self) -> i64 {
        self.state.lock().unwrap().acknowledged
    }
}

fn raise(world: &World, node: usize, checked: Verdict) {
    if let Err(Violation { invariant, evidence }) = checked {
        Violation::new(invariant, format!("{}: {evidence}", world.name(node))).raise();
    }
}

impl State {
    fn check(&mut self, disk: &NodeDisk, node: usize, event: &Event) -> Verdict {
        match event {
            Event::MetadataCommitted { offset, .. } => {
                let log = Log { node, topic: Uuid::METADATA_TOPIC, partition: 0 };
                self.high_watermark(log, *offset)?;
                self.watched(log).replica.acknowledged(*offset, -1)
            }
            Event::ProducerIdAllocated { id } => match self.producer_ids.insert(*id) {
                true => Ok(()),
                false => broken(I20, format!("producer id {} is given out twice", id.0)),
            },
            _ => match event.log() {
                Some((topic, partition)) => {
                    self.check_log(disk, Log { node, topic, partition }, event)
                }
                None => Ok(()),
            },
        }
    }

    fn check_log(&mut self, disk: &NodeDisk, log: Log, event: &Event) -> Verdict {
        if let Event::Recovered { .. } = event {
            return self.recovered(disk, log, event);
        }
        let Watched { replica, sequences } = self.watched(log);
        if replica.deleted {
            return Ok(());
        }
        match event {
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
            Event::ProducersKnown { producers, .. } => sequences.told(log, producers)?,
            Event::Durable { end, .. } => disk.with_volume(|v| replica.durable(v, *end))?,
            Event::HighWatermark { offset, .. } => self.high_watermark(log, *offset)?,
            Event::Acknowledged { base, end, acks, .. } => {
                replica.acknowledged(*end, *acks)?;
                self.acknowledged += end.0 - base.0;
            }
            Event::StartMoved { start, cause, .. } => {
                let (from, high_watermark) = (replica.start, replica.high_watermark);
                let moved = Move { log, from, to: *start, high_watermark, cause };
                disk.with_volume(|v| moved.check(&replica.batches, v, &replica.dir))?;
                replica.start = *start;
            }
            Event::RecordsDeleted { start, .. } => replica.records_deleted(*start)?,
            Event::Fetched { from, at, len, limit, .. } if *from >= replica.start => {
                let fetched = Fetched { from: *from, at: *at, len: *len, limit: *limit };
                fetched.check(log, &replica.batches, replica.high_watermark)?;
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
        let losses = disk.power_losses();
        let Watched { replica, sequences } = self.watched(log);
        let (lost, snapshot) = disk.with_volume(|volume| {
            let lost = replica.recovered(volume, dir, span, losses)?;
            Ok::<_, Violation>((lost, image::newest_snapshot(volume, dir, *end)))
        })?;
        epochs::recovered(log, epochs, &replica.batches, span)?;
        sequences.rewind(&lost, &replica.batches);
        sequences.recovered(log, producers, snapshot, *start)?;
        if replica.relaxed {
            self.canon(log).forfeit(*end);
        }
        Ok(())
    }

    /// What it covers joins what is committed.
    fn high_watermark(&mut self, log: Log, offset: Offset) -> Verdict {
        let State { logs, canons, .. } = self;
        let Watched { replica, .. } = logs.entry(log).or_insert_with(|| Watched::new(log));
        replica.high_watermark(offset)?;
        let canon = canons.entry((log.topic, log.partition)).or_default();
        for batch in replica.batches.after(replica.compared_end) {
            if batch.end > offset {
                break;
            }
            canon.commit(log, batch)?;
            replica.compared_end = batch.end;
        }
        Ok(())
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
