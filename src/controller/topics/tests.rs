//! Codes and words as a real Kafka 4.4.0 gave them.

use super::*;
use crate::controller::partitions;
use crate::controller::testing::World;
use crate::protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopicConfig,
};
use crate::types::NodeId;

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    let name = Text::new(name);
    CreatableTopic { name, num_partitions, replication_factor, ..CreatableTopic::default() }
}

fn assigned(name: &str, counts: (i32, i16), assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |&(partition_index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index,
        broker_ids: brokers.to_vec(),
    };
    let assignments = assignments.iter().map(assignment).collect();
    CreatableTopic { assignments, ..topic(name, counts.0, counts.1) }
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let config = |&(name, value): &(&str, Option<&str>)| CreatableTopicConfig {
        name: Text::new(name),
        value: value.map(Text::new),
    };
    CreatableTopic { configs: configs.iter().map(config).collect(), ..topic(name, 1, 1) }
}

fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: false }
}

/// Name, code and message of each topic.
fn created(world: &mut World, topics: Vec<CreatableTopic>) -> Vec<(String, i16, String)> {
    let request = request(topics);
    let response = world.run(|context| create(context, &request));
    let row = |topic: CreatableTopicResult| {
        let message = topic.error_message.map(|message| message.to_string());
        (topic.name.to_string(), topic.error_code, message.unwrap_or_default())
    };
    response.topics.into_iter().map(row).collect()
}

fn refusal(world: &mut World, topic: CreatableTopic) -> (i16, String) {
    let [(_, code, message)] = &created(world, vec![topic])[..] else { panic!("one answer") };
    (*code, message.clone())
}

#[test]
fn names_are_checked_with_kafkas_words() {
    let long = "a".repeat(250);
    let table = [
        ("", "Topic name is invalid: the empty string is not allowed".to_owned()),
        (".", "Topic name is invalid: '.' is not allowed".to_owned()),
        ("..", "Topic name is invalid: '..' is not allowed".to_owned()),
        (
            &long,
            format!("Topic name is invalid: the length of '{long}' is longer than the max allowed length 249"),
        ),
        (
            "a b",
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'".to_owned(),
        ),
    ];
    for (name, message) in table {
        assert_eq!(refusal(&mut World::with_broker(), topic(name, 1, 1)), (17, message));
    }
    let (code, message) = refusal(&mut World::with_broker(), topic(METADATA_TOPIC, 1, 1));
    assert_eq!(code, 42, "{message}");
    assert_eq!(refusal(&mut World::with_broker(), topic(&long[1..], 1, 1)).0, 0);
}

#[test]
fn each_topic_of_a_request_stands_for_itself() {
    let mut world = World::with_broker();
    let names = ["a.b", "a_b", "twice", "twice", "plain"];
    let rows = created(&mut world, names.map(|name| topic(name, 1, 1)).to_vec());
    let codes: Vec<(&str, i16)> = rows.iter().map(|(name, code, _)| (&**name, *code)).collect();
    assert_eq!(codes, [("a.b", 0), ("a_b", 0), ("twice", 42), ("plain", 0)]);
    assert_eq!(
        refusal(&mut world, topic("plain", 1, 1)),
        (36, "Topic 'plain' already exists.".into())
    );
    world.run(|context| create(context, &request(vec![topic("ab.c_d", 1, 1)])));
    let message = "Topic 'ab_c.d' collides with existing topic: ab.c_d";
    assert_eq!(refusal(&mut world, topic("ab_c.d", 1, 1)), (17, message.into()));
}

#[test]
fn counts_are_defaults_or_positive() {
    let mut world = World::with_broker();
    for (partitions, replicas, code) in
        [(0, 1, 37), (-2, 1, 37), (1, 0, 38), (1, -2, 38), (0, 0, 38), (1, 2, 38), (-1, -1, 0)]
    {
        let (found, message) = refusal(&mut world, topic("counted", partitions, replicas));
        assert_eq!(found, code, "{partitions} {replicas}: {message}");
    }
    assert_eq!(world.topic("counted").partition_count(), world.settings.num_partitions);
}

#[test]
fn assignments_by_hand_must_fit() {
    let none: (i32, i16) = (-1, -1);
    type Case = ((i32, i16), &'static [(i32, &'static [i32])], i16, &'static str);
    let table: &[Case] = &[
        (
            (1, -1),
            &[(0, &[1])],
            42,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            (-1, 1),
            &[(0, &[1])],
            42,
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ),
        (
            none,
            &[(0, &[1]), (2, &[1])],
            39,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (none, &[(1, &[1])], 39, "partitions should be a consecutive 0-based integer sequence"),
        (
            none,
            &[(0, &[9])],
            39,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
        (
            none,
            &[(0, &[1, 1])],
            39,
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (none, &[(0, &[])], 39, "The manual partition assignment includes an empty replica list."),
        (
            none,
            &[(0, &[1]), (0, &[1])],
            39,
            "Found multiple manual partition assignments for partition 0",
        ),
        (none, &[(1, &[1]), (0, &[1])], 0, ""),
    ];
    for &(counts, assignments, code, message) in table {
        let topic = assigned("by-hand", counts, assignments);
        assert_eq!(refusal(&mut World::with_broker(), topic), (code, message.to_owned()));
    }
}

#[test]
fn configurations_are_checked_before_anything_is_made() {
    type Case = (&'static [(&'static str, Option<&'static str>)], i16, &'static str);
    let table: &[Case] = &[
        (&[("nope", Some("1"))], 40, "Unknown topic config name: nope"),
        (
            &[("retention.ms", Some("x"))],
            40,
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (&[("retention.ms", None)], 40, "Null value not supported for topic configs: retention.ms"),
        (
            &[("segment.bytes", Some("1"))],
            40,
            "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (
            &[("max.compaction.lag.ms", Some("1")), ("min.compaction.lag.ms", Some("5"))],
            40,
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (1)",
        ),
        (&[("retention.ms", Some("1")), ("retention.ms", Some("2"))], 0, ""),
    ];
    for &(configs, code, message) in table {
        let mut world = World::with_broker();
        assert_eq!(refusal(&mut world, configured("c", configs)), (code, message.to_owned()));
        assert_eq!(world.image.topic("c").is_some(), code == 0);
    }
}

#[test]
fn a_new_topic_is_led_and_described() {
    let mut world = World::with_broker();
    let asked = request(vec![CreatableTopic {
        num_partitions: 3,
        ..configured("new", &[("retention.ms", Some("5000"))])
    }]);
    let response = world.run(|context| create(context, &asked));
    let result = &response.topics[0];
    assert_eq!((result.num_partitions, result.replication_factor), (3, 1));
    let configs = result.configs.as_ref().unwrap();
    let config = |name: &str| configs.iter().find(|config| &*config.name == name).unwrap();
    let retention = config("retention.ms");
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5000"), 1));
    assert_eq!(config("segment.bytes").config_source, 5);
    let topic = world.topic("new").clone();
    assert_eq!(topic.id, result.topic_id);
    for partition in topic.partitions.values() {
        assert_eq!(partition.leader, Some(NodeId(1)));
        assert_eq!(partition.isr, partition.replicas);
        assert_eq!(partition.directories, [Uuid([101; 16])], "its only directory");
    }
    assert_eq!(world.image.topic_config("new", "retention.ms"), Some("5000"));
}

#[test]
fn validation_changes_nothing_and_says_the_same() {
    let mut world = World::with_broker();
    let before = world.image.clone();
    let asked = CreateTopicsRequest { validate_only: true, ..request(vec![topic("v", 2, 1)]) };
    let response = world.run(|context| create(context, &asked));
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 2));
    assert_eq!(world.image, before);
}

#[test]
fn one_request_has_a_limit() {
    let mut world = World::with_broker();
    let message = "Unable to perform excessively large batch operation.";
    assert_eq!(refusal(&mut world, topic("big", 10_000, 1)), (44, message.into()));
    let rows = created(&mut world, vec![topic("b1", 6000, 1), topic("b2", 6000, 1)]);
    let message = "Excessively large number of partitions per request.";
    assert!(rows.iter().all(|(_, code, text)| (*code, &**text) == (44, message)), "{rows:?}");
    assert_eq!(refusal(&mut world, topic("big", 9_999, 1)).0, 0);
    assert_eq!(world.image.partition_count, 9_999);
}

fn deleted(world: &mut World, topics: &[(Option<&str>, Uuid)]) -> Vec<(i16, String)> {
    let state = |&(name, topic_id): &(Option<&str>, Uuid)| DeleteTopicState {
        name: name.map(Text::new),
        topic_id,
    };
    let topics = topics.iter().map(state).collect();
    let request = DeleteTopicsRequest { topics, timeout_ms: 1000, ..Default::default() };
    let response = world.run(|context| delete(context, &request));
    let text = |message: Option<Text>| message.map(|m| m.to_string()).unwrap_or_default();
    response.responses.into_iter().map(|r| (r.error_code, text(r.error_message))).collect()
}

#[test]
fn deletion_is_by_name_or_by_id() {
    let mut world = World::with_broker();
    created(&mut world, vec![configured("a", &[("retention.ms", Some("1"))]), topic("b", 1, 1)]);
    let (a, unknown) = (world.topic("a").id, Uuid([9; 16]));
    let rows = deleted(
        &mut world,
        &[
            (None, Uuid::ZERO),
            (Some("b"), unknown),
            (Some("nope"), Uuid::ZERO),
            (None, unknown),
            (Some("b"), Uuid::ZERO),
            (Some("b"), Uuid::ZERO),
            (None, a),
        ],
    );
    let codes: Vec<i16> = rows.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [42, 42, 3, 100, 42, 0], "{rows:?}");
    assert!(world.image.topic("a").is_none());
    assert_eq!(world.image.topic_config("a", "retention.ms"), None, "its overrides go with it");
    assert!(world.image.topic("b").is_some());

    let b = world.topic("b").id;
    let rows = deleted(&mut world, &[(None, b), (Some("b"), Uuid::ZERO)]);
    assert_eq!(rows.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [42], "{rows:?}");
    assert!(world.image.topic("b").is_some(), "named and identified at once, it stays");

    created(&mut world, vec![topic("a", 1, 1)]);
    assert_ne!(world.topic("a").id, a, "created again, it is another topic");
    world.settings.delete_topics = false;
    assert_eq!(deleted(&mut world, &[(Some("a"), Uuid::ZERO)])[0].0, 73);
}

/// Topic, count, assignments by hand.
type Growth<'a> = (&'a str, i32, Option<&'a [&'a [i32]]>);

fn grown(world: &mut World, asked: &[Growth<'_>]) -> Vec<(i16, String)> {
    let assignment = |brokers: &&[i32]| CreatePartitionsAssignment { broker_ids: brokers.to_vec() };
    let topic = |&(name, count, by_hand): &Growth<'_>| CreatePartitionsTopic {
        name: Text::new(name),
        count,
        assignments: by_hand.map(|by_hand| by_hand.iter().map(assignment).collect()),
    };
    let topics = asked.iter().map(topic).collect();
    let request = CreatePartitionsRequest { topics, timeout_ms: 1000, validate_only: false };
    let response = world.run(|context| partitions::create(context, &request));
    let text = |message: Option<Text>| message.map(|m| m.to_string()).unwrap_or_default();
    response.results.into_iter().map(|r| (r.error_code, text(r.error_message))).collect()
}

#[test]
fn partitions_only_grow() {
    let mut world = World::with_broker();
    created(&mut world, vec![topic("t", 1, 1)]);
    type Case = (&'static str, i32, Option<&'static [&'static [i32]]>, i16, &'static str);
    let table: &[Case] = &[
        ("t", 1, None, 37, "Topic already has 1 partition(s)."),
        (
            "t",
            -1,
            None,
            37,
            "The topic t currently has 1 partition(s); -1 would not be an increase.",
        ),
        ("nope", 3, None, 3, ""),
        (
            "t",
            3,
            Some(&[&[1]]),
            39,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (
            "t",
            2,
            Some(&[&[9]]),
            39,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
        ("t", 3, Some(&[&[1], &[1]]), 0, ""),
        ("t", 5, None, 0, ""),
    ];
    for &(name, count, by_hand, code, message) in table {
        assert_eq!(grown(&mut world, &[(name, count, by_hand)]), [(code, message.to_owned())]);
    }
    assert_eq!(world.topic("t").partition_count(), 5);
    assert_eq!(grown(&mut world, &[("t", 6, None), ("t", 7, None)]).len(), 1, "answered once");
}
