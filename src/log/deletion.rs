//! Letting go of old segments: sizes and ages for the decision, and its execution.
//!
//! Its files are renamed oldest first, each rename synced before the next, so that a crash never
//! leaves a hole. Only then the log begins later: nobody is told of a start that a power loss could
//! take back. The files go for good when nobody reads them any more.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::env::Env;
use crate::env::disk::{Disk, File};
use crate::log::Log;
use crate::log::lookup;
use crate::log::read::View;
use crate::log::recovery::listing;
use crate::log::retention::{self, Facts};
use crate::log::segment::{KINDS, Kind, Measured, deleted_path, path};
use crate::log::write_error::WriteError;
use crate::types::Offset;

/// Closed segments whose size and age nobody has asked for yet.
pub struct Measuring<E: Env> {
    view: View<E>,
    bases: Vec<Offset>,
}

/// What `Measuring` found.
pub struct Measurements(Vec<(Offset, Measured)>);

/// Segments that are to go.
#[must_use = "the files are to be renamed now, and removed later"]
pub struct Removal<E: Env> {
    env: E,
    dir: Arc<Path>,
    /// Oldest first.
    bases: Vec<Offset>,
    /// The base of the segment after them.
    next: Offset,
}

impl<E: Env> Log<E> {
    /// What retention and size questions need to know first; `None` when it is known.
    pub fn begin_measure(&self) -> Option<Measuring<E>> {
        let unmeasured = self.closed.iter().filter(|closed| closed.measured.is_none());
        let bases: Vec<Offset> = unmeasured.map(|closed| closed.base).collect();
        (!bases.is_empty()).then(|| Measuring { view: self.view([self.end; 2]), bases })
    }

    pub fn on_measured(&mut self, measurements: Measurements) {
        let closed = Arc::make_mut(&mut self.closed);
        for (base, measured) in measurements.0 {
            if let Ok(at) = closed.binary_search_by_key(&base, |closed| closed.base) {
                closed[at].measured = Some(measured);
            }
        }
    }

    /// Bytes of records on the disk. Segments that were not measured count for nothing.
    pub fn size_bytes(&self) -> u64 {
        let closed = self.closed.iter().filter_map(|closed| closed.measured);
        closed.map(|measured| measured.bytes).sum::<u64>() + u64::from(self.active.size)
    }

    /// Records below `to` are gone. The owner keeps `to` at or below the high watermark, and makes
    /// `start_to_checkpoint` durable before anyone is told. False when the log starts there.
    pub fn raise_start(&mut self, to: Offset) -> bool {
        assert!(to <= self.end, "the log cannot start past its end");
        if to <= self.start {
            return false;
        }
        self.start = to;
        self.recovery_point = self.recovery_point.max(to.min(self.durable_end));
        self.unsynced.epochs_changed |= self.epochs.truncate_start(to);
        self.check();
        true
    }

    /// The segments that retention and the log's start let go of. Segments that were not measured,
    /// and all after them, stay.
    pub fn retain(
        &mut self,
        high_watermark: Offset,
        now_ms: i64,
    ) -> io::Result<Option<Removal<E>>> {
        let facts = self.facts();
        if facts.len() <= self.closed.len() {
            return Ok(None);
        }
        let count = retention::expired(&facts, &self.config, self.start, high_watermark, now_ms);
        if count == 0 {
            return Ok(None);
        }
        if count > self.closed.len() {
            self.roll(self.end, now_ms)?;
        }
        let bases = self.closed[..count].iter().map(|closed| closed.base).collect();
        let next = self.closed.get(count).map_or(self.active.base, |closed| closed.base);
        Ok(Some(Removal { env: self.env.clone(), dir: self.dir.clone(), bases, next }))
    }

    /// What `retain` named is out of sight for good: the log begins after it.
    pub fn on_renamed(&mut self, removal: &Removal<E>) {
        Arc::make_mut(&mut self.closed).retain(|closed| closed.base >= removal.next);
        self.unsynced.snapshots.retain(|offset| !removal.bases.contains(offset));
        self.raise_start(removal.next);
        self.check();
    }

    /// The open segment last; shorter when one was not measured.
    fn facts(&self) -> Vec<Facts> {
        let ends = self.closed.iter().skip(1).map(|next| next.base).chain([self.active.base]);
        let closed = self.closed.iter().zip(ends);
        let mut facts: Vec<Facts> = closed
            .map_while(|(closed, end)| {
                let Measured { bytes, largest_timestamp_ms } = closed.measured?;
                Some(Facts { end, bytes, largest_timestamp_ms })
            })
            .collect();
        if facts.len() == self.closed.len() {
            let largest = self.active.index.max_time().map(|max| max.timestamp_ms);
            let largest_timestamp_ms = largest.unwrap_or(self.active.created_ms);
            let (end, bytes) = (self.end, u64::from(self.active.size));
            facts.push(Facts { end, bytes, largest_timestamp_ms });
        }
        facts
    }
}

impl<E: Env> Measuring<E> {
    pub async fn carry_out(self) -> io::Result<Measurements> {
        let mut found = Vec::with_capacity(self.bases.len());
        for base in self.bases {
            let log = path(&self.view.dir, base, Kind::Log);
            let file = match self.view.open(base, Kind::Log) {
                // Let go of meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let bytes = file.len()?;
            let largest_timestamp_ms = match lookup::largest_timestamp(&self.view, base).await? {
                Some(timestamp_ms) => timestamp_ms,
                None => self.view.env.disk().modified_ms(&log)?,
            };
            found.push((base, Measured { bytes, largest_timestamp_ms }));
        }
        Ok(Measurements(found))
    }
}

impl<E: Env> Removal<E> {
    /// Oldest first.
    pub fn bases(&self) -> &[Offset] {
        &self.bases
    }

    /// The log's first base, once it is done.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Takes the files out of sight for a later start. Readers are not disturbed: `View::open`
    /// finds them. Where a rename finds no room, it can be tried again.
    pub async fn rename(&self) -> Result<(), WriteError> {
        // The segment that goes on may be new: a power loss that kept the renames and not its name
        // would leave no segment at all, and offsets would begin anew.
        let disk = self.env.disk();
        disk.sync_dir(&self.dir).await.map_err(WriteError::of_sync)?;
        for base in &self.bases {
            for kind in KINDS {
                let from = path(&self.dir, *base, kind);
                match disk.rename(&from, &deleted_path(&self.dir, *base, kind)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(WriteError::of_write(error));
                    }
                    _ => {}
                }
            }
            disk.sync_dir(&self.dir).await.map_err(WriteError::of_sync)?;
        }
        Ok(())
    }

    /// Removes the files, `file.delete.delay.ms` after they were renamed.
    pub fn remove(self) -> io::Result<()> {
        for base in &self.bases {
            for kind in KINDS {
                listing::remove_if_there(&self.env, &deleted_path(&self.dir, *base, kind))?;
            }
        }
        Ok(())
    }
}
