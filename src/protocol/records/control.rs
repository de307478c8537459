//! Control records: what the brokers tell each other in the log, between the users' records.
//!
//! Here is the key, which says what it is. The value is a message of the schema.

use bytes::Bytes;

/// The version of the keys that we write.
const VERSION: i16 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    /// A transaction ends, and its records are not to be seen.
    Abort,
    /// A transaction ends.
    Commit,
    LeaderChange,
    SnapshotHeader,
    SnapshotFooter,
    KRaftVersion,
    KRaftVoters,
    /// Of a later Kafka: to be passed over.
    Unknown(i16),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlKeyError {
    #[error("a control record without a key")]
    Missing,
    #[error("a control record's key of {have} bytes, 4 expected")]
    Cut { have: usize },
    #[error("a control record's key of version {version}")]
    Version { version: i16 },
}

impl ControlType {
    pub fn id(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KRaftVersion => 5,
            ControlType::KRaftVoters => 6,
            ControlType::Unknown(id) => id,
        }
    }

    fn from_id(id: i16) -> ControlType {
        match id {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KRaftVersion,
            6 => ControlType::KRaftVoters,
            other => ControlType::Unknown(other),
        }
    }

    pub fn to_key(self) -> Bytes {
        let [v1, v0] = VERSION.to_be_bytes();
        let [t1, t0] = self.id().to_be_bytes();
        Bytes::copy_from_slice(&[v1, v0, t1, t0])
    }

    /// Reads the key of a control record. Later versions may append to it.
    pub fn from_key(key: Option<&Bytes>) -> Result<ControlType, ControlKeyError> {
        let key = key.ok_or(ControlKeyError::Missing)?;
        let &[v1, v0, t1, t0, ..] = &key[..] else {
            return Err(ControlKeyError::Cut { have: key.len() });
        };
        match i16::from_be_bytes([v1, v0]) {
            version @ ..0 => Err(ControlKeyError::Version { version }),
            _ => Ok(ControlType::from_id(i16::from_be_bytes([t1, t0]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_as_written() {
        for id in -1..9 {
            let kind = ControlType::from_id(id);
            assert_eq!(kind.id(), id);
            assert_eq!(ControlType::from_key(Some(&kind.to_key())), Ok(kind));
        }
    }

    #[test]
    fn a_commit_marker_has_the_key_that_kafka_writes() {
        assert_eq!(ControlType::Commit.to_key(), &[0, 0, 0, 1][..]);
    }

    #[test]
    fn odd_keys_are_refused_by_name() {
        assert_eq!(ControlType::from_key(None), Err(ControlKeyError::Missing));
        let short = Bytes::from_static(&[0, 0, 0]);
        assert_eq!(ControlType::from_key(Some(&short)), Err(ControlKeyError::Cut { have: 3 }));
        let negative = Bytes::from_static(&[0xff, 0xff, 0, 1]);
        let error = ControlKeyError::Version { version: -1 };
        assert_eq!(ControlType::from_key(Some(&negative)), Err(error));
        let later = Bytes::from_static(&[0, 9, 0, 1, 7]);
        assert_eq!(ControlType::from_key(Some(&later)), Ok(ControlType::Commit));
    }
}
