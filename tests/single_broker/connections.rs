//! Connections: how many, how long, in which order they are answered, and peers that misbehave
//! within a sound protocol.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::fetch_request::FetchRequest;
use ottla::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ottla::protocol::messages::metadata_request::MetadataRequest;
use ottla::protocol::messages::produce_request::ProduceRequest;
use ottla::protocol::wire::Text;

use super::harness::calls::{
    FETCH, METADATA, PRODUCE, batch, code, expect_service, fetch_request, only_partition,
    produce_request, values,
};
use super::harness::node::Node;
use super::harness::wire::Wire;
use super::harness::{PATIENCE, eventually};

const BROKER: i8 = 4;

/// Sets an option of all brokers.
fn alter_cluster(wire: &mut Wire, name: &str, value: &str) {
    let config = AlterableConfig {
        name: Text::new(name),
        value: Some(Text::new(value)),
        ..AlterableConfig::default()
    };
    let resource = AlterConfigsResource {
        resource_type: BROKER,
        configs: vec![config],
        ..AlterConfigsResource::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = wire.call(&request, 1);
    let answer = &response.responses[0];
    assert_eq!(code(answer.error_code), ErrorCode::None, "{:?}", answer.error_message);
}

#[test]
fn connections_past_the_limit_are_closed_and_the_limit_can_be_moved() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("max.connections", "2")]);
    let mut first = node.connect();
    first.expect_service();
    let mut second = node.connect();
    second.expect_service();
    node.connect().expect_closed();
    alter_cluster(&mut first, "max.connections", "3");
    let mut third = node.connect();
    third.expect_service();
    node.connect().expect_closed();
    drop(second);
    eventually("the place of a closed connection is free", || {
        let mut wire = node.connect();
        let frame = wire.frame(&MetadataRequest::default(), METADATA);
        wire.stream.write_all(&frame).is_ok()
            && std::io::Read::read(&mut wire.stream, &mut [0]).is_ok_and(|read| read > 0)
    });
    first.expect_service();
}

#[test]
fn one_address_is_held_to_its_own_limit() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("max.connections.per.ip", "1")]);
    let mut only = node.connect();
    only.expect_service();
    node.connect().expect_closed();
    alter_cluster(&mut only, "max.connections.per.ip.overrides", "127.0.0.1:2");
    node.connect().expect_service();
    alter_cluster(&mut only, "max.connections.per.ip.overrides", "127.0.0.1:0");
    node.connect().expect_closed();
    only.expect_service();
}

#[test]
fn silent_connections_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("connections.max.idle.ms", "100")]);
    let mut silent = node.connect();
    let mut half = node.connect();
    let frame = half.frame(&MetadataRequest::default(), METADATA);
    half.send_bytes(&frame[..6]);
    let mut waiting = node.connect();
    waiting.create("t", 1, &[]);
    let request = FetchRequest { max_wait_ms: 700, ..fetch_request("t", 0) };
    waiting.send(&request, FETCH);
    silent.expect_closed();
    half.expect_closed();
    // Waiting for an answer is not idling.
    only_partition(waiting.receive::<FetchRequest>(FETCH));
}

#[test]
fn requests_wait_for_memory_and_small_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("queued.max.request.bytes", "65536")]);
    node.connect().create("t", 1, &[]);
    let mut hoarder = node.connect();
    hoarder.send_bytes(&60_000i32.to_be_bytes());
    hoarder.send_bytes(&[0]);
    thread::sleep(Duration::from_millis(50));
    expect_service(node.address);
    let mut large = node.connect();
    let value = "v".repeat(20_000);
    large.send(&produce_request("t", 0, batch(&[&value]), -1), PRODUCE);
    large.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let answered = large.stream.peek(&mut [0]);
    assert!(answered.is_err(), "there is no memory for it yet");
    drop(hoarder);
    large.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let response = large.receive::<ProduceRequest>(PRODUCE);
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!((code(answer.error_code), answer.base_offset), (ErrorCode::None, 0));
}

#[test]
fn a_frame_above_the_whole_budget_is_served_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("queued.max.request.bytes", "4096")]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let value = "v".repeat(100_000);
    assert_eq!(wire.append("t", &[&value]), 0);
    expect_service(node.address);
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    // All in one write, as a client with five requests in flight may do.
    let mut bytes = vec![];
    for n in 0..5 {
        let value = n.to_string();
        bytes.extend(wire.frame(&produce_request("t", 0, batch(&[&value]), -1), PRODUCE));
    }
    bytes.extend(wire.frame(&MetadataRequest::default(), METADATA));
    bytes.extend(wire.frame(&fetch_request("t", 0), FETCH));
    bytes.extend(wire.frame(&produce_request("t", 0, batch(&["5"]), 1), PRODUCE));
    wire.send_bytes(&bytes);
    let base_offset = |wire: &mut Wire| {
        let response = wire.receive::<ProduceRequest>(PRODUCE);
        response.responses[0].partition_responses[0].base_offset
    };
    for n in 0..5 {
        assert_eq!(base_offset(&mut wire), n);
    }
    wire.receive::<MetadataRequest>(METADATA);
    let read = only_partition(wire.receive::<FetchRequest>(FETCH));
    assert_eq!(values(&read.records), ["0", "1", "2", "3", "4"]);
    assert_eq!(base_offset(&mut wire), 5);
}

#[test]
fn a_produce_behind_a_waiting_fetch_is_answered_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let request = FetchRequest { max_wait_ms: 300, ..fetch_request("t", 0) };
    wire.send(&request, FETCH);
    wire.send(&produce_request("t", 0, batch(&["a"]), -1), PRODUCE);
    // Its own records do not wake it: the connection was muted.
    let read = only_partition(wire.receive::<FetchRequest>(FETCH));
    assert!(values(&read.records).is_empty());
    let response = wire.receive::<ProduceRequest>(PRODUCE);
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 0);
}

#[test]
fn acks_0_is_silent_in_success_and_ends_the_connection_in_failure() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let frame = wire.frame(&produce_request("t", 0, batch(&["a"]), 0), PRODUCE);
    wire.send_bytes(&frame);
    let mut other = node.connect();
    eventually("the record is there", || other.read_all("t") == ["a"]);
    for (topic, records) in [("unknown", batch(&["b"])), ("t", Bytes::from_static(b"no batch"))] {
        let mut wire = node.connect();
        wire.send(&produce_request(topic, 0, records, 0), PRODUCE);
        wire.expect_closed();
    }
    // Nothing else is told of it: the next answer belongs to the next request.
    let mut wire = node.connect();
    wire.send_bytes(&frame);
    wire.receive_after_silence();
}

impl Wire {
    /// The answer to the request that follows one without.
    fn receive_after_silence(&mut self) {
        let mut frame = self.frame(&MetadataRequest::default(), METADATA);
        frame[8..12].copy_from_slice(&77i32.to_be_bytes());
        self.send_bytes(&frame);
        assert_eq!(self.receive_frame()[..4], 77i32.to_be_bytes());
    }
}

#[test]
fn a_client_that_never_reads_stops_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let value = "v".repeat(500_000);
    wire.append("t", &[&value]);
    let mut deaf = node.connect();
    let frame = deaf.frame(&fetch_request("t", 0), FETCH);
    deaf.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut sent = 0;
    // Until its own buffers are full as well, or it is plain that they are large.
    while sent < 2000 && deaf.stream.write_all(&frame).is_ok() {
        sent += 1;
    }
    assert!(sent > 1);
    assert_eq!(wire.append("t", &["a"]), 1);
    drop(deaf);
    wire.expect_service();
    node.stop().unwrap();
}

#[test]
fn a_stop_does_not_wait_for_those_who_wait_for_records() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    let request = FetchRequest { max_wait_ms: 60_000, ..fetch_request("t", 0) };
    wire.send(&request, FETCH);
    let mut half = node.connect();
    half.send_bytes(&[0, 0, 1]);
    thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    node.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
