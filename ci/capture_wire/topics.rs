//! The cluster, its topics, and records in them.

use ottla::protocol::messages::{
    alter_replica_log_dirs_request, api_versions_request, create_partitions_request,
    create_topics_request, delete_records_request, delete_topics_request, describe_cluster_request,
    describe_log_dirs_request, describe_quorum_request, describe_topic_partitions_request,
    fetch_request, list_offsets_request, metadata_request, offset_for_leader_epoch_request,
    produce_request, unregister_broker_request,
};
use ottla::protocol::wire::Text;
use ottla::types::Uuid;

use super::{Capture, batch, text};

pub fn cluster_and_topics(capture: &mut Capture) -> Uuid {
    use api_versions_request::ApiVersionsRequest;
    capture.each(|v| ApiVersionsRequest {
        client_software_name: if v >= 3 { "golden".into() } else { "".into() },
        client_software_version: if v >= 3 { "1".into() } else { "".into() },
        ..ApiVersionsRequest::default()
    });
    use create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
    capture.each(|v| CreateTopicsRequest {
        topics: vec![
            CreatableTopic {
                name: text(format!("golden-{v}")),
                num_partitions: 2,
                replication_factor: 1,
                configs: vec![CreatableTopicConfig {
                    name: "retention.ms".into(),
                    value: Some("-1".into()),
                }],
                ..CreatableTopic::default()
            },
            CreatableTopic {
                name: "not a topic".into(),
                num_partitions: 1,
                replication_factor: 1,
                ..CreatableTopic::default()
            },
        ],
        timeout_ms: 10_000,
        validate_only: false,
    });
    use create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
    capture.each(|v| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "golden-2".into(),
            count: 3 + i32::from(v),
            assignments: None,
        }],
        timeout_ms: 10_000,
        validate_only: v == 0,
    });
    use metadata_request::{MetadataRequest, MetadataRequestTopic};
    let named =
        |name: &'static str| MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    capture.each(|_| MetadataRequest {
        topics: Some(vec![named("golden-7"), named("nowhere")]),
        ..MetadataRequest::default()
    });
    capture.each(|v| MetadataRequest {
        topics: if v == 0 { Some(vec![]) } else { None },
        include_topic_authorized_operations: v >= 8,
        include_cluster_authorized_operations: (8..=10).contains(&v),
        ..MetadataRequest::default()
    });
    let metadata = capture
        .one(13, &MetadataRequest { topics: Some(vec![named("golden-7")]), ..Default::default() });
    let topic_id = metadata.unwrap().topics[0].topic_id;
    use describe_topic_partitions_request::{DescribeTopicPartitionsRequest, TopicRequest};
    capture.each(|_| DescribeTopicPartitionsRequest {
        topics: vec![
            TopicRequest { name: "golden-7".into() },
            TopicRequest { name: "golden-2".into() },
        ],
        response_partition_limit: 3,
        cursor: None,
    });
    use describe_cluster_request::DescribeClusterRequest;
    capture.each(|v| DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        include_fenced_brokers: v >= 2,
        ..DescribeClusterRequest::default()
    });
    use describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
    capture.each(|_| DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![PartitionData { partition_index: 0 }],
        }],
    });
    topic_id
}

pub fn records(capture: &mut Capture, topic_id: Uuid) {
    // Answers of version 13 on name topics by id.
    let name =
        |v: i16, first_id: i16| if v < first_id { "golden-7".into() } else { Text::default() };
    let id = |v: i16, first_id: i16| if v < first_id { Uuid::ZERO } else { topic_id };
    {
        use produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
        for partition in [0, 9] {
            capture.each(|v| ProduceRequest {
                acks: -1,
                timeout_ms: 10_000,
                topic_data: vec![TopicProduceData {
                    name: name(v, 13),
                    topic_id: id(v, 13),
                    partition_data: vec![PartitionProduceData {
                        index: partition,
                        records: Some(batch(None, false).into()),
                    }],
                }],
                ..ProduceRequest::default()
            });
        }
    }
    {
        use fetch_request::{FetchPartition, FetchRequest, FetchTopic};
        for (session_epoch, partition) in [(-1, 0), (0, 0), (-1, 9)] {
            capture.each(|v| FetchRequest {
                max_wait_ms: 10,
                session_epoch: if v >= 7 { session_epoch } else { -1 },
                max_bytes: 1 << 20,
                topics: vec![FetchTopic {
                    topic: name(v, 13),
                    topic_id: id(v, 13),
                    partitions: vec![FetchPartition {
                        partition,
                        fetch_offset: 2,
                        partition_max_bytes: 1 << 20,
                        ..FetchPartition::default()
                    }],
                }],
                ..FetchRequest::default()
            });
        }
    }
    {
        use list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
        for timestamp in [-1, -2, -3, 1_700_000_000_001] {
            capture.each(|_| ListOffsetsRequest {
                replica_id: -1,
                topics: vec![ListOffsetsTopic {
                    name: "golden-7".into(),
                    partitions: vec![ListOffsetsPartition { timestamp, ..Default::default() }],
                }],
                ..ListOffsetsRequest::default()
            });
        }
    }
    {
        use offset_for_leader_epoch_request::{
            OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
        };
        capture.each(|_| OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: "golden-7".into(),
                partitions: vec![OffsetForLeaderPartition::default()],
            }],
            ..OffsetForLeaderEpochRequest::default()
        });
    }
    {
        use delete_records_request::{
            DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
        };
        capture.each(|_| DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: "golden-7".into(),
                partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: 1 }],
            }],
            timeout_ms: 10_000,
        });
    }
    use describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
    capture.each(|_| DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic {
            topic: "golden-7".into(),
            partitions: vec![0],
        }]),
    });
    capture.each(|_| alter_replica_log_dirs_request::AlterReplicaLogDirsRequest::default());
}

pub fn endings(capture: &mut Capture) {
    capture.each(|_| unregister_broker_request::UnregisterBrokerRequest { broker_id: 99 });
    use delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
    capture.each(|v| DeleteTopicsRequest {
        topics: if v < 6 {
            vec![]
        } else {
            vec![DeleteTopicState { name: Some("golden-6".into()), ..Default::default() }]
        },
        topic_names: if v < 6 {
            vec![text(format!("golden-{v}")), "nowhere".into()]
        } else {
            vec![]
        },
        timeout_ms: 10_000,
    });
}
