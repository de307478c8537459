//! One replica of one partition: who leads, what survives a crash, what consumers may read.
//!
//! Pure: no clock, no disk, no network, no locks. `driver.rs` tells it what happened and reads
//! what follows from it.
//!
//! Invariants, checked after every event:
//!   high_watermark <= log_end, and what it passes was counted on every in-sync replica
//!   high_watermark never falls within one leader epoch
//!   below `isr_min` in-sync replicas the high watermark stands still (KIP-966 rests on it)

use std::collections::BTreeSet;

use crate::types::{LeaderEpoch, NodeId, Offset};

/// What the controller decided about a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change, of the leader or not.
    pub partition_epoch: i32,
    pub isr: BTreeSet<NodeId>,
}

#[derive(Debug)]
pub struct Replica {
    me: NodeId,
    assignment: Assignment,
    /// min.insync.replicas, at most the number of replicas.
    isr_min: usize,
    durability: Durability,
    /// The next offset to assign.
    log_end: Offset,
    /// Everything below survives a power loss.
    durable_end: Offset,
    /// Everything below is on every in-sync replica. Consumers read no further.
    high_watermark: Offset,
    /// Where this replica's log ended when it began to lead.
    epoch_start: Offset,
}

/// When this replica's own bytes count (`flush.messages`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once synced: the default.
    Synced,
    /// Once written: Kafka's mode, for `flush.messages` above 1.
    Written,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    #[error("not the leader in epoch {0:?}")]
    NotLeader(LeaderEpoch),
    #[error("the request's epoch {asked:?} is older than {current:?}")]
    FencedEpoch { asked: LeaderEpoch, current: LeaderEpoch },
    #[error("the request's epoch {asked:?} is newer than {current:?}")]
    UnknownEpoch { asked: LeaderEpoch, current: LeaderEpoch },
    #[error("{isr_len} replicas in sync, {isr_min} needed")]
    NotEnoughReplicas { isr_len: usize, isr_min: usize },
}

impl Replica {
    /// A replica whose log was opened: all of it is on the disk (recovery syncs what it keeps).
    pub fn new(me: NodeId, high_watermark: Offset, log_end: Offset) -> Replica {
        let assignment = Assignment {
            leader: None,
            leader_epoch: LeaderEpoch(-1),
            partition_epoch: -1,
            isr: BTreeSet::new(),
        };
        Replica {
            me,
            assignment,
            isr_min: 1,
            durability: Durability::Synced,
            log_end,
            durable_end: log_end,
            high_watermark: high_watermark.min(log_end),
            epoch_start: Offset(0),
        }
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.assignment.leader_epoch
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    pub fn leads(&self) -> bool {
        self.assignment.leader == Some(self.me)
    }

    /// The end of what counts on this replica: an acks=1 producer is answered once it is passed.
    pub fn counted_end(&self) -> Offset {
        match self.durability {
            Durability::Synced => self.durable_end,
            Durability::Written => self.log_end,
        }
    }

    /// Whether a request that names `asked` (-1: no epoch) may be served here.
    pub fn check_leader(&self, asked: LeaderEpoch) -> Result<(), NotServed> {
        let current = self.assignment.leader_epoch;
        match asked {
            LeaderEpoch(-1) => {}
            asked if asked < current => return Err(NotServed::FencedEpoch { asked, current }),
            asked if asked > current => return Err(NotServed::UnknownEpoch { asked, current }),
            _ => {}
        }
        if self.leads() { Ok(()) } else { Err(NotServed::NotLeader(current)) }
    }

    /// Whether an acks=all write may be appended: nothing is, when too few replicas are in sync.
    pub fn check_isr(&self) -> Result<(), NotServed> {
        let (isr_len, isr_min) = (self.assignment.isr.len(), self.isr_min);
        if isr_len < isr_min {
            return Err(NotServed::NotEnoughReplicas { isr_len, isr_min });
        }
        Ok(())
    }

    /// The metadata log named a leader, or other in-sync replicas. Older news changes nothing.
    /// True when this replica begins a new epoch as the leader.
    pub fn on_assigned(&mut self, assignment: Assignment) -> bool {
        if assignment.partition_epoch <= self.assignment.partition_epoch {
            return false;
        }
        assert!(
            assignment.leader_epoch >= self.assignment.leader_epoch,
            "a newer partition epoch never has an older leader epoch"
        );
        let new_epoch = assignment.leader_epoch > self.assignment.leader_epoch;
        self.assignment = assignment;
        let begins = new_epoch && self.leads();
        if begins {
            self.epoch_start = self.log_end;
        }
        self.advance();
        begins
    }

    pub fn on_configured(&mut self, isr_min: usize, durability: Durability) {
        self.isr_min = isr_min;
        // Tightened: what was only written must be synced before anything more counts. The high
        // watermark itself stays: consumers saw it.
        self.durability = durability;
        self.advance();
    }

    /// The leader wrote records; the log ends at `end` now.
    pub fn on_appended(&mut self, end: Offset) {
        assert!(end >= self.log_end, "a leader's log only grows");
        self.log_end = end;
        self.advance();
    }

    /// Everything below `end` is on stable storage.
    pub fn on_durable(&mut self, end: Offset) {
        assert!(end <= self.log_end, "the disk synced what we never wrote");
        self.durable_end = self.durable_end.max(end);
        self.advance();
    }

    /// Records below `start` were deleted, all of the log perhaps.
    pub fn on_start_raised(&mut self, start: Offset) {
        assert!(start <= self.high_watermark, "only what consumers may read is ever deleted");
    }

    fn advance(&mut self) {
        let alone = self.assignment.isr.len() == 1 && self.assignment.isr.contains(&self.me);
        if self.leads() && alone && self.check_isr().is_ok() {
            self.high_watermark = self.high_watermark.max(self.counted_end());
        }
        assert!(self.high_watermark <= self.log_end);
        assert!(self.durable_end <= self.log_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);
    const PEER: NodeId = NodeId(2);

    fn assigned(leader: NodeId, epoch: i32, isr: &[NodeId]) -> Assignment {
        Assignment {
            leader: Some(leader),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: epoch,
            isr: isr.iter().copied().collect(),
        }
    }

    fn leader() -> Replica {
        let mut replica = Replica::new(ME, Offset(0), Offset(0));
        assert!(replica.on_assigned(assigned(ME, 1, &[ME])));
        replica
    }

    #[test]
    fn shows_consumers_only_what_is_durable() {
        let mut replica = leader();
        replica.on_appended(Offset(3));
        assert_eq!(replica.high_watermark(), Offset(0));
        replica.on_durable(Offset(2));
        assert_eq!(replica.high_watermark(), Offset(2));
        replica.on_durable(Offset(3));
        assert_eq!(replica.high_watermark(), Offset(3));
    }

    #[test]
    fn relaxed_mode_counts_what_is_written() {
        let mut replica = leader();
        replica.on_configured(1, Durability::Written);
        replica.on_appended(Offset(3));
        assert_eq!((replica.high_watermark(), replica.counted_end()), (Offset(3), Offset(3)));
    }

    #[test]
    fn tightening_durability_never_moves_the_high_watermark_back() {
        let mut replica = leader();
        replica.on_configured(1, Durability::Written);
        replica.on_appended(Offset(3));
        replica.on_configured(1, Durability::Synced);
        assert_eq!((replica.high_watermark(), replica.counted_end()), (Offset(3), Offset(0)));
        replica.on_durable(Offset(3));
        assert_eq!(replica.counted_end(), Offset(3));
    }

    #[test]
    fn stands_still_below_the_minimum_of_in_sync_replicas() {
        let mut replica = leader();
        replica.on_configured(2, Durability::Synced);
        assert_eq!(
            replica.check_isr(),
            Err(NotServed::NotEnoughReplicas { isr_len: 1, isr_min: 2 })
        );
        replica.on_appended(Offset(1));
        replica.on_durable(Offset(1));
        assert_eq!(replica.high_watermark(), Offset(0));
    }

    #[test]
    fn waits_for_replicas_in_sync_that_are_not_this_one() {
        let mut replica = Replica::new(ME, Offset(0), Offset(0));
        replica.on_assigned(assigned(ME, 1, &[ME, PEER]));
        replica.on_appended(Offset(1));
        replica.on_durable(Offset(1));
        assert_eq!(replica.high_watermark(), Offset(0));
    }

    #[test]
    fn fences_requests_of_other_epochs() {
        let replica = leader();
        assert_eq!(replica.check_leader(LeaderEpoch(-1)), Ok(()));
        assert_eq!(replica.check_leader(LeaderEpoch(1)), Ok(()));
        let (asked, current) = (LeaderEpoch(0), LeaderEpoch(1));
        assert_eq!(replica.check_leader(asked), Err(NotServed::FencedEpoch { asked, current }));
        let asked = LeaderEpoch(2);
        assert_eq!(replica.check_leader(asked), Err(NotServed::UnknownEpoch { asked, current }));
    }

    #[test]
    fn stale_news_changes_nothing() {
        let mut replica = leader();
        assert!(!replica.on_assigned(assigned(PEER, 0, &[PEER])));
        assert!(replica.leads());
        assert!(!replica.on_assigned(assigned(PEER, 2, &[PEER])));
        assert_eq!(
            replica.check_leader(LeaderEpoch(-1)),
            Err(NotServed::NotLeader(LeaderEpoch(2)))
        );
    }

    proptest::proptest! {
        /// Any order of events keeps the invariants, which `advance` asserts.
        #[test]
        fn survives_any_order_of_events(
            events in proptest::collection::vec((0..4u8, 0..9i64), 0..200)
        ) {
            let mut replica = leader();
            for (kind, n) in events {
                let before = replica.high_watermark();
                match kind {
                    0 => replica.on_appended(Offset(replica.log_end.0 + n)),
                    1 => replica.on_durable(Offset(n.min(replica.log_end.0))),
                    2 => {
                        let mode = [Durability::Synced, Durability::Written][(n % 2) as usize];
                        replica.on_configured(1 + (n % 3) as usize / 2, mode);
                    }
                    _ => {
                        let leader = [ME, PEER][(n % 2) as usize];
                        let epoch = replica.leader_epoch().0 + (n % 2) as i32;
                        replica.on_assigned(assigned(leader, epoch, &[leader]));
                    }
                }
                assert!(replica.high_watermark() >= before);
            }
        }
    }
}
