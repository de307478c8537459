//! The codec against the tables that it was made of.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla::protocol::messages::visit_all;
use ottla::protocol::wire::reader::Reader;
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{DecodeError, Kind, Message, Visitor};

use crate::schema;
use crate::wire_bytes::{self, Draw};

/// Does something with every message at every version, together with its tables.
struct EachVersion<F> {
    tables: BTreeMap<String, schema::Message>,
    run: F,
    seen: usize,
}

trait Run {
    fn run<M: Message>(&mut self, table: &schema::Message, version: i16);
}

impl<F: Run> Visitor for EachVersion<F> {
    fn visit<M: Message>(&mut self) {
        let table = &self.tables[M::NAME];
        assert_eq!(
            (table.versions.0, table.versions.1),
            (*M::VERSIONS.start(), *M::VERSIONS.end())
        );
        for version in M::VERSIONS {
            self.run.run::<M>(table, version);
        }
        self.seen += 1;
    }
}

fn each_version(run: impl Run) {
    let tables: BTreeMap<_, _> =
        wire_bytes::messages().into_iter().map(|table| (table.name.clone(), table)).collect();
    let len = tables.len();
    let mut each = EachVersion { tables, run, seen: 0 };
    visit_all(&mut each);
    assert_eq!(each.seen, len, "the codec and the tables list the same messages");
}

fn decode<M: Message>(bytes: &[u8], version: i16) -> Result<M, DecodeError> {
    let mut r = Reader::new(Bytes::copy_from_slice(bytes));
    let message = M::decode(&mut r, version)?;
    r.finish()?;
    Ok(message)
}

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut w = Writer::new();
    let result = message.encode(&mut w, version);
    result.unwrap_or_else(|error| panic!("{} {version}: {error}\n{message:#?}", M::NAME));
    w.finish().to_bytes()
}

#[test]
fn every_message_reads_what_the_tables_say_and_writes_the_same_bytes() {
    struct RoundTrip;
    impl Run for RoundTrip {
        fn run<M: Message>(&mut self, table: &schema::Message, version: i16) {
            for seed in 0..40 {
                let bytes = wire_bytes::body(table, version, seed % 4 != 0, &mut Draw(seed));
                let message: M = decode(&bytes, version)
                    .unwrap_or_else(|error| panic!("{} {version}: {error}\n{bytes:x?}", M::NAME));
                let again = encode(&message, version);
                assert_eq!(again, bytes, "{} {version}: {message:#?}", M::NAME);
            }
        }
    }
    each_version(RoundTrip);
}

#[test]
fn defaults_survive_every_version() {
    struct Defaults;
    impl Run for Defaults {
        fn run<M: Message>(&mut self, _: &schema::Message, version: i16) {
            let bytes = encode(&M::default(), version);
            assert_eq!(decode(&bytes, version), Ok(M::default()), "{} {version}", M::NAME);
        }
    }
    each_version(Defaults);
}

#[test]
fn a_truncated_message_is_an_error() {
    struct Truncated;
    impl Run for Truncated {
        fn run<M: Message>(&mut self, table: &schema::Message, version: i16) {
            let bytes = wire_bytes::body(table, version, true, &mut Draw(7));
            for len in 0..bytes.len() {
                let result = decode::<M>(&bytes[..len], version);
                assert!(result.is_err(), "{} {version}: {len} of {}", M::NAME, bytes.len());
            }
        }
    }
    each_version(Truncated);
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    struct Tagged;
    impl Run for Tagged {
        fn run<M: Message>(&mut self, table: &schema::Message, version: i16) {
            if !table.flexible(version) {
                return;
            }
            let mut bytes = wire_bytes::body(table, version, false, &mut Draw(3));
            let message: M = decode(&bytes, version).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the tagged fields come last");
            // Three of them, neither in order nor once each.
            bytes.extend([3, 99, 2, 1, 2, 98, 0, 99, 1, 7]);
            assert_eq!(decode(&bytes, version), Ok(message), "{} {version}", M::NAME);
        }
    }
    each_version(Tagged);
}

#[test]
fn only_requests_responses_and_records_have_keys() {
    struct Keys;
    impl Visitor for Keys {
        fn visit<M: Message>(&mut self) {
            let keyless = matches!(M::KIND, Kind::Header | Kind::Data);
            assert_eq!(M::KEY == -1, keyless, "{}", M::NAME);
        }
    }
    visit_all(&mut Keys);
}
