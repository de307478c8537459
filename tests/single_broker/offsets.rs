//! ListOffsets: places and times.

use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ottla::protocol::records::build::BatchOptions;
use ottla::protocol::wire::Text;

use super::harness::calls::{batch_of, code, now_ms, record_at};
use super::harness::node::Node;
use super::harness::wire::Wire;

const NONE: (ErrorCode, i64, i64) = (ErrorCode::None, -1, -1);

impl Wire {
    /// Error and the new start.
    pub fn delete_records(&mut self, topic: &str, to: i64) -> (ErrorCode, i64) {
        let partition = DeleteRecordsPartition { partition_index: 0, offset: to };
        let topic = DeleteRecordsTopic { name: Text::new(topic), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000 };
        let response = self.call(&request, 2);
        let result = &response.topics[0].partitions[0];
        (code(result.error_code), result.low_watermark)
    }
}

#[test]
fn places_have_their_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let place = |offset| (ErrorCode::None, offset, -1);
    assert_eq!((wire.list_offset("t", -1), wire.list_offset("t", -2)), (place(0), place(0)));
    assert_eq!((wire.list_offset("t", -3), wire.list_offset("t", 0)), (NONE, NONE));

    let start = now_ms();
    let times = [start + 10, start + 30, start + 20];
    let records = times.map(|timestamp_ms| record_at(timestamp_ms, "x"));
    wire.produce("t", batch_of(BatchOptions::default(), records));
    wire.append("t", &["y"]);
    let late = wire.produce("t", batch_of(BatchOptions::default(), [record_at(start + 900, "z")]));
    assert_eq!(code(late.error_code), ErrorCode::None);

    assert_eq!(wire.list_offset("t", -1), place(5), "latest");
    assert_eq!(wire.list_offset("t", -2), place(0), "earliest");
    assert_eq!(wire.list_offset("t", -3), (ErrorCode::None, 4, start + 900), "largest timestamp");
    assert_eq!(wire.list_offset("t", -4), place(0), "earliest here");
    assert_eq!(wire.list_offset("t", -5), NONE, "nothing is tiered");
    assert_eq!(wire.list_offset_as("t", -6, 11), NONE, "nothing will be");
    assert_eq!(wire.list_offset("t", 0), (ErrorCode::None, 0, start + 10));
    assert_eq!(wire.list_offset("t", start + 11), (ErrorCode::None, 1, start + 30));
    assert_eq!(wire.list_offset("t", start + 30), (ErrorCode::None, 1, start + 30));
    assert_eq!(wire.list_offset("t", start + 901), NONE, "nothing is as young");
}

#[test]
fn places_that_a_version_does_not_know_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    for (place, version) in [(-3, 6), (-4, 7), (-5, 8), (-6, 10), (-7, 11)] {
        let refused = wire.list_offset_as("t", place, version);
        assert_eq!(refused.0, ErrorCode::UnsupportedVersion, "{place}");
    }
    assert_eq!(wire.list_offset("unknown", -1).0, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn deleted_records_stay_deleted_over_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    wire.create("u", 1, &[]);
    for value in ["a", "b", "c"] {
        wire.append("t", &[value]);
        wire.append("u", &[value]);
    }
    assert_eq!(wire.delete_records("t", 2), (ErrorCode::None, 2));
    assert_eq!(wire.delete_records("t", 1), (ErrorCode::None, 2), "the start never goes back");
    assert_eq!(wire.delete_records("t", 4).0, ErrorCode::OffsetOutOfRange);
    assert_eq!(wire.delete_records("t", -2).0, ErrorCode::OffsetOutOfRange);
    assert_eq!(code(wire.fetch("t", 1).error_code), ErrorCode::OffsetOutOfRange);
    node.kill();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    assert_eq!(wire.list_offset("t", -2).1, 2);
    assert_eq!(wire.read_all("t"), ["c"]);
    assert_eq!(wire.read_all("u"), ["a", "b", "c"]);
    assert_eq!(wire.delete_records("t", -1), (ErrorCode::None, 3), "up to the high watermark");
    node.stop().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    assert!(wire.read_all("t").is_empty());
    assert_eq!(wire.append("t", &["d"]), 3);
}

#[test]
fn deletions_from_many_sides_all_survive_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let names: Vec<String> = (0..8).map(|n| format!("t{n}")).collect();
    let mut wire = node.connect();
    for name in &names {
        wire.create(name, 1, &[]);
        wire.append(name, &["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    }
    std::thread::scope(|scope| {
        for name in &names {
            let mut wire = node.connect();
            scope.spawn(move || {
                for to in 1..9 {
                    assert_eq!(wire.delete_records(name, to), (ErrorCode::None, to));
                }
            });
        }
    });
    node.kill();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    for name in &names {
        assert_eq!(wire.list_offset(name, -2).1, 8, "{name}");
    }
}
