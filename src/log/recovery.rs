//! Opening a log: after a clean stop by its names and its tail, after a crash by reading what lies
//! past the recovery point.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::Env;
use crate::env::disk::{Disk, File, Open};
use crate::log::epochs::Epochs;
use crate::log::producers::Producers;
use crate::log::segment::Active;
use crate::log::sync::Unsynced;
use crate::log::{Log, LogConfig};
use crate::types::{Offset, Uuid};

pub const IDENTITY_NAME: &str = "partition.metadata";

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
    pub async fn open(
        env: E,
        dir: &Path,
        topic_id: Uuid,
        config: Arc<LogConfig>,
        known: Known,
        now_ms: i64,
    ) -> Result<(Log<E>, Recovered), OpenError> {
        let opened = create(env, dir, topic_id, config, known.log_start, now_ms);
        let log = opened.map_err(|error| OpenError::Io { dir: dir.to_owned(), error })?;
        let (start, end) = (log.start, log.end);
        Ok((log, Recovered { created: true, start, end, ..Recovered::default() }))
    }
}

/// Makes an empty log at `start`. Its first sync makes its directory durable too.
fn create<E: Env>(
    env: E,
    dir: &Path,
    topic_id: Uuid,
    config: Arc<LogConfig>,
    start: Offset,
    now_ms: i64,
) -> io::Result<Log<E>> {
    let disk = env.disk();
    disk.create_dir_all(dir)?;
    let identity = disk.open(&dir.join(IDENTITY_NAME), Open::OrCreate)?;
    identity.set_len(0)?;
    identity.write_at(0, &[IoSlice::new(identity_text(topic_id).as_bytes())])?;
    let mut active = Active::new(start, now_ms);
    active.log(disk, dir)?;
    active.release();
    let mut unsynced = Unsynced::default();
    unsynced.file(identity);
    unsynced.directory = true;
    unsynced.parent = true;
    unsynced.created = true;
    Ok(Log {
        env,
        dir: dir.into(),
        config,
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

/// The lines of `partition.metadata`.
pub fn identity_text(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// The topic id that `partition.metadata` names; `None` when it is not one.
pub fn parse_identity(text: &str) -> Option<Uuid> {
    let mut lines = text.lines();
    if lines.next()? != "version: 0" {
        return None;
    }
    Uuid::parse(lines.next()?.strip_prefix("topic_id: ")?.trim_end())
}
