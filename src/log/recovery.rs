//! Opening a log: after a clean stop by its names and its tail, after a crash by reading what lies
//! past the recovery point.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::listing::{Files, Listing};
use self::load::Loaded;
use self::replay::Span;
use crate::env::disk::{Disk, File, Open};
use crate::env::{Env, FileOf};
use crate::log::epochs::Epochs;
use crate::log::identity::{self, IDENTITY_NAME};
use crate::log::index;
use crate::log::producers::Producers;
use crate::log::read::{ReadError, View};
use crate::log::segment::{Active, Closed, Kind, path};
use crate::log::sync::Unsynced;
use crate::log::{Log, LogConfig};
use crate::types::{Offset, Uuid};

pub(super) mod listing;
pub(super) mod load;
pub(super) mod replay;
mod segments;

/// Of the small text files in a log's directory.
const TEXT_BYTES_MAX: u32 = 16 << 20;

/// What the directory's checkpoints say of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The last stop was clean: nothing needs to be scanned.
    pub clean: bool,
    /// From `recovery-point-offset-checkpoint`; 0 without a line.
    pub recovery_point: Offset,
    /// From `log-start-offset-checkpoint`; 0 without a line.
    pub log_start: Offset,
}

/// What opening a log did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// There was no log here.
    pub created: bool,
    pub start: Offset,
    pub end: Offset,
    /// Bytes whose checksums were taken.
    pub scanned_bytes: u64,
    /// Bytes that were no batch, and were cut off.
    pub cut_bytes: u64,
    /// Segments after the cut, which went with it.
    pub dropped_segments: Vec<Offset>,
    /// Segments whose indexes were made anew.
    pub rebuilt_indexes: Vec<Offset>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} belongs to topic {found}, not {expected}", dir.display())]
    Identity { dir: PathBuf, found: Uuid, expected: Uuid },
    /// Synced records are gone or changed. Nothing was cut; the replica must not be served.
    #[error(
        "{} is damaged: it should be whole up to offset {recovery_point}, and is not at offset \
         {at} (segment {}, byte {position}): {what}",
        dir.display(), segment.0
    )]
    Damaged {
        dir: PathBuf,
        recovery_point: Offset,
        at: Offset,
        segment: Offset,
        position: u64,
        what: String,
    },
    #[error("cannot open {}: {error}", dir.display())]
    Io { dir: PathBuf, error: io::Error },
}

impl<E: Env> Log<E> {
    /// Opens the log at `dir`, or creates it. After a crash everything kept is synced on return.
    /// Running it again, also after it was interrupted, gives the same log.
    ///
    /// `known` must speak of this very log: whoever deletes one takes its lines out of the
    /// checkpoints before another of the same name is made.
    pub async fn open(
        env: E,
        dir: &Path,
        topic_id: Uuid,
        config: Arc<LogConfig>,
        known: Known,
        now_ms: i64,
    ) -> Result<(Log<E>, Recovered), OpenError> {
        let opening = Opening { env, dir, topic_id, config, known, now_ms };
        let (log, report) = opening.run().await?;
        log.check();
        Ok((log, report))
    }
}

struct Opening<'a, E: Env> {
    env: E,
    dir: &'a Path,
    topic_id: Uuid,
    config: Arc<LogConfig>,
    known: Known,
    now_ms: i64,
}

/// What is on the disk once segments are loaded and torn tails are cut.
struct Segments<F> {
    /// Those before the last one.
    closed: Vec<Closed>,
    last: Loaded,
    last_files: Files,
    epochs: Epochs,
    epochs_changed: bool,
    /// Nothing past the recovery point was believed; these were written and not synced.
    index_files: Option<Vec<F>>,
}

impl<E: Env> Opening<'_, E> {
    async fn run(&self) -> Result<(Log<E>, Recovered), OpenError> {
        let mut report = Recovered::default();
        let listing = match listing::list(&self.env, self.dir).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other.map_err(|error| self.io(error))?),
        };
        let Some(listing) = listing else { return self.create(report) };
        self.check_identity().await?;
        if listing.segments.is_empty() {
            return self.create(report);
        }
        let loaded = self.load(&listing, &mut report).await?;
        if loaded.last.end < self.known.log_start {
            return self.start_anew(loaded, &listing, report);
        }
        let log = self.assemble(loaded, listing, &mut report).await?;
        Ok((log, report))
    }

    fn create(&self, mut report: Recovered) -> Result<(Log<E>, Recovered), OpenError> {
        let Known { recovery_point, log_start, .. } = self.known;
        if recovery_point > log_start {
            let what = "there are no records".to_owned();
            return Err(self.damaged(log_start, log_start, 0, what));
        }
        let log = create(&self.env, self.dir, self.topic_id, &self.config, log_start, self.now_ms)
            .map_err(|error| self.io(error))?;
        report.created = true;
        (report.start, report.end) = (log.start, log.end);
        Ok((log, report))
    }

    /// The log ends before it starts: all its records were deleted by their owner, and what is
    /// left is not needed.
    fn start_anew(
        &self,
        loaded: Segments<FileOf<E>>,
        listing: &Listing,
        mut report: Recovered,
    ) -> Result<(Log<E>, Recovered), OpenError> {
        let bases = loaded.closed.iter().map(|closed| closed.base).chain([loaded.last.base]);
        for base in bases {
            listing::remove_segment(&self.env, self.dir, base).map_err(|error| self.io(error))?;
            report.dropped_segments.push(base);
        }
        for &offset in &listing.snapshots {
            self.remove_snapshot(offset)?;
        }
        let known = Known { recovery_point: self.known.log_start, ..self.known };
        Opening { known, env: self.env.clone(), config: self.config.clone(), ..*self }
            .create(report)
    }

    async fn check_identity(&self) -> Result<(), OpenError> {
        let path = self.dir.join(IDENTITY_NAME);
        let text = read_text(&self.env, &path).await.map_err(|error| self.io(error))?;
        match text.as_deref().and_then(identity::parse) {
            Some(found) if found != self.topic_id => {
                let (dir, expected) = (self.dir.to_owned(), self.topic_id);
                Err(OpenError::Identity { dir, found, expected })
            }
            Some(_) => Ok(()),
            // Torn by a crash before anything in the log counted, or from before topics had ids.
            None => self.write_identity().await.map_err(|error| self.io(error)),
        }
    }

    async fn write_identity(&self) -> io::Result<()> {
        write_identity(&self.env, self.dir, self.topic_id)?.sync().await
    }

    async fn assemble(
        &self,
        segments: Segments<FileOf<E>>,
        listing: Listing,
        report: &mut Recovered,
    ) -> Result<Log<E>, OpenError> {
        let Segments { mut closed, last, last_files, epochs, epochs_changed, index_files } =
            segments;
        let scanned = index_files.is_some();
        let first_base = closed.first().map_or(last.base, |closed| closed.base);
        let (start, end) = (self.known.log_start.max(first_base), last.end);
        let mut active = Active::new(last.base, self.now_ms);
        active.size = u32::try_from(last.size).expect("segments stay below 2 GiB");
        active.first_timestamp_ms = last.first_timestamp_ms;
        active.index = last.index;
        active.index.on_opened();
        active.has_txn_index = last_files.txn_index;
        active.ragged = last.file_bytes > last.size;
        let snapshots = self.usable_snapshots(&listing, end, scanned)?;
        let restored = {
            let view = View::of(&self.env, self.dir, &closed, &active, end);
            let rewrite_from = scanned.then_some(self.known.recovery_point);
            let (now_ms, expiration_ms) = (self.now_ms, self.config.producer_id_expiration_ms);
            let span = Span { end, rewrite_from, now_ms, expiration_ms };
            replay::restore(&view, &snapshots, &span).await
        };
        let restored = restored.map_err(|error| self.unreadable(error))?;
        for base in restored.txn_indexes {
            match closed.iter_mut().find(|closed| closed.base == base) {
                Some(closed) => closed.has_txn_index = true,
                None => active.has_txn_index = true,
            }
        }
        // What was settled is durable as a whole; what was scanned still wants its checkpoint.
        let recovery_point =
            if scanned { self.known.recovery_point.clamp(start, end) } else { end };
        let mut unsynced = Unsynced::default();
        unsynced.snapshots = restored.snapshots;
        unsynced.on_replayed(restored.replayed_bytes);
        unsynced.epochs_changed = epochs_changed;
        unsynced.index_files = index_files.unwrap_or_default();
        if !self.known.clean && active.base >= self.known.recovery_point {
            // Nobody knows whether the entries of what was made last are synced.
            unsynced.directory = true;
            unsynced.parent = first_base >= self.known.recovery_point;
            if unsynced.parent {
                let identity = self.dir.join(IDENTITY_NAME);
                let identity = self.env.disk().open(&identity, Open::Existing);
                unsynced.file(identity.map_err(|error| self.io(error))?);
            }
        }
        let mut log = Log {
            env: self.env.clone(),
            dir: self.dir.into(),
            config: self.config.clone(),
            closed: Arc::new(closed),
            active,
            start,
            end,
            durable_end: end,
            recovery_point,
            epochs,
            producers: restored.producers,
            unsynced,
            failed: false,
        };
        let anchored = log.epochs.truncate_start(start);
        log.unsynced.epochs_changed |= anchored;
        (report.start, report.end) = (start, end);
        Ok(log)
    }

    fn unreadable(&self, error: ReadError) -> OpenError {
        match error {
            ReadError::Io(error) => self.io(error),
            ReadError::Gone => self.io(io::ErrorKind::NotFound.into()),
            ReadError::Damaged { base, at } => {
                self.damaged(base, base, at, "no batch where one must be".to_owned())
            }
        }
    }

    /// Snapshots that may be believed: after a crash only those that were synced.
    fn usable_snapshots(
        &self,
        listing: &Listing,
        end: Offset,
        scanned: bool,
    ) -> Result<Vec<Offset>, OpenError> {
        let limit = if scanned { end.min(self.known.recovery_point) } else { end };
        let above = listing.snapshots.partition_point(|&offset| offset <= limit);
        for &offset in &listing.snapshots[above..] {
            self.remove_snapshot(offset)?;
        }
        Ok(listing.snapshots[..above].to_vec())
    }

    fn remove_snapshot(&self, offset: Offset) -> Result<(), OpenError> {
        let path = path(self.dir, offset, Kind::Snapshot);
        listing::remove_if_there(&self.env, &path).map_err(|error| self.io(error))
    }

    fn io(&self, error: io::Error) -> OpenError {
        OpenError::Io { dir: self.dir.to_owned(), error }
    }

    fn damaged(&self, at: Offset, segment: Offset, position: u64, what: String) -> OpenError {
        let recovery_point = self.known.recovery_point;
        OpenError::Damaged { dir: self.dir.to_owned(), recovery_point, at, segment, position, what }
    }
}

/// Makes an empty log at `start`. Its first sync makes its directory durable too.
fn create<E: Env>(
    env: &E,
    dir: &Path,
    topic_id: Uuid,
    config: &Arc<LogConfig>,
    start: Offset,
    now_ms: i64,
) -> io::Result<Log<E>> {
    let disk = env.disk();
    disk.create_dir_all(dir)?;
    let identity = write_identity(env, dir, topic_id)?;
    let mut active = Active::new(start, now_ms);
    active.log(disk, dir)?;
    active.release();
    let mut unsynced = Unsynced::default();
    unsynced.file(identity);
    unsynced.directory = true;
    unsynced.parent = true;
    unsynced.created = true;
    Ok(Log {
        env: env.clone(),
        dir: dir.into(),
        config: config.clone(),
        closed: Arc::default(),
        active,
        start,
        end: start,
        durable_end: start,
        recovery_point: start,
        epochs: Epochs::default(),
        producers: Producers::default(),
        unsynced,
        failed: false,
    })
}

fn write_identity<E: Env>(env: &E, dir: &Path, topic_id: Uuid) -> io::Result<FileOf<E>> {
    let file = env.disk().open(&dir.join(IDENTITY_NAME), Open::OrCreate)?;
    file.set_len(0)?;
    file.write_at(0, &[IoSlice::new(identity::render(topic_id).as_bytes())])?;
    Ok(file)
}

/// Small files only. `None` when there is no such file, or no text in it.
async fn read_text<E: Env>(env: &E, path: &Path) -> io::Result<Option<String>> {
    let file = match env.disk().open(path, Open::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let len = u32::try_from(file.len()?).unwrap_or(u32::MAX).min(TEXT_BYTES_MAX);
    let bytes = index::read(&file, 0, len).await?;
    Ok(String::from_utf8(bytes.to_vec()).ok())
}
