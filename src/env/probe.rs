//! What the broker tells a simulator about itself. Production ignores it at no cost.
//!
//! Checkers compare these events with what the disk holds and what clients were told, so an event
//! states a fact at the moment it becomes true, never an intention.

use crate::types::{LeaderEpoch, Offset, Uuid};

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A log was opened: what recovery kept.
    Recovered { topic: Uuid, partition: i32, start: Offset, end: Offset },
    /// Bytes were written to the page cache.
    Appended { topic: Uuid, partition: i32, base: Offset, end: Offset, epoch: LeaderEpoch },
    /// Everything below `end` survives a power loss.
    Durable { topic: Uuid, partition: i32, end: Offset },
    /// Consumers may read below `offset`.
    HighWatermark { topic: Uuid, partition: i32, epoch: LeaderEpoch, offset: Offset },
    /// A producer is about to be told that its batch was taken.
    Acknowledged { topic: Uuid, partition: i32, base: Offset, end: Offset, acks: i16 },
    /// Records below `start` are gone: DeleteRecords or retention.
    StartMoved { topic: Uuid, partition: i32, start: Offset },
    /// A log directory failed and takes no more writes.
    DirectoryOffline { directory: Uuid },
    /// The metadata log committed up to `offset`, exclusive.
    MetadataCommitted { offset: Offset, epoch: LeaderEpoch },
}
