//! DescribeTopicPartitions (key 75), version 0: topics by name, page by page.
//!
//! An empty list asks for all topics. Topics are answered in the order of their names; where the
//! limit cuts them, the cursor says with which partition to go on.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::api::Context;
use crate::api::operations::TOPIC_OPERATIONS;
use crate::controller::topics::check_name;
use crate::env::Env;
use crate::metadata::image::Image;
use crate::metadata::topic::{Partition, Topic};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use crate::protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::wire::Text;
use crate::types::NodeId;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = ctx.broker.image();
    let asked: BTreeSet<&str> = request.topics.iter().map(|topic| &*topic.name).collect();
    let (mut from, mut index) = ("", 0);
    if let Some(cursor) = &request.cursor {
        let known = asked.is_empty() || asked.contains(&*cursor.topic_name);
        if !known || cursor.partition_index < 0 {
            return refused(&asked);
        }
        (from, index) = (&cursor.topic_name, cursor.partition_index);
    }
    let names: Vec<&str> = if asked.is_empty() {
        image.topics_by_name(Bound::Included(from)).map(|topic| &*topic.name).collect()
    } else {
        asked.range(from..).copied().collect()
    };
    let partitions_max = ctx.broker.settings().config.max_request_partition_size_limit;
    let mut room = request.response_partition_limit.clamp(1, partitions_max) as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let start = if name == from { index } else { 0 };
        if room == 0 {
            response.next_cursor = Some(cursor_at(name, start));
            break;
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .filter(|&(&index, _)| index >= start)
            .take(room)
            .map(|(&index, partition)| describe(&ctx, &image, index, partition))
            .collect();
        room -= partitions.len();
        let end = start + partitions.len() as i32;
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(Text::new(name)),
            topic_id: topic.id,
            is_internal: Topic::is_internal(name),
            partitions,
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if end < topic.partition_count() {
            response.next_cursor = Some(cursor_at(name, end));
            break;
        }
    }
    response
}

fn cursor_at(topic: &str, partition_index: i32) -> Cursor {
    Cursor { topic_name: Text::new(topic), partition_index }
}

fn refused(asked: &BTreeSet<&str>) -> DescribeTopicPartitionsResponse {
    let topics = asked.iter().map(|name| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(Text::new(name)),
        ..DescribeTopicPartitionsResponseTopic::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match check_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(Text::new(name)),
        is_internal: Topic::is_internal(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn describe<E: Env>(
    ctx: &Context<E>,
    image: &Image,
    index: i32,
    partition: &Partition,
) -> DescribeTopicPartitionsResponsePartition {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let (leader_id, error) = match ctx.leader(image, partition) {
        Ok(leader) => (leader.0, ErrorCode::None),
        Err(error) => (-1, error),
    };
    DescribeTopicPartitionsResponsePartition {
        error_code: error.code(),
        partition_index: index,
        leader_id,
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: ids(&partition.replicas),
        isr_nodes: ids(&partition.isr),
        eligible_leader_replicas: Some(ids(&partition.elr)),
        last_known_elr: Some(ids(&partition.last_known_elr)),
        offline_replicas: ctx.offline_replicas(image, partition),
    }
}
