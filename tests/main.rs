//! All integration tests in one binary: one link, and they share what they need.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod allocation;
mod codec;
mod codec_differential;
mod codec_golden;
mod codec_hostile;
mod codec_records;
mod fuzz_corpus;
mod log;
mod metadata;
mod mutants;
mod options;
mod single_broker;
mod tidy;
mod wire_bytes;

#[path = "../fuzz/src/lib.rs"]
mod fuzz;
#[allow(dead_code)]
#[path = "../src/protocol/schema.rs"]
mod schema;
