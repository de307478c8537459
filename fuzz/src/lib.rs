//! What the fuzz targets do with their bytes, each a function that panics when it finds a bug.
//!
//! `tests/fuzz_corpus.rs` of the crate includes this file and replays `corpus/NAME` through every
//! target of the list below.

pub mod codec;
pub mod config;
pub mod records;
pub mod recovery;

pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("request", codec::request),
    ("response", codec::response),
    ("metadata", codec::metadata),
    ("config", config::config),
    ("records", records::records),
    ("recovery", recovery::recovery),
];
