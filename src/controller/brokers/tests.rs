use super::*;
use crate::controller::producer_ids;
use crate::controller::testing::World;
use crate::controller::topics;
use crate::metadata::record::MetadataVersion;
use crate::metadata::topic::Recovery;
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::wire::Text;
use crate::types::LeaderEpoch;

const ME: NodeId = NodeId(1);

fn world() -> World {
    let mut world = World::with_broker();
    let topics = ["durable", "relaxed"].map(|name| CreatableTopic {
        name: Text::new(name),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    });
    let request =
        CreateTopicsRequest { topics: topics.to_vec(), timeout_ms: 1, validate_only: false };
    world.run(|context| topics::create(context, &request));
    let record = crate::protocol::messages::config_record::ConfigRecord {
        resource_type: crate::metadata::image::ConfigResource::TOPIC,
        resource_name: Text::new("relaxed"),
        name: Text::new("flush.messages"),
        value: Some(Text::new("1000")),
    };
    world.image.apply(&record.into(), 0).unwrap();
    world
}

fn partition(world: &World, topic: &str) -> Partition {
    (**world.topic(topic).partition(0).unwrap()).clone()
}

fn restart(world: &mut World, incarnation: u8, stopped_in: Option<BrokerEpoch>) -> BrokerEpoch {
    let registration = Registration { stopped_in, ..World::registration(incarnation) };
    let epoch = world.run(|context| register(context, &registration)).unwrap();
    assert!(world.image.broker(ME).unwrap().fenced, "fenced until its logs are open");
    assert_eq!(partition(world, "durable").leader, None);
    world.run(|context| unfence(context, ME, epoch)).unwrap();
    epoch
}

#[test]
fn a_restart_after_a_crash_keeps_what_was_durable_and_bumps_the_epoch() {
    let mut world = world();
    let first = world.image.broker(ME).unwrap().epoch;
    let epoch = restart(&mut world, 2, None);
    assert!(epoch > first, "the epoch is the offset of the registration");
    let durable = partition(&world, "durable");
    assert_eq!((durable.leader, durable.isr.clone()), (Some(ME), vec![ME]));
    assert!(durable.leader_epoch > LeaderEpoch(0));
    assert_eq!(durable.recovery, Recovery::Recovered);
    assert!(durable.elr.is_empty() && durable.last_known_elr.is_empty());
    // It may have lost what it acknowledged, and is all there is.
    let relaxed = partition(&world, "relaxed");
    assert_eq!((relaxed.leader, relaxed.recovery), (Some(ME), Recovery::Recovering));
}

#[test]
fn a_clean_stop_hands_over_and_a_clean_start_takes_back() {
    let mut world = world();
    let epoch = world.image.broker(ME).unwrap().epoch;
    world.run(|context| stop(context, ME, epoch)).unwrap();
    assert!(world.image.broker(ME).unwrap().fenced);
    let stopped = partition(&world, "relaxed");
    assert_eq!((stopped.leader, stopped.isr, stopped.elr), (None, vec![], vec![ME]));
    restart(&mut world, 2, Some(epoch));
    let back = partition(&world, "relaxed");
    assert_eq!((back.leader, back.recovery), (Some(ME), Recovery::Recovered));
    assert_eq!(back.leader_epoch, LeaderEpoch(2), "gone and back");
}

#[test]
fn the_same_incarnation_again_keeps_its_epoch() {
    let mut world = world();
    let before = partition(&world, "durable");
    let epoch = world.image.broker(ME).unwrap().epoch;
    let registration = World::registration(1);
    assert_eq!(world.run(|context| register(context, &registration)), Ok(epoch));
    assert_eq!(partition(&world, "durable"), before);
    assert!(!world.image.broker(ME).unwrap().fenced);
}

#[test]
fn registrations_that_cannot_be_are_refused() {
    let mut world = world();
    let reserved = Uuid([0; 16]);
    let registration = Registration { directories: vec![reserved], ..World::registration(2) };
    let refused = world.run(|context| register(context, &registration));
    assert_eq!(refused, Err(RegistrationError::Directory { id: reserved }));
    world.image.features.insert("metadata.version".into(), 34);
    let registration = World::registration(2);
    let refused = world.run(|context| register(context, &registration));
    assert!(matches!(refused, Err(RegistrationError::Unsupported(_))));
    let stale = BrokerEpoch(-5);
    let refused = world.run(|context| unfence(context, ME, stale));
    assert_eq!(refused, Err(RegistrationError::StaleEpoch { id: ME, epoch: stale }));
}

#[test]
fn producer_ids_come_in_blocks_that_never_overlap() {
    let mut world = world();
    let epoch = world.image.broker(ME).unwrap().epoch;
    for first in [0, 1000, 2000] {
        let block = world.run(|context| producer_ids::allocate(context, ME, epoch)).unwrap();
        assert_eq!((block.first.0, block.len), (first, 1000));
    }
    let stale = world.run(|context| producer_ids::allocate(context, ME, BrokerEpoch(-5)));
    assert!(stale.is_err());
    assert_eq!(world.image.producer_id_next, 3000);
}

#[test]
fn every_level_of_metadata_writes_records_that_it_reads() {
    for level in 7..=33 {
        let mut world = world();
        world.image.features.insert("metadata.version".into(), level);
        if MetadataVersion(level) < MetadataVersion(23) {
            world.image.features.remove("eligible.leader.replicas.version");
        }
        restart(&mut world, 2, None);
        assert_eq!(partition(&world, "durable").leader, Some(ME), "at level {level}");
    }
}
