//! One segment read back: its end, its indexes, the epochs in it.
//!
//! `tail` trusts the segment and looks at the headers after the last index entry. `scan` trusts
//! only what lies before the recovery point and takes every checksum from there on.

use std::io;
use std::path::Path;

use crate::env::disk::{Disk, File, Open};
use crate::env::{Env, FileOf};
use crate::log::LogConfig;
use crate::log::epochs::Epochs;
use crate::log::index::{self, OffsetEntry, SegmentIndex, TimeEntry};
use crate::log::recovery::listing::Files;
use crate::log::replace::replace;
use crate::log::scan::{Scanner, Step};
use crate::log::segment::{Kind, path};
use crate::log::write_error::WriteError;
use crate::protocol::records::batch::BatchHeader;
use crate::types::Offset;

/// What was read of a segment.
pub struct Loaded {
    pub base: Offset,
    /// Bytes of whole, valid batches.
    pub size: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The offset after the last batch; the base of an empty segment.
    pub end: Offset,
    pub first_timestamp_ms: Option<i64>,
    pub index: SegmentIndex,
    /// Why the valid part ends before the file does.
    pub invalid: Option<String>,
    pub scanned_bytes: u64,
}

/// How much of the log to believe.
#[derive(Clone, Copy)]
pub struct Trust {
    pub recovery_point: Offset,
    /// Offsets may be missing between batches.
    pub gaps: bool,
}

/// Where the index files say to begin.
struct Entry {
    position: u64,
    /// Where the batch there begins; the segment's base when it is the first one.
    start: Offset,
    /// The last offset of the batch there, which has its entry.
    last: Option<u32>,
    index: SegmentIndex,
    /// The index is made anew from here on, and not taken as it is.
    rebuild: bool,
}

/// Segments are far smaller: what lies beyond is no part of one.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// Reads the end of a segment that was closed in order, up to `limit`.
pub async fn tail<E: Env>(
    env: &E,
    dir: &Path,
    base: Offset,
    files: Files,
    config: &LogConfig,
    limit: Option<Offset>,
) -> io::Result<Loaded> {
    let log = env.disk().open(&path(dir, base, Kind::Log), Open::Existing)?;
    let file_bytes = log.len()?;
    let below = limit.map(|limit| Offset(limit.0 - 1));
    let mut entry = entry::<E>(env, dir, base, files, below, &log, false).await?;
    let (at, valid_bytes) = (entry.position, file_bytes.min(SEGMENT_BYTES_MAX));
    let mut scanner = Scanner::new(log.clone(), at, valid_bytes);
    let first_timestamp_ms = first_timestamp(&log, file_bytes).await?;
    let mut end = entry.start;
    let mut invalid = None;
    loop {
        match scanner.header().await? {
            Step::Batch(batch) if limit.is_some_and(|limit| batch.last_offset() >= limit) => break,
            Step::Batch(batch) => {
                if let Some(error) = out_of_place(&batch, base, end) {
                    invalid = Some(error);
                    break;
                }
                entry.take(&batch, base, scanner.at(), config);
                end = batch.next_offset();
                scanner.skip(&batch);
            }
            Step::End => break,
            Step::Invalid(error) => {
                invalid = Some(error.to_string());
                break;
            }
        }
    }
    let size = scanner.at();
    let index = entry.index;
    Ok(Loaded { base, size, file_bytes, end, first_timestamp_ms, index, invalid, scanned_bytes: 0 })
}

/// Takes the checksums of a segment from the last index entry before the recovery point on.
/// `expected` is where the segment before it ended.
pub async fn scan<E: Env>(
    env: &E,
    dir: &Path,
    base: Offset,
    files: Files,
    config: &LogConfig,
    trust: Trust,
    epochs: &mut Epochs,
) -> io::Result<Loaded> {
    let log = env.disk().open(&path(dir, base, Kind::Log), Open::Existing)?;
    let file_bytes = log.len()?;
    let below = Some(Offset(trust.recovery_point.0 - 1));
    let mut entry = entry::<E>(env, dir, base, files, below, &log, true).await?;
    let (started_at, valid_bytes) = (entry.position, file_bytes.min(SEGMENT_BYTES_MAX));
    let mut scanner = Scanner::thorough(log.clone(), started_at, valid_bytes);
    let first_timestamp_ms = first_timestamp(&log, file_bytes).await?;
    let mut end = entry.start;
    let mut invalid = None;
    while invalid.is_none() {
        match scanner.header().await? {
            Step::Batch(batch) => {
                let expected = if scanner.at() == started_at { None } else { Some(end) };
                invalid = out_of_place(&batch, base, end)
                    .or_else(|| gap(&batch, expected, trust))
                    .or_else(|| older_leader(&batch, epochs, trust));
                if invalid.is_some() {
                    break;
                }
                if let Err(error) = scanner.verify(&batch).await? {
                    invalid = Some(error.to_string());
                    break;
                }
                entry.take(&batch, base, scanner.at(), config);
                learn_epoch(&batch, epochs);
                end = batch.next_offset();
                scanner.skip(&batch);
            }
            Step::End => break,
            Step::Invalid(error) => invalid = Some(error.to_string()),
        }
    }
    let size = scanner.at();
    let scanned_bytes = size - started_at;
    let mut index = entry.index;
    index.add_time();
    Ok(Loaded { base, size, file_bytes, end, first_timestamp_ms, index, invalid, scanned_bytes })
}

/// The epochs of all batches of a segment, up to where the `next` one begins. What is out of place
/// was torn: its epoch may be as wrong as its offset.
pub async fn learn_epochs<E: Env>(
    env: &E,
    dir: &Path,
    base: Offset,
    next: Option<Offset>,
    epochs: &mut Epochs,
) -> io::Result<()> {
    let log = env.disk().open(&path(dir, base, Kind::Log), Open::Existing)?;
    let mut scanner = Scanner::new(log.clone(), 0, log.len()?);
    let mut end = base;
    while let Step::Batch(batch) = scanner.header().await? {
        let beyond = next.is_some_and(|next| batch.last_offset() >= next);
        if beyond || out_of_place(&batch, base, end).is_some() {
            break;
        }
        learn_epoch(&batch, epochs);
        end = batch.next_offset();
        scanner.skip(&batch);
    }
    Ok(())
}

/// Writes the indexes of a segment that was scanned, and leaves nothing else in their files.
pub fn write_index<E: Env>(env: &E, dir: &Path, loaded: &mut Loaded) -> io::Result<[FileOf<E>; 2]> {
    let disk = env.disk();
    let offsets = disk.open(&path(dir, loaded.base, Kind::Index), Open::OrCreate)?;
    let times = disk.open(&path(dir, loaded.base, Kind::TimeIndex), Open::OrCreate)?;
    let pending = loaded.index.pending();
    offsets.set_len(pending.offsets_at)?;
    offsets.write_at(pending.offsets_at, &[io::IoSlice::new(&pending.offsets)])?;
    times.set_len(pending.times_at)?;
    times.write_at(pending.times_at, &[io::IoSlice::new(&pending.times)])?;
    loaded.index.on_written();
    Ok([offsets, times])
}

/// Whether `loaded` has a whole index that is in no file yet.
pub fn is_index_new(loaded: &Loaded) -> bool {
    let index = &loaded.index;
    index.has_pending() && index.offsets_written() == 0 && index.times_written() == 0
}

/// Makes the index files of a segment durable that are believed from now on because they are there.
/// Interrupted, one of them is missing or as it was, and they are made again: never is the offset
/// index ahead of the time index.
pub async fn replace_index<E: Env>(env: &E, dir: &Path, loaded: &mut Loaded) -> io::Result<()> {
    assert!(is_index_new(loaded) || !loaded.index.has_pending(), "whole, or nothing to tell");
    let pending = loaded.index.pending();
    for (kind, entries) in [(Kind::TimeIndex, &pending.times), (Kind::Index, &pending.offsets)] {
        let replaced = replace(env.disk(), &path(dir, loaded.base, kind), entries).await;
        replaced.map_err(WriteError::into_io)?;
    }
    loaded.index.on_written();
    Ok(())
}

/// Leaves nothing in the index files of a segment but what `index` says. Answers those that were
/// longer.
pub fn trim_index<E: Env>(
    env: &E,
    dir: &Path,
    base: Offset,
    index: &SegmentIndex,
) -> io::Result<Vec<FileOf<E>>> {
    let pending = index.pending();
    let mut trimmed = Vec::new();
    for (kind, at) in [(Kind::Index, pending.offsets_at), (Kind::TimeIndex, pending.times_at)] {
        match env.disk().open(&path(dir, base, kind), Open::Existing) {
            Ok(file) if file.len()? > at => {
                file.set_len(at)?;
                trimmed.push(file);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(trimmed)
}

impl Entry {
    fn start(base: Offset) -> Entry {
        let index = SegmentIndex::default();
        Entry { position: 0, start: base, last: None, index, rebuild: true }
    }

    fn take(&mut self, batch: &BatchHeader, base: Offset, at: u64, config: &LogConfig) {
        let last = u32::try_from(batch.last_offset().0 - base.0).expect("checked by out_of_place");
        let position = u32::try_from(at).expect("no batch is read beyond SEGMENT_BYTES_MAX");
        let found = OffsetEntry { last, position };
        let (size, timestamp_ms) = (batch.size_bytes(), batch.max_timestamp_ms());
        if self.rebuild && self.last != Some(last) {
            self.index.on_batch(found, size, timestamp_ms, config.index_interval_bytes);
        } else {
            self.index.on_known_batch(found, size, timestamp_ms);
        }
    }
}

/// The last entry at or below `below` that the log confirms; the segment's beginning otherwise.
/// `None`: all of the index files is believed, as a clean stop leaves them. With `rebuild` nothing in
/// the indexes after the entry is believed.
async fn entry<E: Env>(
    env: &E,
    dir: &Path,
    base: Offset,
    files: Files,
    below: Option<Offset>,
    log: &FileOf<E>,
    rebuild: bool,
) -> io::Result<Entry> {
    if !files.has_indexes() || below.is_some_and(|below| below < base) {
        return Ok(Entry::start(base));
    }
    let most = i64::from(i32::MAX);
    let relative = below.map_or(most, |below| (below.0 - base.0).min(most));
    let relative = u32::try_from(relative).expect("bounded");
    let offsets = env.disk().open(&path(dir, base, Kind::Index), Open::Existing)?;
    let found = index::floor_offset(&offsets, u32::MAX, relative).await?;
    let (mut position, mut start, mut last, mut offsets_written) = (0, base, None, 0);
    if let Some((at, entry)) = found {
        let mut scanner = Scanner::new(log.clone(), entry.position.into(), log.len()?);
        let named = base.plus(entry.last.into());
        match scanner.header().await? {
            Step::Batch(batch) if batch.last_offset() == named => start = batch.base_offset(),
            _ => return Ok(Entry::start(base)),
        }
        (position, last, offsets_written) = (entry.position.into(), Some(entry.last), at + 1);
    } else if rebuild {
        return Ok(Entry::start(base));
    }
    let times = env.disk().open(&path(dir, base, Kind::TimeIndex), Open::Existing)?;
    let times_to = if rebuild { last.unwrap_or(0) } else { relative };
    let time = index::floor_time(&times, u32::MAX, |time| time.last <= times_to).await?;
    if let Some((_, time)) = time
        && (rebuild || below.is_some())
        && !confirms(log, base, &offsets, time).await?
    {
        return Ok(Entry::start(base));
    }
    if rebuild && time.is_none() {
        // Each entry of the offset index has one in the time index: it was lost.
        return Ok(Entry::start(base));
    }
    let times_written = time.map_or(0, |(at, _)| at + 1);
    let index = SegmentIndex::resume(offsets_written, times_written, time.map(|(_, entry)| entry));
    Ok(Entry { position, start, last, index, rebuild })
}

/// Whether the batch that a time entry names has that time: after a power loss the file may end in
/// half an entry.
async fn confirms<F: File>(
    log: &F,
    base: Offset,
    offsets: &F,
    time: TimeEntry,
) -> io::Result<bool> {
    let named = base.plus(time.last.into());
    let floor = index::floor_offset(offsets, u32::MAX, time.last).await?;
    let at = floor.map_or(0, |(_, entry)| entry.position.into());
    let mut scanner = Scanner::new(log.clone(), at, log.len()?);
    loop {
        match scanner.header().await? {
            Step::Batch(batch) if batch.last_offset() < named => scanner.skip(&batch),
            Step::Batch(batch) => {
                let has_it = batch.max_timestamp_ms() == time.timestamp_ms;
                return Ok(batch.last_offset() == named && has_it);
            }
            _ => return Ok(false),
        }
    }
}

async fn first_timestamp<F: File>(log: &F, file_bytes: u64) -> io::Result<Option<i64>> {
    match Scanner::new(log.clone(), 0, file_bytes).header().await? {
        Step::Batch(batch) => Ok(Some(batch.max_timestamp_ms())),
        _ => Ok(None),
    }
}

fn out_of_place(batch: &BatchHeader, base: Offset, end: Offset) -> Option<String> {
    let (first, last) = (batch.base_offset(), batch.last_offset());
    if first < end || first < base {
        return Some(format!("a batch at offset {first} after offset {end}"));
    }
    let far = last.0 - base.0 > i64::from(i32::MAX);
    far.then(|| format!("a batch up to offset {last} in segment {base}"))
}

/// Past the recovery point a gap means that what was between is lost.
fn gap(batch: &BatchHeader, expected: Option<Offset>, trust: Trust) -> Option<String> {
    let expected = expected?;
    let first = batch.base_offset();
    let lost = first > expected && first >= trust.recovery_point && !trust.gaps;
    lost.then(|| format!("a batch at offset {first}, {expected} expected"))
}

/// Old bytes may show up again behind a truncation that was not synced.
fn older_leader(batch: &BatchHeader, epochs: &Epochs, trust: Trust) -> Option<String> {
    let epoch = batch.leader_epoch();
    let latest = epochs.latest().filter(|latest| epoch < *latest)?;
    let past = batch.base_offset() >= trust.recovery_point;
    past.then(|| format!("a batch of leader epoch {} after epoch {}", epoch.0, latest.0))
}

fn learn_epoch(batch: &BatchHeader, epochs: &mut Epochs) {
    let epoch = batch.leader_epoch();
    if epoch.0 >= 0 && epochs.latest().is_none_or(|latest| latest < epoch) {
        epochs.assign(epoch, batch.base_offset());
    }
}
