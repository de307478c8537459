//! All integration tests in one binary: one link, and they share what they need.

mod codec;
mod codec_differential;
mod codec_golden;
mod wire_bytes;

#[allow(dead_code)]
#[path = "../src/protocol/schema.rs"]
mod schema;
