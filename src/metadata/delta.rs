//! What changed between two images: the broker opens, closes and reconfigures by it.
//!
//! Computed from the images themselves, which share what did not change; a broker that fell behind
//! takes one larger step instead of a queue of small ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metadata::image::{ConfigResource, Image};
use crate::metadata::map::{Change, Map};
use crate::metadata::topic::{Partition, Topic};
use crate::types::NodeId;

/// A topic that was deleted and created again under its name is both removed and added.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    pub topics_removed: Vec<Arc<Topic>>,
    /// With all their partitions, which are not repeated in `partitions_changed`.
    pub topics_added: Vec<Arc<Topic>>,
    /// New and changed partitions of topics that both images have.
    pub partitions_changed: Vec<PartitionChange>,
    pub configs_changed: BTreeSet<ConfigResource>,
    /// Registered, changed or gone.
    pub brokers_changed: BTreeSet<NodeId>,
    pub features_changed: bool,
}

#[derive(Clone, Debug)]
pub struct PartitionChange {
    pub topic: Arc<Topic>,
    pub index: i32,
    /// `None`: the partition is new.
    pub old: Option<Arc<Partition>>,
    pub new: Arc<Partition>,
}

impl Delta {
    pub fn between(old: &Image, new: &Image) -> Delta {
        let mut delta =
            Delta { features_changed: old.features != new.features, ..Delta::default() };
        for change in new.topics.changes_since(&old.topics) {
            match change {
                Change::Added(_, topic) => delta.topics_added.push(topic.clone()),
                Change::Removed(_, topic) => delta.topics_removed.push(topic.clone()),
                Change::Changed(_, was, is) => delta.note_partitions(was, is),
            }
        }
        for change in new.configs.changes_since(&old.configs) {
            let (Change::Added(resource, _)
            | Change::Removed(resource, _)
            | Change::Changed(resource, ..)) = change;
            delta.configs_changed.insert(resource.clone());
        }
        delta.brokers_changed = changed_keys(&old.brokers, &new.brokers);
        delta
    }

    pub fn is_empty(&self) -> bool {
        self.topics_removed.is_empty()
            && self.topics_added.is_empty()
            && self.partitions_changed.is_empty()
            && self.configs_changed.is_empty()
            && self.brokers_changed.is_empty()
            && !self.features_changed
    }

    fn note_partitions(&mut self, was: &Arc<Topic>, is: &Arc<Topic>) {
        for change in changed_partitions(&was.partitions, &is.partitions) {
            let (index, old, new) = match change {
                Change::Added(index, new) => (*index, None, new),
                Change::Changed(index, old, new) => (*index, Some(old.clone()), new),
                Change::Removed(..) => unreachable!("a partition goes only with its topic"),
            };
            let topic = is.clone();
            self.partitions_changed.push(PartitionChange { topic, index, old, new: new.clone() });
        }
    }
}

type Partitions = Map<i32, Arc<Partition>>;

fn changed_partitions<'a>(
    was: &'a Partitions,
    is: &'a Partitions,
) -> Vec<Change<'a, i32, Arc<Partition>>> {
    is.changes_since(was)
}

fn changed_keys<K: Ord + Clone, V: PartialEq>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> BTreeSet<K> {
    let changed = new.iter().filter(|(key, value)| old.get(key) != Some(value));
    let gone = old.keys().filter(|key| !new.contains_key(key));
    changed.map(|(key, _)| key).chain(gone).cloned().collect()
}
