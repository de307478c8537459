//! DescribeQuorum (key 55), versions 0 to 2: who leads the metadata quorum, how far its voters are.
//!
//!    1  when each replica fetched last and was last caught up
//!    2  directory ids, and where the voters listen

use crate::api::Context;
use crate::broker::METADATA_TOPIC;
use crate::env::Env;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::describe_quorum_request::DescribeQuorumRequest;
use crate::protocol::messages::describe_quorum_response::{
    self, DescribeQuorumResponse, Listener, Node, PartitionData, TopicData,
};
use crate::protocol::wire::Text;
use crate::quorum::driver::{Description, ReplicaState};
use crate::types::Uuid;

const DIRECTORIES_SINCE: i16 = 2;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let [topic] = &request.topics[..] else { return unknown(&request) };
    let [partition] = &topic.partitions[..] else { return unknown(&request) };
    if *topic.topic_name != *METADATA_TOPIC || partition.partition_index != 0 {
        return unknown(&request);
    }
    let quorum = ctx.broker.quorum().describe();
    let nodes = quorum.endpoints.iter().map(|voter| {
        let listeners = voter.endpoints.iter().map(|endpoint| Listener {
            name: Text::new(&endpoint.name),
            host: Text::new(&endpoint.host),
            port: endpoint.port,
        });
        Node { node_id: voter.key.id.0, listeners: listeners.collect() }
    });
    let topics = vec![TopicData {
        topic_name: Text::new(METADATA_TOPIC),
        partitions: vec![describe(&quorum, ctx.version)],
    }];
    let nodes = if ctx.version >= DIRECTORIES_SINCE { nodes.collect() } else { Vec::new() };
    DescribeQuorumResponse {
        topics,
        nodes,
        error_message: Some(Text::default()),
        ..Default::default()
    }
}

fn describe(quorum: &Description, version: i16) -> PartitionData {
    let replica = |state| replica(state, version);
    PartitionData {
        partition_index: 0,
        leader_id: quorum.leader.map_or(-1, |leader| leader.0),
        leader_epoch: quorum.epoch.0,
        high_watermark: quorum.high_watermark.map_or(-1, |offset| offset.0),
        current_voters: quorum.voters.iter().map(replica).collect(),
        observers: quorum.observers.iter().map(replica).collect(),
        ..PartitionData::default()
    }
}

fn replica(state: &ReplicaState, version: i16) -> describe_quorum_response::ReplicaState {
    describe_quorum_response::ReplicaState {
        replica_id: state.key.id.0,
        replica_directory_id: match state.key.directory {
            Some(directory) if version >= DIRECTORIES_SINCE => directory,
            _ => Uuid::ZERO,
        },
        log_end_offset: state.log_end,
        last_fetch_timestamp: state.fetched_ms,
        last_caught_up_timestamp: state.caught_up_ms,
    }
}

/// Only the metadata's partition has a quorum.
fn unknown(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| TopicData {
        topic_name: Text::new(&topic.topic_name),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| PartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                error_message: Some(Text::new("only the metadata's own partition has a quorum")),
                ..PartitionData::default()
            })
            .collect(),
    });
    DescribeQuorumResponse { topics: topics.collect(), ..DescribeQuorumResponse::default() }
}
