//! The requests of these tests, with what they have in common filled in.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ottla::protocol::messages::create_topics_response::CreatableTopicResult;
use ottla::protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ottla::protocol::messages::fetch_response::{FetchResponse, PartitionData};
use ottla::protocol::messages::init_producer_id_request::InitProducerIdRequest;
use ottla::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ottla::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla::protocol::messages::metadata_response::MetadataResponseTopic;
use ottla::protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ottla::protocol::messages::produce_response::PartitionProduceResponse;
use ottla::protocol::records::batch::{Batch, BatchError};
use ottla::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord, Producer};
use ottla::protocol::wire::{Records, Text};
use ottla::types::{ProducerId, Uuid};

use super::wire::Wire;

/// The last versions that name topics by name.
pub const PRODUCE: i16 = 12;
pub const FETCH: i16 = 12;
pub const LIST_OFFSETS: i16 = 10;
pub const CREATE_TOPICS: i16 = 7;
pub const METADATA: i16 = 12;

pub fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).expect("a code of Kafka")
}

/// Stamped with the present: records of long ago would be deleted, and their producers forgotten.
pub fn record(value: &str) -> NewRecord {
    record_at(now_ms(), value)
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

pub fn record_at(timestamp_ms: i64, value: &str) -> NewRecord {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    NewRecord { timestamp_ms, value, ..NewRecord::default() }
}

pub fn batch(values: &[&str]) -> Bytes {
    batch_of(BatchOptions::default(), values.iter().map(|value| record(value)))
}

pub fn batch_of(options: BatchOptions, records: impl IntoIterator<Item = NewRecord>) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    records.into_iter().for_each(|record| builder.push(record));
    builder.build()
}

pub fn idempotent(id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    let producer = Some(Producer { id: ProducerId(id), epoch, base_sequence });
    let options = BatchOptions { producer, ..BatchOptions::default() };
    batch_of(options, values.iter().map(|value| record(value)))
}

pub fn produce_request(topic: &str, index: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let partition = PartitionProduceData { index, records: Some(Records::Bytes(records)) };
    let topic = TopicProduceData {
        name: Text::new(topic),
        partition_data: vec![partition],
        ..TopicProduceData::default()
    };
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    }
}

pub fn fetch_request(topic: &str, from: i64) -> FetchRequest {
    let partition = FetchPartition {
        fetch_offset: from,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: Text::new(topic),
        partitions: vec![partition],
        ..FetchTopic::default()
    };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

pub fn only_partition(response: FetchResponse) -> PartitionData {
    assert_eq!(code(response.error_code), ErrorCode::None);
    let topic = response.responses.into_iter().next().expect("a topic");
    topic.partitions.into_iter().next().expect("a partition")
}

/// The whole ones; the last may be cut off by the limits of the fetch.
pub fn batches(records: &Option<Records>) -> Vec<Batch> {
    let Some(Records::Bytes(bytes)) = records else { return vec![] };
    let (mut rest, mut batches) = (bytes.clone(), vec![]);
    loop {
        match Batch::split(&mut rest) {
            Ok(Some(batch)) => {
                batch.verify_crc().expect("an undamaged batch");
                batches.push(batch);
            }
            Ok(None) | Err(BatchError::Cut { .. } | BatchError::HeaderCut { .. }) => {
                return batches;
            }
            Err(error) => panic!("damaged batches: {error}"),
        }
    }
}

pub fn values(records: &Option<Records>) -> Vec<String> {
    values_of(&batches(records))
}

fn values_of(batches: &[Batch]) -> Vec<String> {
    let mut values = vec![];
    for batch in batches {
        for record in batch.records(64 << 20) {
            let value = record.expect("a sound record").value.unwrap_or_default();
            values.push(String::from_utf8(value.to_vec()).unwrap());
        }
    }
    values
}

impl Wire {
    pub fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let created = self.try_create(name, partitions, configs);
        assert_eq!(code(created.error_code), ErrorCode::None);
        created.topic_id
    }

    pub fn try_create(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> CreatableTopicResult {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: Text::new(name),
            value: Some(Text::new(value)),
        });
        let topic = CreatableTopic {
            name: Text::new(name),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        self.call(&request, CREATE_TOPICS).topics.remove(0)
    }

    pub fn produce(&mut self, topic: &str, records: Bytes) -> PartitionProduceResponse {
        let response = self.call(&produce_request(topic, 0, records, -1), PRODUCE);
        response.responses[0].partition_responses[0].clone()
    }

    /// The base offset of what must be taken.
    pub fn append(&mut self, topic: &str, values: &[&str]) -> i64 {
        let answer = self.produce(topic, batch(values));
        assert_eq!(code(answer.error_code), ErrorCode::None, "{:?}", answer.error_message);
        answer.base_offset
    }

    pub fn fetch(&mut self, topic: &str, from: i64) -> PartitionData {
        only_partition(self.call(&fetch_request(topic, from), FETCH))
    }

    /// All values in partition 0.
    pub fn read_all(&mut self, topic: &str) -> Vec<String> {
        let start = self.list_offset(topic, -2).1;
        values_of(&self.read_batches(topic, 0, start))
    }

    /// From an offset to the end, fetch by fetch.
    pub fn read_batches(&mut self, topic: &str, partition: i32, mut from: i64) -> Vec<Batch> {
        let mut all = vec![];
        loop {
            let mut request = fetch_request(topic, from);
            request.topics[0].partitions[0].partition = partition;
            let read = only_partition(self.call(&request, FETCH));
            assert_eq!(code(read.error_code), ErrorCode::None);
            let batches = batches(&read.records);
            let Some(last) = batches.last() else { return all };
            from = last.next_offset().0;
            all.extend(batches);
        }
    }

    /// Error, offset and timestamp.
    pub fn list_offset_as(
        &mut self,
        topic: &str,
        timestamp: i64,
        version: i16,
    ) -> (ErrorCode, i64, i64) {
        let partition = ListOffsetsPartition {
            current_leader_epoch: -1,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let topic = ListOffsetsTopic { name: Text::new(topic), partitions: vec![partition] };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let response = self.call(&request, version);
        let found = &response.topics[0].partitions[0];
        (code(found.error_code), found.offset, found.timestamp)
    }

    pub fn list_offset(&mut self, topic: &str, timestamp: i64) -> (ErrorCode, i64, i64) {
        self.list_offset_as(topic, timestamp, LIST_OFFSETS)
    }

    pub fn describe(&mut self, topic: &str) -> MetadataResponseTopic {
        let name = Some(Text::new(topic));
        let topic = MetadataRequestTopic { name, ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        self.call(&request, METADATA).topics.remove(0)
    }

    pub fn new_producer(&mut self) -> (i64, i16) {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let response = self.call(&request, 4);
        assert_eq!(code(response.error_code), ErrorCode::None);
        (response.producer_id, response.producer_epoch)
    }

    /// The broker serves others, whatever somebody did to it.
    pub fn expect_service(&mut self) {
        let request = MetadataRequest { topics: Some(vec![]), ..MetadataRequest::default() };
        assert_eq!(self.call(&request, METADATA).brokers.len(), 1);
    }
}

pub fn expect_service(at: SocketAddr) {
    Wire::connect(at).expect_service();
}
