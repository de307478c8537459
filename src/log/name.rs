//! The names of a log and of its directory.
//!
//! `orders-3` holds a log in use. `orders-3.<32 hex digits>-delete` is to be removed, `-future`
//! is a copy that will take the place of a log in another directory, `-stray` belongs to no topic
//! that the cluster knows.

use std::fmt;

/// Names one log: a topic and its partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    pub topic: String,
    pub partition: i32,
}

/// What a directory's suffix says about the log in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Live,
    Delete,
    Future,
    Stray,
}

/// Linux takes no longer names.
const NAME_BYTES_MAX: usize = 255;

impl LogName {
    pub fn new(topic: impl Into<String>, partition: i32) -> LogName {
        LogName { topic: topic.into(), partition }
    }

    /// Reads the name of a directory in use, as `Display` writes it.
    pub fn parse(name: &str) -> Option<LogName> {
        let (topic, partition) = name.rsplit_once('-')?;
        let canonical = partition == "0" || !partition.starts_with(['0', '+']);
        if topic.is_empty() || !canonical {
            return None;
        }
        Some(LogName { topic: topic.to_owned(), partition: partition.parse().ok()? })
    }

    /// Reads any directory's name. In one that is to be removed the topic may be cut short.
    pub fn parse_with_fate(name: &str) -> Option<(LogName, Fate)> {
        let Some((stem, fate)) = Fate::SUFFIXES
            .into_iter()
            .find_map(|(suffix, fate)| Some((name.strip_suffix(suffix)?, fate)))
        else {
            return Some((LogName::parse(name)?, Fate::Live));
        };
        let (name, unique) = stem.rsplit_once('.')?;
        if unique.is_empty() {
            return None;
        }
        Some((LogName::parse(name)?, fate))
    }

    /// The name its directory gets with `fate`; `unique` tells it from others of that log.
    pub fn directory(&self, fate: Fate, unique: u128) -> String {
        let Some((suffix, _)) = Fate::SUFFIXES.into_iter().find(|(_, of)| *of == fate) else {
            return self.to_string();
        };
        let tail = format!("-{}.{unique:032x}{suffix}", self.partition);
        let topic_bytes_max = NAME_BYTES_MAX - tail.len();
        let cut = self.topic.floor_char_boundary(topic_bytes_max);
        format!("{}{tail}", &self.topic[..cut])
    }
}

impl Fate {
    const SUFFIXES: [(&str, Fate); 3] =
        [("-delete", Fate::Delete), ("-future", Fate::Future), ("-stray", Fate::Stray)];
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_written() {
        for name in ["orders-0", "a-b-12", "__cluster_metadata-0", "with.dots-3"] {
            assert_eq!(LogName::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(LogName::parse("a-b-12"), Some(LogName::new("a-b", 12)));
    }

    #[test]
    fn names_that_kafka_would_not_write_are_none() {
        for name in ["", "-", "-0", "orders", "orders-", "orders-x", "orders-01", "orders-+1"] {
            assert_eq!(LogName::parse(name), None, "{name}");
        }
        for name in ["lost+found", "orders-99999999999", "orders-0-delete", "orders-0.-delete"] {
            assert_eq!(LogName::parse_with_fate(name), None, "{name}");
        }
    }

    #[test]
    fn suffixes_say_what_becomes_of_a_log() {
        let name = LogName::new("recreated", 0);
        let golden = "recreated-0.8e193306bc7247d095b00a7ef4e9c279-delete";
        assert_eq!(LogName::parse_with_fate(golden), Some((name.clone(), Fate::Delete)));
        assert_eq!(name.directory(Fate::Delete, 0x8e193306bc7247d095b00a7ef4e9c279), golden);
        for fate in [Fate::Live, Fate::Delete, Fate::Future, Fate::Stray] {
            let written = name.directory(fate, 7);
            assert_eq!(LogName::parse_with_fate(&written), Some((name.clone(), fate)));
        }
    }

    #[test]
    fn long_topics_fit_into_a_directory_name() {
        let name = LogName::new("t".repeat(249), 1_000_000);
        let written = name.directory(Fate::Delete, u128::MAX);
        assert_eq!(written.len(), NAME_BYTES_MAX);
        let (cut, fate) = LogName::parse_with_fate(&written).unwrap();
        assert_eq!((cut.partition, fate), (name.partition, Fate::Delete));
        assert!(name.topic.starts_with(&cut.topic));
    }
}
