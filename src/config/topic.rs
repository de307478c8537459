//! A topic's options: its own overrides, and below them what the broker says.
//!
//! A topic option that is not overridden has the value of the broker's option it falls back on
//! (`segment.bytes` on `log.segment.bytes`), through all of that option's layers.

use std::collections::BTreeMap;

use super::broker::BROKER_OPTIONS;
use super::layers::{ConfigError, Layers, Source};
use super::option::{InvalidValue, Kind, Opt, Range, any, at_least, between, find, options};
use super::value::{CleanupPolicy, CompressionType, TimestampType};

const GZIP_LEVELS: Range = Range::IntOr { min: 1, max: 9, or: -1 };

options! {
    /// What one topic is told, with the broker's word where the topic has none.
    pub struct TopicConfig in TOPIC_OPTIONS;

    /// What becomes of old records. compact is taken and checked, but nothing is compacted yet.
    cleanup_policy: CleanupPolicy = "delete" in any(),
        "cleanup.policy" from "log.cleanup.policy", Topic;
    /// How hard gzip works, when the broker compresses.
    compression_gzip_level: i32 = "-1" in GZIP_LEVELS,
        "compression.gzip.level" from "compression.gzip.level", Topic;
    /// How batches are stored: as the producer compressed them, or in a codec of the topic's
    /// own.
    compression_type: CompressionType = "producer" in any(),
        "compression.type" from "compression.type", Topic;
    /// How hard zstd works, when the broker compresses.
    compression_zstd_level: i32 = "3" in between(-131_072, 22),
        "compression.zstd.level" from "compression.zstd.level", Topic;
    /// How long a deleted file stays on disk.
    file_delete_delay_ms: i64 = "60000" in at_least(0),
        "file.delete.delay.ms" from "log.segment.delete.delay.ms", Topic;
    /// Records between two syncs. 1: what is acknowledged is on disk. More: Kafka's relaxed
    /// mode.
    flush_messages: i64 = "1" instead of "9223372036854775807" in at_least(1),
        "flush.messages" from "log.flush.interval.messages", Topic;
    /// The longest time that a record waits for a sync in relaxed mode.
    flush_ms: i64 = "9223372036854775807" in at_least(0),
        "flush.ms" from "log.flush.interval.ms", Topic;
    /// Bytes between two entries of an index.
    index_interval_bytes: i32 = "4096" in at_least(0),
        "index.interval.bytes" from "log.index.interval.bytes", Topic;
    /// The largest record of a compressed batch, in bytes.
    max_decompressed_message_bytes: i32 = "2147483639" in between(1, 2_147_483_639),
        "max.decompressed.message.bytes" from "max.decompressed.message.bytes", Topic;
    /// The largest batch of records, as stored, in bytes.
    max_message_bytes: i32 = "1048588" in at_least(0),
        "max.message.bytes" from "message.max.bytes", Topic;
    /// A record may be stamped so long after the broker's clock.
    message_timestamp_after_max_ms: i64 = "3600000" in at_least(0),
        "message.timestamp.after.max.ms" from "log.message.timestamp.after.max.ms", Topic;
    /// A record may be stamped so long before the broker's clock.
    message_timestamp_before_max_ms: i64 = "9223372036854775807" in at_least(0),
        "message.timestamp.before.max.ms" from "log.message.timestamp.before.max.ms", Topic;
    /// Whose clock stamps records.
    message_timestamp_type: TimestampType = "CreateTime" in any(),
        "message.timestamp.type" from "log.message.timestamp.type", Topic;
    /// In-sync replicas that a write with acks=all needs.
    min_insync_replicas: i32 = "1" in at_least(1),
        "min.insync.replicas" from "min.insync.replicas", Topic;
    /// How many bytes of a partition are kept; -1 is no bound.
    retention_bytes: i64 = "-1" in any(), "retention.bytes" from "log.retention.bytes", Topic;
    /// How long records are kept; -1 is for ever.
    retention_ms: i64 = "604800000" in at_least(-1),
        "retention.ms" from "log.retention.ms", Topic;
    /// The largest file of a log, in bytes.
    segment_bytes: i32 = "1073741824" in at_least(1 << 20),
        "segment.bytes" from "log.segment.bytes", Topic;
    /// The largest index, in bytes. A full one begins a new file.
    segment_index_bytes: i32 = "10485760" in at_least(4),
        "segment.index.bytes" from "log.index.size.max.bytes", Topic;
    /// Up to so much is taken from segment.ms at random, so that logs do not roll together.
    segment_jitter_ms: i64 = "0" in at_least(0),
        "segment.jitter.ms" from "log.roll.jitter.ms", Topic;
    /// A new file begins after so long, even if the old one is not full.
    segment_ms: i64 = "604800000" in at_least(1), "segment.ms" from "log.roll.ms", Topic;
}

/// An option that topics keep for Kafka's sake and that changes nothing here, with the reason.
pub struct Stored {
    pub option: Opt,
    pub why: &'static str,
}

const fn stored(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    range: Range,
    why: &'static str,
) -> Stored {
    Stored { option: Opt::new(name, kind, default).range(range).doc(why), why }
}

const NO_COMPACTION: &str = "nothing is compacted yet";
const ONE_REPLICA: &str = "a topic has one replica so far";
const NO_TIERS: &str = "there is no tiered storage";
const NO_SHARE_GROUPS: &str = "there are no share groups yet";
const RATIO: Range = Range::Double { min: 0.0, max: 1.0 };

/// Checked and kept, but not honoured: whoever sets one is told so.
pub const STORED_OPTIONS: &[Stored] = &[
    stored("compression.lz4.level", Kind::Int, "9", between(1, 17), "lz4 has one level here"),
    stored("delete.retention.ms", Kind::Long, "86400000", at_least(0), NO_COMPACTION),
    stored("errors.deadletterqueue.group.enable", Kind::Boolean, "false", any(), NO_SHARE_GROUPS),
    stored("follower.replication.throttled.replicas", Kind::List, "", any(), ONE_REPLICA),
    stored("leader.replication.throttled.replicas", Kind::List, "", any(), ONE_REPLICA),
    stored("local.retention.bytes", Kind::Long, "-2", at_least(-2), NO_TIERS),
    stored("local.retention.ms", Kind::Long, "-2", at_least(-2), NO_TIERS),
    stored("max.compaction.lag.ms", Kind::Long, "9223372036854775807", at_least(1), NO_COMPACTION),
    stored("min.cleanable.dirty.ratio", Kind::Double, "0.5", RATIO, NO_COMPACTION),
    stored("min.compaction.lag.ms", Kind::Long, "0", at_least(0), NO_COMPACTION),
    stored("preallocate", Kind::Boolean, "false", any(), "files grow as they are written"),
    stored("remote.copy.lag.bytes", Kind::Long, "-1", at_least(-1), NO_TIERS),
    stored("remote.copy.lag.ms", Kind::Long, "0", at_least(-1), NO_TIERS),
    stored("remote.log.copy.disable", Kind::Boolean, "false", any(), NO_TIERS),
    stored("remote.log.delete.on.disable", Kind::Boolean, "false", any(), NO_TIERS),
    stored("remote.storage.enable", Kind::Boolean, "false", any(), NO_TIERS),
    stored("unclean.leader.election.enable", Kind::Boolean, "false", any(), ONE_REPLICA),
];

/// Why an override is refused. Each is INVALID_CONFIG (40) to a client.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OverrideError {
    #[error("Unknown topic config name: {0}")]
    Unknown(String),
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
    #[error("remote.storage.enable=true is refused: this broker has no tiered storage")]
    RemoteStorage,
}

/// Checks one override, as CreateTopics and the alter requests must. The text comes back as Kafka
/// would print it; what is stored is what the client sent.
pub fn check_override(name: &str, value: &str) -> Result<String, OverrideError> {
    let option = override_option(name).ok_or_else(|| OverrideError::Unknown(name.to_owned()))?;
    let checked = option.check(value)?;
    if name == "remote.storage.enable" && checked == "true" {
        return Err(OverrideError::RemoteStorage);
    }
    Ok(checked)
}

/// Why setting `name` on a topic changes nothing, if so: worth a line in the log.
pub fn why_not_honoured(name: &str) -> Option<&'static str> {
    STORED_OPTIONS.iter().find(|stored| stored.option.name == name).map(|stored| stored.why)
}

/// The option that a topic's override names, honoured or only stored.
pub fn override_option(name: &str) -> Option<&'static Opt> {
    find(TOPIC_OPTIONS, name).or_else(|| {
        STORED_OPTIONS.iter().map(|stored| &stored.option).find(|option| option.name == name)
    })
}

impl TopicConfig {
    /// The topic's overrides, over the broker's layers. Names that no option has are left
    /// alone:
    /// a data directory may carry them from elsewhere.
    pub fn resolve(
        overrides: &BTreeMap<String, String>,
        broker: &Layers,
    ) -> Result<TopicConfig, ConfigError> {
        TopicConfig::read(|option| match overrides.get(option.name) {
            None => inherited(option, broker),
            Some(text) => option.check(text).map(Some).map_err(|invalid| ConfigError {
                invalid: Box::new(invalid),
                place: Source::Topic.to_string(),
                allowed: option.allowed(),
                default: option.default_text().unwrap_or("not set"),
            }),
        })
    }
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig::resolve(&BTreeMap::new(), &Layers::default())
            .expect("a test checks every default")
    }
}

/// The value of a topic option that the topic does not set itself.
pub fn inherited(option: &'static Opt, broker: &Layers) -> Result<Option<String>, ConfigError> {
    let Some(name) = option.broker_name else {
        return Ok(option.default_text().map(str::to_owned));
    };
    for (name, unit) in fallbacks(name) {
        let option = find(BROKER_OPTIONS, name).expect("a test looks every one of them up");
        if let Some(text) = broker.effective(option)? {
            return Ok(Some(in_millis(text, unit)));
        }
    }
    Ok(option.default_text().map(str::to_owned))
}

/// The broker options that decide in turn, strongest first, with their unit in milliseconds.
pub fn fallbacks(broker_name: &'static str) -> Vec<(&'static str, i64)> {
    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    let mut chain = vec![(broker_name, 1)];
    match broker_name {
        "log.retention.ms" => {
            chain.extend([("log.retention.minutes", MINUTE), ("log.retention.hours", HOUR)]);
        }
        "log.retention.minutes" => chain.push(("log.retention.hours", HOUR)),
        "log.roll.ms" => chain.push(("log.roll.hours", HOUR)),
        "log.roll.jitter.ms" => chain.push(("log.roll.jitter.hours", HOUR)),
        "log.flush.interval.ms" => chain.push(("log.flush.scheduler.interval.ms", 1)),
        _ => {}
    }
    chain
}

/// -1 is for ever in any unit.
fn in_millis(text: String, unit: i64) -> String {
    if unit == 1 {
        return text;
    }
    match text.parse::<i64>() {
        Ok(count) if count >= 0 => count.saturating_mul(unit).to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::{Origin, Setting};

    fn layers(pairs: &[(&str, &str)]) -> Layers {
        let setting =
            |value: &str| Setting { value: value.to_owned(), origin: Origin::CommandLine };
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), setting(value)));
        Layers::new(pairs.collect())
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn without_overrides_a_topic_has_its_own_defaults() {
        for option in TOPIC_OPTIONS {
            let broker = inherited(option, &Layers::default()).unwrap();
            assert_eq!(broker.as_deref(), option.default_text(), "{}", option.name);
        }
        for stored in STORED_OPTIONS {
            let text = stored.option.default_text().unwrap();
            assert_eq!(stored.option.check(text).as_deref(), Ok(text), "{}", stored.option.name);
        }
    }

    #[test]
    fn every_fallback_is_an_option_of_the_broker() {
        for option in TOPIC_OPTIONS {
            for (name, _) in fallbacks(option.broker_name.unwrap()) {
                assert!(find(BROKER_OPTIONS, name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn the_topic_speaks_over_the_broker() {
        let mut broker = layers(&[("message.max.bytes", "10"), ("log.segment.bytes", "2000000")]);
        broker.set_cluster(map(&[("message.max.bytes", "20")]));
        let config = TopicConfig::resolve(&map(&[("segment.bytes", "3000000")]), &broker).unwrap();
        assert_eq!(config.max_message_bytes, 20);
        assert_eq!(config.segment_bytes, 3_000_000);
    }

    #[test]
    fn the_finer_unit_of_time_wins() {
        let retention = |pairs: &[(&str, &str)]| {
            TopicConfig::resolve(&BTreeMap::new(), &layers(pairs)).unwrap().retention_ms
        };
        assert_eq!(retention(&[("log.retention.hours", "1")]), 3_600_000);
        assert_eq!(
            retention(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]),
            120_000
        );
        assert_eq!(retention(&[("log.retention.minutes", "2"), ("log.retention.ms", "5")]), 5);
        assert_eq!(retention(&[("log.retention.hours", "-1")]), -1);
    }

    #[test]
    fn overrides_are_refused_in_the_words_of_kafka() {
        let said = |name, value| check_override(name, value).unwrap_err().to_string();
        assert_eq!(said("bogus", "1"), "Unknown topic config name: bogus");
        assert_eq!(
            said("retention.ms", "-5"),
            "Invalid value -5 for configuration retention.ms: Value must be at least -1"
        );
        assert_eq!(
            said("segment.bytes", "1"),
            "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"
        );
        assert!(check_override("remote.storage.enable", "true").is_err());
        assert!(check_override("remote.storage.enable", "false").is_ok());
    }

    #[test]
    fn what_is_stored_but_not_honoured_says_so() {
        assert!(check_override("delete.retention.ms", "100").is_ok());
        assert!(check_override("delete.retention.ms", "soon").is_err());
        assert_eq!(why_not_honoured("delete.retention.ms"), Some(NO_COMPACTION));
        assert_eq!(why_not_honoured("retention.ms"), None);
    }
}
