//! A topic and its partitions, as the metadata log states them.

use std::sync::Arc;

use crate::metadata::map::Map;
use crate::types::{LeaderEpoch, NodeId, Uuid};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub id: Uuid,
    pub name: Arc<str>,
    pub partitions: Map<i32, Arc<Partition>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// In order of preference. While replicas are being moved: the target, then those leaving.
    pub replicas: Vec<NodeId>,
    /// One for each replica: the log directory that holds it, or one of the reserved ids.
    pub directories: Vec<Uuid>,
    pub isr: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    /// Complete up to the high watermark though outside the ISR (KIP-966).
    pub elr: Vec<NodeId>,
    pub last_known_elr: Vec<NodeId>,
    pub leader: Option<NodeId>,
    pub recovery: Recovery,
    pub leader_epoch: LeaderEpoch,
    /// Counts every change of this partition.
    pub partition_epoch: i32,
}

/// Whether the leader was elected without proof that it holds everything acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    #[default]
    Recovered,
    Recovering,
}

/// The replica is moving between directories of its broker, from before directories had ids.
pub const DIRECTORY_MIGRATING: Uuid = Uuid([0; 16]);
/// The broker has yet to choose a directory.
pub const DIRECTORY_UNASSIGNED: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// The directory failed.
pub const DIRECTORY_LOST: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

impl Topic {
    /// Kafka's own: not counted, not writable by clients.
    pub fn is_internal(name: &str) -> bool {
        matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
    }

    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(&index)
    }

    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("partition indexes are 32-bit and distinct")
    }
}

impl Partition {
    /// The log directory of `broker`'s replica.
    pub fn directory_of(&self, broker: NodeId) -> Option<Uuid> {
        let at = self.replicas.iter().position(|&replica| replica == broker)?;
        Some(self.directories.get(at).copied().unwrap_or(DIRECTORY_MIGRATING))
    }

    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }
}

impl Recovery {
    pub fn from_wire(state: i8) -> Option<Recovery> {
        match state {
            0 => Some(Recovery::Recovered),
            1 => Some(Recovery::Recovering),
            _ => None,
        }
    }

    pub fn to_wire(self) -> i8 {
        match self {
            Recovery::Recovered => 0,
            Recovery::Recovering => 1,
        }
    }
}
