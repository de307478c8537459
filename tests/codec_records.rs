//! Records that a real Kafka 4.4 keeps about itself, read and written byte for byte. A line of
//! `golden/internal` is the value of a metadata record, or key and value of a coordinator's.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use ottla::protocol::messages::{
    MetadataRecord, decode_metadata_record, encode_metadata_record, visit_all,
};
use ottla::protocol::wire::reader::Reader;
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{DecodeError, Kind, Message, Visitor};

use crate::codec_golden::{golden, unhex};

#[test]
fn metadata_records_are_read_and_written_byte_for_byte() {
    let mut kinds = BTreeSet::new();
    for line in lines("metadata") {
        let value = unhex(&line);
        let (record, version) = decode_metadata_record(value.clone()).unwrap();
        assert!(!matches!(record, MetadataRecord::Unknown { .. }), "{record:?}");
        assert_eq!(encode_metadata_record(&record, version).unwrap(), value, "{record:?}");
        kinds.insert(record.name());
    }
    assert!(kinds.len() >= 15, "only {kinds:?}");
}

#[test]
fn a_metadata_record_from_the_future_survives() {
    for value in [&b"\x01\x63\x00body"[..], b"\x01\x02\x07\x01\x02"] {
        let value = Bytes::from_static(value);
        let (record, version) = decode_metadata_record(value.clone()).unwrap();
        assert!(matches!(record, MetadataRecord::Unknown { .. }), "{record:?}");
        assert_eq!(encode_metadata_record(&record, version), Ok(value));
    }
}

#[test]
fn nothing_may_follow_a_metadata_record() {
    let error = decode_metadata_record(Bytes::from_static(b"\x01\x14\x00\x00!"));
    assert_eq!(error, Err(DecodeError::Trailing { left: 1 }));
}

#[test]
fn records_of_coordinators_are_read_and_written_byte_for_byte() {
    for (name, ours) in [
        ("group", &(|name: &str| !other_coordinator(name)) as &dyn Fn(&str) -> bool),
        ("transaction", &|name| name.starts_with("TransactionLog")),
        ("share", &|name| name.starts_with("ShareSnapshot") || name.starts_with("ShareUpdate")),
    ] {
        for line in lines(name) {
            let (key, value) = line.split_once(' ').unwrap();
            let key = unhex(key);
            let number = i16::from_be_bytes([key[0], key[1]]);
            // The number of a key is its type; its version is always 0.
            check(Check { kind: Kind::Key, number, version: 0, ours, bytes: key, done: false });
            if value != "-" {
                let value = unhex(value);
                let version = i16::from_be_bytes([value[0], value[1]]);
                let kind = Kind::Value;
                check(Check { kind, number, version, ours, bytes: value, done: false });
            }
        }
    }
}

fn other_coordinator(name: &str) -> bool {
    ["TransactionLog", "ShareSnapshot", "ShareUpdate"].iter().any(|other| name.starts_with(other))
}

fn check(mut check: Check) {
    visit_all(&mut check);
    assert!(check.done, "no {:?} {}", check.kind, check.number);
}

struct Check<'a> {
    kind: Kind,
    number: i16,
    version: i16,
    ours: &'a dyn Fn(&str) -> bool,
    bytes: Bytes,
    done: bool,
}

impl Visitor for Check<'_> {
    fn visit<M: Message>(&mut self) {
        if M::KIND != self.kind || M::KEY != self.number || !(self.ours)(M::NAME) {
            return;
        }
        let mut r = Reader::new(self.bytes.slice(2..));
        let message = M::decode(&mut r, self.version).unwrap();
        r.finish().unwrap();
        let mut w = Writer::new();
        message.encode(&mut w, self.version).unwrap();
        assert_eq!(w.finish().to_bytes(), self.bytes.slice(2..), "{message:?}");
        self.done = true;
    }
}

fn lines(name: &str) -> Vec<String> {
    let text = fs::read_to_string(golden("internal").join(format!("{name}.txt"))).unwrap();
    text.lines().map(str::to_string).collect()
}
