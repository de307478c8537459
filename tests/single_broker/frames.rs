//! Frames that no client should send. Each ends its own connection and nothing else.

use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::api_versions_request::ApiVersionsRequest;
use ottla::protocol::messages::metadata_request::MetadataRequest;

use super::harness::calls::{METADATA, expect_service};
use super::harness::node::Node;

/// A request header of version 1, before any body.
fn header(api: i16, version: i16) -> Vec<u8> {
    let mut bytes = [api.to_be_bytes(), version.to_be_bytes()].concat();
    bytes.extend(7i32.to_be_bytes());
    bytes.extend((-1i16).to_be_bytes());
    bytes
}

#[test]
fn a_size_that_no_frame_has_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[("socket.request.max.bytes", "1000")]);
    for size in [0, -1, i32::MIN, 1001, i32::MAX] {
        let mut wire = node.connect();
        wire.send_bytes(&i32::to_be_bytes(size));
        wire.expect_closed();
    }
    expect_service(node.address);
}

#[test]
fn what_is_not_advertised_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    // Unknown; of a controller's listener; advertised in other versions.
    let apis = [(999, 0), (-1, 0), (52, 0), (53, 0), (59, 0), (62, 0), (63, 0), (70, 0)];
    for (api, version) in apis.into_iter().chain([(0, 2), (0, 99), (1, 3), (3, -1), (19, 1)]) {
        let mut wire = node.connect();
        wire.send_framed(&header(api, version));
        wire.expect_closed();
    }
    expect_service(node.address);
}

#[test]
fn a_version_of_api_versions_that_nobody_knows_is_answered_in_version_0() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    let no_tagged_fields = [0];
    wire.send_framed(&[&header(18, 99)[..], &no_tagged_fields].concat());
    let answer = wire.receive_frame();
    assert_eq!(answer[..4], 7i32.to_be_bytes());
    assert_eq!(answer[4..6], ErrorCode::UnsupportedVersion.code().to_be_bytes());
    let mut wire = node.connect();
    let response = wire.call(&ApiVersionsRequest::default(), 0);
    assert!(response.api_keys.len() > 10);
}

#[test]
fn a_count_that_the_frame_cannot_hold_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    for count in [1_000, 1_000_000, i32::MAX] {
        let mut wire = node.connect();
        let mut frame = header(3, 1);
        frame.extend(count.to_be_bytes());
        wire.send_framed(&frame);
        wire.expect_closed();
    }
    expect_service(node.address);
}

#[test]
fn noise_ends_connections_and_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u32
    };
    let mut bystander = node.connect();
    for round in 0..60 {
        let mut wire = node.connect();
        let api = (draw() % 80) as i16;
        let mut frame = header(api, (draw() % 8) as i16);
        frame.extend((0..draw() % 200).map(|_| draw() as u8));
        // Some answer, some are too short, none hangs: what follows is no frame at all.
        wire.send_framed(&frame);
        let _ = std::io::Write::write_all(&mut wire.stream, &0i32.to_be_bytes());
        let _ = std::io::copy(&mut wire.stream, &mut std::io::sink());
        if round % 10 == 0 {
            bystander.expect_service();
        }
    }
}

#[test]
fn half_a_frame_is_dropped_with_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let mut wire = node.connect();
    let frame = wire.frame(&MetadataRequest::default(), METADATA);
    wire.send_bytes(&frame[..frame.len() - 1]);
    drop(wire);
    // Byte by byte is slow, and nothing worse.
    let mut wire = node.connect();
    for byte in wire.frame(&MetadataRequest::default(), METADATA) {
        wire.send_bytes(&[byte]);
    }
    assert_eq!(wire.receive::<MetadataRequest>(METADATA).brokers.len(), 1);
}
