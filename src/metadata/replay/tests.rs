use proptest::prelude::*;

use super::*;
use crate::metadata::record::{MetadataVersion, encode};
use crate::metadata::snapshot;
use crate::protocol::messages::abort_transaction_record::AbortTransactionRecord;
use crate::protocol::messages::access_control_entry_record::AccessControlEntryRecord;
use crate::protocol::messages::begin_transaction_record::BeginTransactionRecord;
use crate::protocol::messages::client_quota_record::{ClientQuotaRecord, EntityData};
use crate::protocol::messages::config_record::ConfigRecord;
use crate::protocol::messages::delegation_token_record::DelegationTokenRecord;
use crate::protocol::messages::end_transaction_record::EndTransactionRecord;
use crate::protocol::messages::feature_level_record::FeatureLevelRecord;
use crate::protocol::messages::partition_change_record::PartitionChangeRecord;
use crate::protocol::messages::partition_record::PartitionRecord;
use crate::protocol::messages::producer_ids_record::ProducerIdsRecord;
use crate::protocol::messages::remove_access_control_entry_record::RemoveAccessControlEntryRecord;
use crate::protocol::messages::remove_topic_record::RemoveTopicRecord;
use crate::protocol::messages::topic_record::TopicRecord;
use crate::protocol::messages::user_scram_credential_record::UserScramCredentialRecord;
use crate::protocol::wire::Text;
use crate::types::Uuid;

fn id(n: u8) -> Uuid {
    Uuid([n; 16])
}

fn config(kind: i8, name: &str, key: u8, value: Option<u8>) -> MetadataRecord {
    let (name, value) = (Text::new(name), value.map(|value| Text::new(&value.to_string())));
    let key = Text::new(&format!("key.{key}"));
    ConfigRecord { resource_type: kind, resource_name: name, name: key, value }.into()
}

fn quota(user: Option<u8>, key: u8, value: f64, remove: bool) -> MetadataRecord {
    let entity_name = user.map(|user| Text::new(&format!("user-{user}")));
    let entity = vec![EntityData { entity_type: Text::new("user"), entity_name }];
    ClientQuotaRecord { entity, key: Text::new(&format!("rate-{key}")), value, remove }.into()
}

/// Records that fit some image; one that does not fit is refused and changes nothing that counts.
fn any_record() -> impl Strategy<Value = MetadataRecord> {
    let topic = |n: u8| TopicRecord { name: Text::new(&format!("topic-{n}")), topic_id: id(n) };
    let partition = |(n, index, isr): (u8, i32, Vec<i32>)| PartitionRecord {
        partition_id: index,
        topic_id: id(n),
        replicas: vec![1, 2, 3],
        leader: isr.first().copied().unwrap_or(-1),
        isr,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![id(101), id(102), id(103)],
        ..PartitionRecord::default()
    };
    let change =
        |(n, index, isr, leader): (u8, i32, Option<Vec<i32>>, i32)| PartitionChangeRecord {
            partition_id: index,
            topic_id: id(n),
            eligible_leader_replicas: isr.as_ref().map(|isr| isr.iter().map(|id| 4 - id).collect()),
            isr,
            leader,
            ..PartitionChangeRecord::default()
        };
    let isr = || proptest::collection::vec(1..4i32, 0..3);
    prop_oneof![
        (1..6u8).prop_map(move |n| topic(n).into()),
        (1..6u8, 0..4i32, isr()).prop_map(move |part| partition(part).into()),
        (1..6u8, 0..4i32, proptest::option::of(isr()), -2..4i32)
            .prop_map(move |c| change(c).into()),
        (1..6u8).prop_map(|n| RemoveTopicRecord { topic_id: id(n) }.into()),
        (1..6u8, 0..3u8, any::<Option<u8>>()).prop_map(|(n, key, value)| config(
            2,
            &format!("topic-{n}"),
            key,
            value
        )),
        (0..3u8, any::<Option<u8>>()).prop_map(|(key, value)| config(4, "", key, value)),
        (0..9i64).prop_map(|n| ProducerIdsRecord {
            next_producer_id: n * 1000,
            ..Default::default()
        }
        .into()),
        (any::<Option<bool>>(), 0..3u8, any::<f64>(), any::<bool>())
            .prop_map(|(user, key, value, remove)| quota(user.map(u8::from), key, value, remove)),
        (0..3u8, 1..3i8).prop_map(|(n, mechanism)| UserScramCredentialRecord {
            name: Text::new(&format!("user-{n}")),
            mechanism,
            iterations: 4096,
            ..Default::default()
        }
        .into()),
        (1..4u8, 0..9i8).prop_map(|(n, operation)| {
            AccessControlEntryRecord { id: id(n), operation, ..Default::default() }.into()
        }),
        (1..4u8).prop_map(|n| RemoveAccessControlEntryRecord { id: id(n) }.into()),
        (0..3u8).prop_map(|n| DelegationTokenRecord {
            token_id: Text::new(&n.to_string()),
            ..Default::default()
        }
        .into()),
    ]
}

fn encoded(record: &MetadataRecord) -> Bytes {
    encode(record, MetadataVersion(27)).unwrap()
}

fn fresh() -> Replay {
    let mut replay = Replay::default();
    let name = Text::new("metadata.version");
    replay.record(&FeatureLevelRecord { name, feature_level: 27 }.into(), 0).unwrap();
    replay
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_snapshot_and_what_follows_give_what_all_records_gave(
        records in proptest::collection::vec(any_record(), 0..200),
        cut in 0..200usize,
    ) {
        let mut whole = fresh();
        let mut later = None;
        for (nth, record) in records.iter().enumerate() {
            if nth == cut {
                later = Some(reloaded(&whole.image));
            }
            let value = encoded(record);
            let before = whole.clone();
            let applied = whole.replay_value(value.clone(), Offset(nth as i64)).is_ok();
            if !applied {
                whole = before;
            } else if let Some(later) = &mut later {
                prop_assert!(later.replay_value(value, Offset(nth as i64)).is_ok());
            }
            check(&whole.image);
        }
        prop_assert_eq!(&reloaded(&whole.image).image, &whole.image);
        if let Some(later) = later {
            prop_assert_eq!(&later.image, &whole.image);
        }
    }
}

fn reloaded(image: &Image) -> Replay {
    let values = snapshot::records(image).iter().map(encoded).collect::<Vec<_>>();
    Replay::from_snapshot(values.into_iter(), image.provenance).unwrap()
}

/// What the image says twice, it says the same.
fn check(image: &Image) {
    assert_eq!(image.topics.len(), image.topic_ids.len());
    for (name, topic) in image.topic_ids.iter() {
        assert_eq!(image.topics.get(topic).unwrap().name, *name);
    }
    let partitions: usize = image.topics.values().map(|topic| topic.partitions.len()).sum();
    assert_eq!(image.partition_count, partitions as u64);
}

fn topic_record(n: u8) -> MetadataRecord {
    TopicRecord { name: Text::new(&format!("topic-{n}")), topic_id: id(n) }.into()
}

#[test]
fn a_transaction_counts_as_a_whole_or_not_at_all() {
    let mut replay = fresh();
    replay.record(&topic_record(1), 0).unwrap();
    replay.record(&BeginTransactionRecord::default().into(), 0).unwrap();
    replay.record(&topic_record(2), 0).unwrap();
    assert!(replay.settled().is_none(), "nothing is shown inside");
    replay.record(&AbortTransactionRecord::default().into(), 0).unwrap();
    let image = replay.settled().unwrap();
    assert!(image.topic("topic-1").is_some() && image.topic("topic-2").is_none());
    replay.record(&BeginTransactionRecord::default().into(), 0).unwrap();
    replay.record(&topic_record(3), 0).unwrap();
    replay.record(&EndTransactionRecord::default().into(), 0).unwrap();
    assert!(replay.settled().unwrap().topic("topic-3").is_some());
    let misplaced = replay.record(&EndTransactionRecord::default().into(), 0);
    assert!(matches!(misplaced, Err(RecordProblem::Transaction { .. })));
}

#[test]
fn a_record_of_a_later_version_is_refused_by_name() {
    let mut replay = fresh();
    let unknown = Bytes::from_static(&[1, 99, 0, 0]);
    let error = replay.replay_value(unknown, Offset(5)).unwrap_err().to_string();
    assert!(error.contains("offset 5") && error.contains("type 99"), "{error}");
    let later = Bytes::from_static(&[1, 2, 7, 0]);
    assert!(replay.replay_value(later, Offset(6)).is_err(), "a later version of a known record");
}

#[test]
fn a_difference_turns_one_image_into_the_other() {
    use crate::metadata::delta::Delta;

    let mut replay = fresh();
    for n in 1..4 {
        replay.record(&topic_record(n), 0).unwrap();
    }
    let part = |n, index| PartitionRecord {
        partition_id: index,
        topic_id: id(n),
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        ..PartitionRecord::default()
    };
    replay.record(&part(1, 0).into(), 2).unwrap();
    replay.record(&part(2, 0).into(), 2).unwrap();
    let old = replay.settled().unwrap();
    let changed = PartitionChangeRecord {
        partition_id: 0,
        topic_id: id(1),
        leader: -1,
        ..PartitionChangeRecord::default()
    };
    replay.record(&changed.into(), 0).unwrap();
    replay.record(&part(2, 1).into(), 2).unwrap();
    replay.record(&RemoveTopicRecord { topic_id: id(3) }.into(), 0).unwrap();
    let name = Text::new("topic-3");
    replay.record(&TopicRecord { name, topic_id: id(9) }.into(), 0).unwrap();
    replay.record(&config(2, "topic-1", 0, Some(1)), 0).unwrap();
    let new = replay.settled().unwrap();

    let delta = Delta::between(&old, &new);
    assert_eq!(delta.topics_removed.iter().map(|t| t.id).collect::<Vec<_>>(), [id(3)]);
    assert_eq!(delta.topics_added.iter().map(|t| t.id).collect::<Vec<_>>(), [id(9)]);
    let partitions = delta.partitions_changed.iter();
    let partitions: Vec<_> = partitions.map(|p| (p.topic.id, p.index, p.old.is_some())).collect();
    assert_eq!(partitions, [(id(1), 0, true), (id(2), 1, false)]);
    assert_eq!(delta.configs_changed.len(), 1);
    assert!(Delta::between(&new, &new).is_empty());
}
