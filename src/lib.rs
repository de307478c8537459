//! Ottla: an event-streaming broker that speaks Kafka's protocol and keeps Kafka's files.
//!
//! `ARCHITECTURE.md` is the map. Imports point downward only; `tests/tidy.rs` holds that.

// Tests may stand on the real world.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod api;
pub mod broker;
pub mod client;
pub mod config;
pub mod controller;
pub mod env;
pub mod log;
pub mod metadata;
pub mod partition;
pub mod protocol;
pub mod quorum;
pub mod server;
pub mod types;
