//! A log's batches as they lie in its files: in the page cache, or on the disk itself.
//!
//! Read by the broker's own parser of batches, and by nothing else of it.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use ottla::env::probe::Sent;
use ottla::protocol::records::batch::{self, BatchHeader, HEADER_BYTES};
use ottla::types::{LeaderEpoch, Offset};

use crate::disk::image::Image;
use crate::disk::volume::Volume;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What processes read.
    Cache,
    /// What a power loss would leave at least.
    Disk,
}

/// One batch, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base: Offset,
    pub end: Offset,
    pub epoch: LeaderEpoch,
    /// Of everything but the leader epoch and the checksum.
    pub hash: u64,
    pub segment: Offset,
    pub position: u64,
    pub size: u64,
    pub max_timestamp_ms: i64,
    pub sent: Option<Sent>,
    pub is_control: bool,
}

impl View {
    pub fn file<'a>(self, volume: &'a Volume, path: &Path) -> Option<&'a Image> {
        match self {
            View::Cache => volume.find(path).map(|ino| volume.image(ino)),
            View::Disk => volume.durable(path),
        }
    }
}

pub fn segment_path(dir: &Path, segment: Offset) -> PathBuf {
    dir.join(format!("{:020}.log", segment.0))
}

/// The first offsets of the segments that processes see, oldest first.
pub fn segments(volume: &Volume, dir: &Path) -> Vec<Offset> {
    let entries = volume.list(dir).unwrap_or_default();
    let bases = entries.iter().filter_map(|entry| entry.name.strip_suffix(".log")?.parse().ok());
    bases.map(Offset).collect()
}

/// The offset of the newest snapshot of the producers' state at or below `end`; 0 without one.
pub fn newest_snapshot(volume: &Volume, dir: &Path, end: Offset) -> Offset {
    let entries = volume.list(dir).unwrap_or_default();
    let offsets = entries.iter().filter_map(|e| e.name.strip_suffix(".snapshot")?.parse().ok());
    offsets.map(Offset).filter(|offset| *offset <= end).max().unwrap_or_default()
}

/// The whole, sound batch at `position`; `None` when there is none.
pub fn read(image: &Image, segment: Offset, position: u64) -> Option<Batch> {
    let mut bytes = BytesMut::new();
    image.read(position, HEADER_BYTES, &mut bytes);
    let header = BatchHeader::parse(&bytes).ok()?;
    let size = u64::from(header.size_bytes());
    if position + size > image.len() {
        return None;
    }
    image.read(position + HEADER_BYTES as u64, size as usize - HEADER_BYTES, &mut bytes);
    let bytes = bytes.freeze();
    let batch = batch::Batch::parse(&bytes).ok()?;
    batch.verify_crc().ok()?;
    let sent = header.producer_id().map(|producer| Sent {
        producer,
        epoch: header.producer_epoch(),
        first_sequence: header.base_sequence(),
        last_sequence: header.last_sequence(),
    });
    Some(Batch {
        base: header.base_offset(),
        end: header.next_offset(),
        epoch: header.leader_epoch(),
        hash: hash(&bytes),
        segment,
        position,
        size,
        max_timestamp_ms: header.max_timestamp_ms(),
        sent,
        is_control: header.is_control(),
    })
}

impl Batch {
    pub fn position_end(&self) -> u64 {
        self.position + self.size
    }

    /// With its records.
    pub fn whole(&self, volume: &Volume, view: View, dir: &Path) -> Option<batch::Batch> {
        let image = view.file(volume, &segment_path(dir, self.segment))?;
        let mut bytes = BytesMut::new();
        image.read(self.position, self.size as usize, &mut bytes);
        batch::Batch::parse(&bytes.freeze()).ok()
    }

    /// The batch is there, byte for byte. Spares the checksum: it is part of the bytes that were
    /// sound when they were first read.
    pub fn is_in(&self, volume: &Volume, view: View, dir: &Path) -> bool {
        let path = segment_path(dir, self.segment);
        let Some(image) = view.file(volume, &path) else { return false };
        let mut bytes = BytesMut::new();
        let len = image.read(self.position, self.size as usize, &mut bytes);
        len as u64 == self.size
            && hash(&bytes) == self.hash
            && bytes[EPOCH] == self.epoch.0.to_be_bytes()
    }
}

const EPOCH: std::ops::Range<usize> = 12..16;
const CRC: std::ops::Range<usize> = 17..21;

fn hash(batch: &[u8]) -> u64 {
    let parts = [&batch[..EPOCH.start], &batch[EPOCH.end..CRC.start], &batch[CRC.end..]];
    parts.into_iter().fold(batch.len() as u64, |hash, part| {
        part.chunks(8).fold(hash, |hash, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        })
    })
}
