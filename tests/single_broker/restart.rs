//! What is there after a stop, and after a death.

use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use ottla::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ottla::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ottla::protocol::wire::Text;

use super::harness::calls::{batch, code};
use super::harness::node::Node;
use super::harness::wire::Wire;

const TOPIC: i8 = 2;

pub fn config(wire: &mut Wire, topic: &str, name: &str) -> String {
    let resource = DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: Text::new(topic),
        configuration_keys: Some(vec![Text::new(name)]),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = wire.call(&request, 4);
    let found = &response.results[0].configs[0];
    found.value.as_ref().expect("a value").to_string()
}

fn alter_topic(wire: &mut Wire, topic: &str, name: &str, value: &str) {
    let config = AlterableConfig {
        name: Text::new(name),
        value: Some(Text::new(value)),
        ..AlterableConfig::default()
    };
    let resource = AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: Text::new(topic),
        configs: vec![config],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = wire.call(&request, 1);
    assert_eq!(code(response.responses[0].error_code), ErrorCode::None);
}

fn grow(wire: &mut Wire, topic: &str, count: i32) {
    let topic = CreatePartitionsTopic { name: Text::new(topic), count, assignments: None };
    let request = CreatePartitionsRequest {
        topics: vec![topic],
        timeout_ms: 10_000,
        ..CreatePartitionsRequest::default()
    };
    let response = wire.call(&request, 3);
    assert_eq!(code(response.results[0].error_code), ErrorCode::None);
}

#[test]
fn topics_partitions_and_options_survive_stops_and_deaths() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    let id = wire.create("t", 2, &[("max.message.bytes", "5000")]);
    grow(&mut wire, "t", 3);
    alter_topic(&mut wire, "t", "retention.ms", "123456789");
    wire.append("t", &["a"]);
    let cluster = node.ready.cluster_id.clone();
    assert!(node.ready.is_fresh);
    for clean in [true, false, false, true, true] {
        if clean {
            node.stop().unwrap();
            assert!(dir.path().join(".kafka_cleanshutdown").exists());
        } else {
            node.kill();
            assert!(!dir.path().join(".kafka_cleanshutdown").exists());
        }
        node = Node::start(dir.path(), &[]);
        assert_eq!((&node.ready.cluster_id, node.ready.is_fresh), (&cluster, false));
        let mut wire = node.connect();
        let described = wire.describe("t");
        assert_eq!((described.topic_id, described.partitions.len()), (id, 3));
        assert_eq!(config(&mut wire, "t", "max.message.bytes"), "5000");
        assert_eq!(config(&mut wire, "t", "retention.ms"), "123456789");
        assert_eq!(wire.read_all("t"), ["a"]);
        let large = wire.produce("t", batch(&[&"v".repeat(6000)]));
        assert_eq!(code(large.error_code), ErrorCode::MessageTooLarge);
    }
}

#[test]
fn records_survive_a_death_in_the_middle_of_writing() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &[("log.segment.bytes", "1048576")]);
    node.connect().create("t", 1, &[]);
    let mut acknowledged: Vec<String> = vec![];
    let filler = "f".repeat(60_000);
    for round in 0..3 {
        let mut wire = node.connect();
        for n in 0..10 {
            let value = format!("{round}.{n} {filler}");
            wire.append("t", &[&value]);
            acknowledged.push(value);
        }
        node.kill();
        // The tail of a write that the death cut off.
        let mut segments: Vec<_> = std::fs::read_dir(dir.path().join("t-0"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        segments.sort();
        let last = segments.last().expect("a segment");
        let mut file = std::fs::OpenOptions::new().append(true).open(last).unwrap();
        std::io::Write::write_all(&mut file, &[0x5a; 777]).unwrap();
        node = Node::start(dir.path(), &[("log.segment.bytes", "1048576")]);
        assert_eq!(node.connect().read_all("t"), acknowledged);
    }
}

#[test]
fn a_new_epoch_begins_with_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let before = wire.describe("t").partitions[0].leader_epoch;
    node.kill();
    let node = Node::start(dir.path(), &[]);
    let after = node.connect().describe("t").partitions[0].leader_epoch;
    assert!(after > before, "an epoch and an offset name one record for ever");
}
