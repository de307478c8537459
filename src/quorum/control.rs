//! The quorum's own records, in control batches between the records of its users.

use bytes::Bytes;

use crate::protocol::messages::kraft_version_record::KRaftVersionRecord;
use crate::protocol::messages::leader_change_message::{self, LeaderChangeMessage};
use crate::protocol::messages::voters_record::{self, Endpoint, KRaftVersionFeature, VotersRecord};
use crate::protocol::records::batch::Batch;
use crate::protocol::records::control::{ControlKeyError, ControlType};
use crate::protocol::records::record::RecordError;
use crate::protocol::wire::reader::Reader;
use crate::protocol::wire::writer::Writer;
use crate::protocol::wire::{DecodeError, Message, Text};
use crate::quorum::voters::{ReplicaKey, Voter, VoterEndpoint, VoterHistory, Voters};
use crate::types::{NodeId, Offset, Uuid};

/// Records of the metadata log are small, and never compressed by Kafka or us.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

const VERSION: i16 = 0;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Key(#[from] ControlKeyError),
    #[error(transparent)]
    Value(#[from] DecodeError),
}

/// What the control records of a log or snapshot add up to.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// 0: voters are configured; 1: they are in the log.
    pub kraft_version: i16,
    pub voters: VoterHistory,
}

impl Control {
    /// Takes in a control batch. Those that are not about the quorum change nothing.
    pub fn on_batch(&mut self, batch: &Batch) -> Result<(), ControlError> {
        assert!(batch.is_control(), "data is none of the quorum's business");
        for record in batch.records(DECOMPRESSED_BYTES_MAX) {
            let record = record?;
            let value = || record.value.clone().unwrap_or_default();
            match ControlType::from_key(record.key.as_ref())? {
                ControlType::KRaftVersion => {
                    let message: KRaftVersionRecord = decode(value())?;
                    self.kraft_version = message.kraft_version;
                }
                ControlType::KRaftVoters => {
                    let message: VotersRecord = decode(value())?;
                    self.voters.add(batch.offset_of(&record), from_record(&message));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The same, of a snapshot: its own offsets say nothing, all of it stands below `end`.
    pub fn on_snapshot(&mut self, end: Offset, read: Control) {
        self.kraft_version = read.kraft_version;
        if let Some((_, voters)) = read.voters.latest() {
            self.voters.add(Offset(end.0 - 1), voters.clone());
        }
    }
}

pub fn leader_change(leader: NodeId, voters: &Voters, granting: &[NodeId]) -> Bytes {
    let voter = |id: NodeId| leader_change_message::Voter {
        voter_id: id.0,
        ..leader_change_message::Voter::default()
    };
    encode(&LeaderChangeMessage {
        version: VERSION,
        leader_id: leader.0,
        voters: voters.keys().map(|key| voter(key.id)).collect(),
        granting_voters: granting.iter().copied().map(voter).collect(),
    })
}

pub fn kraft_version(level: i16) -> Bytes {
    encode(&KRaftVersionRecord { version: VERSION, kraft_version: level })
}

pub fn voters(voters: &Voters) -> Bytes {
    let voter = |voter: &Voter| voters_record::Voter {
        voter_id: voter.key.id.0,
        voter_directory_id: voter.key.directory.unwrap_or(Uuid::ZERO),
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        kraft_version_feature: KRaftVersionFeature {
            min_supported_version: *voter.kraft_versions.start(),
            max_supported_version: *voter.kraft_versions.end(),
        },
    };
    encode(&VotersRecord { version: VERSION, voters: voters.iter().map(voter).collect() })
}

fn endpoint(endpoint: &VoterEndpoint) -> Endpoint {
    let VoterEndpoint { name, host, port } = endpoint;
    Endpoint { name: Text::new(name), host: Text::new(host), port: *port }
}

fn from_record(message: &VotersRecord) -> Voters {
    let voter = |voter: &voters_record::Voter| {
        let (id, directory) = (NodeId(voter.voter_id), voter.voter_directory_id);
        let directory = (directory != Uuid::ZERO).then_some(directory);
        let endpoints = voter.endpoints.iter().map(|endpoint| VoterEndpoint {
            name: endpoint.name.to_string(),
            host: endpoint.host.to_string(),
            port: endpoint.port,
        });
        let range = &voter.kraft_version_feature;
        Voter {
            key: ReplicaKey { id, directory },
            endpoints: endpoints.collect(),
            kraft_versions: range.min_supported_version..=range.max_supported_version,
        }
    };
    message.voters.iter().map(voter).collect()
}

pub fn encode<M: Message>(message: &M) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, VERSION).expect("version 0 holds what we put into control records");
    writer.finish().to_bytes()
}

fn decode<M: Message>(value: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(value);
    M::decode(&mut reader, VERSION)
}
