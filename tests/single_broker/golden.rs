//! Data directories of a real Kafka, opened in place by a whole node: clients see what they saw.

use ottla::protocol::error::ErrorCode;
use ottla::types::Offset;
use serde_json::Value;

use super::harness::calls::{code, fetch_request, only_partition};
use super::harness::node::Node;
use super::harness::wire::Wire;
use super::restart::config;
use crate::log::golden::{Golden, expected, saw};

fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().expect("an object").iter().map(|(key, value)| (&**key, value))
}

fn check_partition(wire: &mut Wire, topic: &str, partition: i32, wanted: &Value) {
    let what = format!("{topic}-{partition}");
    let start = wanted["start"].as_i64().unwrap();
    let mut request = fetch_request(topic, start);
    request.topics[0].partitions[0].partition = partition;
    let read = only_partition(wire.call(&request, 12));
    assert_eq!(code(read.error_code), ErrorCode::None, "{what}");
    assert_eq!(wanted["start"], read.log_start_offset, "{what}: start");
    assert_eq!(wanted["end"], read.high_watermark, "{what}: end");
    assert_eq!(wanted["last_stable"], read.last_stable_offset, "{what}: stable");
    let all = wire.read_batches(topic, partition, start);
    assert_eq!(wanted["read_uncommitted"], saw(Offset(start), &all), "{what}: records");
}

fn check(wire: &mut Wire, expected: &Value) {
    for (topic, partitions) in object(&expected["topics"]) {
        let described = wire.describe(topic);
        assert_eq!(expected["topic_ids"][topic], described.topic_id.to_string(), "{topic}");
        assert_eq!(described.partitions.len(), partitions.as_object().unwrap().len());
        for (partition, wanted) in object(partitions) {
            check_partition(wire, topic, partition.parse().unwrap(), wanted);
        }
    }
    for (topic, configs) in object(&expected["topic_configs"]) {
        for (name, value) in object(configs) {
            assert_eq!(value, &config(wire, topic, name), "{topic} {name}");
        }
    }
}

fn serves_what_kafka_wrote(name: &str) {
    let golden = Golden::unpack(name);
    let expected = expected(name);
    let node = Node::start(&golden.data(), &[]);
    assert_eq!(node.ready.cluster_id, "6OXLvydkRc6lRYjZ6lskFQ");
    assert!(!node.ready.is_fresh);
    check(&mut node.connect(), &expected);
    node.stop().unwrap();
    Node::start(&golden.data(), &[]).kill();
    let node = Node::start(&golden.data(), &[]);
    let mut wire = node.connect();
    check(&mut wire, &expected);
    let end = expected["topics"]["empty"]["0"]["end"].as_i64().unwrap();
    assert_eq!(wire.append("empty", &["ours"]), end);
    wire.create("new", 1, &[]);
    assert_eq!(wire.append("new", &["ours"]), 0);
}

#[test]
fn a_cleanly_stopped_kafka_is_taken_over() {
    serves_what_kafka_wrote("clean");
}

#[test]
fn a_killed_kafka_is_taken_over() {
    serves_what_kafka_wrote("killed");
}
