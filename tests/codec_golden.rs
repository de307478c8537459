//! Bytes of a real Kafka 4.4: what it sent and understood, we read and write byte for byte.
//!
//! `golden/wire` was captured by `ci/capture_wire`: a file per API, a line per exchange.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use ottla::protocol::api::ApiKey;
use ottla::protocol::frame::RequestFrame;
use ottla::protocol::messages::api_versions_response::ApiVersionsResponse;
use ottla::protocol::messages::request_header::RequestHeader;
use ottla::protocol::messages::response_header::ResponseHeader;
use ottla::protocol::messages::visit_all;
use ottla::protocol::wire::reader::Reader;
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{Kind, Message, Visitor};
use serde_json::Value;

/// Keeps the test from becoming empty unseen.
const EXCHANGES_MIN: usize = 340;

#[test]
fn what_kafka_answered_is_read_and_written_byte_for_byte() {
    let mut exchanges = 0;
    for entry in fs::read_dir(golden("wire")).unwrap() {
        let path = entry.unwrap().path();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [version, request, response] = words[..] else { panic!("{}", path.display()) };
            check_request(unhex(request));
            let api = path.file_stem().unwrap().to_str().unwrap();
            let api = ApiKey::all().find(|key| key.name() == api).unwrap();
            check(Kind::Response, api, version.parse().unwrap(), unhex(response));
            exchanges += 1;
        }
    }
    assert!(exchanges >= EXCHANGES_MIN, "only {exchanges}");
}

#[test]
fn api_versions_of_both_listeners_are_read_and_written_byte_for_byte() {
    let golden = api_versions();
    for listener in ["broker", "controller"] {
        for version in [0, 3, 4, 5] {
            let exchange = &golden[listener][format!("v{version}")];
            check_request(unhex(exchange["request"].as_str().unwrap()));
            let response = unhex(exchange["response"].as_str().unwrap());
            check(Kind::Response, ApiKey::ApiVersions, version, response);
        }
    }
}

/// A client from the future gets an answer in version 0, and only then knows what to say.
#[test]
fn a_version_that_nobody_knows_has_a_readable_header() {
    let exchange = &api_versions()["broker"]["v77"];
    let frame = RequestFrame::decode(unhex(exchange["request"].as_str().unwrap())).unwrap();
    assert_eq!((frame.api, frame.version), (ApiKey::ApiVersions, 77));
    assert_eq!(frame.client_id.unwrap(), "gold");

    let mut r = Reader::new(unhex(exchange["response"].as_str().unwrap()));
    ResponseHeader::decode(&mut r, 0).unwrap();
    let response = ApiVersionsResponse::decode(&mut r, 0).unwrap();
    assert_eq!(response.error_code, 35);
    r.finish().unwrap();
}

/// The tables have the versions that a real node advertises, and no others.
#[test]
fn the_tables_have_the_versions_that_kafka_advertises() {
    let golden = api_versions();
    for (listener, on) in
        [("broker", ApiKey::on_broker as fn(_) -> _), ("controller", ApiKey::on_controller)]
    {
        let mut ours: Vec<_> = ApiKey::all().filter(|key| !key.is_retired() && on(*key)).collect();
        // Only a node that collects its clients' metrics lists these.
        let unlisted = [ApiKey::GetTelemetrySubscriptions, ApiKey::PushTelemetry];
        ours.retain(|key| !unlisted.contains(key));
        let ours = ours.into_iter().map(|key| {
            let versions = key.stable_versions();
            // It does not speak Produce 0 to 2, but older librdkafka insists on seeing it.
            let from = if key == ApiKey::Produce { 0 } else { *versions.start() };
            [key.code(), from, *versions.end()].map(i64::from)
        });
        let theirs = golden[listener]["apis"].as_array().unwrap().iter();
        let theirs = theirs.map(|row| [0, 1, 2].map(|i| row[i].as_i64().unwrap()));
        assert_eq!(ours.collect::<Vec<_>>(), theirs.collect::<Vec<_>>(), "{listener}");
    }
}

fn check_request(bytes: Bytes) {
    let frame = RequestFrame::decode(bytes.clone()).unwrap();
    check(Kind::Request, frame.api, frame.version, bytes);
}

/// Header and body of a message are read, to the end, and written again.
fn check(kind: Kind, api: ApiKey, version: i16, bytes: Bytes) {
    let mut check = Check { kind, api, version, bytes, done: false };
    visit_all(&mut check);
    assert!(check.done, "{api} has no {kind:?}");
}

struct Check {
    kind: Kind,
    api: ApiKey,
    version: i16,
    bytes: Bytes,
    done: bool,
}

impl Visitor for Check {
    fn visit<M: Message>(&mut self) {
        if M::KIND != self.kind || M::KEY != self.api.code() {
            return;
        }
        let mut r = Reader::new(self.bytes.clone());
        let mut w = Writer::new();
        if self.kind == Kind::Request {
            again::<RequestHeader>(&mut r, &mut w, self.api.request_header_version(self.version));
        } else {
            let version = self.api.response_header_version(self.version);
            again::<ResponseHeader>(&mut r, &mut w, version);
        }
        again::<M>(&mut r, &mut w, self.version);
        r.finish().unwrap();
        assert_eq!(w.finish().to_bytes(), self.bytes, "{} {}", M::NAME, self.version);
        self.done = true;
    }
}

fn again<M: Message>(r: &mut Reader, w: &mut Writer, version: i16) {
    let message = M::decode(r, version).unwrap_or_else(|e| panic!("{} {version}: {e}", M::NAME));
    message.encode(w, version).unwrap_or_else(|e| panic!("{} {version}: {e}", M::NAME));
}

fn api_versions() -> Value {
    let text = fs::read_to_string(golden("apiversions-4.4.0.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub fn unhex(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
