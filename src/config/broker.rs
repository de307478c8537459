//! The broker's options: what a node is told, beside what its topics are told.
//!
//! A key is listed here only when the code honours it; every field is read outside this module.
//! Keys of Kafka that are not listed are in `known.rs`, with what we say to them.

use super::layers::{ConfigError, Layers};
use super::option::{Range, any, at_least, between, options};
use super::value::{CleanupPolicy, CompressionType, ConnectionLimits, TimestampType};

/// Unlimited is -1; zero would delete everything at once.
const FOR_EVER_OR: Range = Range::IntOr { min: 1, max: i64::MAX, or: -1 };
const GZIP_LEVELS: Range = Range::IntOr { min: 1, max: 9, or: -1 };

options! {
    /// What one node is told.
    pub struct BrokerConfig in BROKER_OPTIONS;

    /// The number of this node in its cluster. The data directory remembers it.
    node_id: i32 = "1" instead of "none" in at_least(0), "node.id", ReadOnly;
    /// What this node does. A single node is both broker and controller.
    process_roles: Vec<String> = "broker,controller" instead of "none" in any(),
        "process.roles", ReadOnly;
    /// Where this node stands; clients see it in Metadata.
    broker_rack: Option<String> = "null" in any(), "broker.rack", ReadOnly;

    /// The addresses to listen on, NAME://HOST:PORT. localhost is both loopback addresses, an
    /// empty host every address.
    listeners: Vec<String> = "PLAINTEXT://localhost:9092" instead of "PLAINTEXT://:9092" in any(),
        "listeners", ReadOnly;
    /// The addresses that clients are told to connect to. Default: the listeners.
    advertised_listeners: Option<Vec<String>> = "null" in any(),
        "advertised.listeners", ReadOnly;
    /// The security protocol of each listener name. PLAINTEXT is served.
    listener_security_protocol_map: String =
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT" in any(),
        "listener.security.protocol.map", ReadOnly;
    /// The listener names that belong to the controller, not to clients.
    controller_listener_names: Vec<String> = "CONTROLLER" instead of "none" in any(),
        "controller.listener.names", ReadOnly;

    /// Where data is kept, when log.dirs is not set.
    log_dir: Vec<String> = "./data" instead of "/tmp/kafka-logs" in any(), "log.dir", ReadOnly;
    /// Where data is kept: one or more directories.
    log_dirs: Option<Vec<String>> = "null" in any(), "log.dirs", ReadOnly;
    /// Where the metadata log is kept. Default: the first data directory.
    metadata_log_dir: Option<String> = "null" in any(), "metadata.log.dir", ReadOnly;

    /// Partitions of a topic that is created without a number.
    num_partitions: i32 = "1" in at_least(1), "num.partitions", ReadOnly;
    /// Replicas of a topic that is created without a number.
    default_replication_factor: i32 = "1" in at_least(1),
        "default.replication.factor", ReadOnly;
    /// Whether a client that asks for an unknown topic gets it created.
    auto_create_topics_enable: bool = "true" in any(), "auto.create.topics.enable", ReadOnly;
    /// Whether topics may be deleted.
    delete_topic_enable: bool = "true" in any(), "delete.topic.enable", ReadOnly;

    /// The largest batch of records, as stored, in bytes.
    message_max_bytes: i32 = "1048588" in at_least(0), "message.max.bytes", ClusterWide;
    /// The largest record of a compressed batch, in bytes.
    max_decompressed_message_bytes: i32 = "2147483639" in between(1, 2_147_483_639),
        "max.decompressed.message.bytes", ClusterWide;
    /// The largest answer to a fetch, in bytes; one batch may pass it.
    fetch_max_bytes: i32 = "57671680" in at_least(1024), "fetch.max.bytes", ReadOnly;
    /// How many incremental fetch sessions are kept.
    max_incremental_fetch_session_cache_slots: i32 = "1000" in at_least(0),
        "max.incremental.fetch.session.cache.slots", ReadOnly;
    /// The most partitions that one answer to DescribeTopicPartitions lists.
    max_request_partition_size_limit: i32 = "2000" in at_least(1),
        "max.request.partition.size.limit", ReadOnly;

    /// The largest request, in bytes. A larger one closes its connection.
    socket_request_max_bytes: i32 = "104857600" in at_least(1),
        "socket.request.max.bytes", ReadOnly;
    /// Bytes of requests in memory at once. A connection that would pass it is not read until
    /// others are answered; -1 is no bound.
    queued_max_request_bytes: i64 = "268435456" instead of "-1" in at_least(-1),
        "queued.max.request.bytes", ReadOnly;
    /// Connections at once.
    max_connections: i32 = "2147483647" in at_least(0), "max.connections", ClusterWide;
    /// Connections at once from one address.
    max_connections_per_ip: i32 = "2147483647" in at_least(0),
        "max.connections.per.ip", ClusterWide;
    /// Exceptions to max.connections.per.ip: ADDRESS:COUNT, comma separated.
    max_connections_per_ip_overrides: ConnectionLimits = "" in any(),
        "max.connections.per.ip.overrides", ClusterWide;
    /// A connection that says nothing for so long is closed.
    connections_max_idle_ms: i64 = "600000" in any(), "connections.max.idle.ms", ReadOnly;

    /// The largest file of a log, in bytes.
    log_segment_bytes: i32 = "1073741824" in at_least(1 << 20),
        "log.segment.bytes", ClusterWide;
    /// A new file begins after so long, even if the old one is not full.
    log_roll_ms: Option<i64> = "null" in at_least(1), "log.roll.ms", ClusterWide;
    /// log.roll.ms in hours, when that is not set.
    log_roll_hours: i32 = "168" in at_least(1), "log.roll.hours", ReadOnly;
    /// Up to so much is taken from log.roll.ms at random, so that logs do not roll together.
    log_roll_jitter_ms: Option<i64> = "null" in at_least(0), "log.roll.jitter.ms", ClusterWide;
    /// log.roll.jitter.ms in hours, when that is not set.
    log_roll_jitter_hours: i32 = "0" in at_least(0), "log.roll.jitter.hours", ReadOnly;
    /// How long records are kept; -1 is for ever.
    log_retention_ms: Option<i64> = "null" in FOR_EVER_OR, "log.retention.ms", ClusterWide;
    /// log.retention.ms in minutes, when that is not set.
    log_retention_minutes: Option<i32> = "null" in FOR_EVER_OR,
        "log.retention.minutes", ReadOnly;
    /// log.retention.ms in hours, when neither that nor the minutes are set.
    log_retention_hours: i32 = "168" in FOR_EVER_OR, "log.retention.hours", ReadOnly;
    /// How many bytes of a partition are kept; -1 is no bound.
    log_retention_bytes: i64 = "-1" in any(), "log.retention.bytes", ClusterWide;
    /// How often retention is looked at.
    log_retention_check_interval_ms: i64 = "300000" in at_least(1),
        "log.retention.check.interval.ms", ReadOnly;
    /// What becomes of old records. compact is taken and checked, but nothing is compacted yet.
    log_cleanup_policy: CleanupPolicy = "delete" in any(), "log.cleanup.policy", ClusterWide;
    /// How long a deleted file stays on disk.
    log_segment_delete_delay_ms: i64 = "60000" in at_least(0),
        "log.segment.delete.delay.ms", ClusterWide;
    /// Bytes between two entries of an index.
    log_index_interval_bytes: i32 = "4096" in at_least(0),
        "log.index.interval.bytes", ClusterWide;
    /// The largest index, in bytes. A full one begins a new file.
    log_index_size_max_bytes: i32 = "10485760" in at_least(4),
        "log.index.size.max.bytes", ClusterWide;
    /// Records between two syncs. 1: what is acknowledged is on disk. More: Kafka's relaxed
    /// mode.
    log_flush_interval_messages: i64 = "1" instead of "9223372036854775807" in at_least(1),
        "log.flush.interval.messages", ClusterWide;
    /// The longest time that a record waits for a sync in relaxed mode.
    log_flush_interval_ms: Option<i64> = "null" in at_least(0),
        "log.flush.interval.ms", ClusterWide;
    /// log.flush.interval.ms, when that is not set.
    log_flush_scheduler_interval_ms: i64 = "9223372036854775807" in at_least(0),
        "log.flush.scheduler.interval.ms", ReadOnly;
    /// How often the recovery points are written.
    log_flush_offset_checkpoint_interval_ms: i32 = "60000" in at_least(0),
        "log.flush.offset.checkpoint.interval.ms", ReadOnly;
    /// Whose clock stamps records.
    log_message_timestamp_type: TimestampType = "CreateTime" in any(),
        "log.message.timestamp.type", ClusterWide;
    /// A record may be stamped so long before the broker's clock.
    log_message_timestamp_before_max_ms: i64 = "9223372036854775807" in at_least(0),
        "log.message.timestamp.before.max.ms", ClusterWide;
    /// A record may be stamped so long after the broker's clock.
    log_message_timestamp_after_max_ms: i64 = "3600000" in at_least(0),
        "log.message.timestamp.after.max.ms", ClusterWide;
    /// How batches are stored: as the producer compressed them, or in a codec of the topic's
    /// own.
    compression_type: CompressionType = "producer" in any(), "compression.type", ClusterWide;
    /// How hard gzip works, when the broker compresses.
    compression_gzip_level: i32 = "-1" in GZIP_LEVELS, "compression.gzip.level", ClusterWide;
    /// How hard zstd works, when the broker compresses.
    compression_zstd_level: i32 = "3" in between(-131_072, 22),
        "compression.zstd.level", ClusterWide;
    /// In-sync replicas that a write with acks=all needs.
    min_insync_replicas: i32 = "1" in at_least(1), "min.insync.replicas", ClusterWide;
    /// How long the last batch of a silent producer is remembered, to tell its retries.
    producer_id_expiration_ms: i32 = "86400000" in at_least(1),
        "producer.id.expiration.ms", ClusterWide;
    /// How often high watermarks are written.
    replica_high_watermark_checkpoint_interval_ms: i64 = "5000" in at_least(1),
        "replica.high.watermark.checkpoint.interval.ms", ReadOnly;
    /// Threads that recover the logs of one data directory at start-up.
    num_recovery_threads_per_data_dir: i32 = "2" in at_least(1),
        "num.recovery.threads.per.data.dir", ClusterWide;

    /// The largest file of the metadata log, in bytes.
    metadata_log_segment_bytes: i32 = "1073741824" in at_least(8 << 20),
        "metadata.log.segment.bytes", ReadOnly;
    /// A new file of the metadata log begins after so long.
    metadata_log_segment_ms: i64 = "604800000" in at_least(1),
        "metadata.log.segment.ms", ReadOnly;
    /// Bytes of metadata records between two snapshots.
    metadata_log_max_record_bytes_between_snapshots: i64 = "20971520" in at_least(1),
        "metadata.log.max.record.bytes.between.snapshots", ReadOnly;
    /// The longest time between two snapshots of changed metadata; 0 is no bound.
    metadata_log_max_snapshot_interval_ms: i64 = "3600000" in at_least(0),
        "metadata.log.max.snapshot.interval.ms", ReadOnly;
    /// How much of the metadata log is kept, in bytes, once a snapshot holds it.
    metadata_max_retention_bytes: i64 = "104857600" in at_least(-1),
        "metadata.max.retention.bytes", ReadOnly;
    /// How long the metadata log is kept once a snapshot holds it.
    metadata_max_retention_ms: i64 = "604800000" in at_least(-1),
        "metadata.max.retention.ms", ReadOnly;
}

impl BrokerConfig {
    /// Reads every option through all layers.
    pub fn resolve(layers: &Layers) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::read(|option| layers.effective(option))
    }

    /// The data directories.
    pub fn data_dirs(&self) -> &[String] {
        self.log_dirs.as_deref().unwrap_or(&self.log_dir)
    }

    /// The directory that holds the metadata log.
    pub fn metadata_dir(&self) -> &str {
        let first = self.data_dirs().first().map_or("./data", String::as_str);
        self.metadata_log_dir.as_deref().unwrap_or(first)
    }
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::resolve(&Layers::default()).expect("a test checks every default")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::layers::{Origin, Setting};

    fn layers(pairs: &[(&str, &str)]) -> Layers {
        let setting =
            |value: &str| Setting { value: value.to_owned(), origin: Origin::CommandLine };
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), setting(value)));
        Layers::new(pairs.collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn every_default_is_a_value_that_the_option_takes() {
        for option in BROKER_OPTIONS {
            if let Some(text) = option.default_text() {
                assert_eq!(option.check(text).as_deref(), Ok(text), "{}", option.name);
            }
        }
        let config = BrokerConfig::default();
        assert_eq!(config.num_partitions, 1);
        assert_eq!(config.log_flush_interval_messages, 1, "durable unless told otherwise");
        assert_eq!(config.log_retention_ms, None);
    }

    #[test]
    fn every_number_is_refused_just_outside_its_range() {
        for option in BROKER_OPTIONS {
            let (Range::Int { min, max } | Range::IntOr { min, max, .. }) = option.range else {
                continue;
            };
            let name = option.name;
            if let Range::Int { .. } = option.range {
                assert!(option.check(&(min - 1).to_string()).is_err(), "{name} below {min}");
            }
            assert!(option.check(&min.to_string()).is_ok(), "{name} at {min}");
            if max < i32::MAX.into() {
                assert!(option.check(&max.to_string()).is_ok(), "{name} at {max}");
                assert!(option.check(&(max + 1).to_string()).is_err(), "{name} above {max}");
            }
            assert!(option.check("many").is_err(), "{name} is a number");
        }
    }

    #[test]
    fn retention_of_nothing_is_refused() {
        let error = BrokerConfig::resolve(&layers(&[("log.retention.ms", "0")])).unwrap_err();
        assert!(error.to_string().contains("allowed: 1 to 9223372036854775807, or -1"), "{error}");
        assert!(BrokerConfig::resolve(&layers(&[("log.retention.ms", "-1")])).is_ok());
    }

    #[test]
    fn data_directories_come_from_the_list_or_the_single_one() {
        let config = BrokerConfig::resolve(&layers(&[("log.dir", "/a")])).unwrap();
        assert_eq!((config.data_dirs(), config.metadata_dir()), (&["/a".to_owned()][..], "/a"));
        let both = [("log.dir", "/a"), ("log.dirs", "/b, /c"), ("metadata.log.dir", "/m")];
        let config = BrokerConfig::resolve(&layers(&both)).unwrap();
        assert_eq!(config.data_dirs(), ["/b", "/c"]);
        assert_eq!(config.metadata_dir(), "/m");
    }
}
