//! How far the leader knows each replica to be, and what is committed by that.
//!
//! A replica's fetch offset is its acknowledgement: everything below it is durable there. The
//! leader counts itself only as far as its own disk has synced, never as far as it has written:
//! its sync runs beside the followers' fetches, and a majority of one synced and one unsynced log
//! would lose committed records with one power cut.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::quorum::voters::{ReplicaKey, Voters};
use crate::types::{Instant, Offset};

/// An observer that stops fetching is forgotten after this long.
const OBSERVER_IDLE_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct Progress {
    /// Where this leader's epoch begins: nothing commits by count before one of its own records.
    epoch_start: Offset,
    since: Instant,
    replicas: BTreeMap<ReplicaKey, Replica>,
}

/// Times of the wall clock are for people only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    pub end: Offset,
    pub fetched_at: Instant,
    pub fetched_wall_ms: i64,
    /// When it was last known to hold everything that the leader held then.
    pub caught_up_wall_ms: Option<i64>,
    /// The leader's end when it fetched before; reaching it means having caught up by then.
    leader_end: Offset,
}

impl Progress {
    pub fn new(epoch_start: Offset, now: Instant) -> Progress {
        Progress { epoch_start, since: now, replicas: BTreeMap::new() }
    }

    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    pub fn replicas(&self) -> impl Iterator<Item = (ReplicaKey, &Replica)> {
        self.replicas.iter().map(|(&key, replica)| (key, replica))
    }

    pub fn on_fetch(
        &mut self,
        key: ReplicaKey,
        fetch_offset: Offset,
        leader_end: Offset,
        now: Instant,
        wall_ms: i64,
    ) {
        assert!(fetch_offset <= leader_end, "a fetch beyond the leader's end is diverging");
        let before = self.replicas.get(&key);
        let caught_up_wall_ms = if fetch_offset == leader_end {
            Some(wall_ms)
        } else {
            match before {
                Some(before) if fetch_offset >= before.leader_end => Some(before.fetched_wall_ms),
                _ => before.and_then(|before| before.caught_up_wall_ms),
            }
        };
        let end = before.map_or(fetch_offset, |before| before.end.max(fetch_offset));
        let fetched_wall_ms = wall_ms;
        let replica =
            Replica { end, fetched_at: now, fetched_wall_ms, caught_up_wall_ms, leader_end };
        self.replicas.insert(key, replica);
    }

    /// Everything below is on a majority. `None` until a record of this epoch is.
    pub fn committed(
        &self,
        voters: &Voters,
        me: ReplicaKey,
        durable_end: Offset,
    ) -> Option<Offset> {
        let mut ends: Vec<Offset> =
            voters.keys().map(|voter| self.end_of(voter, me, durable_end)).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let end = *ends.get(ends.len() / 2)?;
        (end > self.epoch_start).then_some(end)
    }

    /// When a majority, this leader counted, will have been silent for `window`. `None`: it is a
    /// majority by itself.
    pub fn quorum_lost_at(
        &self,
        voters: &Voters,
        me: ReplicaKey,
        window: Duration,
    ) -> Option<Instant> {
        let needed = voters.majority() - usize::from(voters.contains(me));
        let others = voters.keys().filter(|voter| !voter.matches(me));
        let heard = |voter| self.find(voter).map_or(self.since, |replica| replica.fetched_at);
        let mut heard: Vec<Instant> = others.map(heard).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        let last_needed = heard.get(needed.checked_sub(1)?)?;
        Some(last_needed.after(window))
    }

    pub fn forget_idle_observers(&mut self, voters: &Voters, now: Instant) {
        self.replicas.retain(|key, replica| {
            voters.contains(*key) || now.since(replica.fetched_at) < OBSERVER_IDLE_MAX
        });
    }

    pub fn find(&self, voter: ReplicaKey) -> Option<&Replica> {
        self.replicas.iter().find(|(key, _)| key.matches(voter)).map(|(_, replica)| replica)
    }

    fn end_of(&self, voter: ReplicaKey, me: ReplicaKey, durable_end: Offset) -> Offset {
        if voter.matches(me) {
            return durable_end;
        }
        self.find(voter).map_or(Offset(-1), |replica| replica.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::voters::Voter;
    use crate::types::NodeId;

    const NOW: Instant = Instant(Duration::from_secs(1));

    fn key(id: i32) -> ReplicaKey {
        ReplicaKey { id: NodeId(id), directory: None }
    }

    fn voters(count: i32) -> Voters {
        let voter = |id| Voter { key: key(id), endpoints: vec![], kraft_versions: 0..=1 };
        (1..=count).map(voter).collect()
    }

    #[test]
    fn commits_what_a_majority_holds_durably() {
        // Voters, our durable end, what the others fetched, what is committed; the epoch starts
        // at 10.
        type Case = (i32, i64, &'static [(i32, i64)], Option<i64>);
        let table: &[Case] = &[
            (1, 10, &[], None),
            (1, 11, &[], Some(11)),
            (2, 20, &[], None),
            (2, 20, &[(2, 15)], Some(15)),
            (2, 12, &[(2, 15)], Some(12)),
            (3, 20, &[], None),
            (3, 20, &[(2, 10)], None),
            (3, 20, &[(2, 11)], Some(11)),
            (3, 20, &[(2, 11), (3, 18)], Some(18)),
            (3, 9, &[(2, 15), (3, 18)], Some(15)),
            (3, 11, &[(2, 15)], Some(11)),
            (5, 20, &[(2, 19), (3, 18), (4, 17), (5, 16)], Some(18)),
        ];
        for &(count, durable_end, fetches, committed) in table {
            let mut progress = Progress::new(Offset(10), NOW);
            for &(id, offset) in fetches {
                progress.on_fetch(key(id), Offset(offset), Offset(20), NOW, 0);
            }
            let end = progress.committed(&voters(count), key(1), Offset(durable_end));
            assert_eq!(end, committed.map(Offset), "{count} {durable_end} {fetches:?}");
        }
    }

    #[test]
    fn a_leader_outside_the_voters_does_not_count_itself() {
        let mut progress = Progress::new(Offset(10), NOW);
        progress.on_fetch(key(1), Offset(12), Offset(20), NOW, 0);
        progress.on_fetch(key(2), Offset(14), Offset(20), NOW, 0);
        assert_eq!(progress.committed(&voters(2), key(9), Offset(20)), Some(Offset(12)));
    }

    #[test]
    fn a_leader_that_hears_no_majority_knows() {
        let window = Duration::from_secs(3);
        let later = |secs| NOW.after(Duration::from_secs(secs));
        let mut progress = Progress::new(Offset(0), NOW);
        let lost_at =
            |progress: &Progress, count| progress.quorum_lost_at(&voters(count), key(1), window);
        assert_eq!(lost_at(&progress, 3), Some(later(3)), "a new leader has time");
        progress.on_fetch(key(3), Offset(0), Offset(1), later(2), 0);
        assert_eq!(lost_at(&progress, 3), Some(later(5)));
        assert_eq!(lost_at(&progress, 5), Some(later(3)), "one of four others is too few");
        progress.on_fetch(key(2), Offset(0), Offset(1), later(1), 0);
        assert_eq!(lost_at(&progress, 5), Some(later(4)), "the second latest decides");
        assert_eq!(lost_at(&progress, 1), None);
    }

    #[test]
    fn a_replica_caught_up_when_it_reached_the_end_of_its_last_fetch() {
        let mut progress = Progress::new(Offset(0), NOW);
        progress.on_fetch(key(2), Offset(5), Offset(8), NOW, 100);
        assert_eq!(progress.find(key(2)).unwrap().caught_up_wall_ms, None);
        progress.on_fetch(key(2), Offset(8), Offset(12), NOW, 200);
        assert_eq!(progress.find(key(2)).unwrap().caught_up_wall_ms, Some(100));
        progress.on_fetch(key(2), Offset(12), Offset(12), NOW, 300);
        assert_eq!(progress.find(key(2)).unwrap().caught_up_wall_ms, Some(300));
    }

    #[test]
    fn idle_observers_are_forgotten_and_voters_are_not() {
        let mut progress = Progress::new(Offset(0), NOW);
        progress.on_fetch(key(2), Offset(0), Offset(1), NOW, 0);
        progress.on_fetch(key(7), Offset(0), Offset(1), NOW, 0);
        progress.forget_idle_observers(&voters(3), NOW.after(OBSERVER_IDLE_MAX));
        assert!(progress.find(key(2)).is_some());
        assert!(progress.find(key(7)).is_none());
    }
}
