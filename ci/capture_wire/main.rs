//! Asks a real Kafka about everything harmless, in every version that it advertises, and keeps the
//! bytes: `cargo run --example capture_wire HOST:PORT tests/golden/wire`. The node must be fresh,
//! of one's own, and is littered with topics and groups. `tests/codec_golden.rs` reads the result:
//! a file per API, a line per exchange, `version request response`, in hex and without lengths.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it talks to a real Kafka")]
#![allow(clippy::too_many_lines, reason = "lists of requests")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::{env, fs};

use bytes::Bytes;
use ottla::protocol::api::ApiKey;
use ottla::protocol::frame;
use ottla::protocol::messages::metadata_request::MetadataRequest;
use ottla::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord, Producer};
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{Request, Text};

mod admin;
mod groups;
mod topics;
mod transactions;

struct Capture {
    address: String,
    stream: TcpStream,
    lines: BTreeMap<ApiKey, Vec<String>>,
    correlation_id: i32,
}

impl Capture {
    /// Sends what `make` makes of each advertised version; the last answer comes back.
    fn each<R: Request>(&mut self, mut make: impl FnMut(i16) -> R) -> Option<R::Response> {
        let versions = R::API.stable_versions();
        versions.filter_map(|version| self.one(version, &make(version))).last()
    }

    fn one<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.correlation_id += 1;
        let client_id = Some(Text::from("golden"));
        let encoded = frame::encode_request(
            &mut Writer::new(),
            version,
            self.correlation_id,
            client_id,
            request,
        );
        let request_bytes = encoded.unwrap_or_else(|e| panic!("{}: {e}", R::NAME)).to_bytes();
        let Some(answer) = self.exchange(&request_bytes) else {
            println!("{} {version}: closed", R::API);
            self.stream = TcpStream::connect(&self.address).unwrap();
            return None;
        };
        let line = format!("{version} {} {}", hex(&request_bytes[4..]), hex(&answer));
        self.lines.entry(R::API).or_default().push(line);
        match frame::decode_response::<R>(answer.into(), version) {
            Ok((_, response)) => {
                println!("{} {version}: {}", R::API, &format!("{response:?}")[R::NAME.len()..]);
                Some(response)
            }
            Err(error) => panic!("{} {version}: {error}", R::API),
        }
    }

    fn exchange(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.stream.write_all(request).ok()?;
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).ok()?;
        let mut answer = vec![0; u32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut answer).ok()?;
        Some(answer)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(text: impl Into<String>) -> Text {
    Text::from(text.into())
}

fn batch(producer: Option<Producer>, transactional: bool) -> Bytes {
    let mut batch =
        BatchBuilder::new(BatchOptions { producer, transactional, ..BatchOptions::default() });
    for i in 0..3 {
        let value = Some(Bytes::from(format!("value {i}")));
        batch.push(NewRecord {
            timestamp_ms: 1_700_000_000_000 + i,
            value,
            ..NewRecord::default()
        });
    }
    batch.build()
}

fn main() {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().expect("HOST:PORT of a real Kafka");
    let directory = arguments.next().expect("a directory for the results");
    let stream = TcpStream::connect(&address).expect("Kafka listens");
    let mut capture = Capture { address, stream, lines: BTreeMap::new(), correlation_id: 0 };
    refuse_what_is_in_use(&mut capture);
    let topic_id = topics::cluster_and_topics(&mut capture);
    topics::records(&mut capture, topic_id);
    admin::configuration(&mut capture);
    groups::groups(&mut capture, topic_id);
    transactions::transactions(&mut capture, topic_id);
    admin::security(&mut capture);
    topics::endings(&mut capture);
    fs::create_dir_all(&directory).unwrap();
    for (api, lines) in capture.lines {
        fs::write(format!("{directory}/{api}.txt"), lines.join("\n") + "\n").unwrap();
    }
}

/// What follows creates and deletes: only ever on a node that nobody has used yet.
fn refuse_what_is_in_use(capture: &mut Capture) {
    let all = MetadataRequest { topics: None, ..Default::default() };
    let metadata = capture.one(13, &all).expect("Kafka answers");
    assert!(metadata.topics.is_empty(), "this node has topics: it is somebody else's");
}
