//! Snapshots of the metadata log: files that say what all records below an offset add up to.
//!
//! A control batch with the header (and the voters), batches of records, a control batch with the
//! footer; offsets count from 0 through all of them. A file under its final name is complete: it
//! was synced before it was renamed. Anything else is left over from a crash.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use crate::env::disk::{Disk, File, Open};
use crate::log::replace;
use crate::log::write_error::WriteError;
use crate::protocol::messages::snapshot_footer_record::SnapshotFooterRecord;
use crate::protocol::messages::snapshot_header_record::SnapshotHeaderRecord;
use crate::protocol::records::batch::{Batch, BatchError};
use crate::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::records::control::ControlType;
use crate::protocol::records::record::RecordError;
use crate::quorum::control::{self, Control, ControlError, DECOMPRESSED_BYTES_MAX};
use crate::quorum::voters::Voters;
use crate::types::{LeaderEpoch, Offset};

const SUFFIX: &str = ".checkpoint";
const PART_SUFFIX: &str = ".checkpoint.part";
const DELETED_SUFFIX: &str = ".checkpoint.deleted";
const READ_BYTES: u32 = 4 << 20;
/// Batches of a snapshot are closed at about this size.
const BATCH_BYTES: usize = 1 << 20;

/// What a snapshot contains: everything below `end`, whose last record is of `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    pub end: Offset,
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// Written when a cluster is formatted.
    pub const BOOTSTRAP: SnapshotId = SnapshotId { end: Offset(0), epoch: LeaderEpoch(0) };

    pub fn parse(name: &str) -> Option<SnapshotId> {
        let (end, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let digits =
            |text: &str, len| text.len() == len && text.bytes().all(|c| c.is_ascii_digit());
        if !digits(end, 20) || !digits(epoch, 10) {
            return None;
        }
        Some(SnapshotId { end: Offset(end.parse().ok()?), epoch: LeaderEpoch(epoch.parse().ok()?) })
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}{SUFFIX}", self.end.0, self.epoch.0)
    }
}

/// A snapshot, read: the quorum's part and its users' part.
#[derive(Debug, Default)]
pub struct Contents {
    pub control: Control,
    pub values: Vec<Bytes>,
    pub timestamp_ms: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot {what} snapshot {}: {error}", path.display())]
    Io { what: &'static str, path: PathBuf, error: io::Error },
    #[error("no room for snapshot {}: {error}", path.display())]
    NoRoom { path: PathBuf, error: io::Error },
    #[error("snapshot {} is damaged at byte {at}: {what}", path.display())]
    Damaged { path: PathBuf, at: u64, what: String },
}

/// All complete snapshots in `dir`, oldest first. What a crash left half-written is removed.
pub fn list<D: Disk>(disk: &D, dir: &Path) -> io::Result<Vec<SnapshotId>> {
    let mut found = Vec::new();
    for entry in disk.list(dir)? {
        if entry.name.ends_with(PART_SUFFIX) || entry.name.ends_with(DELETED_SUFFIX) {
            disk.remove(&dir.join(&entry.name))?;
        }
        found.extend(SnapshotId::parse(&entry.name));
    }
    found.sort_unstable();
    Ok(found)
}

/// The bytes of a snapshot. `voters` go into it when the log holds them (kraft.version 1).
pub fn encode(
    id: SnapshotId,
    last_contained_ms: i64,
    voters: Option<&Voters>,
    values: impl Iterator<Item = Bytes>,
    now_ms: i64,
) -> Bytes {
    let mut out = BytesMut::new();
    let mut next = Offset(0);
    let mut push = |builder: BatchBuilder| {
        let bytes = builder.build();
        let batch = Batch::parse(&bytes).expect("what was just built reads back");
        next = batch.next_offset();
        out.extend_from_slice(&bytes);
        next
    };
    let options = |base_offset, control| BatchOptions {
        base_offset,
        leader_epoch: id.epoch,
        control,
        ..BatchOptions::default()
    };
    let mut header = BatchBuilder::new(options(Offset(0), true));
    let message =
        SnapshotHeaderRecord { version: 0, last_contained_log_timestamp: last_contained_ms };
    header.push_control(ControlType::SnapshotHeader, now_ms, control::encode(&message));
    if let Some(voters) = voters {
        header.push_control(ControlType::KRaftVersion, now_ms, control::kraft_version(1));
        header.push_control(ControlType::KRaftVoters, now_ms, control::voters(voters));
    }
    let mut at = push(header);
    let mut data = BatchBuilder::new(options(at, false));
    for value in values {
        if data.size_bytes() + value.len() > BATCH_BYTES && !data.is_empty() {
            at = push(data);
            data = BatchBuilder::new(options(at, false));
        }
        let value = Some(value);
        data.push(NewRecord { timestamp_ms: now_ms, key: None, value, headers: vec![] });
    }
    if !data.is_empty() {
        at = push(data);
    }
    let mut footer = BatchBuilder::new(options(at, true));
    let message = control::encode(&SnapshotFooterRecord { version: 0 });
    footer.push_control(ControlType::SnapshotFooter, now_ms, message);
    push(footer);
    out.freeze()
}

/// Returns when the snapshot is durable under its name.
pub async fn write<D: Disk>(
    disk: &D,
    dir: &Path,
    id: SnapshotId,
    bytes: Bytes,
    unique: u64,
) -> Result<(), SnapshotError> {
    let path = dir.join(id.to_string());
    let name = format!("{:020}-{:010}-{unique}{PART_SUFFIX}", id.end.0, id.epoch.0);
    let part = dir.join(name);
    let unwritten = |error| match WriteError::of_write(error) {
        WriteError::NoRoom(error) => SnapshotError::NoRoom { path: path.clone(), error },
        WriteError::Failed(error) => SnapshotError::Io { what: "write", path: path.clone(), error },
    };
    let unsynced = |error| SnapshotError::Io { what: "sync", path: path.clone(), error };
    let file = replace::put(disk, &part, &bytes).map_err(unwritten)?;
    file.sync().await.map_err(unsynced)?;
    disk.rename(&part, &path).map_err(unwritten)?;
    disk.sync_dir(dir).await.map_err(unsynced)
}

pub async fn read<D: Disk>(
    disk: &D,
    dir: &Path,
    id: SnapshotId,
) -> Result<Contents, SnapshotError> {
    let path = dir.join(id.to_string());
    let failed = |error| SnapshotError::Io { what: "read", path: path.clone(), error };
    let file = disk.open(&path, Open::Existing).map_err(failed)?;
    let mut bytes = BytesMut::new();
    loop {
        let piece = file.read_at(bytes.len() as u64, READ_BYTES).await.map_err(failed)?;
        if piece.is_empty() {
            break;
        }
        bytes.extend_from_slice(&piece);
    }
    decode(bytes.freeze()).map_err(|(at, what)| SnapshotError::Damaged { path, at, what })
}

/// The contents, or where and why they are not to be trusted.
pub fn decode(bytes: Bytes) -> Result<Contents, (u64, String)> {
    let mut rest = bytes.clone();
    let mut contents = Contents::default();
    let mut complete = false;
    while !rest.is_empty() {
        let at = (bytes.len() - rest.len()) as u64;
        let damaged = |error: &dyn fmt::Display| (at, error.to_string());
        if complete {
            return Err((at, "batches after the footer".to_owned()));
        }
        let batch = Batch::split(&mut rest).map_err(|error: BatchError| damaged(&error))?;
        let batch = batch.ok_or_else(|| (at, "the file ends within a batch".to_owned()))?;
        batch.verify_crc().map_err(|error| damaged(&error))?;
        if batch.is_control() {
            contents.control.on_batch(&batch).map_err(|e: ControlError| damaged(&e))?;
            complete = holds_footer(&batch).map_err(|error| damaged(&error))?;
        } else {
            contents.timestamp_ms = contents.timestamp_ms.max(batch.max_timestamp_ms());
            for record in batch.records(DECOMPRESSED_BYTES_MAX) {
                let record = record.map_err(|error: RecordError| damaged(&error))?;
                contents.values.push(record.value.unwrap_or_default());
            }
        }
    }
    if !complete {
        return Err((bytes.len() as u64, "the file ends without a footer".to_owned()));
    }
    Ok(contents)
}

fn holds_footer(batch: &Batch) -> Result<bool, ControlError> {
    for record in batch.records(DECOMPRESSED_BYTES_MAX) {
        if ControlType::from_key(record?.key.as_ref())? == ControlType::SnapshotFooter {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::voters::{ReplicaKey, Voter, VoterEndpoint};
    use crate::types::{NodeId, Uuid};

    const ID: SnapshotId = SnapshotId { end: Offset(97), epoch: LeaderEpoch(1) };

    fn voters() -> Voters {
        let key = ReplicaKey { id: NodeId(1), directory: Some(Uuid([7; 16])) };
        let (name, host) = ("CONTROLLER".to_owned(), "localhost".to_owned());
        let endpoints = vec![VoterEndpoint { name, host, port: 9093 }];
        [Voter { key, endpoints, kraft_versions: 0..=1 }].into_iter().collect()
    }

    #[test]
    fn names_are_kafkas() {
        assert_eq!(ID.to_string(), "00000000000000000097-0000000001.checkpoint");
        assert_eq!(SnapshotId::parse(&ID.to_string()), Some(ID));
        assert_eq!(SnapshotId::parse("97-1.checkpoint"), None);
        assert_eq!(SnapshotId::parse("00000000000000000097-0000000001-5.checkpoint.part"), None);
    }

    #[test]
    fn reads_back_as_written() {
        let values: Vec<Bytes> = (0..5000u32).map(|n| vec![n as u8; 700].into()).collect();
        let bytes = encode(ID, 5, Some(&voters()), values.iter().cloned(), 9);
        let contents = decode(bytes).unwrap();
        assert_eq!(contents.values, values);
        assert_eq!(contents.control.kraft_version, 1);
        assert_eq!(contents.control.voters.latest().unwrap().1, &voters());
    }

    #[test]
    fn a_snapshot_cut_anywhere_or_changed_anywhere_is_refused() {
        let values = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        let bytes = encode(ID, 5, Some(&voters()), values.into_iter(), 9);
        for len in 0..bytes.len() {
            assert!(decode(bytes.slice(..len)).is_err(), "cut at {len}");
        }
        for at in 17..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x10;
            // Base offset and leader epoch lie outside the checksum.
            let read = decode(changed.into());
            assert!(read.is_err() || read.unwrap().values.len() == 2, "changed at {at}");
        }
    }
}
