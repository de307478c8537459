//! DeleteRecords (key 21), versions 0 to 2: raise the start of partitions we lead.
//!
//! Answered when the new start is durable: what was deleted does not come back.

use crate::api::{Context, error};
use crate::env::{Env, probe};
use crate::metadata::image::Image;
use crate::metadata::topic::Topic;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest,
};
use crate::protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::protocol::wire::Text;
use crate::types::Offset;

const UNKNOWN: i64 = -1;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = ctx.broker.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let (low_watermark, error) = match delete(&ctx, &image, &topic.name, asked).await {
                Ok(start) => (start.0, ErrorCode::None),
                Err(error) => (UNKNOWN, error),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark,
                error_code: error.code(),
            });
        }
        topics.push(DeleteRecordsTopicResult { name: Text::new(&topic.name), partitions });
    }
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
}

async fn delete<E: Env>(
    ctx: &Context<E>,
    image: &Image,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<Offset, ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if Topic::is_internal(&topic.name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = ctx.broker.partition(topic, asked.partition_index)?;
    let start =
        partition.delete_records(asked.offset).map_err(|refused| error::deletion(&refused))?;
    if !ctx.broker.make_starts_durable(&partition).await || partition.log_start() < start {
        // Deleted meanwhile, or its directory failed or is full.
        let gone = partition.gone();
        return Err(gone.map_or(ErrorCode::KafkaStorageError, |gone| error::gone(&gone)));
    }
    let (topic, partition) = (partition.topic_id, partition.index);
    ctx.broker.env().probe(|| probe::Event::RecordsDeleted { topic, partition, start });
    Ok(start)
}
