//! The segments of a log: the closed ones, by name and size, and the one that is written to.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use crate::env::disk::{Disk, Open};
use crate::log::index::SegmentIndex;
use crate::types::Offset;

/// What a file of a segment is for, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Log,
    Index,
    TimeIndex,
    TxnIndex,
    /// Belongs to an offset, most often a segment's base.
    Snapshot,
}

pub const KINDS: [Kind; 5] =
    [Kind::Log, Kind::Index, Kind::TimeIndex, Kind::TxnIndex, Kind::Snapshot];

impl Kind {
    pub fn ending(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Index => "index",
            Kind::TimeIndex => "timeindex",
            Kind::TxnIndex => "txnindex",
            Kind::Snapshot => "snapshot",
        }
    }
}

/// `<20 digits>.<kind>`
pub fn file_name(base: Offset, kind: Kind) -> String {
    format!("{:020}.{}", base.0, kind.ending())
}

pub fn path(dir: &Path, base: Offset, kind: Kind) -> PathBuf {
    dir.join(file_name(base, kind))
}

/// Where a file of a segment that was let go of waits for its readers.
pub fn deleted_path(dir: &Path, base: Offset, kind: Kind) -> PathBuf {
    dir.join(format!("{}.deleted", file_name(base, kind)))
}

/// Reads what `file_name` writes. Other names are `None`, those with a second ending too.
pub fn parse_name(name: &str) -> Option<(Offset, Kind)> {
    let (digits, ending) = name.split_once('.')?;
    let kind = KINDS.into_iter().find(|kind| kind.ending() == ending)?;
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), kind))
}

/// A segment that is complete: nothing is ever appended to it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    pub base: Offset,
    pub has_txn_index: bool,
    /// Known when it was closed by us, or asked for since.
    pub measured: Option<Measured>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    pub bytes: u64,
    /// When its youngest record was made; when the file was last written if no record says.
    pub largest_timestamp_ms: i64,
}

/// The segment that is written to.
pub struct Active<F> {
    pub base: Offset,
    /// Bytes of whole batches. The file may be longer after a failed write.
    pub size: u32,
    /// Of the first batch: `segment.ms` counts from there.
    pub first_timestamp_ms: Option<i64>,
    pub created_ms: i64,
    pub index: SegmentIndex,
    pub has_txn_index: bool,
    /// A write failed: there may be bytes beyond `size`.
    pub ragged: bool,
    /// Where the latest batches begin; the newest last. Spares tail reads the index.
    recent: VecDeque<Recent>,
    /// Where the latest syncs began: the high watermark stops there, however many batches ago.
    marks: [(Offset, u32); MARKS],
    log: Option<F>,
    offset_index: Option<F>,
    time_index: Option<F>,
}

#[derive(Clone, Copy)]
struct Recent {
    first: Offset,
    end: Offset,
    position: u32,
}

const MARKS: usize = 4;

/// Batches whose positions are remembered.
const RECENT_MAX: usize = 128;

impl<F: Clone> Active<F> {
    pub fn new(base: Offset, created_ms: i64) -> Active<F> {
        Active {
            base,
            size: 0,
            first_timestamp_ms: None,
            created_ms,
            index: SegmentIndex::default(),
            has_txn_index: false,
            ragged: false,
            recent: VecDeque::new(),
            marks: [(base, 0); MARKS],
            log: None,
            offset_index: None,
            time_index: None,
        }
    }

    /// The file of records, opened when it was not.
    pub fn log<D: Disk<File = F>>(&mut self, disk: &D, dir: &Path) -> io::Result<&F> {
        opened(&mut self.log, disk, dir, self.base, Kind::Log)
    }

    pub fn offset_index<D: Disk<File = F>>(&mut self, disk: &D, dir: &Path) -> io::Result<&F> {
        opened(&mut self.offset_index, disk, dir, self.base, Kind::Index)
    }

    pub fn time_index<D: Disk<File = F>>(&mut self, disk: &D, dir: &Path) -> io::Result<&F> {
        opened(&mut self.time_index, disk, dir, self.base, Kind::TimeIndex)
    }

    /// The file of records, if it is open.
    pub fn log_if_open(&self) -> Option<&F> {
        self.log.as_ref()
    }

    pub fn offset_index_if_open(&self) -> Option<&F> {
        self.offset_index.as_ref()
    }

    pub fn time_index_if_open(&self) -> Option<&F> {
        self.time_index.as_ref()
    }

    /// `offset`, relative to the base, as the indexes count.
    pub fn relative(&self, offset: Offset) -> u32 {
        let relative = offset.0 - self.base.0;
        u32::try_from(relative).expect("a segment spans fewer than 2^31 offsets")
    }

    /// A batch was written at `position`.
    pub fn on_batch(&mut self, first: Offset, end: Offset, position: u32) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { first, end, position });
    }

    /// Where the first batch that reaches beyond `offset` begins; `None` when that is long ago.
    pub fn recent_position(&self, offset: Offset, log_end: Offset) -> Option<u32> {
        if offset == log_end {
            return Some(self.size);
        }
        if let Some((_, position)) = self.marks.iter().find(|(end, _)| *end == offset) {
            return Some(*position);
        }
        let at = self.recent.partition_point(|batch| batch.end <= offset);
        let found = self.recent.get(at)?;
        (at > 0 || found.first <= offset).then_some(found.position)
    }

    /// Where the batch at `position` ends, if it is one of the latest.
    pub fn recent_batch_end(&self, position: u32) -> Option<u32> {
        let after = self.recent.partition_point(|batch| batch.position <= position);
        let next = self.recent.get(after).map_or(self.size, |next| next.position);
        (after > 0).then_some(next)
    }

    /// A sync of everything up to `end` begins.
    pub fn mark(&mut self, end: Offset) {
        self.marks.rotate_left(1);
        self.marks[MARKS - 1] = (end, self.size);
    }

    pub fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Lets go of files and buffers.
    pub fn release(&mut self) {
        self.log = None;
        self.offset_index = None;
        self.time_index = None;
        self.recent = VecDeque::new();
        self.index.shrink();
    }
}

fn opened<'a, D: Disk>(
    slot: &'a mut Option<D::File>,
    disk: &D,
    dir: &Path,
    base: Offset,
    kind: Kind,
) -> io::Result<&'a D::File> {
    if slot.is_none() {
        *slot = Some(disk.open(&path(dir, base, kind), Open::OrCreate)?);
    }
    Ok(slot.as_ref().expect("opened above"))
}
