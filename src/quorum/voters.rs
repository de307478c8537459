//! Who votes. A replica is a node id with the id of the directory that holds its log: a node that
//! lost its disk is not the voter it was.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use crate::types::{NodeId, Offset, Uuid};

/// `directory` is `None` where it was never recorded (kraft.version 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaKey {
    pub id: NodeId,
    pub directory: Option<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub key: ReplicaKey,
    pub endpoints: Vec<VoterEndpoint>,
    pub kraft_versions: RangeInclusive<i16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// The listener's name.
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// One set of voters, at most one directory for each node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters(BTreeMap<NodeId, Voter>);

/// Every set the log has named, so that a truncation can go back to an older one.
#[derive(Clone, Debug, Default)]
pub struct VoterHistory(BTreeMap<Offset, Voters>);

impl ReplicaKey {
    /// The same replica, as far as the directories are known.
    pub fn matches(self, other: ReplicaKey) -> bool {
        let directories_differ = match (self.directory, other.directory) {
            (Some(ours), Some(theirs)) => ours != theirs,
            _ => false,
        };
        self.id == other.id && !directories_differ
    }
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.directory {
            Some(directory) => write!(f, "{}@{directory}", self.id.0),
            None => write!(f, "{}", self.id.0),
        }
    }
}

impl Voters {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn majority(&self) -> usize {
        self.len() / 2 + 1
    }

    pub fn contains(&self, replica: ReplicaKey) -> bool {
        self.0.get(&replica.id).is_some_and(|voter| voter.key.matches(replica))
    }

    pub fn is_only(&self, replica: ReplicaKey) -> bool {
        self.len() == 1 && self.contains(replica)
    }

    pub fn get(&self, id: NodeId) -> Option<&Voter> {
        self.0.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.0.values()
    }

    pub fn keys(&self) -> impl Iterator<Item = ReplicaKey> {
        self.0.values().map(|voter| voter.key)
    }
}

impl FromIterator<Voter> for Voters {
    fn from_iter<I: IntoIterator<Item = Voter>>(voters: I) -> Voters {
        Voters(voters.into_iter().map(|voter| (voter.key.id, voter)).collect())
    }
}

impl VoterHistory {
    /// A set takes effect where it is appended, before it is committed.
    pub fn add(&mut self, at: Offset, voters: Voters) {
        self.0.insert(at, voters);
    }

    /// The log now ends at `end`.
    pub fn truncate(&mut self, end: Offset) {
        self.0.split_off(&end);
    }

    /// The log now starts at `start`: the set in force there stays.
    pub fn forget_before(&mut self, start: Offset) {
        let mut rest = self.0.split_off(&start);
        if let Some((at, voters)) = self.0.pop_last() {
            rest.insert(at, voters);
        }
        self.0 = rest;
    }

    pub fn latest(&self) -> Option<(Offset, &Voters)> {
        self.0.last_key_value().map(|(&at, voters)| (at, voters))
    }

    /// The set in force just below `end`.
    pub fn before(&self, end: Offset) -> Option<&Voters> {
        self.0.range(..end).next_back().map(|(_, voters)| voters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(id: i32, directory: Option<u8>) -> Voter {
        let directory = directory.map(|byte| Uuid([byte; 16]));
        let key = ReplicaKey { id: NodeId(id), directory };
        Voter { key, endpoints: vec![], kraft_versions: 0..=1 }
    }

    #[test]
    fn a_node_with_another_disk_is_another_replica() {
        let voters: Voters = [voter(1, Some(7)), voter(2, None)].into_iter().collect();
        assert!(voters.contains(voter(1, Some(7)).key));
        assert!(voters.contains(voter(1, None).key), "an unrecorded directory matches any");
        assert!(!voters.contains(voter(1, Some(8)).key));
        assert!(voters.contains(voter(2, Some(8)).key));
        assert!(!voters.contains(voter(3, None).key));
    }

    #[test]
    fn a_majority_is_more_than_half() {
        for (len, majority) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let voters: Voters = (0..len).map(|id| voter(id, None)).collect();
            assert_eq!(voters.majority(), majority);
        }
    }

    #[test]
    fn truncation_restores_the_set_before() {
        let (one, two): (Voters, Voters) =
            ([voter(1, None)].into_iter().collect(), [voter(2, None)].into_iter().collect());
        let mut history = VoterHistory::default();
        history.add(Offset(2), one.clone());
        history.add(Offset(9), two.clone());
        assert_eq!(history.before(Offset(9)), Some(&one));
        assert_eq!(history.latest(), Some((Offset(9), &two)));
        history.truncate(Offset(9));
        assert_eq!(history.latest(), Some((Offset(2), &one)));
        history.add(Offset(12), two.clone());
        history.forget_before(Offset(10));
        assert_eq!(history.before(Offset(10)), Some(&one));
    }
}
