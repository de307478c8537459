//! Fetches that wait, fetches with a session, fetches with limits.

use std::thread;
use std::time::{Duration, Instant};

use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::fetch_request::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic,
};
use ottla::protocol::messages::fetch_response::FetchResponse;
use ottla::protocol::wire::Text;
use ottla::types::Uuid;

use super::harness::calls::{FETCH, batches, code, fetch_request, only_partition, values};
use super::harness::node::Node;
use super::harness::wire::Wire;

/// Long enough that a test which waits for it has failed.
const LONG_MS: i32 = 20_000;

/// Sends a fetch that finds nothing, and gives the broker time to see that.
fn send_waiting(wire: &mut Wire, request: &FetchRequest) {
    wire.send(request, FETCH);
    thread::sleep(Duration::from_millis(30));
}

#[test]
fn a_waiting_fetch_wakes_when_records_come() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let (mut reader, mut writer) = (node.connect(), node.connect());
    writer.create("t", 1, &[]);
    let begun = Instant::now();
    for n in 0..20 {
        let waits = FetchRequest { max_wait_ms: LONG_MS, ..fetch_request("t", n) };
        // With and without a pause: before the first read, between read and wait, after.
        reader.send(&waits, FETCH);
        if n % 2 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        writer.append("t", &["x"]);
        let read = only_partition(reader.receive::<FetchRequest>(FETCH));
        assert_eq!(values(&read.records), ["x"]);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "nothing waited for its time to end");
}

#[test]
fn a_fetch_waits_for_its_minimum_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let (mut reader, mut writer) = (node.connect(), node.connect());
    writer.create("t", 1, &[]);
    let waits = FetchRequest { max_wait_ms: LONG_MS, min_bytes: 200, ..fetch_request("t", 0) };
    send_waiting(&mut reader, &waits);
    writer.append("t", &["first"]);
    writer.append("t", &["second"]);
    let long = "v".repeat(200);
    writer.append("t", &[&long]);
    let read = only_partition(reader.receive::<FetchRequest>(FETCH));
    assert_eq!(values(&read.records), ["first", "second", &long]);
    // More than there is: what there is, when the time is up.
    let waits = FetchRequest { max_wait_ms: 100, min_bytes: 1 << 20, ..fetch_request("t", 0) };
    let begun = Instant::now();
    let read = only_partition(reader.call(&waits, FETCH));
    assert_eq!(batches(&read.records).len(), 3);
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_fetch_does_not_wait_for_more_in_a_segment_that_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[("segment.ms", "1")]);
    for value in ["first", "second", "third"] {
        wire.append("t", &[value]);
        thread::sleep(Duration::from_millis(5));
    }
    let waits = FetchRequest { max_wait_ms: LONG_MS, min_bytes: 1000, ..fetch_request("t", 0) };
    let begun = Instant::now();
    let read = only_partition(wire.call(&waits, FETCH));
    assert_eq!(values(&read.records), ["first"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited");
}

#[test]
fn a_fetch_does_not_wait_for_what_its_answer_has_no_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    for (topic, bytes) in [("small", 100), ("large", 2000)] {
        wire.create(topic, 1, &[]);
        wire.append(topic, &[&"v".repeat(bytes)]);
    }
    let of = |topic| fetch_request(topic, 0).topics;
    let topics = [of("small"), of("large")].concat();
    let waits = FetchRequest {
        max_wait_ms: LONG_MS,
        min_bytes: 1000,
        max_bytes: 1000,
        topics,
        ..fetch_request("small", 0)
    };
    let begun = Instant::now();
    let read = only_partition(wire.call(&waits, FETCH));
    assert_eq!(batches(&read.records).len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited");
}

#[test]
fn waiting_fetches_end_when_their_topic_does() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let (mut reader, mut writer) = (node.connect(), node.connect());
    writer.create("t", 1, &[]);
    let waits = FetchRequest { max_wait_ms: LONG_MS, ..fetch_request("t", 0) };
    send_waiting(&mut reader, &waits);
    writer.delete("t");
    let read = only_partition(reader.receive::<FetchRequest>(FETCH));
    assert_eq!(code(read.error_code), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn an_answer_keeps_its_limits_but_for_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let value = "v".repeat(1000);
    for _ in 0..10 {
        wire.append("t", &[&value]);
    }
    let mut read = |max_bytes, partition_max_bytes| {
        let mut request = FetchRequest { max_bytes, ..fetch_request("t", 0) };
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        batches(&only_partition(wire.call(&request, FETCH)).records).len()
    };
    assert_eq!((read(1 << 20, 1 << 20), read(1, 1)), (10, 1));
    assert_eq!((read(3300, 1 << 20), read(1 << 20, 3300)), (3, 3));
}

#[test]
fn offsets_outside_the_log_are_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    wire.append("t", &["a"]);
    for (from, expected) in
        [(-1, ErrorCode::OffsetOutOfRange), (1, ErrorCode::None), (2, ErrorCode::OffsetOutOfRange)]
    {
        assert_eq!(code(wire.fetch("t", from).error_code), expected, "{from}");
    }
    assert_eq!(code(wire.fetch("unknown", 0).error_code), ErrorCode::UnknownTopicOrPartition);
}

fn partition(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    }
}

fn in_session(id: i32, epoch: i32, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = FetchTopic { topic: Text::from("t"), partitions, ..FetchTopic::default() };
    let topics = if topic.partitions.is_empty() { vec![] } else { vec![topic] };
    FetchRequest { session_id: id, session_epoch: epoch, topics, ..fetch_request("t", 0) }
}

fn answered(response: &FetchResponse) -> Vec<(i32, usize)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|data| (data.partition_index, values(&data.records).len())).collect()
}

#[test]
fn a_session_answers_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 3, &[]);
    let first = wire
        .call(&in_session(0, 0, vec![partition(0, 0), partition(1, 0), partition(2, 0)]), FETCH);
    assert_eq!(answered(&first), [(0, 0), (1, 0), (2, 0)]);
    let id = first.session_id;
    assert_ne!(id, 0);
    assert_eq!(answered(&wire.call(&in_session(id, 1, vec![]), FETCH)), []);
    wire.append("t", &["a"]);
    let read = wire.call(&in_session(id, 2, vec![]), FETCH);
    assert_eq!(answered(&read), [(0, 1)]);
    let mut request = in_session(id, 3, vec![partition(0, 1)]);
    let forgotten =
        ForgottenTopic { topic: Text::from("t"), topic_id: Uuid::ZERO, partitions: vec![1] };
    request.forgotten_topics_data = vec![forgotten];
    assert_eq!(answered(&wire.call(&request, FETCH)), []);
    // Wrong epoch; unknown session; closed session.
    let error = |response: FetchResponse| code(response.error_code);
    let wrong = wire.call(&in_session(id, 9, vec![]), FETCH);
    assert_eq!(error(wrong), ErrorCode::InvalidFetchSessionEpoch);
    let unknown = wire.call(&in_session(id ^ 1, 1, vec![]), FETCH);
    assert_eq!(error(unknown), ErrorCode::FetchSessionIdNotFound);
    let closing = wire.call(&in_session(id, -1, vec![partition(0, 0)]), FETCH);
    assert_eq!((closing.session_id, answered(&closing)), (0, vec![(0, 1)]));
    let closed = wire.call(&in_session(id, 4, vec![]), FETCH);
    assert_eq!(error(closed), ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn a_session_waits_for_its_partitions_too() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let (mut reader, mut writer) = (node.connect(), node.connect());
    writer.create("t", 2, &[]);
    let first = reader.call(&in_session(0, 0, vec![partition(0, 0), partition(1, 0)]), FETCH);
    let waits = in_session(first.session_id, 1, vec![]);
    send_waiting(&mut reader, &FetchRequest { max_wait_ms: LONG_MS, ..waits });
    writer.append("t", &["a"]);
    assert_eq!(answered(&reader.receive::<FetchRequest>(FETCH)), [(0, 1)]);
}
