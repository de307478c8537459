//! What the broker tells a simulator about itself. Production ignores it at no cost.
//!
//! Checkers compare these events with what the disk holds and what clients were told, so an event
//! states a fact at the moment it becomes true, never an intention. The log of the metadata quorum
//! tells the same as any other, under its own topic id.

use std::path::PathBuf;
use std::time::Duration;

use crate::types::{LeaderEpoch, Offset, ProducerId, Uuid};

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Event {
    /// A log was opened: where it lies, what recovery kept, and what it knows of that.
    Recovered {
        topic: Uuid,
        partition: i32,
        dir: PathBuf,
        start: Offset,
        end: Offset,
        epochs: Vec<(LeaderEpoch, Offset)>,
        producers: Producers,
    },
    /// A log was not opened, and is not served: what was synced is not there, or the disk failed.
    Refused { topic: Uuid, partition: i32, is_damaged: bool, why: String },
    /// Whether records count only once they are synced, or when they are written.
    Configured { topic: Uuid, partition: i32, synced: bool },
    /// Bytes were written to the page cache.
    Appended { topic: Uuid, partition: i32, base: Offset, end: Offset, epoch: LeaderEpoch },
    /// A batch was taken for one that is there already, and is answered with its place.
    Duplicate { topic: Uuid, partition: i32, base: Offset, end: Offset, sent: Sent },
    /// A batch was refused: its sequence does not follow.
    OutOfSequence { topic: Uuid, partition: i32, sent: Sent },
    /// What is remembered of producers.
    ProducersKnown { topic: Uuid, partition: i32, producers: Producers },
    /// Everything below `end` survives a power loss.
    Durable { topic: Uuid, partition: i32, end: Offset },
    /// Consumers may read below `offset`.
    HighWatermark { topic: Uuid, partition: i32, epoch: LeaderEpoch, offset: Offset },
    /// A producer is about to be told that its batch was taken.
    Acknowledged { topic: Uuid, partition: i32, base: Offset, end: Offset, acks: i16 },
    /// A client asks for records below `start` to go: they may be gone after a crash.
    DeletionAsked { topic: Uuid, partition: i32, start: Offset },
    /// Segments before `first` are to go, by these rules at this time.
    SegmentsExpired { topic: Uuid, partition: i32, first: Offset, rules: Rules },
    /// Records below `start` are gone.
    StartMoved { topic: Uuid, partition: i32, start: Offset, cause: Cause },
    /// A client is about to be told that records below `start` are gone for good.
    RecordsDeleted { topic: Uuid, partition: i32, start: Offset },
    /// A fetch from `from` is answered with `len` bytes at `at` of the segment that holds it.
    Fetched { topic: Uuid, partition: i32, from: Offset, at: u64, len: u32, limit: Offset },
    /// A fetch from `from` ran out of time: `waited` ago there was too little to answer, up to the
    /// high watermark `limit`, and it was not woken since.
    FetchExpired {
        topic: Uuid,
        partition: i32,
        from: Offset,
        limit: Offset,
        bytes_min: u64,
        bytes_max: u32,
        waited: Duration,
    },
    /// The topic was deleted: nothing more is served, the files go.
    Deleted { topic: Uuid, partition: i32 },
    /// A log directory failed and takes no more writes.
    DirectoryOffline { directory: Uuid },
    /// The metadata log committed up to `offset`, exclusive.
    MetadataCommitted { offset: Offset, epoch: LeaderEpoch },
    /// A snapshot of the metadata below `end` is on the disk.
    SnapshotWritten { end: Offset, epoch: LeaderEpoch },
    /// The broker serves the metadata below `end`.
    MetadataPublished { end: Offset },
    /// A client is about to be given a producer id.
    ProducerIdAllocated { id: ProducerId },
}

impl Event {
    /// The log that it is about.
    pub fn log(&self) -> Option<(Uuid, i32)> {
        match *self {
            Event::Recovered { topic, partition, .. }
            | Event::Refused { topic, partition, .. }
            | Event::Configured { topic, partition, .. }
            | Event::Appended { topic, partition, .. }
            | Event::Duplicate { topic, partition, .. }
            | Event::OutOfSequence { topic, partition, .. }
            | Event::ProducersKnown { topic, partition, .. }
            | Event::Durable { topic, partition, .. }
            | Event::HighWatermark { topic, partition, .. }
            | Event::Acknowledged { topic, partition, .. }
            | Event::DeletionAsked { topic, partition, .. }
            | Event::SegmentsExpired { topic, partition, .. }
            | Event::StartMoved { topic, partition, .. }
            | Event::RecordsDeleted { topic, partition, .. }
            | Event::Fetched { topic, partition, .. }
            | Event::FetchExpired { topic, partition, .. }
            | Event::Deleted { topic, partition } => Some((topic, partition)),
            Event::MetadataCommitted { .. } | Event::SnapshotWritten { .. } => {
                Some((Uuid::METADATA_TOPIC, 0))
            }
            Event::DirectoryOffline { .. }
            | Event::MetadataPublished { .. }
            | Event::ProducerIdAllocated { .. } => None,
        }
    }
}

/// Why a log begins later than it did.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Cause {
    /// A client asked for it.
    DeleteRecords,
    /// Segments expired.
    Retention,
    /// A snapshot holds what was before.
    Snapshot,
}

/// By which segments expire: the topic's own, and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    pub now_ms: i64,
    pub retention_ms: Option<u64>,
    pub retention_bytes: Option<u64>,
}

/// How a producer numbered a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    pub producer: ProducerId,
    pub epoch: i16,
    pub first_sequence: i32,
    pub last_sequence: i32,
}

/// All producers that a log remembers.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Producers {
    /// Those that were silent for `expiration_ms` then were just forgotten.
    pub expired_at_ms: Option<i64>,
    pub expiration_ms: i64,
    /// By id.
    pub known: Vec<Producer>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: i16,
    pub timestamp_ms: i64,
    /// Those that a retry may name, oldest first.
    pub batches: Vec<ProducerBatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerBatch {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base: Offset,
    pub end: Offset,
}
