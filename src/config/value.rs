//! The Rust types that options have: numbers, words and lists of words, each with Kafka's type.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::option::{Kind, OptionValue, split_list};

macro_rules! parsed {
    ($($type:ty => $kind:ident),+) => {
        $(
            impl OptionValue for $type {
                const KIND: Kind = Kind::$kind;

                fn from_text(text: Option<&str>) -> Option<$type> {
                    text?.trim().parse().ok()
                }
            }
        )+
    };
}

parsed!(bool => Boolean, i32 => Int, i16 => Short, i64 => Long, f64 => Double);

impl OptionValue for String {
    const KIND: Kind = Kind::String;

    fn from_text(text: Option<&str>) -> Option<String> {
        text.map(str::to_owned)
    }
}

impl OptionValue for Vec<String> {
    const KIND: Kind = Kind::List;

    fn from_text(text: Option<&str>) -> Option<Vec<String>> {
        Some(split_list(text?).into_iter().map(str::to_owned).collect())
    }
}

/// Null, or a value.
impl<T: OptionValue> OptionValue for Option<T> {
    const KIND: Kind = T::KIND;
    const WORDS: &'static [&'static str] = T::WORDS;

    fn check_text(text: &str) -> Result<(), String> {
        T::check_text(text)
    }

    fn from_text(text: Option<&str>) -> Option<Option<T>> {
        match text {
            None => Some(None),
            Some(_) => T::from_text(text).map(Some),
        }
    }
}

/// How a topic stores batches: as the producer sent them, or in one codec of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl OptionValue for CompressionType {
    const KIND: Kind = Kind::String;
    const WORDS: &'static [&'static str] =
        &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

    fn from_text(text: Option<&str>) -> Option<CompressionType> {
        Some(match text? {
            "producer" => CompressionType::Producer,
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => return None,
        })
    }
}

/// Whose clock stamps a record: the producer's, or the broker's when it appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

impl OptionValue for TimestampType {
    const KIND: Kind = Kind::String;
    const WORDS: &'static [&'static str] = &["CreateTime", "LogAppendTime"];

    fn from_text(text: Option<&str>) -> Option<TimestampType> {
        match text? {
            "CreateTime" => Some(TimestampType::CreateTime),
            "LogAppendTime" => Some(TimestampType::LogAppendTime),
            _ => None,
        }
    }
}

/// What becomes of old records. Neither: they stay for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub compact: bool,
    pub delete: bool,
}

impl OptionValue for CleanupPolicy {
    const KIND: Kind = Kind::List;
    const WORDS: &'static [&'static str] = &["compact", "delete"];

    fn from_text(text: Option<&str>) -> Option<CleanupPolicy> {
        let items = split_list(text?);
        Some(CleanupPolicy {
            compact: items.contains(&"compact"),
            delete: items.contains(&"delete"),
        })
    }
}

/// How many connections an address may have, where it differs from the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionLimits(pub BTreeMap<IpAddr, i32>);

impl ConnectionLimits {
    /// `ADDRESS:COUNT`; an IPv6 address may stand in brackets.
    fn item(text: &str) -> Result<(IpAddr, i32), String> {
        let wrong = || format!("{text:?} is not ADDRESS:COUNT, for example 10.0.0.1:100");
        let (address, count) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = address.trim().trim_start_matches('[').trim_end_matches(']');
        let count: i32 = count.trim().parse().map_err(|_| wrong())?;
        if count < 0 {
            return Err(wrong());
        }
        Ok((bare.parse().map_err(|_| wrong())?, count))
    }
}

impl OptionValue for ConnectionLimits {
    const KIND: Kind = Kind::String;

    fn check_text(text: &str) -> Result<(), String> {
        split_list(text).into_iter().try_for_each(|item| ConnectionLimits::item(item).map(drop))
    }

    fn from_text(text: Option<&str>) -> Option<ConnectionLimits> {
        let items: Result<_, _> =
            split_list(text?).into_iter().map(ConnectionLimits::item).collect();
        Some(ConnectionLimits(items.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_a_number_unless_the_option_says_so() {
        assert_eq!(i64::from_text(None), None);
        assert_eq!(Option::<i64>::from_text(None), Some(None));
        assert_eq!(Option::<i64>::from_text(Some("5")), Some(Some(5)));
    }

    #[test]
    fn every_word_of_a_type_is_read() {
        for word in CompressionType::WORDS {
            assert!(CompressionType::from_text(Some(word)).is_some(), "{word}");
        }
        for word in TimestampType::WORDS {
            assert!(TimestampType::from_text(Some(word)).is_some(), "{word}");
        }
        let both = CleanupPolicy { compact: true, delete: true };
        assert_eq!(CleanupPolicy::from_text(Some("compact,delete")), Some(both));
        assert_eq!(CleanupPolicy::from_text(Some("")), Some(CleanupPolicy::default()));
    }

    #[test]
    fn connection_limits_are_addresses_and_counts() {
        let read = |text| ConnectionLimits::from_text(Some(text)).unwrap().0;
        assert_eq!(read(""), BTreeMap::new());
        let limits = read("10.0.0.1:5, [::1]:7");
        assert_eq!(limits[&"10.0.0.1".parse::<IpAddr>().unwrap()], 5);
        assert_eq!(limits[&"::1".parse::<IpAddr>().unwrap()], 7);
        for text in ["10.0.0.1", "host:5", "10.0.0.1:-1", "10.0.0.1:x"] {
            assert!(ConnectionLimits::check_text(text).is_err(), "{text}");
        }
    }
}
