//! Who leads a partition, who is in sync, who may become leader: one change of one partition.
//!
//! The order of the steps matters: first the eligible replicas outside the ISR, then the election
//! among both, then what follows from it for the epoch.

use crate::metadata::apply::NO_LEADER_CHANGE;
use crate::metadata::topic::{Partition, Recovery};
use crate::protocol::messages::partition_change_record::PartitionChangeRecord;
use crate::types::{NodeId, Uuid};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The leader stays if it can.
    Online,
    /// The first replica leads if it can.
    Preferred,
    /// Anyone alive leads if nobody else can: acknowledged records may be lost.
    Unclean,
}

/// What is known and wanted when a partition changes.
pub struct Change<'a> {
    pub partition: &'a Partition,
    pub isr: Vec<NodeId>,
    pub election: Election,
    /// Active, with the replica's directory online.
    pub acceptable: &'a dyn Fn(NodeId) -> bool,
    /// The configured minimum, at most the number of replicas.
    pub isr_min: usize,
    pub elr_enabled: bool,
    /// Came back without what it had acknowledged.
    pub lost_data: Option<NodeId>,
}

const NOBODY: i32 = -1;

struct Target {
    leader: Option<NodeId>,
    isr: Vec<NodeId>,
    elr: Vec<NodeId>,
    unclean: bool,
}

impl Change<'_> {
    /// `None` when nothing changes.
    pub fn record(&self, topic_id: Uuid, partition_id: i32) -> Option<PartitionChangeRecord> {
        let partition = self.partition;
        let target = self.elect();
        let mut record =
            PartitionChangeRecord { topic_id, partition_id, ..PartitionChangeRecord::default() };
        let mut changed = false;
        if target.leader != partition.leader {
            record.leader = target.leader.map_or(NOBODY, |leader| leader.0);
            changed = true;
        }
        if target.isr != partition.isr {
            record.isr = Some(ids(&target.isr));
            changed = true;
        }
        if target.elr != partition.elr {
            record.eligible_leader_replicas = Some(ids(&target.elr));
            changed = true;
        }
        let recovery = if target.unclean { Recovery::Recovering } else { partition.recovery };
        if recovery != partition.recovery {
            record.leader_recovery_state = recovery.to_wire();
            changed = true;
        }
        if let Some(last_known) = self.last_known(&target) {
            record.last_known_elr = Some(ids(&last_known));
            changed = true;
        }
        assert!(record.leader != NO_LEADER_CHANGE || target.leader == partition.leader);
        changed.then_some(record)
    }

    /// The last leader of a partition whose ISR is empty; forgotten once it has a leader again.
    fn last_known(&self, target: &Target) -> Option<Vec<NodeId>> {
        if !self.elr_enabled {
            return None;
        }
        let was = &self.partition.last_known_elr;
        let is = match (target.leader, self.partition.leader) {
            (Some(_), _) => vec![],
            (None, Some(last)) if target.isr.is_empty() => vec![last],
            (None, _) => was.clone(),
        };
        (is != *was).then_some(is)
    }

    fn elect(&self) -> Target {
        let partition = self.partition;
        let mut isr = self.isr.clone();
        if isr.is_empty() && !self.elr_enabled {
            isr = partition.isr.clone();
        }
        let mut elr = self.eligible(&isr);
        let valid = |replica: NodeId| {
            let complete = isr.contains(&replica) || (isr.is_empty() && elr.contains(&replica));
            complete && (self.acceptable)(replica)
        };
        let current = partition.leader.filter(|&leader| valid(leader));
        let first_valid = partition.replicas.iter().copied().find(|&replica| valid(replica));
        let preferred = partition.replicas.first().copied().filter(|&replica| valid(replica));
        let clean = match self.election {
            Election::Preferred => preferred.or(current).or(first_valid),
            Election::Online | Election::Unclean => current.or(first_valid),
        };
        if let Some(leader) = clean {
            if isr.is_empty() {
                isr = vec![leader];
                elr.retain(|&replica| replica != leader);
            }
            return Target { leader: Some(leader), isr, elr, unclean: false };
        }
        match self.uncleanly(&isr, &elr) {
            Some(leader) => {
                Target { leader: Some(leader), isr: vec![leader], elr: vec![], unclean: true }
            }
            None => Target { leader: None, isr, elr, unclean: false },
        }
    }

    /// Replicas outside the ISR that hold everything committed: as long as the ISR is too small
    /// for the high watermark to move.
    fn eligible(&self, isr: &[NodeId]) -> Vec<NodeId> {
        if !self.elr_enabled || isr.len() >= self.isr_min {
            return vec![];
        }
        let mut elr = self.partition.elr.clone();
        let candidates = self.partition.isr.iter().copied();
        elr.extend(candidates.filter(|candidate| !self.partition.elr.contains(candidate)));
        elr.retain(|replica| !isr.contains(replica) && Some(*replica) != self.lost_data);
        elr
    }

    fn uncleanly(&self, isr: &[NodeId], elr: &[NodeId]) -> Option<NodeId> {
        let acceptable = |replica: &NodeId| (self.acceptable)(*replica);
        if isr.is_empty()
            && elr.is_empty()
            && let [last] = self.partition.last_known_elr[..]
            && acceptable(&last)
        {
            return Some(last);
        }
        let any = || self.partition.replicas.iter().copied().find(acceptable);
        (self.election == Election::Unclean).then(any).flatten()
    }
}

fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaderEpoch;

    const REPLICAS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn subset(bits: u32) -> Vec<NodeId> {
        REPLICAS.into_iter().filter(|id| bits & (1 << (id.0 - 1)) != 0).collect()
    }

    fn partition(isr: u32, elr: u32, leader: Option<NodeId>) -> Partition {
        Partition {
            replicas: REPLICAS.to_vec(),
            isr: subset(isr),
            elr: subset(elr & !isr),
            leader,
            leader_epoch: LeaderEpoch(5),
            ..Partition::default()
        }
    }

    /// Every ISR, ELR, leader, set of live brokers and wanted ISR of three replicas.
    fn every_case(mut check: impl FnMut(&Partition, &[NodeId], &[NodeId], Election, bool, Target)) {
        for case in 0..8u32 * 8 * 8 * 8 * 4 * 2 * 3 {
            let mut rest = case;
            let mut take = |count| {
                let taken = rest % count;
                rest /= count;
                taken
            };
            let (isr, elr, alive, wanted) = (take(8), take(8), take(8), take(8));
            let leader = take(4);
            let elr_enabled = take(2) == 1;
            let election =
                [Election::Online, Election::Preferred, Election::Unclean][take(3) as usize];
            let elr = if elr_enabled { elr } else { 0 };
            let leader = REPLICAS.into_iter().find(|id| id.0 as u32 == leader);
            let leader = leader.filter(|leader| subset(isr).contains(leader));
            if isr == 0 && !elr_enabled {
                continue;
            }
            let partition = partition(isr, elr, leader);
            let (alive, isr) = (subset(alive), subset(wanted & isr));
            let acceptable = |replica| alive.contains(&replica);
            let change = Change {
                partition: &partition,
                isr: isr.clone(),
                election,
                acceptable: &acceptable,
                isr_min: 2,
                elr_enabled,
                lost_data: None,
            };
            let target = change.elect();
            check(&partition, &isr, &alive, election, elr_enabled, target);
        }
    }

    #[test]
    fn a_clean_election_loses_nothing_that_was_committed() {
        every_case(|partition, _, alive, election, elr_enabled, target| {
            let Some(leader) = target.leader else { return };
            assert!(alive.contains(&leader), "{partition:?} elects the dead {leader:?}");
            assert!(target.isr.contains(&leader));
            let complete = partition.isr.contains(&leader) || partition.elr.contains(&leader);
            if target.unclean {
                assert_eq!(election, Election::Unclean, "{partition:?}");
                assert_eq!(target.isr, [leader]);
            } else {
                assert!(complete, "{partition:?} elects {leader:?} that may lack records");
            }
            assert!(elr_enabled || target.elr.is_empty());
        });
    }

    #[test]
    fn whoever_is_complete_and_alive_gets_elected() {
        every_case(|partition, isr, alive, _, elr_enabled, target| {
            let kept = if isr.is_empty() && !elr_enabled { &partition.isr[..] } else { isr };
            let elr = |id: &NodeId| {
                elr_enabled && (partition.elr.contains(id) || partition.isr.contains(id))
            };
            let eligible = |id: &&NodeId| kept.contains(id) || (kept.is_empty() && elr(id));
            if alive.iter().any(|id| eligible(&id)) {
                assert!(target.leader.is_some(), "{partition:?} to {isr:?} with {alive:?}");
            }
        });
    }

    #[test]
    fn no_complete_replica_is_forgotten_while_the_isr_is_too_small() {
        every_case(|partition, _, _, _, elr_enabled, target| {
            if !elr_enabled || target.unclean || target.isr.len() >= 2 {
                return;
            }
            for id in partition.isr.iter().chain(&partition.elr) {
                let known = target.isr.contains(id) || target.elr.contains(id);
                assert!(known, "{partition:?}: {id:?} is forgotten");
            }
        });
    }

    #[test]
    fn a_leader_that_can_stay_stays() {
        every_case(|partition, isr, alive, election, _, target| {
            let stays = |leader: &NodeId| isr.contains(leader) && alive.contains(leader);
            if let Some(leader) = partition.leader.filter(stays)
                && election != Election::Preferred
            {
                assert_eq!(target.leader, Some(leader));
            }
        });
    }

    fn one(isr: &[i32], elr: &[i32], leader: Option<i32>) -> Partition {
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let (replicas, leader) = (vec![NodeId(1)], leader.map(NodeId));
        let last_known_elr = if leader.is_none() { vec![NodeId(1)] } else { vec![] };
        let (isr, elr) = (nodes(isr), nodes(elr));
        Partition { replicas, isr, elr, leader, last_known_elr, ..Partition::default() }
    }

    fn change<'a>(
        partition: &'a Partition,
        isr: &[i32],
        acceptable: &'a dyn Fn(NodeId) -> bool,
    ) -> Change<'a> {
        let (election, isr_min, elr_enabled) = (Election::Online, 1, true);
        let isr = isr.iter().copied().map(NodeId).collect();
        Change { partition, isr, election, acceptable, isr_min, elr_enabled, lost_data: None }
    }

    #[test]
    fn the_only_broker_goes_and_comes_back_as_kafka_writes_it() {
        let partition = one(&[1], &[], Some(1));
        let record = change(&partition, &[], &|_| false).record(Uuid::ZERO, 0).unwrap();
        assert_eq!((record.leader, record.isr), (-1, Some(vec![])));
        assert_eq!(record.eligible_leader_replicas, Some(vec![1]));
        assert_eq!(record.last_known_elr, Some(vec![1]));

        let partition = one(&[], &[1], None);
        let record = change(&partition, &[], &|_| true).record(Uuid::ZERO, 0).unwrap();
        assert_eq!((record.leader, record.isr), (1, Some(vec![1])));
        assert_eq!(record.eligible_leader_replicas, Some(vec![]));
        assert_eq!(record.last_known_elr, Some(vec![]));
        assert_eq!(record.leader_recovery_state, -1);
    }

    #[test]
    fn a_broker_that_lost_data_leads_only_as_the_last_one_known() {
        let partition = one(&[1], &[], Some(1));
        let mut gone = change(&partition, &[], &|_| false);
        gone.lost_data = Some(NodeId(1));
        let record = gone.record(Uuid::ZERO, 0).unwrap();
        assert_eq!((record.leader, record.eligible_leader_replicas), (-1, None));
        assert_eq!(record.last_known_elr, Some(vec![1]));

        let partition = one(&[], &[], None);
        let record = change(&partition, &[], &|_| true).record(Uuid::ZERO, 0).unwrap();
        assert_eq!((record.leader, record.leader_recovery_state), (1, 1));
        assert_eq!(change(&partition, &[], &|_| false).record(Uuid::ZERO, 0), None);
    }
}
