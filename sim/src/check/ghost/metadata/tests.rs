//! Short histories of a cluster, told by its records.

use std::path::PathBuf;

use ottla::controller::bootstrap::fresh_version;
use ottla::env::disk::Open;
use ottla::metadata::record::encode;
use ottla::metadata::topic::{Partition, Topic};
use ottla::protocol::messages::MetadataRecord;
use ottla::protocol::messages::producer_ids_record::ProducerIdsRecord;
use ottla::protocol::messages::register_broker_record::RegisterBrokerRecord;
use ottla::protocol::messages::remove_topic_record::RemoveTopicRecord;
use ottla::protocol::messages::topic_record::TopicRecord;
use ottla::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord};
use ottla::protocol::wire::Text;

use super::super::tests::{LOG, broke};
use super::*;
use crate::check::Invariant;

fn id(n: u8) -> Uuid {
    Uuid([n; 16])
}

fn topic(n: u8) -> MetadataRecord {
    TopicRecord { name: Text::new(&format!("topic-{n}")), topic_id: id(n) }.into()
}

fn removed(n: u8) -> MetadataRecord {
    RemoveTopicRecord { topic_id: id(n) }.into()
}

fn broker(epoch: i64, incarnation: u8) -> MetadataRecord {
    let incarnation_id = id(incarnation);
    let (broker_id, broker_epoch) = (1, epoch);
    RegisterBrokerRecord { broker_id, broker_epoch, incarnation_id, ..Default::default() }.into()
}

fn next_id(next_producer_id: i64) -> MetadataRecord {
    ProducerIdsRecord { broker_id: 1, broker_epoch: 0, next_producer_id }.into()
}

fn values(records: &[MetadataRecord]) -> impl Iterator<Item = Bytes> {
    records.iter().map(|record| encode(record, fresh_version()).unwrap())
}

/// Commits one batch for each step, from offset 0 on.
fn history(steps: &[&[MetadataRecord]]) -> Result<Metadata, Invariant> {
    let (mut metadata, mut at) = (Metadata::default(), Offset(0));
    for records in steps {
        let options = BatchOptions { base_offset: at, ..BatchOptions::default() };
        let mut batch = BatchBuilder::new(options);
        for value in values(records) {
            let value = Some(value);
            batch.push(NewRecord { timestamp_ms: 0, key: None, value, headers: vec![] });
        }
        let batch = batch.build_batch();
        at = batch.next_offset();
        metadata.committed(LOG, &batch).map_err(|violation| violation.invariant)?;
        metadata.committed(LOG, &batch).expect("the same batch, told by another node");
    }
    Ok(metadata)
}

#[test]
fn topics_come_and_go_and_come_again() {
    let metadata = history(&[&[topic(1), topic(2)], &[removed(1)], &[topic(3)]]).unwrap();
    assert!(metadata.has_topic(id(3)) && !metadata.has_topic(id(1)));
}

#[test]
fn an_id_that_is_used_again_is_caught() {
    assert_eq!(history(&[&[topic(1)], &[removed(1)], &[topic(1)]]).err(), Some(I39));
}

#[test]
fn a_record_that_cannot_be_applied_is_caught() {
    assert_eq!(history(&[&[removed(1)]]).err(), Some(I37));
}

#[test]
fn each_start_of_a_broker_has_a_later_epoch() {
    history(&[&[broker(5, 1)], &[broker(9, 2)], &[broker(9, 2)]]).unwrap();
    assert_eq!(history(&[&[broker(5, 1)], &[broker(4, 2)]]).err(), Some(I39));
    assert_eq!(history(&[&[broker(5, 1)], &[broker(5, 2)]]).err(), Some(I39));
}

#[test]
fn producer_ids_are_committed_before_they_are_given_out_and_once() {
    assert_eq!(history(&[&[next_id(1000)], &[next_id(500)]]).err(), Some(I20));
    let mut metadata = history(&[&[next_id(1000)]]).unwrap();
    metadata.producer_id_given(ProducerId(999)).unwrap();
    assert_eq!(broke(metadata.producer_id_given(ProducerId(999))), Some(I20));
    assert_eq!(broke(metadata.producer_id_given(ProducerId(1000))), Some(I20));
}

#[test]
fn what_is_served_is_committed_and_never_goes_back() {
    let mut metadata = history(&[&[topic(1)], &[topic(2)]]).unwrap();
    metadata.published(0, Offset(2)).unwrap();
    metadata.published(1, Offset(1)).unwrap();
    assert_eq!(broke(metadata.published(1, Offset(3))), Some(I37));
    assert_eq!(broke(metadata.published(0, Offset(1))), Some(I41));
}

#[test]
fn a_partition_changes_one_step_at_a_time() {
    let led = |leader: Option<i32>, leader_epoch, partition_epoch| Partition {
        leader: leader.map(NodeId),
        isr: vec![NodeId(1)],
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch,
        ..Partition::default()
    };
    let verdict = |new: Partition| {
        let old = Some(Arc::new(led(Some(1), 3, 7)));
        let partitions = Default::default();
        let topic = Arc::new(Topic { id: id(1), name: "t".into(), partitions });
        let change = PartitionChange { topic, index: 0, old, new: Arc::new(new) };
        broke(check_partition(LOG, Offset(0), &change))
    };
    assert_eq!(verdict(led(Some(1), 3, 8)), None);
    assert_eq!(verdict(led(None, 4, 8)), None);
    for wrong in [led(Some(1), 3, 7), led(Some(1), 2, 8), led(None, 3, 8), led(Some(2), 4, 8)] {
        assert_eq!(verdict(wrong.clone()), Some(I39), "{wrong:?}");
    }
}

const DIR: &str = "/data/__cluster_metadata-0";

/// A disk with a snapshot of `records` that claims to contain everything below offset 2.
fn snapshot_of(records: &[MetadataRecord], cut: usize) -> Volume {
    let id = SnapshotId { end: Offset(2), epoch: LeaderEpoch(0) };
    let bytes = snapshot::encode(id, 0, None, values(records), 0);
    let mut volume = Volume::new(1 << 20);
    volume.create_dir_all(Path::new(DIR)).unwrap();
    let path = PathBuf::from(DIR).join(id.to_string());
    let ino = volume.open(&path, Open::New, 0).unwrap();
    volume.write(ino, 0, bytes.slice(..bytes.len() - cut), 0);
    let upto = volume.begin_sync();
    volume.finish_sync_all(upto);
    volume
}

#[test]
fn a_snapshot_says_what_the_log_says() {
    let written = |volume: &Volume, end| {
        let mut metadata = history(&[&[topic(1), topic(2)], &[topic(3)]]).unwrap();
        let at = (volume, Path::new(DIR));
        broke(metadata.snapshot_written(at, Offset(end), LeaderEpoch(0)))
    };
    assert_eq!(written(&snapshot_of(&[topic(2), topic(1)], 0), 2), None);
    assert_eq!(written(&snapshot_of(&[topic(1)], 0), 2), Some(I41), "a topic is missing");
    assert_eq!(written(&snapshot_of(&[topic(1), topic(2)], 9), 2), Some(I41), "cut");
    assert_eq!(written(&snapshot_of(&[topic(1), topic(2)], 0), 3), Some(I41), "not there");
}

#[test]
fn a_log_begins_where_a_snapshot_ends() {
    let begins = |volume: &Volume, at| broke(check_start(volume, Path::new(DIR), Offset(at)));
    let volume = snapshot_of(&[topic(1)], 0);
    assert_eq!((begins(&volume, 0), begins(&volume, 2)), (None, None));
    assert_eq!(begins(&volume, 3), Some(I41));
    assert_eq!(begins(&snapshot_of(&[topic(1)], 9), 2), Some(I41));
}
