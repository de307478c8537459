//! Requests with very many entries: the time that one takes grows with its size and no faster, and
//! others are served meanwhile.

use std::time::{Duration, Instant};

use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use ottla::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ottla::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ottla::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ottla::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ottla::protocol::messages::describe_topic_partitions_request::{
    DescribeTopicPartitionsRequest, TopicRequest,
};
use ottla::protocol::messages::fetch_request::FetchRequest;
use ottla::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, IncrementalAlterConfigsRequest,
};
use ottla::protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ottla::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla::protocol::messages::produce_request::ProduceRequest;
use ottla::protocol::wire::{Request, Text};

use super::harness::calls::{FETCH, METADATA, PRODUCE, fetch_request, produce_request};
use super::harness::eventually;
use super::harness::node::Node;
use super::harness::wire::Wire;

const MANY: usize = 20_000;
/// Many times what it takes, and a fraction of what it would take if every entry were compared
/// with every other.
const TIME_MAX: Duration = Duration::from_secs(10);

fn name(n: usize) -> Text {
    Text::from(format!("topic-{n}"))
}

fn entries<T>(of: impl Fn(usize) -> T) -> Vec<T> {
    (0..MANY).map(of).collect()
}

fn answers<R: Request>(wire: &mut Wire, request: &R, version: i16) {
    let begun = Instant::now();
    wire.call(request, version);
    let taken = begun.elapsed();
    assert!(taken < TIME_MAX, "{}: {taken:?}", R::API);
}

#[test]
fn many_unknown_topics_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let wire = &mut node.connect();

    let produced = produce_request("", 0, Default::default(), 1);
    let topic_data = entries(|n| {
        let mut topic = produced.topic_data[0].clone();
        topic.name = name(n);
        topic
    });
    answers(wire, &ProduceRequest { topic_data, ..produced.clone() }, PRODUCE);

    let fetched = fetch_request("", 0);
    let topics = entries(|n| {
        let mut topic = fetched.topics[0].clone();
        topic.topic = name(n);
        topic
    });
    answers(wire, &FetchRequest { session_epoch: 0, topics, ..fetched.clone() }, FETCH);

    let topics = entries(|n| ListOffsetsTopic {
        name: name(n),
        partitions: vec![ListOffsetsPartition::default()],
    });
    answers(wire, &ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }, 10);

    let named = |n| MetadataRequestTopic { name: Some(name(n)), ..Default::default() };
    let topics = Some(entries(named));
    let request =
        MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
    answers(wire, &request, METADATA);

    let topics = entries(|n| TopicRequest { name: name(n) });
    answers(wire, &DescribeTopicPartitionsRequest { topics, ..Default::default() }, 0);

    let partitions = vec![DeleteRecordsPartition::default()];
    let topics = entries(|n| DeleteRecordsTopic { name: name(n), partitions: partitions.clone() });
    answers(wire, &DeleteRecordsRequest { topics, timeout_ms: 1000 }, 2);
    wire.expect_service();
}

#[test]
fn topics_on_demand_come_a_thousand_at_a_time() {
    const WANTED: usize = 1300;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let wire = &mut node.connect();
    let named = |n| MetadataRequestTopic { name: Some(name(n)), ..Default::default() };
    let mut topics: Vec<_> = (0..WANTED).map(named).collect();
    let bad = MetadataRequestTopic { name: Some(Text::from("no/topic")), ..Default::default() };
    topics.insert(0, bad);
    let wanted = MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let answer = wire.call(&wanted, METADATA);
    assert_eq!(answer.topics[0].error_code, ErrorCode::InvalidTopicException.code());
    assert!(answer.topics[1..].iter().all(|topic| topic.error_code == unknown));
    let all = MetadataRequest { topics: None, ..Default::default() };
    eventually("a thousand are there", || wire.call(&all, METADATA).topics.len() >= 1000);
    assert_eq!(wire.call(&all, METADATA).topics.len(), 1000, "and no more");
    eventually("the client asks again, and gets the others", || {
        let answer = wire.call(&wanted, METADATA);
        answer.topics[1..].iter().all(|topic| topic.error_code == ErrorCode::None.code())
    });
    assert_eq!(wire.call(&all, METADATA).topics.len(), WANTED);
}

#[test]
fn many_changes_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let wire = &mut node.connect();

    let created = |n| CreatableTopic {
        name: name(n),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request =
        CreateTopicsRequest { topics: entries(created), timeout_ms: 1000, validate_only: true };
    answers(wire, &request, 7);

    let deleted = |n| DeleteTopicState { name: Some(name(n)), ..Default::default() };
    let topics = entries(deleted);
    answers(wire, &DeleteTopicsRequest { topics, timeout_ms: 1000, ..Default::default() }, 6);

    let grown = |n| CreatePartitionsTopic { name: name(n), count: 2, assignments: None };
    let topics = entries(grown);
    answers(wire, &CreatePartitionsRequest { topics, timeout_ms: 1000, ..Default::default() }, 3);

    let described = |n| DescribeConfigsResource {
        resource_type: 2,
        resource_name: name(n),
        configuration_keys: None,
    };
    let resources = entries(described);
    answers(wire, &DescribeConfigsRequest { resources, ..Default::default() }, 4);

    let altered =
        |n| AlterConfigsResource { resource_type: 2, resource_name: name(n), configs: vec![] };
    let resources = entries(altered);
    answers(wire, &IncrementalAlterConfigsRequest { resources, ..Default::default() }, 1);
    wire.expect_service();
}
