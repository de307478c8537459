//! The sparse indexes of a segment: offset to position, and timestamp to offset.
//!
//! Offset index: 8 bytes an entry (relative offset i32, position i32): the last offset of a batch
//! and where that batch begins. Time index: 12 bytes (timestamp i64, relative offset i32): the
//! largest timestamp so far and the last offset of its batch. All columns strictly grow. Kafka
//! preallocates the files with zeroes, so an all-zero entry lies past the end of what is used.
//!
//! [`SegmentIndex`] is pure: what the open segment must know to add entries, and those not
//! written yet. Nothing else of an index stays in memory; searches read the file.

use bytes::{Buf, Bytes, BytesMut};

use crate::env::disk::File;
use crate::log::LogConfig;

pub const OFFSET_ENTRY_BYTES: u32 = 8;
pub const TIME_ENTRY_BYTES: u32 = 12;

/// Entries held back before they are written, so that most appends touch one file only.
const PENDING_MAX: usize = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffsetEntry {
    /// The batch's last offset, relative to the segment's base.
    pub last: u32,
    /// Where the batch begins. Never 0: the first batch needs no entry.
    pub position: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp_ms: i64,
    /// The last offset of the batch that has it, relative to the segment's base.
    pub last: u32,
}

/// The writing end of both indexes of one segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SegmentIndex {
    /// Entries in the files.
    offsets_written: u32,
    times_written: u32,
    /// Entries that are not in the files yet.
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    last_time: Option<TimeEntry>,
    /// The largest timestamp of the segment, indexed or not.
    max_time: Option<TimeEntry>,
    /// Log bytes since the batch of the last entry began, or since the segment was opened.
    bytes_since: u32,
}

impl SegmentIndex {
    /// The indexes of a segment whose files hold so many entries, the last of them given.
    pub fn resume(offsets_written: u32, times_written: u32, last: Option<TimeEntry>) -> Self {
        SegmentIndex {
            offsets_written,
            times_written,
            last_time: last,
            max_time: last,
            ..SegmentIndex::default()
        }
    }

    /// A batch was appended.
    pub fn on_batch(&mut self, entry: OffsetEntry, size: u32, timestamp_ms: i64, interval: u32) {
        self.on_timestamp(TimeEntry { timestamp_ms, last: entry.last });
        if self.bytes_since > interval {
            self.offsets.push(entry);
            self.add_time();
            self.bytes_since = 0;
        }
        self.bytes_since = self.bytes_since.saturating_add(size);
    }

    /// A batch that has its entry already, or needs none, was read back.
    pub fn on_known_batch(&mut self, entry: OffsetEntry, size: u32, timestamp_ms: i64) {
        self.on_timestamp(TimeEntry { timestamp_ms, last: entry.last });
        self.bytes_since = size;
    }

    fn on_timestamp(&mut self, seen: TimeEntry) {
        if self.max_time.map_or(-1, |max| max.timestamp_ms) < seen.timestamp_ms {
            self.max_time = Some(seen);
        }
    }

    /// Adds the largest timestamp if the last entry does not have it. Also what closes a segment.
    pub fn add_time(&mut self) {
        let Some(max) = self.max_time else { return };
        if self.last_time.map_or(-1, |last| last.timestamp_ms) < max.timestamp_ms {
            self.times.push(max);
            self.last_time = Some(max);
        }
    }

    /// The counter of bytes starts anew when a log is opened, as Kafka's does.
    pub fn on_opened(&mut self) {
        self.bytes_since = 0;
    }

    pub fn max_time(&self) -> Option<TimeEntry> {
        self.max_time
    }

    /// No room for another entry: the segment must roll.
    pub fn is_full(&self, config: &LogConfig) -> bool {
        let offsets = self.offsets_written + self.offsets.len() as u32;
        let times = self.times_written + self.times.len() as u32;
        // The time index keeps room for the entry that closes the segment.
        offsets >= config.segment_index_bytes / OFFSET_ENTRY_BYTES
            || times + 1 >= config.segment_index_bytes / TIME_ENTRY_BYTES
    }

    pub fn offsets_written(&self) -> u32 {
        self.offsets_written
    }

    pub fn times_written(&self) -> u32 {
        self.times_written
    }

    pub fn has_pending(&self) -> bool {
        !self.offsets.is_empty() || !self.times.is_empty()
    }

    pub fn wants_write(&self) -> bool {
        self.offsets.len().max(self.times.len()) >= PENDING_MAX
    }

    /// The entries to write, with the positions in their files.
    pub fn pending(&self) -> Pending {
        let mut pending = Pending {
            offsets_at: u64::from(self.offsets_written * OFFSET_ENTRY_BYTES),
            offsets: Vec::with_capacity(self.offsets.len() * OFFSET_ENTRY_BYTES as usize),
            times_at: u64::from(self.times_written * TIME_ENTRY_BYTES),
            times: Vec::with_capacity(self.times.len() * TIME_ENTRY_BYTES as usize),
        };
        for entry in &self.offsets {
            pending.offsets.extend(entry.last.to_be_bytes());
            pending.offsets.extend(entry.position.to_be_bytes());
        }
        for entry in &self.times {
            pending.times.extend(entry.timestamp_ms.to_be_bytes());
            pending.times.extend(entry.last.to_be_bytes());
        }
        pending
    }

    /// All that `pending` named is in the files.
    pub fn on_written(&mut self) {
        self.offsets_written += self.offsets.len() as u32;
        self.times_written += self.times.len() as u32;
        self.offsets.clear();
        self.times.clear();
    }

    /// The last entry at or before `last` among those not written yet.
    pub fn floor_pending(&self, last: u32) -> Option<OffsetEntry> {
        let above = self.offsets.partition_point(|entry| entry.last <= last);
        above.checked_sub(1).map(|at| self.offsets[at])
    }

    /// Gives back the memory of an idle segment.
    pub fn shrink(&mut self) {
        self.offsets.shrink_to_fit();
        self.times.shrink_to_fit();
    }
}

/// Encoded entries and where they go.
#[derive(Debug)]
pub struct Pending {
    pub offsets_at: u64,
    pub offsets: Vec<u8>,
    pub times_at: u64,
    pub times: Vec<u8>,
}

/// The last entry with `last <= asked` of the first `entries_max` in the file.
pub async fn floor_offset<F: File>(
    file: &F,
    entries_max: u32,
    asked: u32,
) -> std::io::Result<Option<(u32, OffsetEntry)>> {
    let used = |mut entry: &[u8]| {
        let (last, position) = (entry.get_u32(), entry.get_u32());
        position != 0 && last <= asked
    };
    let found = last_where(file, OFFSET_ENTRY_BYTES, entries_max, used).await?;
    Ok(found.map(|(at, mut entry)| {
        (at, OffsetEntry { last: entry.get_u32(), position: entry.get_u32() })
    }))
}

/// The last entry that `accept` takes, which must hold for a prefix of the entries.
pub async fn floor_time<F: File>(
    file: &F,
    entries_max: u32,
    accept: impl Fn(TimeEntry) -> bool,
) -> std::io::Result<Option<(u32, TimeEntry)>> {
    let read = |mut entry: &[u8]| {
        let (timestamp_ms, last) = (entry.get_i64(), entry.get_u32());
        TimeEntry { timestamp_ms, last }
    };
    let used = |entry: &[u8]| entry.iter().any(|byte| *byte != 0) && accept(read(entry));
    let found = last_where(file, TIME_ENTRY_BYTES, entries_max, used).await?;
    Ok(found.map(|(at, entry)| (at, read(&entry))))
}

/// Entries that are read at once when the search has come that close.
const BLOCK_ENTRIES: u32 = 256;

/// Binary search for the last entry for which `used` holds; it must hold for a prefix.
async fn last_where<F: File>(
    file: &F,
    entry_bytes: u32,
    entries_max: u32,
    used: impl Fn(&[u8]) -> bool,
) -> std::io::Result<Option<(u32, Bytes)>> {
    let in_file = u32::try_from(file.len()? / u64::from(entry_bytes)).unwrap_or(u32::MAX);
    let (mut low, mut high) = (0, entries_max.min(in_file));
    // Below `low` entries are used, from `high` on they are not.
    while high - low > BLOCK_ENTRIES {
        let middle = low + (high - low) / 2;
        let entry = read(file, u64::from(middle) * u64::from(entry_bytes), entry_bytes).await?;
        if entry.len() == entry_bytes as usize && used(&entry) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let first = low.saturating_sub(1);
    let at = u64::from(first) * u64::from(entry_bytes);
    let block = read(file, at, (high - first) * entry_bytes).await?;
    let count = block.chunks_exact(entry_bytes as usize).take_while(|entry| used(entry)).count();
    Ok(count.checked_sub(1).map(|last| {
        let start = last * entry_bytes as usize;
        (first + last as u32, block.slice(start..start + entry_bytes as usize))
    }))
}

/// Reads from the page cache when it can, and waits for the device when it must.
pub async fn read<F: File>(file: &F, at: u64, len_max: u32) -> std::io::Result<Bytes> {
    let mut buffer = BytesMut::with_capacity(len_max as usize);
    match file.try_read_at(at, len_max, &mut buffer)? {
        Some(len) if len == len_max => Ok(buffer.freeze()),
        _ => file.read_at(at, len_max).await,
    }
}
