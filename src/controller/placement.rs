//! Which brokers hold the replicas of new partitions.
//!
//! Partitions are striped over racks, and within a rack over its brokers, from a random start:
//! neighbours lead on different brokers, and replicas of one partition lie in different racks as
//! long as there are enough. Fenced brokers are taken only when the others do not suffice, and
//! never as leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::controller::operation::Chance;
use crate::metadata::image::Image;
use crate::types::NodeId;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error(
        "Unable to replicate the partition {wanted} time(s): The target replication factor of \
         {wanted} cannot be reached because only {registered} broker(s) are registered or some \
         brokers have all their log directories cordoned."
    )]
    TooFew { wanted: usize, registered: usize },
    #[error(
        "Unable to replicate the partition {wanted} time(s): All brokers are currently fenced."
    )]
    AllFenced { wanted: usize },
}

pub struct Placer {
    racks: Vec<Rack>,
    /// Where the next partition starts.
    start: usize,
    registered: usize,
}

#[derive(Default)]
struct Rack {
    active: Vec<NodeId>,
    fenced: Vec<NodeId>,
    active_start: usize,
    fenced_start: usize,
}

impl Placer {
    pub fn new(image: &Image, chance: &mut Chance) -> Placer {
        let mut racks: BTreeMap<Option<Arc<str>>, Rack> = BTreeMap::new();
        for broker in image.brokers.values() {
            let rack = racks.entry(broker.rack.clone()).or_default();
            if broker.fenced { rack.fenced.push(broker.id) } else { rack.active.push(broker.id) }
        }
        let start = if racks.is_empty() { 0 } else { chance.below(racks.len()) };
        let mut begin = |brokers: &[NodeId]| match brokers.len() {
            0 => 0,
            len => chance.below(len),
        };
        let racks = racks.into_values().map(|rack| Rack {
            active_start: begin(&rack.active),
            fenced_start: begin(&rack.fenced),
            ..rack
        });
        Placer { racks: racks.collect(), start, registered: image.brokers.len() }
    }

    /// The replicas of the next partition, the leader first.
    pub fn place(&mut self, wanted: usize) -> Result<Vec<NodeId>, PlacementError> {
        if wanted > self.registered {
            return Err(PlacementError::TooFew { wanted, registered: self.registered });
        }
        let rack_count = self.racks.len();
        let order: Vec<usize> = (0..rack_count).map(|n| (self.start + n) % rack_count).collect();
        self.start += 1;
        // A turn over the racks in each round; the active ones of all racks before any fenced one.
        let mut replicas = Vec::with_capacity(wanted);
        for fenced in [false, true] {
            let deepest = self.racks.iter().map(|rack| rack.brokers(fenced).len()).max();
            for depth in 0..deepest.unwrap_or(0) {
                let turn = order.iter().filter_map(|&rack| self.racks[rack].nth(fenced, depth));
                replicas.extend(turn.take(wanted - replicas.len()));
            }
            if replicas.is_empty() {
                return Err(PlacementError::AllFenced { wanted });
            }
        }
        if self.start.is_multiple_of(rack_count) {
            for rack in &mut self.racks {
                rack.active_start += 1;
                rack.fenced_start += 1;
            }
        }
        Ok(replicas)
    }
}

impl Rack {
    fn brokers(&self, fenced: bool) -> &[NodeId] {
        if fenced { &self.fenced } else { &self.active }
    }

    fn nth(&self, fenced: bool, depth: usize) -> Option<NodeId> {
        let brokers = self.brokers(fenced);
        let start = if fenced { self.fenced_start } else { self.active_start };
        (depth < brokers.len()).then(|| brokers[(start + depth) % brokers.len()])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::controller::testing::broker;

    fn placer(brokers: &[(i32, Option<&str>, bool)], seed: u64) -> Placer {
        let mut image = Image::default();
        for &(id, rack, fenced) in brokers {
            let mut broker = broker(id);
            broker.rack = rack.map(Arc::from);
            broker.fenced = fenced;
            image.brokers.insert(broker.id, Arc::new(broker));
        }
        Placer::new(&image, &mut Chance::new(seed))
    }

    #[test]
    fn leaders_are_spread_and_replicas_lie_in_different_racks() {
        let brokers = [
            (1, Some("a"), false),
            (2, Some("a"), false),
            (3, Some("b"), false),
            (4, Some("b"), false),
        ];
        for seed in 0..20 {
            let mut placer = placer(&brokers, seed);
            let mut leaders = BTreeSet::new();
            for _ in 0..4 {
                let replicas = placer.place(2).unwrap();
                let racks: BTreeSet<bool> = replicas.iter().map(|id| id.0 <= 2).collect();
                assert_eq!(racks.len(), 2, "{replicas:?} in one rack");
                leaders.insert(replicas[0]);
            }
            assert_eq!(leaders.len(), 4, "four partitions, four leaders");
        }
    }

    #[test]
    fn fenced_brokers_come_last() {
        let mut placer = placer(&[(1, None, true), (2, None, false), (3, None, false)], 3);
        for _ in 0..6 {
            assert!(!placer.place(2).unwrap().contains(&NodeId(1)));
            let replicas = placer.place(3).unwrap();
            assert_eq!(replicas[2], NodeId(1));
            assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), 3);
        }
    }

    #[test]
    fn says_why_there_is_no_place() {
        let error = placer(&[(1, None, false)], 0).place(2).unwrap_err();
        assert_eq!(error, PlacementError::TooFew { wanted: 2, registered: 1 });
        let error = placer(&[(1, None, true)], 0).place(1).unwrap_err();
        assert_eq!(error, PlacementError::AllFenced { wanted: 1 });
    }
}
