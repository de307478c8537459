//! Batches that must not be stored, and batches that must be stored once.

use bytes::Bytes;
use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::fetch_request::FetchRequest;
use ottla::protocol::messages::produce_request::{ProduceRequest, TopicProduceData};
use ottla::protocol::records::build::BatchOptions;
use ottla::protocol::records::compression::Codec;
use ottla::types::Uuid;

use super::harness::calls::{
    PRODUCE, batch, batch_of, code, fetch_request, idempotent, only_partition, produce_request,
    record, record_at, values,
};
use super::harness::node::Node;
use super::harness::wire::Wire;

fn error(wire: &mut Wire, records: Bytes) -> ErrorCode {
    code(wire.produce("t", records).error_code)
}

#[test]
fn damaged_batches_are_refused_and_leave_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let sound = batch(&["a", "b"]);
    let mut wrong_crc = sound.to_vec();
    *wrong_crc.last_mut().unwrap() ^= 1;
    assert_eq!(error(&mut wire, wrong_crc.into()), ErrorCode::CorruptMessage);
    for cut in [1, 16, 60, 61, sound.len() - 1] {
        let code = error(&mut wire, sound.slice(..cut));
        assert!([ErrorCode::CorruptMessage, ErrorCode::InvalidRecord].contains(&code), "{cut}");
    }
    // Two batches where a request holds one; an old format; no batch at all.
    let twice = Bytes::from([&sound[..], &sound[..]].concat());
    assert_eq!(error(&mut wire, twice), ErrorCode::InvalidRecord);
    let mut magic_1 = sound.to_vec();
    magic_1[16] = 1;
    assert_ne!(error(&mut wire, magic_1.into()), ErrorCode::None);
    assert_eq!(error(&mut wire, Bytes::new()), ErrorCode::InvalidRecord);
    assert_eq!(wire.append("t", &["c"]), 0);
    assert_eq!(wire.read_all("t"), ["c"]);
}

#[test]
fn a_decompression_bomb_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("max.decompressed.message.bytes", "100000")]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let value = "0".repeat(3_000_000);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let options = BatchOptions { compression: codec.into(), ..BatchOptions::default() };
        let bomb = batch_of(options.clone(), [record(&value)]);
        assert!(bomb.len() < 1_000_000, "{codec:?} packs it");
        assert_ne!(error(&mut wire, bomb), ErrorCode::None, "{codec:?}");
        let harmless = batch_of(options, [record(&value[..90_000])]);
        assert_eq!(error(&mut wire, harmless), ErrorCode::None, "{codec:?}");
    }
    assert_eq!(wire.list_offset("t", -1).1, 4);
}

#[test]
fn a_batch_above_the_topics_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[("max.message.bytes", "200")]);
    let large = batch(&[&"v".repeat(300)]);
    assert_eq!(error(&mut wire, large), ErrorCode::MessageTooLarge);
    assert_eq!(wire.append("t", &["small"]), 0);
}

#[test]
fn timestamps_out_of_bounds_name_their_records() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[("message.timestamp.after.max.ms", "1000")]);
    let in_a_century = 4_900_000_000_000;
    let records = [record("a"), record_at(in_a_century, "b")];
    let answer = wire.produce("t", batch_of(BatchOptions::default(), records));
    assert_eq!(code(answer.error_code), ErrorCode::InvalidTimestamp);
    let blamed: Vec<i32> = answer.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(blamed, [1]);
    assert!(wire.read_all("t").is_empty());
}

#[test]
fn each_partition_fails_alone_and_bad_acks_fail_all() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 2, &[]);
    let mut request = produce_request("t", 0, batch(&["a"]), -1);
    let bad = produce_request("t", 7, batch(&["b"]), -1).topic_data[0].partition_data[0].clone();
    request.topic_data[0].partition_data.push(bad);
    let response = wire.call(&request, PRODUCE);
    let codes: Vec<_> = response.responses[0]
        .partition_responses
        .iter()
        .map(|answer| (answer.index, code(answer.error_code)))
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(codes, [(0, ErrorCode::None), (7, unknown)]);
    let response = wire.call(&produce_request("t", 0, batch(&["c"]), 2), PRODUCE);
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(code(answer.error_code), ErrorCode::InvalidRequiredAcks);
    assert_eq!(wire.read_all("t"), ["a"]);
}

#[test]
fn retries_of_an_idempotent_producer_are_stored_once_even_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let (id, epoch) = wire.new_producer();
    let send = |wire: &mut Wire, sequence, value: &str| {
        let answer = wire.produce("t", idempotent(id, epoch, sequence, &[value]));
        (code(answer.error_code), answer.base_offset)
    };
    for n in 0..3 {
        assert_eq!(send(&mut wire, n, "x"), (ErrorCode::None, n.into()));
    }
    assert_eq!(send(&mut wire, 1, "x"), (ErrorCode::None, 1), "the offset of the first time");
    assert_eq!(send(&mut wire, 7, "x").0, ErrorCode::OutOfOrderSequenceNumber);
    node.kill();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    assert_eq!(send(&mut wire, 2, "x"), (ErrorCode::None, 2), "after a crash");
    assert_eq!(send(&mut wire, 3, "x"), (ErrorCode::None, 3));
    node.stop().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    assert_eq!(send(&mut wire, 3, "x"), (ErrorCode::None, 3), "after a clean stop");
    assert_eq!(wire.list_offset("t", -1).1, 4);
    let (next, _) = wire.new_producer();
    assert_ne!(next, id, "ids are given once");
}

#[test]
fn topics_are_written_by_id_too() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    let topic_id = wire.create("t", 1, &[]);
    let mut produce = |topic_id| {
        let named = produce_request("t", 0, batch(&["a"]), 1);
        let data = named.topic_data.into_iter().map(|topic| TopicProduceData { topic_id, ..topic });
        let request = ProduceRequest { topic_data: data.collect(), acks: 1, ..Default::default() };
        let response = wire.call(&ProduceRequest { timeout_ms: 10_000, ..request }, 13);
        code(response.responses[0].partition_responses[0].error_code)
    };
    assert_eq!(produce(topic_id), ErrorCode::None);
    assert_eq!(produce(Uuid([9; 16])), ErrorCode::UnknownTopicId);
    assert_eq!(wire.read_all("t"), ["a"]);
}

#[test]
fn a_read_from_the_middle_of_a_batch_gives_the_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    wire.append("t", &["a", "b", "c"]);
    wire.append("t", &["d"]);
    let read = wire.fetch("t", 1);
    assert_eq!(values(&read.records), ["a", "b", "c", "d"]);
    // However small the limits, one batch comes: else a client could never pass it.
    let mut request = FetchRequest { max_bytes: 1, ..fetch_request("t", 1) };
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let read = only_partition(wire.call(&request, 12));
    assert_eq!(values(&read.records), ["a", "b", "c"]);
}
