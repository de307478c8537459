//! The clients' part of a plan: topics, and who does what with them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicPlan {
    pub name: String,
    pub partitions: u32,
    pub configs: BTreeMap<String, String>,
}

/// One idempotent producer with acks=all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProducerPlan {
    /// Index into the plan's topics.
    pub topic: usize,
    pub partition: u32,
    pub in_flight: usize,
    /// gzip, snappy, lz4, zstd or none.
    pub compression: String,
    pub bursts: Vec<Burst>,
}

/// Batches that are handed to the producer at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// After the burst before it was settled.
    pub after_ms: u64,
    /// The records of each batch.
    pub batches: Vec<u32>,
    pub value_bytes: u32,
}
