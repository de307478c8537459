//! Metadata (key 3), versions 0 to 13: brokers, topics, and who leads each partition.
//!
//!    0  an empty list asks for all topics; from 1 on a null list does, an empty one for none
//!    4  the client says whether an unknown topic may be created
//!   10  topic ids in the answer; asking by id works from 12 on
//!
//! An unknown topic that may be created is answered as unknown: the client asks again.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::api::Context;
use crate::api::operations::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS};
use crate::controller::topics::check_name;
use crate::env::Env;
use crate::metadata::image::Image;
use crate::metadata::topic::{Partition, Topic};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use crate::protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::wire::Text;
use crate::types::Uuid;

pub async fn handle<E: Env>(ctx: Context<E>, request: MetadataRequest) -> MetadataResponse {
    if let Some(refused) = refuse_ids(&ctx, &request) {
        return refused;
    }
    let image = ctx.broker.image();
    let mut topics = match &request.topics {
        Some(topics) if topics.is_empty() && ctx.version == 0 => all_topics(&ctx, &image),
        Some(topics) => some_topics(&ctx, &image, topics, request.allow_auto_topic_creation),
        None => all_topics(&ctx, &image),
    };
    if request.include_topic_authorized_operations {
        for topic in &mut topics {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let brokers = ctx.endpoints(&image).map(|(broker, endpoint)| MetadataResponseBroker {
        node_id: broker.id.0,
        host: Text::new(&endpoint.host),
        port: i32::from(endpoint.port),
        rack: broker.rack.as_deref().map(Text::new),
    });
    let mut response = MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(Text::new(ctx.broker.cluster_id())),
        controller_id: ctx.any_broker(&image),
        topics,
        ..MetadataResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn all_topics<E: Env>(ctx: &Context<E>, image: &Image) -> Vec<MetadataResponseTopic> {
    image.topics_by_name(Bound::Unbounded).map(|topic| known(ctx, image, topic)).collect()
}

fn some_topics<E: Env>(
    ctx: &Context<E>,
    image: &Image,
    asked: &[MetadataRequestTopic],
    may_create: bool,
) -> Vec<MetadataResponseTopic> {
    if asked.iter().any(|topic| topic.topic_id != Uuid::ZERO) {
        let mut seen = BTreeSet::from([Uuid::ZERO]);
        let ids = asked.iter().map(|topic| topic.topic_id).filter(|&id| seen.insert(id));
        return ids.map(|id| by_id(ctx, image, id)).collect();
    }
    let mut seen = BTreeSet::new();
    let names = asked.iter().filter_map(|topic| topic.name.as_deref());
    let names: Vec<&str> = names.filter(|&name| seen.insert(name)).collect();
    let may_create =
        (may_create || ctx.version < 4) && ctx.broker.settings().config.auto_create_topics_enable;
    let mut answers = Vec::with_capacity(names.len());
    let mut missing = Vec::new();
    for name in names {
        match image.topic(name) {
            Some(topic) => answers.push(known(ctx, image, topic)),
            None => {
                answers.push(unknown(name));
                missing.push(name);
            }
        }
    }
    if may_create {
        let missing = missing.into_iter().filter(|name| check_name(name).is_ok());
        ctx.broker.create_missing_topics(missing);
    }
    answers
}

fn by_id<E: Env>(ctx: &Context<E>, image: &Image, id: Uuid) -> MetadataResponseTopic {
    match image.topic_by_id(id) {
        Some(topic) => known(ctx, image, topic),
        None => MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId.code(),
            name: None,
            topic_id: id,
            ..MetadataResponseTopic::default()
        },
    }
}

/// Versions 10 and 11 know topic ids in answers only.
fn refuse_ids<E: Env>(ctx: &Context<E>, request: &MetadataRequest) -> Option<MetadataResponse> {
    let asked = request.topics.as_deref().unwrap_or_default();
    let named = |topic: &MetadataRequestTopic| topic.name.is_some() && topic.topic_id == Uuid::ZERO;
    if ctx.version >= 12 || asked.iter().all(named) {
        return None;
    }
    let topics = asked.iter().map(|asked| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(asked.name.clone().unwrap_or_default()),
        topic_id: asked.topic_id,
        ..MetadataResponseTopic::default()
    });
    let topics = topics.collect();
    Some(MetadataResponse { topics, cluster_id: None, ..MetadataResponse::default() })
}

fn unknown(name: &str) -> MetadataResponseTopic {
    let error = match check_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    MetadataResponseTopic {
        error_code: error.code(),
        name: Some(Text::new(name)),
        is_internal: Topic::is_internal(name),
        ..MetadataResponseTopic::default()
    }
}

fn known<E: Env>(ctx: &Context<E>, image: &Image, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .map(|(&index, partition)| known_partition(ctx, image, index, partition));
    MetadataResponseTopic {
        name: Some(Text::new(&topic.name)),
        topic_id: topic.id,
        is_internal: Topic::is_internal(&topic.name),
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}

fn known_partition<E: Env>(
    ctx: &Context<E>,
    image: &Image,
    index: i32,
    partition: &Partition,
) -> MetadataResponsePartition {
    let (leader, error) = match ctx.leader(image, partition) {
        Ok(leader) => (leader.0, ErrorCode::None),
        Err(ErrorCode::ListenerNotFound) if ctx.version < 6 => (-1, ErrorCode::LeaderNotAvailable),
        Err(error) => (-1, error),
    };
    MetadataResponsePartition {
        error_code: error.code(),
        partition_index: index,
        leader_id: leader,
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: partition.replicas.iter().map(|node| node.0).collect(),
        isr_nodes: partition.isr.iter().map(|node| node.0).collect(),
        offline_replicas: ctx.offline_replicas(image, partition),
    }
}
