//! Codes and words as a real Kafka 4.4.0 gave them.

use super::*;
use crate::controller::testing::World;
use crate::controller::topics;
use crate::protocol::messages::alter_configs_request as replacing;
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::incremental_alter_configs_request::AlterConfigsResource;

const TOPIC: i8 = ConfigResource::TOPIC;
const BROKER: i8 = ConfigResource::BROKER;

fn world() -> World {
    let mut world = World::with_broker();
    let topic = |name| CreatableTopic {
        name: Text::new(name),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let topics = vec![topic("a"), topic("b")];
    let request = CreateTopicsRequest { topics, timeout_ms: 1, validate_only: false };
    world.run(|context| topics::create(context, &request));
    world
}

type Change<'a> = (&'a str, i8, Option<&'a str>);

fn alter(world: &mut World, resources: &[(i8, &str, &[Change<'_>])]) -> Vec<(i16, String)> {
    let config = |&(name, config_operation, value): &Change<'_>| AlterableConfig {
        name: Text::new(name),
        config_operation,
        value: value.map(Text::new),
    };
    let resource = |&(resource_type, name, configs): &(i8, &str, &[Change<'_>])| {
        let configs = configs.iter().map(config).collect();
        AlterConfigsResource { resource_type, resource_name: Text::new(name), configs }
    };
    let resources = resources.iter().map(resource).collect();
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let response = world.run(|context| alter_incrementally(context, &request));
    let text = |message: Option<Text>| message.map(|m| m.to_string()).unwrap_or_default();
    response.responses.into_iter().map(|r| (r.error_code, text(r.error_message))).collect()
}

#[test]
fn refuses_with_kafkas_codes_and_words() {
    const MS: &str = "retention.ms";
    let table: &[(i8, &str, &[Change<'_>], i16, &str)] = &[
        (TOPIC, "nope", &[(MS, SET, Some("5"))], 3, "The topic 'nope' does not exist."),
        (TOPIC, "", &[(MS, SET, Some("5"))], 42, "Default topic resources are not allowed."),
        (TOPIC, "a", &[(MS, SET, None)], 42, "Null value not supported for : retention.ms"),
        (TOPIC, "a", &[("nope", SET, Some("1"))], 40, "Unknown topic config name: nope"),
        (
            TOPIC,
            "a",
            &[(MS, SET, Some("x"))],
            40,
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (
            TOPIC,
            "a",
            &[(MS, APPEND, Some("5"))],
            40,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            TOPIC,
            "a",
            &[(MS, SET, Some("5")), (MS, SET, Some("6"))],
            42,
            "Error due to duplicate config keys",
        ),
        (TOPIC, "a", &[(MS, 9, Some("5"))], -1, ""),
        (BROKER, "abc", &[], 42, "Node id must be an integer, but it is: abc"),
        (BROKER, "2", &[], 42, "Unexpected broker id, expected 1, but received 2"),
        (
            BROKER,
            "",
            &[("node.id", SET, Some("5"))],
            42,
            "Cannot update these configs dynamically: [node.id]",
        ),
        (
            BROKER,
            "1",
            &[("min.insync.replicas", SET, Some("1"))],
            40,
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
        ),
        (
            BROKER,
            "",
            &[("min.insync.replicas", DELETE, None)],
            40,
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        ),
        (3, "x", &[], 42, "Unknown resource type 3"),
        (16, "", &[], 42, "Subscription name can't be empty"),
        (32, "", &[], 42, "Default group resources are not allowed."),
        (32, "g", &[("nope", SET, Some("1"))], 40, "Unknown group config name: nope"),
    ];
    for &(kind, name, changes, code, message) in table {
        let mut world = world();
        let before = world.image.clone();
        assert_eq!(alter(&mut world, &[(kind, name, changes)]), [(code, message.to_owned())]);
        assert_eq!(world.image, before, "{message}");
    }
}

#[test]
fn a_resource_named_twice_is_refused_both_times_and_others_are_not() {
    let mut world = world();
    let set: &[Change<'_>] = &[("retention.ms", SET, Some("5"))];
    let rows = alter(&mut world, &[(TOPIC, "a", set), (TOPIC, "b", set), (TOPIC, "a", set)]);
    let codes: Vec<i16> = rows.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [42, 0, 42]);
    assert_eq!(world.image.topic_config("a", "retention.ms"), None);
    assert_eq!(world.image.topic_config("b", "retention.ms"), Some("5"));
}

#[test]
fn lists_grow_and_shrink() {
    let mut world = world();
    let steps: &[(i8, &str, &str)] = &[
        (APPEND, "compact", "delete,compact"),
        (APPEND, "compact", "delete,compact"),
        (SUBTRACT, "delete", "compact"),
        (SUBTRACT, "delete", "compact"),
        (SET, "delete", "delete"),
    ];
    for &(operation, value, expected) in steps {
        let change: &[Change<'_>] = &[("cleanup.policy", operation, Some(value))];
        assert_eq!(alter(&mut world, &[(TOPIC, "a", change)])[0].0, 0);
        assert_eq!(world.image.topic_config("a", "cleanup.policy"), Some(expected));
    }
    assert_eq!(alter(&mut world, &[(TOPIC, "a", &[("cleanup.policy", DELETE, None)])])[0].0, 0);
    assert_eq!(world.image.topic_config("a", "cleanup.policy"), None);
    assert_eq!(alter(&mut world, &[(TOPIC, "a", &[("nope", DELETE, None)])])[0].0, 0);
}

#[test]
fn the_older_request_replaces_everything() {
    let mut world = world();
    let set: &[Change<'_>] = &[("retention.ms", SET, Some("5")), ("segment.ms", SET, Some("7"))];
    alter(&mut world, &[(TOPIC, "a", set)]);
    let config = |name, value| replacing::AlterableConfig {
        name: Text::new(name),
        value: Some(Text::new(value)),
    };
    let resource = replacing::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: Text::new("a"),
        configs: vec![config("retention.ms", "6")],
    };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = world.run(|context| replace(context, &request));
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(world.image.topic_config("a", "retention.ms"), Some("6"));
    assert_eq!(world.image.topic_config("a", "segment.ms"), None);
}

#[test]
fn what_is_not_used_yet_is_stored() {
    let mut world = world();
    let metrics: &[Change<'_>] = &[("interval.ms", SET, Some("1000"))];
    let group: &[Change<'_>] = &[("consumer.session.timeout.ms", SET, Some("50000"))];
    let custom: &[Change<'_>] = &[("nope.x", SET, Some("1"))];
    let rows = alter(&mut world, &[(16, "m", metrics), (32, "g", group), (BROKER, "1", custom)]);
    assert!(rows.iter().all(|(code, _)| *code == 0), "{rows:?}");
    assert_eq!(world.image.configs.len(), 3);
}
