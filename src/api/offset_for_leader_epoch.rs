//! OffsetForLeaderEpoch (key 23), versions 2 to 4: where an epoch ended, so that a consumer finds
//! out whether what it has was truncated.

use crate::api::{Context, error};
use crate::env::Env;
use crate::metadata::image::Image;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use crate::protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use crate::protocol::wire::Text;
use crate::types::LeaderEpoch;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = ctx.broker.image();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let found = end_of(&ctx, &image, &topic.topic, asked);
            let end = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
            match found {
                Ok((leader_epoch, end_offset)) => {
                    EpochEndOffset { leader_epoch, end_offset, ..end }
                }
                Err(error) => EpochEndOffset { error_code: error.code(), ..end },
            }
        });
        OffsetForLeaderTopicResult {
            topic: Text::new(&topic.topic),
            partitions: partitions.collect(),
        }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

const UNDEFINED: i32 = -1;

/// -1 and -1: nothing is known of the epoch.
fn end_of<E: Env>(
    ctx: &Context<E>,
    image: &Image,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = ctx.broker.partition(topic, asked.partition)?;
    let current = LeaderEpoch(asked.current_leader_epoch);
    if asked.leader_epoch == UNDEFINED {
        // Still only the leader may say so.
        partition.end_offset_for(current, LeaderEpoch(0)).map_err(|e| error::refused(&e))?;
        return Ok((UNDEFINED, -1));
    }
    let end = partition
        .end_offset_for(current, LeaderEpoch(asked.leader_epoch))
        .map_err(|refused| error::refused(&refused))?;
    Ok(end.map_or((-1, -1), |end| (end.epoch.0, end.end.0)))
}
