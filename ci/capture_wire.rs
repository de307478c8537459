//! Asks a real Kafka about everything harmless, in every version that it advertises, and keeps the
//! bytes: `cargo run --example capture_wire HOST:PORT tests/golden/wire`. The node must be fresh,
//! of one's own, and is littered with topics and groups. `tests/codec_golden.rs` reads the result:
//! a file per API, a line per exchange, `version request response`, in hex and without lengths.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::{env, fs};

use bytes::Bytes;
use ottla::protocol::api::ApiKey;
use ottla::protocol::frame;
use ottla::protocol::messages::*;
use ottla::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord, Producer};
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{Request, Text};
use ottla::types::{ProducerId, Uuid};

struct Capture {
    address: String,
    stream: TcpStream,
    lines: BTreeMap<ApiKey, Vec<String>>,
    correlation_id: i32,
}

impl Capture {
    /// Sends what `make` makes of each advertised version; the last answer comes back.
    fn each<R: Request>(&mut self, mut make: impl FnMut(i16) -> R) -> Option<R::Response> {
        let versions = R::API.stable_versions();
        versions.filter_map(|version| self.one(version, &make(version))).last()
    }

    fn one<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.correlation_id += 1;
        let client_id = Some(Text::from("golden"));
        let encoded = frame::encode_request(
            &mut Writer::new(),
            version,
            self.correlation_id,
            client_id,
            request,
        );
        let request_bytes = encoded.unwrap_or_else(|e| panic!("{}: {e}", R::NAME)).to_bytes();
        let Some(answer) = self.exchange(&request_bytes) else {
            println!("{} {version}: closed", R::API);
            self.stream = TcpStream::connect(&self.address).unwrap();
            return None;
        };
        let line = format!("{version} {} {}", hex(&request_bytes[4..]), hex(&answer));
        self.lines.entry(R::API).or_default().push(line);
        match frame::decode_response::<R>(answer.into(), version) {
            Ok((_, response)) => {
                println!("{} {version}: {}", R::API, &format!("{response:?}")[R::NAME.len()..]);
                Some(response)
            }
            Err(error) => panic!("{} {version}: {error}", R::API),
        }
    }

    fn exchange(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.stream.write_all(request).ok()?;
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).ok()?;
        let mut answer = vec![0; u32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut answer).ok()?;
        Some(answer)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(text: impl Into<String>) -> Text {
    Text::from(text.into())
}

fn batch(producer: Option<Producer>, transactional: bool) -> Bytes {
    let mut batch =
        BatchBuilder::new(BatchOptions { producer, transactional, ..BatchOptions::default() });
    for i in 0..3 {
        let value = Some(Bytes::from(format!("value {i}")));
        batch.push(NewRecord {
            timestamp_ms: 1_700_000_000_000 + i,
            value,
            ..NewRecord::default()
        });
    }
    batch.build()
}

fn main() {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().expect("HOST:PORT of a real Kafka");
    let directory = arguments.next().expect("a directory for the results");
    let stream = TcpStream::connect(&address).expect("Kafka listens");
    let mut capture = Capture { address, stream, lines: BTreeMap::new(), correlation_id: 0 };
    refuse_what_is_in_use(&mut capture);
    let topic_id = cluster_and_topics(&mut capture);
    records(&mut capture, topic_id);
    configuration(&mut capture);
    groups(&mut capture, topic_id);
    transactions(&mut capture, topic_id);
    security(&mut capture);
    endings(&mut capture);
    fs::create_dir_all(&directory).unwrap();
    for (api, lines) in capture.lines {
        fs::write(format!("{directory}/{api}.txt"), lines.join("\n") + "\n").unwrap();
    }
}

/// What follows creates and deletes: only ever on a node that nobody has used yet.
fn refuse_what_is_in_use(capture: &mut Capture) {
    let all = metadata_request::MetadataRequest { topics: None, ..Default::default() };
    let metadata = capture.one(13, &all).expect("Kafka answers");
    assert!(metadata.topics.is_empty(), "this node has topics: it is somebody else's");
}

fn cluster_and_topics(capture: &mut Capture) -> Uuid {
    use api_versions_request::*;
    capture.each(|v| ApiVersionsRequest {
        client_software_name: if v >= 3 { "golden".into() } else { "".into() },
        client_software_version: if v >= 3 { "1".into() } else { "".into() },
        ..ApiVersionsRequest::default()
    });
    use create_topics_request::*;
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
    use create_partitions_request::*;
    capture.each(|v| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "golden-2".into(),
            count: 3 + i32::from(v),
            assignments: None,
        }],
        timeout_ms: 10_000,
        validate_only: v == 0,
    });
    use metadata_request::*;
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
    use describe_topic_partitions_request::*;
    capture.each(|_| DescribeTopicPartitionsRequest {
        topics: vec![
            TopicRequest { name: "golden-7".into() },
            TopicRequest { name: "golden-2".into() },
        ],
        response_partition_limit: 3,
        cursor: None,
    });
    use describe_cluster_request::*;
    capture.each(|v| DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        include_fenced_brokers: v >= 2,
        ..DescribeClusterRequest::default()
    });
    use describe_quorum_request::*;
    capture.each(|_| DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![PartitionData { partition_index: 0 }],
        }],
    });
    topic_id
}

fn records(capture: &mut Capture, topic_id: Uuid) {
    // Answers of version 13 on name topics by id.
    let name =
        |v: i16, first_id: i16| if v < first_id { "golden-7".into() } else { Text::default() };
    let id = |v: i16, first_id: i16| if v < first_id { Uuid::ZERO } else { topic_id };
    {
        use produce_request::*;
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
        use fetch_request::*;
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
        use list_offsets_request::*;
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
        use offset_for_leader_epoch_request::*;
        capture.each(|_| OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: "golden-7".into(),
                partitions: vec![OffsetForLeaderPartition::default()],
            }],
            ..OffsetForLeaderEpochRequest::default()
        });
    }
    {
        use delete_records_request::*;
        capture.each(|_| DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: "golden-7".into(),
                partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: 1 }],
            }],
            timeout_ms: 10_000,
        });
    }
    use describe_log_dirs_request::*;
    capture.each(|_| DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic {
            topic: "golden-7".into(),
            partitions: vec![0],
        }]),
    });
    capture.each(|_| alter_replica_log_dirs_request::AlterReplicaLogDirsRequest::default());
}

fn configuration(capture: &mut Capture) {
    {
        use incremental_alter_configs_request::*;
        capture.each(|_| IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: "golden-7".into(),
                configs: vec![AlterableConfig {
                    name: "segment.bytes".into(),
                    config_operation: 0,
                    value: Some("10485760".into()),
                }],
            }],
            validate_only: false,
        });
    }
    {
        use alter_configs_request::*;
        capture.each(|_| AlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: "golden-6".into(),
                configs: vec![AlterableConfig { name: "no.such".into(), value: Some("1".into()) }],
            }],
            validate_only: true,
        });
    }
    {
        use describe_configs_request::*;
        let resource =
            |kind, name: &'static str, keys: Option<Vec<Text>>| DescribeConfigsResource {
                resource_type: kind,
                resource_name: name.into(),
                configuration_keys: keys,
            };
        capture.each(|_| DescribeConfigsRequest {
            resources: vec![
                resource(2, "golden-7", None),
                resource(4, "1", Some(vec!["log.retention.ms".into(), "listeners".into()])),
                resource(2, "nowhere", None),
            ],
            include_synonyms: true,
            // Kafka's sentences stay with Kafka.
            include_documentation: false,
        });
    }
    use list_config_resources_request::*;
    capture.each(|_| ListConfigResourcesRequest::default());
    use describe_client_quotas_request::*;
    capture.each(|_| DescribeClientQuotasRequest::default());
    use alter_client_quotas_request::*;
    capture.each(|_| AlterClientQuotasRequest {
        entries: vec![EntryData {
            entity: vec![EntityData {
                entity_type: "user".into(),
                entity_name: Some("golden".into()),
            }],
            ops: vec![OpData { key: "producer_byte_rate".into(), value: 1e9, remove: false }],
        }],
        validate_only: false,
    });
    capture.each(|_| DescribeClientQuotasRequest::default());
    use alter_partition_reassignments_request::*;
    capture.each(|_| AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: "golden-6".into(),
            partitions: vec![ReassignablePartition::default()],
        }],
        ..AlterPartitionReassignmentsRequest::default()
    });
    capture.each(|_| {
        list_partition_reassignments_request::ListPartitionReassignmentsRequest::default()
    });
    use elect_leaders_request::*;
    capture.each(|_| ElectLeadersRequest {
        topic_partitions: Some(vec![TopicPartitions {
            topic: "golden-6".into(),
            partitions: vec![0],
        }]),
        ..ElectLeadersRequest::default()
    });
    use update_features_request::*;
    capture.each(|v| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "no.such".into(),
            max_version_level: 3,
            ..Default::default()
        }],
        validate_only: v >= 1,
        ..UpdateFeaturesRequest::default()
    });
}

fn groups(capture: &mut Capture, topic_id: Uuid) {
    use find_coordinator_request::*;
    capture.each(|v| FindCoordinatorRequest {
        key: if v < 4 { "golden".into() } else { "".into() },
        coordinator_keys: if v < 4 { vec![] } else { vec!["golden".into(), "other".into()] },
        ..FindCoordinatorRequest::default()
    });
    std::thread::sleep(std::time::Duration::from_secs(3));
    for version in ApiKey::JoinGroup.stable_versions() {
        classic_group(capture, version, topic_id);
    }
    capture.each(|_| describe_groups_request::DescribeGroupsRequest {
        groups: vec!["golden-9".into(), "nowhere".into()],
        ..Default::default()
    });
    capture.each(|_| list_groups_request::ListGroupsRequest::default());
    {
        use offset_delete_request::*;
        capture.each(|_| OffsetDeleteRequest {
            group_id: "golden-0".into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: "golden-7".into(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
            }],
        });
    }
    capture.each(|v| delete_groups_request::DeleteGroupsRequest {
        groups_names: vec![text(format!("golden-{v}")), "nowhere".into()],
    });
    consumer_and_share_groups(capture);
}

/// A member's whole life, each request in the version of the join or the nearest that there is.
fn classic_group(capture: &mut Capture, version: i16, topic_id: Uuid) {
    fn nearest<R: Request>(version: i16) -> i16 {
        version.clamp(*R::VERSIONS.start(), *R::API.stable_versions().end())
    }
    let group_id = text(format!("golden-{version}"));
    let mut member_id = Text::default();
    let mut generation_id = 0;
    for _ in 0..2 {
        use join_group_request::*;
        let join = JoinGroupRequest {
            group_id: group_id.clone(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: if version >= 1 { 1000 } else { -1 },
            member_id: member_id.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"subscription"),
            }],
            ..JoinGroupRequest::default()
        };
        let Some(joined) = capture.one(version, &join) else { return };
        member_id = joined.member_id;
        generation_id = joined.generation_id;
        if joined.error_code == 0 {
            break;
        }
    }
    use sync_group_request::*;
    let sync = SyncGroupRequest {
        group_id: group_id.clone(),
        generation_id,
        member_id: member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: Bytes::from_static(b"assignment"),
        }],
        protocol_type: (version >= 5).then(|| "consumer".into()),
        protocol_name: (version >= 5).then(|| "range".into()),
        ..SyncGroupRequest::default()
    };
    capture.one(nearest::<SyncGroupRequest>(version), &sync);
    use heartbeat_request::*;
    let heartbeat = HeartbeatRequest {
        group_id: group_id.clone(),
        generation_id,
        member_id: member_id.clone(),
        group_instance_id: None,
    };
    capture.one(nearest::<HeartbeatRequest>(version), &heartbeat);
    {
        use offset_commit_request::*;
        let v = version + 1;
        let v = v.clamp(2, 10);
        let commit = OffsetCommitRequest {
            group_id: group_id.clone(),
            generation_id_or_member_epoch: generation_id,
            member_id: member_id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: if v < 10 { "golden-7".into() } else { "".into() },
                topic_id: if v < 10 { Uuid::ZERO } else { topic_id },
                partitions: vec![OffsetCommitRequestPartition {
                    committed_offset: 1,
                    committed_metadata: Some("mark".into()),
                    ..Default::default()
                }],
            }],
            ..OffsetCommitRequest::default()
        };
        capture.one(v, &commit);
    }
    {
        use offset_fetch_request::*;
        let v = (version + 1).clamp(1, 10);
        let mut fetch = OffsetFetchRequest::default();
        if v < 8 {
            fetch.group_id = group_id.clone();
            let partition_indexes = vec![0, 1];
            fetch.topics =
                Some(vec![OffsetFetchRequestTopic { name: "golden-7".into(), partition_indexes }]);
        } else {
            fetch.groups = vec![OffsetFetchRequestGroup {
                group_id: group_id.clone(),
                topics: None,
                ..OffsetFetchRequestGroup::default()
            }];
        }
        capture.one(v, &fetch);
    }
    use leave_group_request::*;
    let v = nearest::<LeaveGroupRequest>(version);
    let mut leave = LeaveGroupRequest { group_id, ..LeaveGroupRequest::default() };
    if v < 3 {
        leave.member_id = member_id;
    } else {
        leave.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
    }
    capture.one(v, &leave);
}

fn consumer_and_share_groups(capture: &mut Capture) {
    {
        use consumer_group_heartbeat_request::*;
        capture.each(|v| ConsumerGroupHeartbeatRequest {
            group_id: "golden-consumers".into(),
            member_id: if v == 0 { "".into() } else { "AAAAAAAAAAAAAAAAAAAAAA".into() },
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec!["golden-7".into()]),
            topic_partitions: Some(vec![]),
            ..ConsumerGroupHeartbeatRequest::default()
        });
        capture.each(|_| consumer_group_describe_request::ConsumerGroupDescribeRequest {
            group_ids: vec!["golden-consumers".into(), "nowhere".into()],
            include_authorized_operations: true,
        });
    }
    {
        use share_group_heartbeat_request::*;
        capture.each(|_| ShareGroupHeartbeatRequest {
            group_id: "golden-shares".into(),
            member_id: "AAAAAAAAAAAAAAAAAAAAAA".into(),
            subscribed_topic_names: Some(vec!["golden-7".into()]),
            ..ShareGroupHeartbeatRequest::default()
        });
        capture.each(|_| share_group_describe_request::ShareGroupDescribeRequest {
            group_ids: vec!["golden-shares".into()],
            include_authorized_operations: false,
        });
        use describe_share_group_offsets_request::*;
        capture.each(|_| DescribeShareGroupOffsetsRequest {
            groups: vec![DescribeShareGroupOffsetsRequestGroup {
                group_id: "golden-shares".into(),
                topics: None,
            }],
        });
    }
    use streams_group_heartbeat_request::*;
    capture.each(|_| StreamsGroupHeartbeatRequest {
        group_id: "golden-streams".into(),
        member_id: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        rebalance_timeout_ms: 10_000,
        topology: Some(Topology {
            epoch: 0,
            subtopologies: vec![Subtopology {
                subtopology_id: "0".into(),
                source_topics: vec!["golden-7".into()],
                ..Subtopology::default()
            }],
        }),
        active_tasks: Some(vec![]),
        standby_tasks: Some(vec![]),
        warmup_tasks: Some(vec![]),
        process_id: Some("p".into()),
        ..StreamsGroupHeartbeatRequest::default()
    });
    capture.each(|_| streams_group_describe_request::StreamsGroupDescribeRequest {
        group_ids: vec!["golden-streams".into()],
        ..Default::default()
    });
}

fn transactions(capture: &mut Capture, topic_id: Uuid) {
    use init_producer_id_request::*;
    capture.each(|_| InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 10_000,
        ..InitProducerIdRequest::default()
    });
    use find_coordinator_request::*;
    let find = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec!["golden".into()],
        ..Default::default()
    };
    capture.one(6, &find);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let init = InitProducerIdRequest {
        transactional_id: Some("golden".into()),
        transaction_timeout_ms: 10_000,
        ..InitProducerIdRequest::default()
    };
    let Some(mine) = capture.one(5, &init) else { return };
    let (producer_id, mut producer_epoch) = (mine.producer_id, mine.producer_epoch);
    {
        use add_partitions_to_txn_request::*;
        let topics =
            || vec![AddPartitionsToTxnTopic { name: "golden-7".into(), partitions: vec![1] }];
        for v in 0..=3 {
            let add = AddPartitionsToTxnRequest {
                v3_and_below_transactional_id: "golden".into(),
                v3_and_below_producer_id: producer_id,
                v3_and_below_producer_epoch: producer_epoch,
                v3_and_below_topics: topics(),
                ..AddPartitionsToTxnRequest::default()
            };
            capture.one(v, &add);
        }
    }
    {
        use produce_request::*;
        let producer =
            Producer { id: ProducerId(producer_id), epoch: producer_epoch, base_sequence: 0 };
        let produce = ProduceRequest {
            transactional_id: Some("golden".into()),
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData {
                topic_id,
                partition_data: vec![PartitionProduceData {
                    index: 1,
                    records: Some(batch(Some(producer), true).into()),
                }],
                ..TopicProduceData::default()
            }],
        };
        capture.one(13, &produce);
    }
    capture.each(|_| describe_producers_request::DescribeProducersRequest {
        topics: vec![describe_producers_request::TopicRequest {
            name: "golden-7".into(),
            partition_indexes: vec![1, 9],
        }],
    });
    capture.each(|_| describe_transactions_request::DescribeTransactionsRequest {
        transactional_ids: vec!["golden".into(), "nowhere".into()],
    });
    capture.each(|_| list_transactions_request::ListTransactionsRequest::default());
    capture.each(|_| add_offsets_to_txn_request::AddOffsetsToTxnRequest {
        transactional_id: "golden".into(),
        producer_id,
        producer_epoch,
        group_id: "golden-txn".into(),
    });
    {
        use txn_offset_commit_request::*;
        capture.each(|v| TxnOffsetCommitRequest {
            transactional_id: "golden".into(),
            group_id: "golden-txn".into(),
            producer_id,
            producer_epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: if v < 6 { "golden-7".into() } else { "".into() },
                topic_id: if v < 6 { Uuid::ZERO } else { topic_id },
                partitions: vec![TxnOffsetCommitRequestPartition {
                    committed_offset: 1,
                    committed_metadata: None,
                    ..Default::default()
                }],
            }],
            ..TxnOffsetCommitRequest::default()
        });
    }
    for v in ApiKey::EndTxn.stable_versions() {
        let end = end_txn_request::EndTxnRequest {
            transactional_id: "golden".into(),
            producer_id,
            producer_epoch,
            committed: false,
        };
        if let Some(ended) = capture.one(v, &end) {
            producer_epoch = producer_epoch.max(ended.producer_epoch);
        }
    }
    use fetch_request::*;
    let aborted = FetchRequest {
        max_wait_ms: 10,
        isolation_level: 1,
        topics: vec![FetchTopic {
            topic_id,
            partitions: vec![FetchPartition {
                partition: 1,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    capture.one(18, &aborted);
}

fn security(capture: &mut Capture) {
    capture.each(|_| describe_acls_request::DescribeAclsRequest {
        resource_type_filter: 1,
        operation: 1,
        permission_type: 1,
        resource_name_filter: None,
        principal_filter: None,
        host_filter: None,
        ..Default::default()
    });
    use alter_user_scram_credentials_request::*;
    capture.each(|_| AlterUserScramCredentialsRequest {
        upsertions: vec![ScramCredentialUpsertion {
            name: "golden".into(),
            mechanism: 1,
            iterations: 4096,
            salt: Bytes::from_static(b"salt"),
            salted_password: Bytes::from_static(b"salted password"),
        }],
        ..AlterUserScramCredentialsRequest::default()
    });
    capture.each(|_| {
        describe_user_scram_credentials_request::DescribeUserScramCredentialsRequest { users: None }
    });
    capture.each(|_| describe_delegation_token_request::DescribeDelegationTokenRequest::default());
    capture.each(|_| sasl_handshake_request::SaslHandshakeRequest { mechanism: "PLAIN".into() });
}

fn endings(capture: &mut Capture) {
    capture.each(|_| unregister_broker_request::UnregisterBrokerRequest { broker_id: 99 });
    use delete_topics_request::*;
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
