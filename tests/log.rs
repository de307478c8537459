//! The log on a real Kafka's files: opened in place, read as consumers read, and written again.

pub mod golden;
mod replay;
mod sha256;
