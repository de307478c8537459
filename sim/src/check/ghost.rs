//! Watches the broker from inside: compares every probe with the disk as it is at that moment.
//!
//! The broker says when something is appended, durable, committed or acknowledged. Here each such
//! word is checked against the durable image, so that an acknowledgement that comes too early is
//! caught when it is given, and not by the rare power loss that would prove it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::BytesMut;
use ottla::env::probe::Event;
use ottla::protocol::records::batch::{Batch, BatchHeader, HEADER_BYTES};
use ottla::types::{Offset, Uuid};

use super::Invariant::{I5, I8, I9, I10, I42};
use super::Violation;
use crate::disk::volume::Volume;
use crate::world::World;

/// Where the brokers of the simulation keep their data.
pub const DATA_DIR: &str = "/data";

const METADATA_LOG: &str = "__cluster_metadata-0";

#[derive(Default)]
pub struct Ghost {
    logs: Mutex<BTreeMap<Log, State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Log {
    node: usize,
    topic: Uuid,
    partition: i32,
}

#[derive(Default)]
struct State {
    /// What the process that runs has said.
    end: Option<Offset>,
    high_watermark: Offset,
    /// What any process of the node has said, and all must keep.
    durable_end: Offset,
    acknowledged_end: Offset,
    verified: Cursor,
}

/// How far the durable image was read.
#[derive(Clone, Debug, Default)]
struct Cursor {
    segment: Option<PathBuf>,
    position: u64,
    next: Offset,
}

impl Ghost {
    pub fn observe(&self, world: &World, node: usize, event: &Event) {
        if let Err(violation) = self.check(world, node, event) {
            let Violation { invariant, evidence } = violation;
            let evidence = format!("{}: {evidence}", world.name(node));
            Violation::new(invariant, evidence).raise();
        }
    }

    /// The most that was acknowledged, over all logs: 0 means that a run tried nothing.
    pub fn acknowledged(&self) -> i64 {
        self.logs.lock().unwrap().values().map(|state| state.acknowledged_end.0).sum()
    }

    fn check(&self, world: &World, node: usize, event: &Event) -> Result<(), Violation> {
        let log =
            |topic: &Uuid, partition: &i32| Log { node, topic: *topic, partition: *partition };
        let mut logs = self.logs.lock().unwrap();
        match event {
            Event::Recovered { topic, partition, start, end } => {
                let log = log(topic, partition);
                let state = logs.entry(log).or_default();
                state.recovered(log, *start, *end)?;
                // What recovery keeps counts as durable from then on.
                world.disk(node).with_volume(|volume| state.durable(log, *end, volume))
            }
            Event::Appended { topic, partition, base, end, .. } => {
                let log = log(topic, partition);
                logs.entry(log).or_default().appended(log, *base, *end)
            }
            Event::Durable { topic, partition, end } => {
                let log = log(topic, partition);
                let state = logs.entry(log).or_default();
                world.disk(node).with_volume(|volume| state.durable(log, *end, volume))
            }
            Event::HighWatermark { topic, partition, offset, .. } => {
                let log = log(topic, partition);
                logs.entry(log).or_default().high_watermark(log, *offset)
            }
            Event::Acknowledged { topic, partition, end, acks, .. } => {
                let log = log(topic, partition);
                logs.entry(log).or_default().acknowledged(log, *end, *acks)
            }
            Event::StartMoved { topic, partition, .. } => {
                logs.entry(log(topic, partition)).or_default().verified = Cursor::default();
                Ok(())
            }
            Event::DirectoryOffline { .. } | Event::MetadataCommitted { .. } => Ok(()),
        }
    }
}

impl State {
    fn recovered(&mut self, log: Log, start: Offset, end: Offset) -> Result<(), Violation> {
        if end < self.acknowledged_end {
            let acknowledged = self.acknowledged_end;
            let evidence = format!("{log} recovered to {end}, and {acknowledged} was acknowledged");
            return Err(Violation::new(I10, evidence));
        }
        if end < self.durable_end {
            let durable = self.durable_end;
            let evidence = format!("{log} recovered to {end}, and {durable} was durable");
            return Err(Violation::new(I42, evidence));
        }
        self.end = Some(end);
        self.high_watermark = start;
        self.verified = Cursor::default();
        Ok(())
    }

    fn appended(&mut self, log: Log, base: Offset, end: Offset) -> Result<(), Violation> {
        let expected = self.end.unwrap_or_default();
        if base != expected || end <= base {
            let evidence = format!("{log} appended {base} to {end} where {expected} was next");
            return Err(Violation::new(I5, evidence));
        }
        self.end = Some(end);
        Ok(())
    }

    fn durable(&mut self, log: Log, end: Offset, volume: &Volume) -> Result<(), Violation> {
        if let Some(dir) = directory(volume, log) {
            self.verified.advance(volume, &dir);
            if self.verified.next < end {
                let evidence = format!(
                    "{log} says that it is durable below {end}; the disk holds batches below {}",
                    self.verified.next
                );
                return Err(Violation::new(I9, evidence));
            }
        }
        self.durable_end = self.durable_end.max(end);
        Ok(())
    }

    fn high_watermark(&mut self, log: Log, offset: Offset) -> Result<(), Violation> {
        if offset < self.high_watermark || offset > self.durable_end {
            let (before, durable) = (self.high_watermark, self.durable_end);
            let evidence = format!(
                "{log} moved its high watermark from {before} to {offset}, durable is {durable}"
            );
            return Err(Violation::new(I8, evidence));
        }
        self.high_watermark = offset;
        Ok(())
    }

    fn acknowledged(&mut self, log: Log, end: Offset, acks: i16) -> Result<(), Violation> {
        if end > self.durable_end || (acks == -1 && end > self.high_watermark) {
            let (durable, high_watermark) = (self.durable_end, self.high_watermark);
            let evidence = format!(
                "{log} acknowledges below {end} (acks={acks}) with durable end {durable} and \
                 high watermark {high_watermark}"
            );
            return Err(Violation::new(I9, evidence));
        }
        self.acknowledged_end = self.acknowledged_end.max(end);
        Ok(())
    }
}

impl Cursor {
    /// Reads on through whole, sound batches that would survive a power loss.
    fn advance(&mut self, volume: &Volume, dir: &Path) {
        let segments = segments(volume, dir);
        loop {
            let segment = match &self.segment {
                Some(segment) if segments.iter().any(|(_, path)| path == segment) => {
                    segment.clone()
                }
                Some(_) => {
                    *self = Cursor::default();
                    continue;
                }
                None => match segments.first() {
                    Some((base, path)) => {
                        let (segment, position, next) = (Some(path.clone()), 0, *base);
                        *self = Cursor { segment, position, next };
                        path.clone()
                    }
                    None => return,
                },
            };
            while let Some((next, size)) = durable_batch(volume, &segment, self.position, self.next)
            {
                self.next = next;
                self.position += size;
            }
            let following =
                segments.iter().find(|(base, path)| *base == self.next && *path != segment);
            match following {
                Some((_, path)) if *path > segment => {
                    self.segment = Some(path.clone());
                    self.position = 0;
                }
                _ => return,
            }
        }
    }
}

/// The batch at `position` whose first offset is `base`: the offset after it, and its size.
fn durable_batch(
    volume: &Volume,
    path: &Path,
    position: u64,
    base: Offset,
) -> Option<(Offset, u64)> {
    let image = volume.durable(path)?;
    let mut bytes = BytesMut::new();
    image.read(position, HEADER_BYTES, &mut bytes);
    let header = BatchHeader::parse(&bytes).ok()?;
    let size = u64::from(header.size_bytes());
    if header.base_offset() != base || position + size > image.len() {
        return None;
    }
    bytes.clear();
    image.read(position, size as usize, &mut bytes);
    let batch = Batch::parse(&bytes.freeze()).ok()?;
    batch.verify_crc().ok()?;
    Some((header.next_offset(), size))
}

fn segments(volume: &Volume, dir: &Path) -> Vec<(Offset, PathBuf)> {
    let entries = volume.list(dir).unwrap_or_default();
    let logs = entries.iter().filter_map(|entry| {
        let base = entry.name.strip_suffix(".log")?.parse().ok()?;
        Some((Offset(base), dir.join(&entry.name)))
    });
    logs.collect()
}

/// A topic's directory tells its id in `partition.metadata`.
fn directory(volume: &Volume, log: Log) -> Option<PathBuf> {
    if log.topic == Uuid::METADATA_TOPIC {
        return Some(Path::new(DATA_DIR).join(METADATA_LOG));
    }
    let suffix = format!("-{}", log.partition);
    let wanted = format!("topic_id: {}", log.topic);
    let entries = volume.list(Path::new(DATA_DIR)).ok()?;
    let candidates = entries.iter().filter(|entry| entry.name.ends_with(&suffix));
    candidates.map(|entry| Path::new(DATA_DIR).join(&entry.name)).find(|dir| {
        let ino = volume.find(&dir.join("partition.metadata"));
        let text = ino.map(|ino| volume.image(ino).to_vec()).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().any(|line| line == wanted)
    })
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log {}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Invariant;
    use super::*;

    const LOG: Log = Log { node: 0, topic: Uuid([7; 16]), partition: 0 };

    fn state() -> State {
        let mut state = State::default();
        state.recovered(LOG, Offset(0), Offset(0)).unwrap();
        state.appended(LOG, Offset(0), Offset(5)).unwrap();
        state
    }

    fn broke(result: Result<(), Violation>) -> Option<Invariant> {
        result.err().map(|violation| violation.invariant)
    }

    #[test]
    fn an_acknowledgement_before_the_sync_is_caught() {
        let mut early = state();
        assert_eq!(broke(early.acknowledged(LOG, Offset(5), -1)), Some(I9));
        assert_eq!(broke(early.acknowledged(LOG, Offset(5), 1)), Some(I9));
        early.durable_end = Offset(5);
        assert_eq!(broke(early.acknowledged(LOG, Offset(5), -1)), Some(I9), "not committed yet");
        early.high_watermark(LOG, Offset(5)).unwrap();
        early.acknowledged(LOG, Offset(5), -1).unwrap();
    }

    #[test]
    fn a_high_watermark_that_falls_or_outruns_the_disk_is_caught() {
        let mut log = state();
        assert_eq!(broke(log.high_watermark(LOG, Offset(3))), Some(I8));
        log.durable_end = Offset(5);
        log.high_watermark(LOG, Offset(3)).unwrap();
        assert_eq!(broke(log.high_watermark(LOG, Offset(2))), Some(I8));
    }

    #[test]
    fn a_gap_between_appends_is_caught() {
        assert_eq!(broke(state().appended(LOG, Offset(6), Offset(7))), Some(I5));
        assert_eq!(broke(state().appended(LOG, Offset(5), Offset(5))), Some(I5));
    }

    #[test]
    fn a_recovery_that_forgets_is_caught() {
        let mut log = state();
        log.durable_end = Offset(4);
        assert_eq!(broke(log.recovered(LOG, Offset(0), Offset(3))), Some(I42));
        log.acknowledged_end = Offset(4);
        assert_eq!(broke(log.recovered(LOG, Offset(0), Offset(3))), Some(I10));
        log.recovered(LOG, Offset(0), Offset(4)).unwrap();
        log.appended(LOG, Offset(4), Offset(6)).unwrap();
    }
}
