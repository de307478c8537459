//! The metadata log: what its committed records add up to, which steps a cluster may take, and that
//! snapshots say the same as the log (I20, I37, I39, I41).
//!
//! The committed records are replayed here too, by the broker's own rules, once and never again: a
//! broker that comes back must know at least that, and serve nothing that is not yet in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla::metadata::delta::{Delta, PartitionChange};
use ottla::metadata::image::{Image, Provenance};
use ottla::metadata::replay::Replay;
use ottla::protocol::records::batch::Batch;
use ottla::quorum::snapshot::{self, SnapshotId};
use ottla::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, ProducerId, Uuid};

use super::image::View;
use super::{Log, Verdict, broken};
use crate::check::Invariant::{I20, I37, I39, I41};
use crate::disk::volume::Volume;

#[derive(Default)]
pub struct Metadata {
    replay: Replay,
    image: Arc<Image>,
    epoch: LeaderEpoch,
    /// Where the next snapshot may stand.
    images: BTreeMap<Offset, Arc<Image>>,
    /// Of all topics there ever were.
    topic_ids: BTreeSet<Uuid>,
    broker_epochs: BTreeMap<NodeId, BrokerEpoch>,
    producer_ids: BTreeSet<ProducerId>,
    /// By node, also of processes before.
    published: BTreeMap<usize, Offset>,
}

impl Metadata {
    pub fn has_topic(&self, id: Uuid) -> bool {
        id == Uuid::METADATA_TOPIC || self.image.topic_by_id(id).is_some()
    }

    /// The epoch of what was committed last.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The next batch is committed. Other nodes may say so again.
    pub fn committed(&mut self, log: Log, batch: &Batch) -> Verdict {
        if batch.next_offset() <= self.replay.end() {
            return Ok(());
        }
        self.epoch = batch.leader_epoch();
        if let Err(error) = self.replay.batch(batch) {
            return broken(I37, format!("{log} committed what cannot be applied: {error}"));
        }
        match self.replay.settled() {
            Some(image) => self.step(log, image),
            None => Ok(()),
        }
    }

    fn step(&mut self, log: Log, image: Arc<Image>) -> Verdict {
        let end = image.provenance.end;
        let delta = Delta::between(&self.image, &image);
        for topic in &delta.topics_added {
            if !self.topic_ids.insert(topic.id) {
                let evidence = format!("{log} below {end}: {} was the id of a topic", topic.id);
                return broken(I39, evidence);
            }
        }
        for change in &delta.partitions_changed {
            check_partition(log, end, change)?;
        }
        for id in &delta.brokers_changed {
            let (was, Some(is)) = (self.image.broker(*id), image.broker(*id)) else { continue };
            let last = self.broker_epochs.insert(*id, is.epoch);
            let same = was.is_some_and(|was| was.incarnation == is.incarnation);
            if last.is_some_and(|last| is.epoch < last || (is.epoch == last && !same)) {
                let evidence = format!("{log} below {end}: broker {is:?} after epoch {last:?}");
                return broken(I39, evidence);
            }
        }
        if image.producer_id_next < self.image.producer_id_next {
            let (was, is) = (self.image.producer_id_next, image.producer_id_next);
            return broken(I20, format!("{log} below {end}: next producer id {is} after {was}"));
        }
        self.images.insert(end, image.clone());
        self.image = image;
        Ok(())
    }

    /// A producer id is given out: for the first time, and of a block that is committed.
    pub fn producer_id_given(&mut self, id: ProducerId) -> Verdict {
        let next = self.image.producer_id_next;
        if id.0 >= next || !self.producer_ids.insert(id) {
            let again = self.producer_ids.contains(&id);
            let evidence = format!(
                "producer id {} is given out; committed are those below {next}, and it was {}",
                id.0,
                if again { "given out before" } else { "free" }
            );
            return broken(I20, evidence);
        }
        Ok(())
    }

    /// The broker on `node` serves what is committed below `end`, and never less than before.
    pub fn published(&mut self, node: usize, end: Offset) -> Verdict {
        let committed = self.replay.end();
        let before = self.published.insert(node, end).unwrap_or_default();
        if end > committed || end < before {
            let evidence = format!(
                "metadata below {end} is served; committed is what is below {committed}, and {before} \
                 was served before"
            );
            return broken(if end < before { I41 } else { I37 }, evidence);
        }
        Ok(())
    }

    /// A snapshot is on the disk: whole, and what the log says up to there.
    pub fn snapshot_written(
        &mut self,
        (volume, dir): (&Volume, &Path),
        end: Offset,
        epoch: LeaderEpoch,
    ) -> Verdict {
        let id = SnapshotId { end, epoch };
        let values = values(volume, View::Disk, dir, id)?;
        let Some(known) = self.images.get(&end) else {
            return broken(I41, format!("snapshot {id}: nothing was committed up to just there"));
        };
        let provenance = Provenance { end, epoch, timestamp_ms: 0 };
        match Replay::from_snapshot(values.into_iter(), provenance).map(Replay::into_image) {
            Ok(image) if image.says_the_same(known) => {}
            Ok(_) => return broken(I41, format!("snapshot {id} says something else than the log")),
            Err(error) => return broken(I41, format!("snapshot {id} cannot be read: {error}")),
        }
        self.images = self.images.split_off(&end);
        Ok(())
    }
}

fn check_partition(log: Log, end: Offset, change: &PartitionChange) -> Verdict {
    let PartitionChange { topic, index, old, new } = change;
    let Some(old) = old else { return Ok(()) };
    let led_anew = old.leader != new.leader;
    let sound = new.partition_epoch > old.partition_epoch
        && new.leader_epoch >= old.leader_epoch
        && !(led_anew && new.leader_epoch == old.leader_epoch)
        && new.leader.is_none_or(|leader| new.isr.contains(&leader));
    if !sound {
        let evidence = format!("{log} below {end}: {}-{index} was {old:?}, is {new:?}", topic.name);
        return broken(I39, evidence);
    }
    Ok(())
}

/// A log that does not begin at 0 has a snapshot of what was before.
pub fn check_start(volume: &Volume, dir: &Path, start: Offset) -> Verdict {
    if start == Offset(0) {
        return Ok(());
    }
    let entries = volume.list(dir).unwrap_or_default();
    let ids = entries.iter().filter_map(|entry| SnapshotId::parse(&entry.name));
    match ids.max() {
        Some(id) if id.end >= start => values(volume, View::Disk, dir, id).map(|_| ()),
        newest => {
            let evidence =
                format!("the metadata log begins at {start}, and {newest:?} is the newest");
            broken(I41, evidence)
        }
    }
}

fn values(
    volume: &Volume,
    view: View,
    dir: &Path,
    id: SnapshotId,
) -> Result<Vec<Bytes>, crate::check::Violation> {
    let Some(image) = view.file(volume, &dir.join(id.to_string())) else {
        return broken(I41, format!("snapshot {id} is not on the disk"));
    };
    match snapshot::decode(image.to_vec().into()) {
        Ok(contents) => Ok(contents.values),
        Err((at, what)) => broken(I41, format!("snapshot {id} is damaged at byte {at}: {what}")),
    }
}

#[cfg(test)]
mod tests;
