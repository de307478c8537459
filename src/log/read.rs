//! Reading: from an offset to a region of a file.
//!
//! `Log::read` looks at memory only. Reads near the end are answered there and then; others become
//! a plan that reads the index outside the lock. A region holds whole batches, but for its end
//! where the size limit cuts it, and never passes the limit that the caller may see.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::env::disk::{Disk, File, Open};
use crate::env::{Env, FileOf};
use crate::log::Log;
use crate::log::index::{self, OffsetEntry};
use crate::log::scan::{Scanner, Step};
use crate::log::segment::{Active, Closed, Kind, deleted_path, path};
use crate::log::transactions::{self, AbortedTransaction};
use crate::types::Offset;

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub from: Offset,
    /// Nothing at or past this is shown: high watermark, last stable offset, or the log's end.
    pub limit: Offset,
    pub bytes_max: u32,
    /// The first batch comes whole, however large.
    pub at_least_one: bool,
    /// Name the aborted transactions that overlap (read_committed).
    pub aborted: bool,
}

/// Where records lie.
pub struct Region<E: Env> {
    /// `None` when there are none.
    pub file: Option<FileOf<E>>,
    pub at: u64,
    pub len: u32,
    /// Bytes that may be seen, from `at` to the end of the segment, whatever the size limit.
    pub available: u32,
    /// In the order of their markers.
    pub aborted: Vec<AbortedTransaction>,
    /// It lies in a closed segment, and a later one holds more.
    pub has_more: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {asked} is outside of the log, which holds {start} to {end}")]
pub struct OutOfRange {
    pub asked: Offset,
    pub start: Offset,
    pub end: Offset,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The segment was deleted meanwhile: ask the log again.
    #[error("the segment is gone")]
    Gone,
    #[error("segment {} has no batch where one must be, at byte {at}", base.0)]
    Damaged { base: Offset, at: u64 },
    #[error("cannot read: {0}")]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        match error.kind() {
            io::ErrorKind::NotFound => ReadError::Gone,
            _ => ReadError::Io(error),
        }
    }
}

/// A read under way; `resolve` finishes it outside the lock.
pub enum ReadPlan<E: Env> {
    Ready(Region<E>),
    Lookup(Box<Lookup<E>>),
}

/// The segments of a log, as they were when the lock was let go.
pub struct Lookup<E: Env> {
    pub(super) view: View<E>,
    wanted: Wanted,
    /// Known positions in the open segment.
    from_position: Option<u32>,
    limit_position: Option<u32>,
}

/// What lookups read: it stays right while the log goes on.
pub(super) struct View<E: Env> {
    pub env: E,
    pub dir: Arc<Path>,
    pub closed: Arc<Vec<Closed>>,
    pub active: OpenSegment<FileOf<E>>,
    pub end: Offset,
}

pub(super) struct OpenSegment<F> {
    pub base: Offset,
    pub size: u32,
    pub has_txn_index: bool,
    pub log: Option<F>,
    pub offsets_written: u32,
    pub times_written: u32,
    pub max_timestamp_ms: Option<i64>,
    /// The best index entries for the offsets asked for, among those not in the file.
    pub floors: [Option<OffsetEntry>; 2],
}

/// One segment as lookups see it.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub base: Offset,
    /// The next segment's base, or the log's end.
    pub end: Offset,
    pub is_open: bool,
    pub has_txn_index: bool,
}

impl<E: Env> Log<E> {
    /// Plans a read. An offset between the limit and the log's end gives nothing and no error.
    pub fn read(&self, wanted: &Wanted) -> Result<ReadPlan<E>, OutOfRange> {
        let Wanted { from, limit, .. } = *wanted;
        if from < self.start || from > self.end {
            return Err(OutOfRange { asked: from, start: self.start, end: self.end });
        }
        let limit = limit.min(self.end);
        if from >= limit {
            return Ok(ReadPlan::Ready(Region::empty()));
        }
        let active = &self.active;
        let (mut from_position, mut limit_position) = (None, None);
        if from >= active.base {
            from_position = active.recent_position(from, self.end);
        }
        if limit > active.base {
            limit_position = active.recent_position(limit, self.end);
        }
        if let (Some(from_at), Some(limit_at), Some(log)) =
            (from_position, limit_position, active.log_if_open())
            && !(wanted.aborted && self.has_aborted())
        {
            // Where the first batch ends matters only to a read that may not take them all.
            let available = limit_at - from_at;
            let takes_all = available <= wanted.bytes_max;
            let first_end = if takes_all { None } else { active.recent_batch_end(from_at) };
            if takes_all || first_end.is_some() {
                let len = wanted.cut(from_at, first_end.unwrap_or(limit_at), limit_at);
                let (file, at) = ((len > 0).then(|| log.clone()), u64::from(from_at));
                let region = Region { file, at, len, available, aborted: vec![], has_more: false };
                return Ok(ReadPlan::Ready(region));
            }
        }
        let wanted = Wanted { limit, ..*wanted };
        let view = self.view([from, limit]);
        let lookup = Lookup { view, wanted, from_position, limit_position };
        Ok(ReadPlan::Lookup(Box::new(lookup)))
    }

    fn has_aborted(&self) -> bool {
        self.active.has_txn_index || self.closed.iter().any(|closed| closed.has_txn_index)
    }

    pub(super) fn view(&self, asked: [Offset; 2]) -> View<E> {
        let active = &self.active;
        let floor = |offset: Offset| {
            let inside = offset >= active.base;
            inside.then(|| active.index.floor_pending(active.relative(offset))).flatten()
        };
        View {
            env: self.env.clone(),
            dir: self.dir.clone(),
            closed: self.closed.clone(),
            active: OpenSegment { floors: asked.map(floor), ..OpenSegment::of(active) },
            end: self.end,
        }
    }
}

impl<F: Clone> OpenSegment<F> {
    fn of(active: &Active<F>) -> OpenSegment<F> {
        OpenSegment {
            base: active.base,
            size: active.size,
            has_txn_index: active.has_txn_index,
            log: active.log_if_open().cloned(),
            offsets_written: active.index.offsets_written(),
            times_written: active.index.times_written(),
            max_timestamp_ms: active.index.max_time().map(|max| max.timestamp_ms),
            floors: [None; 2],
        }
    }
}

impl<E: Env> Region<E> {
    pub fn empty() -> Region<E> {
        let (at, len, available) = (0, 0, 0);
        Region { file: None, at, len, available, aborted: Vec::new(), has_more: false }
    }
}

impl Wanted {
    /// Bytes to give when the first batch spans `from..first_end` and nothing past `limit` shows.
    fn cut(&self, from: u32, first_end: u32, limit: u32) -> u32 {
        let whole = limit.saturating_sub(from);
        let first = first_end.min(limit).saturating_sub(from);
        match whole.min(self.bytes_max) {
            // Less than one batch is of no use to anyone.
            len if len < first => {
                if self.at_least_one {
                    first
                } else {
                    0
                }
            }
            len => len,
        }
    }
}

impl<E: Env> ReadPlan<E> {
    /// The region, if memory knew it.
    pub fn ready(self) -> Result<Region<E>, Box<Lookup<E>>> {
        match self {
            ReadPlan::Ready(region) => Ok(region),
            ReadPlan::Lookup(lookup) => Err(lookup),
        }
    }

    pub async fn resolve(self) -> Result<Region<E>, ReadError> {
        match self {
            ReadPlan::Ready(region) => Ok(region),
            ReadPlan::Lookup(lookup) => lookup.resolve().await,
        }
    }
}

impl<E: Env> Lookup<E> {
    /// Finds the region through the index. `Gone` when a segment was deleted meanwhile.
    pub async fn resolve(&self) -> Result<Region<E>, ReadError> {
        let mut from = self.wanted.from;
        while from < self.wanted.limit {
            let part = self.view.part_of(from);
            let known = if part.is_open { self.from_position } else { None };
            if let Some(mut region) = self.find(&part, from, known).await? {
                if self.wanted.aborted {
                    region.aborted = self.aborted(&part).await?;
                }
                return Ok(region);
            }
            // Compaction may leave nothing at the end of a segment.
            from = part.end;
        }
        Ok(Region::empty())
    }

    async fn find(
        &self,
        part: &Part,
        from: Offset,
        known: Option<u32>,
    ) -> Result<Option<Region<E>>, ReadError> {
        let view = &self.view;
        let (log, size) = view.open_log(part)?;
        let (at, first_end) = match known {
            Some(at) => (u64::from(at), None),
            None => match view.position(part, &log, size, from).await? {
                Some((at, batch_bytes)) => (at, Some(at + u64::from(batch_bytes))),
                None => return Ok(None),
            },
        };
        let limit_at = if self.wanted.limit >= part.end {
            size
        } else if let Some(known) = self.limit_position.filter(|_| part.is_open) {
            known.into()
        } else {
            let found = view.position(part, &log, size, self.wanted.limit).await?;
            found.map_or(size, |(at, _)| at)
        };
        if at >= limit_at {
            return Ok(None);
        }
        let first_end = match first_end {
            Some(end) => end,
            None => at + u64::from(first_batch_bytes(part, &log, at, size).await?),
        };
        let narrow = |position: u64| u32::try_from(position).unwrap_or(u32::MAX);
        let len = self.wanted.cut(narrow(at), narrow(first_end), narrow(limit_at));
        let (file, available) = ((len > 0).then_some(log), narrow(limit_at - at));
        let has_more = !part.is_open && self.wanted.limit > part.end;
        Ok(Some(Region { file, at, len, available, aborted: Vec::new(), has_more }))
    }

    /// Aborted transactions that overlap what is left of the segment: naming one that begins after
    /// the region does no harm.
    async fn aborted(&self, part: &Part) -> Result<Vec<AbortedTransaction>, ReadError> {
        let upper = part.end;
        let mut found = Vec::new();
        let mut next = Some(*part);
        while let Some(part) = next {
            for entry in self.view.aborted_in(&part).await? {
                if entry.last >= self.wanted.from && entry.first < upper {
                    found.push(entry);
                }
                if entry.last_stable >= upper {
                    return Ok(found);
                }
            }
            next = (!part.is_open).then(|| self.view.part_of(part.end));
        }
        Ok(found)
    }
}

async fn first_batch_bytes<F: File>(
    part: &Part,
    log: &F,
    at: u64,
    size: u64,
) -> Result<u32, ReadError> {
    match Scanner::new(log.clone(), at, size).header().await? {
        Step::Batch(header) => Ok(header.size_bytes()),
        _ => Err(ReadError::Damaged { base: part.base, at }),
    }
}

impl<E: Env> View<E> {
    /// Of a log that is being opened.
    pub fn of(
        env: &E,
        dir: &Path,
        closed: &[Closed],
        active: &Active<FileOf<E>>,
        end: Offset,
    ) -> View<E> {
        let (env, dir, closed) = (env.clone(), dir.into(), Arc::new(closed.to_vec()));
        View { env, dir, closed, active: OpenSegment::of(active), end }
    }

    /// The segment that holds `offset`, or would.
    pub fn part_of(&self, offset: Offset) -> Part {
        if offset >= self.active.base || self.closed.is_empty() {
            return self.open_part();
        }
        let above = self.closed.partition_point(|closed| closed.base <= offset);
        self.part(above.saturating_sub(1))
    }

    pub fn open_part(&self) -> Part {
        let OpenSegment { base, has_txn_index, .. } = self.active;
        Part { base, end: self.end, is_open: true, has_txn_index }
    }

    /// The closed segment number `at`, or the open one after them.
    pub fn part(&self, at: usize) -> Part {
        let Some(closed) = self.closed.get(at) else { return self.open_part() };
        let end = self.closed.get(at + 1).map_or(self.active.base, |next| next.base);
        Part { base: closed.base, end, is_open: false, has_txn_index: closed.has_txn_index }
    }

    /// Also while retention takes it away: until that is durable, the log still begins there.
    pub fn open(&self, base: Offset, kind: Kind) -> io::Result<FileOf<E>> {
        let disk = self.env.disk();
        match disk.open(&path(&self.dir, base, kind), Open::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.open(&deleted_path(&self.dir, base, kind), Open::Existing)
            }
            opened => opened,
        }
    }

    /// The file of records and how much of it counts.
    pub fn open_log(&self, part: &Part) -> io::Result<(FileOf<E>, u64)> {
        if part.is_open {
            let log = match &self.active.log {
                Some(log) => log.clone(),
                None => self.open(part.base, Kind::Log)?,
            };
            return Ok((log, u64::from(self.active.size)));
        }
        let log = self.open(part.base, Kind::Log)?;
        let size = log.len()?;
        Ok((log, size))
    }

    /// Where the first batch that ends at or after `offset` begins, and its size. `None` when the
    /// segment has none.
    pub async fn position(
        &self,
        part: &Part,
        log: &FileOf<E>,
        size: u64,
        offset: Offset,
    ) -> Result<Option<(u64, u32)>, ReadError> {
        let relative = u32::try_from(offset.0 - part.base.0).unwrap_or(0);
        let mut scanner = Scanner::new(log.clone(), 0, size);
        if let Some(entry) = self.floor(part, relative).await? {
            scanner.seek(u64::from(entry.position));
            let named = part.base.plus(entry.last.into());
            let right =
                matches!(scanner.header().await?, Step::Batch(b) if b.last_offset() == named);
            // A wrong entry: the log itself knows better.
            scanner.seek(if right { entry.position.into() } else { 0 });
        }
        loop {
            match scanner.header().await? {
                Step::Batch(batch) if batch.last_offset() >= offset => {
                    return Ok(Some((scanner.at(), batch.size_bytes())));
                }
                Step::Batch(batch) => scanner.skip(&batch),
                Step::End => return Ok(None),
                Step::Invalid(_) => {
                    return Err(ReadError::Damaged { base: part.base, at: scanner.at() });
                }
            }
        }
    }

    async fn floor(&self, part: &Part, relative: u32) -> Result<Option<OffsetEntry>, ReadError> {
        let mut entries_max = u32::MAX;
        if part.is_open {
            let pending = self.active.floors.iter().flatten();
            let best = pending.filter(|entry| entry.last <= relative).max_by_key(|e| e.last);
            if best.is_some() {
                return Ok(best.copied());
            }
            entries_max = self.active.offsets_written;
        }
        if entries_max == 0 {
            return Ok(None);
        }
        let file = match self.open(part.base, Kind::Index) {
            Ok(file) => file,
            // The log can be walked without it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = index::floor_offset(&file, entries_max, relative).await?;
        Ok(found.map(|(_, entry)| entry))
    }

    async fn aborted_in(&self, part: &Part) -> Result<Vec<AbortedTransaction>, ReadError> {
        if !part.has_txn_index {
            return Ok(Vec::new());
        }
        let file = self.open(part.base, Kind::TxnIndex)?;
        let len = u32::try_from(file.len()?).unwrap_or(u32::MAX);
        Ok(transactions::decode(&index::read(&file, 0, len).await?))
    }
}
