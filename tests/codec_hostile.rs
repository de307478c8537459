//! Bytes that nobody honest would send: no panic, and memory in proportion.

use bytes::Bytes;
use ottla::protocol::api::ApiKey;
use ottla::protocol::frame::RequestFrame;
use ottla::protocol::messages::delete_groups_request::DeleteGroupsRequest;
use ottla::protocol::messages::heartbeat_response::HeartbeatResponse;
use ottla::protocol::messages::metadata_request::MetadataRequest;
use ottla::protocol::messages::{decode_metadata_record, visit_all};
use ottla::protocol::wire::reader::Reader;
use ottla::protocol::wire::{DecodeError, Message, Visitor};

use crate::allocation::held_max;
use crate::wire_bytes::{self, Draw};

const HELD_PER_BYTE_MAX: usize = 100;
const HELD_ALWAYS_MAX: usize = 4 << 10;

#[test]
fn damaged_messages_neither_panic_nor_take_much_memory() {
    let mut draw = Draw(1);
    for table in wire_bytes::messages() {
        for version in table.versions.0..=table.versions.1 {
            for _ in 0..12 {
                let mut bytes = wire_bytes::body(&table, version, true, &mut draw);
                damage(&mut bytes, &mut draw);
                decode_bounded(&table.name, bytes, version);
            }
        }
    }
}

#[test]
fn noise_neither_panics_nor_takes_much_memory() {
    let mut draw = Draw(2);
    for table in wire_bytes::messages() {
        for version in [table.versions.0, table.versions.1] {
            for _ in 0..12 {
                let len = draw.below(200);
                // Small numbers make arrays that begin well.
                let end = [4, 256][draw.below(2) as usize];
                let bytes = (0..len).map(|_| draw.below(end) as u8).collect();
                decode_bounded(&table.name, bytes, version);
            }
        }
    }
}

#[test]
fn noise_is_no_request_and_no_metadata_record() {
    let mut draw = Draw(3);
    for _ in 0..20_000 {
        let len = draw.below(64);
        let mut bytes: Vec<u8> = (0..len).map(|_| draw.below(256) as u8).collect();
        if let Some(first) = bytes.first_mut() {
            // Far enough to get somewhere.
            *first &= 1;
        }
        let bytes = Bytes::from(bytes);
        let (_, held) = held_max(|| decode_metadata_record(bytes.clone()).is_ok());
        let (_, held_too) = held_max(|| RequestFrame::decode(bytes.clone()).is_ok());
        assert!(held.max(held_too) <= HELD_ALWAYS_MAX + HELD_PER_BYTE_MAX * bytes.len());
    }
}

#[test]
fn what_a_count_claims_is_not_allocated() {
    // Two billion topics in a request of four bytes: such a one has killed brokers.
    let claim = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let (result, held) = held_max(|| MetadataRequest::decode(&mut Reader::new(claim), 1));
    let error = DecodeError::ArrayTooLong {
        field: "MetadataRequest.topics",
        count: 0x7fff_ffff,
        each: 2,
        left: 0,
    };
    assert_eq!(result, Err(error));
    assert!(held < HELD_ALWAYS_MAX);
}

#[test]
fn a_million_elements_pass_and_one_more_does_not() {
    for (count, passes) in [(1_000_000u32, true), (1_000_001, false)] {
        let mut bytes = count.to_be_bytes().to_vec();
        bytes.resize(4 + 2 * count as usize, 0);
        let result = DeleteGroupsRequest::decode(&mut Reader::new(bytes.into()), 0);
        assert_eq!(result.is_ok(), passes, "{count}");
    }
}

#[test]
fn ten_thousand_tagged_fields_pass_and_one_more_does_not() {
    for (count, varint, passes) in [(10_000, [0x90, 0x4e], true), (10_001, [0x91, 0x4e], false)] {
        // Throttle time and error code, then tagged fields of no bytes, all with the same tag.
        let mut bytes = vec![0; 6];
        bytes.extend(varint);
        bytes.extend([77, 0].repeat(count));
        let result = HeartbeatResponse::decode(&mut Reader::new(bytes.into()), 4);
        assert_eq!(result.is_ok(), passes, "{count}");
    }
}

#[test]
fn bytes_behind_a_request_are_ignored_as_kafka_does() {
    let frame = Bytes::from_static(b"\x00\x2a\x00\x00\x00\x00\x00\x07\xff\xff\0\0\0\0 and more");
    let frame = RequestFrame::decode(frame).unwrap();
    assert_eq!((frame.api, frame.correlation_id), (ApiKey::DeleteGroups, 7));
    assert_eq!(frame.body::<DeleteGroupsRequest>(), Ok(DeleteGroupsRequest::default()));
}

/// Cuts, flips, or claims: the ways in which real bytes go wrong.
pub fn damage(bytes: &mut Vec<u8>, draw: &mut Draw) {
    for _ in 0..1 + draw.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = draw.below(bytes.len() as u64) as usize;
        match draw.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << draw.below(8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][draw.below(5) as usize],
            _ => {
                let end = bytes.len().min(at + 4);
                bytes[at..end].fill(0xff);
                bytes[at] = 0x7f;
            }
        }
    }
}

fn decode_bounded(name: &str, bytes: Vec<u8>, version: i16) {
    struct Decode<'a> {
        name: &'a str,
        bytes: Bytes,
        version: i16,
    }
    impl Visitor for Decode<'_> {
        fn visit<M: Message>(&mut self) {
            if M::NAME != self.name {
                return;
            }
            let mut r = Reader::new(self.bytes.clone());
            let (_, held) = held_max(|| M::decode(&mut r, self.version).is_ok());
            let allowed = HELD_ALWAYS_MAX + HELD_PER_BYTE_MAX * self.bytes.len();
            assert!(held <= allowed, "{} {}: {held} bytes held", self.name, self.version);
        }
    }
    visit_all(&mut Decode { name, bytes: bytes.into(), version });
}
