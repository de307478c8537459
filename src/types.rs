//! Numbers with names.
//!
//! Ranges are half-open everywhere: an `..._end` is the first offset that is not included.

use std::fmt;
use std::time::Duration;

/// A position in a partition's log. Offsets start at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    pub fn plus(self, count: u64) -> Offset {
        Offset(self.0.checked_add_unsigned(count).expect("offsets stay far below 2^63"))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the leaders of one partition, or of the metadata quorum. -1 on the wire means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(pub i32);

/// `node.id`: a broker, a controller, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i32);

/// The offset of the record that registered a broker: tells its incarnations apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerEpoch(pub i64);

/// Identifies an idempotent producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub i64);

/// Time since this process booted; never goes back. Not `std::time::Instant`, which a simulated
/// node could not drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub Duration);

impl Instant {
    pub fn after(self, wait: Duration) -> Instant {
        Instant(self.0.saturating_add(wait))
    }

    /// Zero when `earlier` is in fact later.
    pub fn since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// 128 bits that name a topic, a directory, a cluster. Kafka writes them in URL-safe base64.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The topic id of `__cluster_metadata`.
    pub const METADATA_TOPIC: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A random (version 4) id that Kafka would accept: none of its reserved first hundred, and
    /// no leading `-`, which command lines take for an option.
    pub fn random(mut draw: impl FnMut() -> u64) -> Uuid {
        loop {
            let (high, low) = (draw(), draw());
            let mut id = [0; 16];
            id[..8].copy_from_slice(&((high & !0xf000) | 0x4000).to_be_bytes());
            id[8..].copy_from_slice(&((low & !(3 << 62)) | (2 << 62)).to_be_bytes());
            let id = Uuid(id);
            if !id.is_reserved() && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Kafka keeps the first hundred ids for itself.
    pub fn is_reserved(self) -> bool {
        u128::from_be_bytes(self.0) < 100
    }

    /// Reads the 22 characters that `Display` writes.
    pub fn parse(text: &str) -> Option<Uuid> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        let mut spare = 0;
        for (i, c) in text.bytes().enumerate() {
            let digit = BASE64_URL.iter().position(|&known| known == c)? as u128;
            if i < 21 {
                bits = (bits << 6) | digit;
            } else {
                bits = (bits << 2) | (digit >> 4);
                spare = digit & 0xf;
            }
        }
        (spare == 0).then_some(Uuid(bits.to_be_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for i in 0..21 {
            let digit = (bits >> (122 - 6 * i)) & 63;
            write!(f, "{}", BASE64_URL[digit as usize] as char)?;
        }
        write!(f, "{}", BASE64_URL[((bits & 3) << 4) as usize] as char)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_topic_has_the_id_that_kafka_gives_it() {
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAQ"), Some(Uuid::METADATA_TOPIC));
    }

    #[test]
    fn ids_read_back_as_written() {
        let mut seed = 1u64;
        for _ in 0..1000 {
            let id = Uuid::random(|| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                seed
            });
            assert_eq!(Uuid::parse(&id.to_string()), Some(id));
            assert!(!id.to_string().starts_with('-'));
        }
        assert_eq!(Uuid::parse("too short"), None);
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAA*"), None);
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAB"), None, "spare bits must be zero");
    }
}
