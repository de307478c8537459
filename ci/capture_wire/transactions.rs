//! One transaction, from its producer id to its abort.

use ottla::protocol::api::ApiKey;
use ottla::protocol::messages::{
    add_offsets_to_txn_request, add_partitions_to_txn_request, describe_producers_request,
    describe_transactions_request, end_txn_request, fetch_request, find_coordinator_request,
    init_producer_id_request, list_transactions_request, produce_request,
    txn_offset_commit_request,
};
use ottla::protocol::records::build::Producer;
use ottla::types::{ProducerId, Uuid};

use super::{Capture, batch};

pub fn transactions(capture: &mut Capture, topic_id: Uuid) {
    use init_producer_id_request::InitProducerIdRequest;
    capture.each(|_| InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 10_000,
        ..InitProducerIdRequest::default()
    });
    use find_coordinator_request::FindCoordinatorRequest;
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
        use add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
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
        use produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
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
        use txn_offset_commit_request::{
            TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
        };
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
    use fetch_request::{FetchPartition, FetchRequest, FetchTopic};
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
