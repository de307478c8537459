//! The wire: every message of Kafka's protocol, and how its bytes look.
//!
//! `schema/` lists the messages, the build script makes `messages` of it, `wire` reads and writes
//! values, `frame` wraps requests and responses, `records` looks into batches.

pub mod api;
pub mod error;
pub mod frame;
pub mod messages;
pub mod records;
pub mod wire;
