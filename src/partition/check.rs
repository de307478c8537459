//! What the topic's options ask of produced records, and how long it takes to find out.
//!
//! Most batches are checked in microseconds, where their request is. One that would hold up every
//! other connection of its thread is checked elsewhere: it is large, or grows large when it is
//! decompressed, or is to be compressed anew.

use bytes::Bytes;

use crate::config::topic::TopicConfig;
use crate::config::value::{CompressionType, TimestampType};
use crate::protocol::records::batch::{self, Batch};
use crate::protocol::records::compression::{Codec, Compression};
use crate::protocol::records::validate::{Invalid, Rules, validate, validate_briefly};

/// What a batch may grow to when it is decompressed for its checks.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// The records of one Produce request for one partition, and the rules for them.
#[derive(Clone, Debug)]
pub struct Check {
    records: Bytes,
    rules: Rules,
}

impl Check {
    pub fn new(records: &Bytes, config: &TopicConfig, now_ms: i64, zstd_allowed: bool) -> Check {
        Check { records: records.clone(), rules: rules(config, now_ms, zstd_allowed) }
    }

    /// `None`: it takes longer than others should wait.
    pub fn run_briefly(&self) -> Result<Option<Batch>, Invalid> {
        validate_briefly(&self.records, &self.rules)
    }

    /// Belongs in `Env::offload`.
    pub fn run(&self) -> Result<Batch, Invalid> {
        validate(&self.records, &self.rules)
    }

    pub fn now_ms(&self) -> i64 {
        self.rules.now_ms
    }

    /// The records are stamped with the time of the append.
    pub fn stamps(&self) -> bool {
        self.rules.timestamp_type == batch::TimestampType::LogAppendTime
    }
}

fn rules(config: &TopicConfig, now_ms: i64, zstd_allowed: bool) -> Rules {
    let level = match config.compression_type {
        CompressionType::Gzip => Some(config.compression_gzip_level),
        CompressionType::Zstd => Some(config.compression_zstd_level),
        _ => None,
    };
    let codec = match config.compression_type {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => Some(Codec::None),
        CompressionType::Gzip => Some(Codec::Gzip),
        CompressionType::Snappy => Some(Codec::Snappy),
        CompressionType::Lz4 => Some(Codec::Lz4),
        CompressionType::Zstd => Some(Codec::Zstd),
    };
    let timestamp_type = match config.message_timestamp_type {
        TimestampType::CreateTime => batch::TimestampType::CreateTime,
        TimestampType::LogAppendTime => batch::TimestampType::LogAppendTime,
    };
    Rules {
        now_ms,
        timestamp_type,
        timestamp_before_max_ms: config.message_timestamp_before_max_ms,
        timestamp_after_max_ms: config.message_timestamp_after_max_ms,
        message_bytes_max: config.max_message_bytes.max(0) as u32,
        segment_bytes: config.segment_bytes.max(0) as u32,
        compacted: config.cleanup_policy.compact,
        compression: codec.map(|codec| Compression { codec, level }),
        zstd_allowed,
        decompressed_record_bytes_max: config.max_decompressed_message_bytes.max(0) as u32,
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
    }
}
