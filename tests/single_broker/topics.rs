//! Topics come, go and come again.

use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ottla::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ottla::protocol::messages::fetch_request::FetchRequest;
use ottla::protocol::messages::produce_request::ProduceRequest;
use ottla::protocol::wire::Text;
use ottla::types::Uuid;

use super::harness::calls::{batch, code, fetch_request, only_partition, produce_request};
use super::harness::eventually;
use super::harness::node::Node;
use super::harness::wire::Wire;

impl Wire {
    pub fn delete(&mut self, name: &str) {
        let topic = DeleteTopicState { name: Some(Text::new(name)), ..Default::default() };
        let request = DeleteTopicsRequest {
            topics: vec![topic],
            timeout_ms: 10_000,
            ..DeleteTopicsRequest::default()
        };
        let response = self.call(&request, 6);
        assert_eq!(code(response.responses[0].error_code), ErrorCode::None);
    }

    fn fetch_by_id(&mut self, topic_id: Uuid) -> ErrorCode {
        let mut request = FetchRequest { ..fetch_request("", 0) };
        request.topics[0].topic_id = topic_id;
        code(only_partition(self.call(&request, 16)).error_code)
    }

    fn produce_by_id(&mut self, topic_id: Uuid) -> ErrorCode {
        let mut request: ProduceRequest = produce_request("", 0, batch(&["x"]), -1);
        request.topic_data[0].topic_id = topic_id;
        let response = self.call(&request, 13);
        code(response.responses[0].partition_responses[0].error_code)
    }
}

#[test]
fn a_topic_of_an_old_name_is_a_new_topic() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    let old = wire.create("t", 1, &[]);
    wire.append("t", &["old"]);
    assert_eq!(wire.fetch_by_id(old), ErrorCode::None);
    wire.delete("t");
    assert_eq!(wire.fetch_by_id(old), ErrorCode::UnknownTopicId);
    assert_eq!(wire.produce_by_id(old), ErrorCode::UnknownTopicId);
    let answer = wire.produce("t", batch(&["x"]));
    assert_eq!(code(answer.error_code), ErrorCode::UnknownTopicOrPartition);

    let new = wire.create("t", 1, &[]);
    assert_ne!(new, old);
    assert_eq!(wire.fetch_by_id(old), ErrorCode::UnknownTopicId);
    assert_eq!(wire.produce_by_id(old), ErrorCode::UnknownTopicId);
    assert!(wire.read_all("t").is_empty());
    assert_eq!(wire.produce_by_id(new), ErrorCode::None);
    node.kill();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    assert_eq!(wire.describe("t").topic_id, new);
    assert_eq!(wire.read_all("t"), ["x"]);
    assert_eq!(wire.fetch_by_id(old), ErrorCode::UnknownTopicId);
}

#[test]
fn a_deleted_topic_frees_its_disk() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 2, &[("file.delete.delay.ms", "0")]);
    wire.append("t", &["x"]);
    let of_the_topic = || {
        let names = std::fs::read_dir(dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("t-")).count()
    };
    assert_eq!(of_the_topic(), 2);
    wire.delete("t");
    eventually("its directories are gone", || of_the_topic() == 0);
}

#[test]
fn hundreds_of_topics_come_and_go_in_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("log.segment.delete.delay.ms", "0")]);
    let mut wire = node.connect();
    let names: Vec<Text> = (0..300).map(|n| Text::from(format!("t{n}"))).collect();
    let created = names.iter().map(|name| CreatableTopic {
        name: name.clone(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    });
    let request = CreateTopicsRequest {
        topics: created.collect(),
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let response = wire.call(&request, 7);
    assert!(response.topics.iter().all(|topic| topic.error_code == 0));
    assert_eq!(wire.append("t299", &["x"]), 0);
    let deleted = names
        .iter()
        .map(|name| DeleteTopicState { name: Some(name.clone()), ..DeleteTopicState::default() });
    let request = DeleteTopicsRequest {
        topics: deleted.collect(),
        timeout_ms: 30_000,
        ..DeleteTopicsRequest::default()
    };
    let response = wire.call(&request, 6);
    assert!(response.responses.iter().all(|topic| topic.error_code == 0));
    assert_eq!(code(wire.describe("t299").error_code), ErrorCode::UnknownTopicOrPartition);
    eventually("their directories are gone", || {
        let mut entries = std::fs::read_dir(dir.path()).unwrap();
        !entries.any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with('t'))
    });
    node.stop().unwrap();
    Node::start(dir.path(), &[]);
}

#[test]
fn unknown_topics_are_created_when_asked_for_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("num.partitions", "3")]);
    let mut wire = node.connect();
    let unknown = wire.describe("t");
    assert_eq!(code(unknown.error_code), ErrorCode::UnknownTopicOrPartition);
    use ottla::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
    let topic = MetadataRequestTopic { name: Some(Text::from("t")), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    eventually("the topic is there", || wire.call(&request, 12).topics[0].partitions.len() == 3);
    assert_eq!(wire.append("t", &["x"]), 0);
}
