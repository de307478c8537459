//! ListOffsets (key 2), versions 1 to 11: the offset at a place or a time in a partition.
//!
//!    2  read_committed: nothing at or past the last stable offset
//!    4  leader epochs
//!    7  -3, the record with the largest timestamp
//!    8  -4, the earliest record on this broker
//!    9  -5, the latest in tiered storage: there is none
//!   11  -6, the earliest to go there: there is none
//!
//! Nothing found is no error: offset and timestamp are -1 then.

use std::collections::BTreeSet;

use crate::api::{Context, error};
use crate::env::Env;
use crate::metadata::image::Image;
use crate::partition::lookup::Found;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use crate::protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::protocol::wire::Text;
use crate::types::LeaderEpoch;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
const EPOCHS_SINCE: i16 = 4;
const READ_COMMITTED: i8 = 1;

pub async fn handle<E: Env>(ctx: Context<E>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let image = ctx.broker.image();
    let committed_only = request.isolation_level == READ_COMMITTED;
    let twice = named_twice(&request);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        let mut answered = BTreeSet::new();
        for asked in &topic.partitions {
            if !answered.insert(asked.partition_index) {
                continue;
            }
            let found = if twice.contains(&(&*topic.name, asked.partition_index)) {
                Err(ErrorCode::InvalidRequest)
            } else {
                find(&ctx, &image, &topic.name, asked, committed_only).await
            };
            partitions.push(answer(ctx.version, asked.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse { name: Text::new(&topic.name), partitions });
    }
    ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }
}

fn answer(
    version: i16,
    partition_index: i32,
    found: Result<Option<Found>, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let none = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
    match found {
        Ok(None) => none,
        Ok(Some(found)) => ListOffsetsPartitionResponse {
            timestamp: found.timestamp_ms,
            offset: found.offset.0,
            leader_epoch: match found.leader_epoch {
                Some(epoch) if version >= EPOCHS_SINCE => epoch.0,
                _ => -1,
            },
            ..none
        },
        Err(error) => ListOffsetsPartitionResponse { error_code: error.code(), ..none },
    }
}

async fn find<E: Env>(
    ctx: &Context<E>,
    image: &Image,
    topic: &str,
    asked: &ListOffsetsPartition,
    committed_only: bool,
) -> Result<Option<Found>, ErrorCode> {
    if asked.timestamp < 0 && ctx.version < since(asked.timestamp) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = ctx.broker.partition(topic, asked.partition_index)?;
    let epoch = LeaderEpoch(asked.current_leader_epoch);
    let found = match asked.timestamp {
        LATEST => partition.latest(epoch, committed_only).map(Some),
        EARLIEST | EARLIEST_LOCAL => partition.earliest(epoch).map(Some),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => partition.tiered(epoch),
        MAX_TIMESTAMP => partition.largest_timestamp(epoch, committed_only).await,
        timestamp_ms => partition.at_or_after(timestamp_ms, epoch, committed_only).await,
    };
    found.map_err(|failed| error::lookup(&failed, ctx.version))
}

/// The version in which a place below 0 came to mean something.
fn since(place: i64) -> i16 {
    match place {
        LATEST | EARLIEST => 0,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => i16::MAX,
    }
}

fn named_twice(request: &ListOffsetsRequest) -> BTreeSet<(&str, i32)> {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (&*topic.name, partition.partition_index);
            if !seen.insert(key) {
                twice.insert(key);
            }
        }
    }
    twice
}
