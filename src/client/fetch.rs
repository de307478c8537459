//! Reading: Fetch without a session, and ListOffsets.

use std::time::Duration;

use bytes::Bytes;

use super::{CallError, Client, Topic, refusal};
use crate::env::Env;
use crate::protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use crate::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::records::batch::{Batch, BatchError};
use crate::protocol::wire::{Records, Text};
use crate::types::{NodeId, Offset};

/// Asked of ListOffsets instead of a time: the first offset, and the one after the last.
pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;

/// How to fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    pub wait_ms_max: u32,
    pub bytes_min: u32,
    pub bytes_max: u32,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions { wait_ms_max: 500, bytes_min: 1, bytes_max: 1 << 20 }
    }
}

/// What a broker served of one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub high_watermark: Offset,
    pub log_start: Offset,
    /// Whole batches, the first of which may begin below the offset that was asked for. The last
    /// may be cut off.
    pub records: Bytes,
}

impl Fetched {
    /// The batches that are whole, their checksums verified. The first always is: a broker that
    /// cuts it off would never be done.
    pub fn batches(&self) -> Result<Vec<Batch>, BatchError> {
        let (mut rest, mut batches) = (self.records.clone(), vec![]);
        loop {
            match Batch::split(&mut rest) {
                Ok(Some(batch)) => {
                    batch.verify_crc()?;
                    batches.push(batch);
                }
                Ok(None) => return Ok(batches),
                Err(BatchError::Cut { .. } | BatchError::HeaderCut { .. })
                    if !batches.is_empty() =>
                {
                    return Ok(batches);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl<E: Env> Client<E> {
    pub async fn fetch(
        &mut self,
        topic: &Topic,
        partition: u32,
        from: Offset,
        options: &FetchOptions,
    ) -> Result<Fetched, CallError> {
        let asked = FetchPartition {
            partition: partition as i32,
            fetch_offset: from.0,
            partition_max_bytes: options.bytes_max as i32,
            ..FetchPartition::default()
        };
        let asked = FetchTopic {
            topic: Text::new(&topic.name),
            topic_id: topic.id,
            partitions: vec![asked],
        };
        let request = FetchRequest {
            max_wait_ms: options.wait_ms_max as i32,
            min_bytes: options.bytes_min as i32,
            max_bytes: options.bytes_max as i32,
            topics: vec![asked],
            ..FetchRequest::default()
        };
        let limit = self.options.call_max() + Duration::from_millis(options.wait_ms_max.into());
        let response = self.call_within(leader(topic, partition)?, &request, limit).await?;
        refusal(response.error_code)?;
        let topic = response.responses.into_iter().next().ok_or(CallError::Missing)?;
        let served = topic.partitions.into_iter().next().ok_or(CallError::Missing)?;
        refusal(served.error_code)?;
        let records = match served.records {
            Some(Records::Bytes(records)) => records,
            Some(Records::Hole(_)) | None => Bytes::new(),
        };
        let (high_watermark, log_start) =
            (Offset(served.high_watermark), Offset(served.log_start_offset));
        Ok(Fetched { high_watermark, log_start, records })
    }

    /// The offset at `timestamp_ms`, or at [`EARLIEST`] or [`LATEST`]; none when nothing is as
    /// young.
    pub async fn offset_at(
        &mut self,
        topic: &Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, CallError> {
        let asked = ListOffsetsPartition {
            partition_index: partition as i32,
            timestamp: timestamp_ms,
            ..ListOffsetsPartition::default()
        };
        let asked = ListOffsetsTopic { name: Text::new(&topic.name), partitions: vec![asked] };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![asked],
            ..ListOffsetsRequest::default()
        };
        let response = self.call(leader(topic, partition)?, &request).await?;
        let topic = response.topics.into_iter().next().ok_or(CallError::Missing)?;
        let answer = topic.partitions.into_iter().next().ok_or(CallError::Missing)?;
        refusal(answer.error_code)?;
        Ok((answer.offset >= 0).then_some(Offset(answer.offset)))
    }
}

/// Whom to ask for a partition: its leader, or anybody when none is known.
pub(super) fn leader(topic: &Topic, partition: u32) -> Result<Option<NodeId>, CallError> {
    topic.leaders.get(partition as usize).copied().ok_or(CallError::Missing)
}
