//! Reading: Fetch, with a session or without, and ListOffsets.

use std::time::Duration;

use bytes::Bytes;

use super::fetch_session::{FetchSession, sessionless};
use super::{CallError, Client, Topic, refusal};
use crate::env::Env;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::fetch_response::FetchResponse;
use crate::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::records::batch::{Batch, BatchError};
use crate::protocol::wire::{Records, Text};
use crate::types::{NodeId, Offset, Uuid};

/// Asked of ListOffsets instead of a time: the first offset, and the one after the last.
pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;

/// How to fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    pub wait_ms_max: u32,
    pub bytes_min: u32,
    /// Of the whole answer, and of each partition in it.
    pub bytes_max: u32,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions { wait_ms_max: 500, bytes_min: 1, bytes_max: 1 << 20 }
    }
}

/// A partition to read, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub topic_id: Uuid,
    pub partition: u32,
    pub from: Offset,
}

impl Wanted {
    pub fn new(topic: &Topic, partition: u32, from: Offset) -> Wanted {
        Wanted { name: topic.name.clone(), topic_id: topic.id, partition, from }
    }

    pub(super) fn key(&self) -> (Uuid, u32) {
        (self.topic_id, self.partition)
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

/// An answer about one of several partitions: its place among those that were wanted.
#[derive(Debug)]
pub struct Served {
    pub place: usize,
    pub fetched: Result<Fetched, ErrorCode>,
}

/// What ListOffsets found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: Offset,
    /// Of the record there, where a time was asked for.
    pub timestamp_ms: Option<i64>,
}

impl<E: Env> Client<E> {
    pub async fn fetch(
        &mut self,
        topic: &Topic,
        partition: u32,
        from: Offset,
        options: &FetchOptions,
    ) -> Result<Fetched, CallError> {
        let wanted = [Wanted::new(topic, partition, from)];
        let served = self.fetch_all(leader(topic, partition)?, &wanted, options, None).await?;
        let served = served.into_iter().next().ok_or(CallError::Missing)?;
        served.fetched.map_err(|code| CallError::Refused { code })
    }

    /// Reads several partitions that `node` leads, in `session` if there is one: then those without
    /// news are not spoken of.
    pub async fn fetch_all(
        &mut self,
        node: Option<NodeId>,
        wanted: &[Wanted],
        options: &FetchOptions,
        mut session: Option<&mut FetchSession>,
    ) -> Result<Vec<Served>, CallError> {
        let request = match &mut session {
            Some(session) => session.request(wanted, options),
            None => sessionless(wanted, options),
        };
        let limit = self.options.call_max() + Duration::from_millis(options.wait_ms_max.into());
        let answer = self.call_within(node, &request, limit).await;
        let answer = answer.and_then(|answer| refusal(answer.error_code).map(|()| answer));
        if let Some(session) = session {
            match &answer {
                Ok(answer) => session.on_answer(answer.session_id),
                Err(CallError::Refused { code: ErrorCode::FetchSessionIdNotFound }) => {
                    session.on_unknown();
                }
                Err(_) => session.on_trouble(),
            }
        }
        Ok(served(answer?, wanted))
    }

    /// The offset at `timestamp_ms`, or at [`EARLIEST`] or [`LATEST`]; none when nothing is as
    /// young.
    pub async fn offset_at(
        &mut self,
        topic: &Topic,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Found>, CallError> {
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
        let timestamp_ms = (answer.timestamp >= 0).then_some(answer.timestamp);
        let found = Found { offset: Offset(answer.offset), timestamp_ms };
        Ok((answer.offset >= 0).then_some(found))
    }
}

/// Answers to what was not asked are passed over.
fn served(answer: FetchResponse, wanted: &[Wanted]) -> Vec<Served> {
    let mut all = vec![];
    for topic in answer.responses {
        let is_meant = |wanted: &Wanted| {
            wanted.topic_id == topic.topic_id
                || (topic.topic_id == Uuid::ZERO && wanted.name == topic.topic.as_str())
        };
        for partition in topic.partitions {
            let index = partition.partition_index;
            let place = wanted.iter().position(|wanted| {
                is_meant(wanted) && i64::from(wanted.partition) == i64::from(index)
            });
            let Some(place) = place else { continue };
            let records = match partition.records {
                Some(Records::Bytes(records)) => records,
                Some(Records::Hole(_)) | None => Bytes::new(),
            };
            let fetched = Fetched {
                high_watermark: Offset(partition.high_watermark),
                log_start: Offset(partition.log_start_offset),
                records,
            };
            let code =
                ErrorCode::from_code(partition.error_code).unwrap_or(ErrorCode::UnknownServerError);
            let fetched = if code == ErrorCode::None { Ok(fetched) } else { Err(code) };
            all.push(Served { place, fetched });
        }
    }
    all
}

/// Whom to ask for a partition: its leader, or anybody when none is known.
pub(super) fn leader(topic: &Topic, partition: u32) -> Result<Option<NodeId>, CallError> {
    topic.leaders.get(partition as usize).copied().ok_or(CallError::Missing)
}
