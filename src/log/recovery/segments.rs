//! All segments of a log that is being opened: which to scan, where to cut, what is damaged.

use std::io;
use std::path::Path;

use super::listing::{self, Files, Listing};
use super::load::{self, Loaded, Trust};
use super::{IDENTITY_NAME, Known, OpenError, Opening, Recovered, Segments};
use crate::env::disk::{Disk, File, Open};
use crate::env::{Env, FileOf};
use crate::log::epochs::Epochs;
use crate::log::segment::{Closed, Kind, path};
use crate::log::sync::EPOCHS_NAME;
use crate::types::Offset;

/// Up to so many segments are synced one by one; more, with one sync of all that is there.
const SINGLE_MAX: usize = 2;

impl<E: Env> Opening<'_, E> {
    /// Loads the segments. Afterwards what lies past the recovery point is whole and synced.
    pub(super) async fn load(
        &self,
        listing: &Listing,
        report: &mut Recovered,
    ) -> Result<Segments<FileOf<E>>, OpenError> {
        let all: Vec<(Offset, Files)> =
            listing.segments.iter().map(|(base, files)| (*base, *files)).collect();
        let (mut epochs, mut epochs_changed) =
            self.epochs(listing, &all).await.map_err(|error| self.io(error))?;
        let (count, last, index_files) = match self.load_settled(&all, report).await? {
            Some(last) => (all.len(), last, None),
            None => {
                epochs.truncate_end(self.known.recovery_point);
                epochs_changed = true;
                let (count, last, index_files) =
                    self.scan_all(&all, listing.changed, &mut epochs, report).await?;
                (count, last, Some(index_files))
            }
        };
        // An epoch that wrote nothing is forgotten, as Kafka does; no reason to write the file.
        epochs.truncate_end(last.end);
        let closed = all[..count - 1].iter().map(|(base, files)| Closed {
            base: *base,
            has_txn_index: files.txn_index,
            measured: None,
        });
        let closed = closed.collect();
        let last_files = all[count - 1].1;
        Ok(Segments { closed, last, last_files, epochs, epochs_changed, index_files })
    }

    /// The epochs as the file has them; without a usable file, as the batches have them.
    async fn epochs(
        &self,
        listing: &Listing,
        all: &[(Offset, Files)],
    ) -> io::Result<(Epochs, bool)> {
        if listing.has_epochs {
            let text = super::read_text(&self.env, &self.dir.join(EPOCHS_NAME)).await?;
            // It may be of a later start of the log, which a crash has taken back.
            let start = self.known.log_start.max(all[0].0);
            let covers =
                |epochs: &Epochs| epochs.entries().first().is_none_or(|first| first.start <= start);
            if let Some(epochs) = text.as_deref().and_then(Epochs::parse).filter(covers) {
                return Ok((epochs, false));
            }
        }
        let mut epochs = Epochs::default();
        for (n, (base, _)) in all.iter().enumerate() {
            let next = all.get(n + 1).map(|(next, _)| *next);
            load::learn_epochs(&self.env, self.dir, *base, next, &mut epochs).await?;
        }
        Ok((epochs, true))
    }

    /// After a clean stop, and after a crash of a log that had nothing past its recovery point.
    /// `None` when the last segment is not as that leaves it.
    async fn load_settled(
        &self,
        all: &[(Offset, Files)],
        report: &mut Recovered,
    ) -> Result<Option<Loaded>, OpenError> {
        let (last, closed) = all.split_last().expect("a listing without segments is not loaded");
        let (base, files) = *last;
        let Known { clean, recovery_point, .. } = self.known;
        if base > recovery_point {
            // Segments begun past the recovery point have to be looked at.
            if !clean {
                return Ok(None);
            }
        }
        // After a crash the indexes may speak of records that are lost, past the recovery point.
        let limit = if clean { None } else { Some(recovery_point) };
        let loaded = load::tail(&self.env, self.dir, base, files, &self.config, limit).await;
        let mut loaded = loaded.map_err(|error| self.io(error))?;
        let whole = loaded.invalid.is_none() && loaded.size == loaded.file_bytes;
        let at_point = loaded.end == recovery_point || (clean && loaded.end > recovery_point);
        if !whole || !at_point {
            return Ok(None);
        }
        for (n, (base, files)) in closed.iter().enumerate() {
            let closed_late = !clean && n + 1 == closed.len() && loaded.base == recovery_point;
            if closed_late || !files.has_indexes() {
                self.rebuild_index(*base, all[n + 1].0, report).await?;
            }
        }
        if loaded.index.has_pending() {
            let replaced = load::replace_index(&self.env, self.dir, &mut loaded).await;
            replaced.map_err(|error| self.io(error))?;
            report.rebuilt_indexes.push(base);
        } else if !clean {
            let trimmed = load::trim_index(&self.env, self.dir, base, &loaded.index);
            trimmed.map_err(|error| self.io(error))?;
        }
        Ok(Some(loaded))
    }

    /// A closed segment lost an index file: it is derived from the batches. Where the `next` segment
    /// goes on from the last of them, what lies behind is left of a write that failed.
    async fn rebuild_index(
        &self,
        base: Offset,
        next: Offset,
        report: &mut Recovered,
    ) -> Result<(), OpenError> {
        let (files, config) = (Files::default(), &self.config);
        let trust = Trust { recovery_point: Offset(0), gaps: true };
        let mut epochs = Epochs::default();
        let loaded = load::scan(&self.env, self.dir, base, files, config, trust, &mut epochs).await;
        let mut loaded = loaded.map_err(|error| self.io(error))?;
        if let Some(what) = loaded.invalid.take()
            && loaded.end != next
        {
            return Err(self.damaged(loaded.end, base, loaded.size, what));
        }
        let cut = self.cut(&mut loaded).await.map_err(|error| self.io(error))?;
        report.cut_bytes += cut;
        let replaced = load::replace_index(&self.env, self.dir, &mut loaded).await;
        replaced.map_err(|error| self.io(error))?;
        report.rebuilt_indexes.push(base);
        Ok(())
    }

    /// After a crash. Says how many segments are left, and the last of them.
    async fn scan_all(
        &self,
        all: &[(Offset, Files)],
        listing_changed: bool,
        epochs: &mut Epochs,
        report: &mut Recovered,
    ) -> Result<(usize, Loaded, Vec<FileOf<E>>), OpenError> {
        let point = self.known.recovery_point;
        let trust = Trust { recovery_point: point, gaps: self.config.cleanup_compact };
        let first = all.partition_point(|(base, _)| *base <= point).saturating_sub(1);
        for (n, (base, files)) in all[..first].iter().enumerate() {
            // One that ends at the recovery point may have been closed after the checkpoint, by an
            // entry of its time index that was not synced.
            let closed_late = n + 1 == first && all[first].0 == point;
            if closed_late || !files.has_indexes() {
                self.rebuild_index(*base, all[n + 1].0, report).await?;
            }
        }
        let unmasked = self.unmask(&all[first..]).await;
        unmasked.map_err(|error| self.io(error))?;
        let mut scanned: Vec<Loaded> = Vec::new();
        for (base, files) in &all[first..] {
            if let Some(before) = scanned.last() {
                let lost = *base > before.end && *base > point && !trust.gaps;
                let overlap = *base < before.end;
                // What follows the last batch is no batch of ours where the next segment goes on
                // from there: a write that failed, or a size that was to be made durable.
                let torn = before.invalid.is_some() && *base != before.end;
                if torn || lost || overlap {
                    break;
                }
            }
            let config = &self.config;
            let loaded =
                load::scan(&self.env, self.dir, *base, *files, config, trust, epochs).await;
            scanned.push(loaded.map_err(|error| self.io(error))?);
        }
        let count = first + scanned.len();
        let last = scanned.last().expect("the segment of the recovery point was scanned");
        self.check_undamaged(last)?;
        let settled = self.settle(&mut scanned, &all[count..], report).await;
        let index_files = settled.map_err(|error| self.io(error))?;
        // Entries of segments begun past the recovery point may be in memory only, too.
        let begun = scanned.last().is_some_and(|last| last.base >= point);
        if begun || listing_changed || !report.dropped_segments.is_empty() {
            let synced = self.sync_entries(all[0].0).await;
            synced.map_err(|error| self.io(error))?;
        }
        Ok((count, scanned.pop().expect("looked at above"), index_files))
    }

    /// Syncs the records, and has reads show what the disk holds: after a sync that failed, for this
    /// process or the one before, memory shows something else.
    async fn unmask(&self, segments: &[(Offset, Files)]) -> io::Result<()> {
        let disk = self.env.disk();
        let together = segments.len() > SINGLE_MAX;
        if together {
            disk.sync_all(self.dir).await?;
        }
        for (base, _) in segments {
            let log = disk.open(&path(self.dir, *base, Kind::Log), Open::Existing)?;
            if !together {
                log.sync().await?;
            }
            log.evict()?;
        }
        Ok(())
    }

    /// What ends before the recovery point has lost synced records, unless they were deleted.
    fn check_undamaged(&self, last: &Loaded) -> Result<(), OpenError> {
        let needed = self.known.recovery_point;
        if last.end >= needed || needed <= self.known.log_start {
            return Ok(());
        }
        let what = last.invalid.clone().unwrap_or_else(|| "the records end here".to_owned());
        Err(self.damaged(last.end, last.base, last.size, what))
    }

    /// Cuts the torn tail, drops the segments after it, and writes the indexes of what is left.
    /// Answers the index files, which are synced before the recovery point rises.
    async fn settle(
        &self,
        scanned: &mut [Loaded],
        dropped: &[(Offset, Files)],
        report: &mut Recovered,
    ) -> io::Result<Vec<FileOf<E>>> {
        // Newest first: interrupted, the log is left longer, but without a hole.
        for (base, _) in dropped.iter().rev() {
            listing::remove_segment(&self.env, self.dir, *base)?;
            report.dropped_segments.push(*base);
        }
        report.dropped_segments.reverse();
        let mut index_files = Vec::new();
        for loaded in &mut *scanned {
            report.scanned_bytes += loaded.scanned_bytes;
            report.cut_bytes += self.cut(loaded).await?;
            // What lies below the recovery point is believed the next time.
            if loaded.base < self.known.recovery_point && load::is_index_new(loaded) {
                load::replace_index(&self.env, self.dir, loaded).await?;
            } else {
                index_files.extend(load::write_index(&self.env, self.dir, loaded)?);
            }
        }
        self.make_sizes_durable(scanned).await?;
        // Below the recovery point they are believed the next time: a power loss must not leave one
        // of them new and the other old.
        match index_files.len() <= 2 * SINGLE_MAX {
            true => {
                for file in &index_files {
                    file.sync().await?;
                }
            }
            false => self.env.disk().sync_all(self.dir).await?,
        }
        Ok(index_files)
    }

    /// Removes what lies behind the last batch. Says how many bytes.
    async fn cut(&self, loaded: &mut Loaded) -> io::Result<u64> {
        let cut = loaded.file_bytes - loaded.size;
        if cut > 0 {
            let path = path(self.dir, loaded.base, Kind::Log);
            let log = self.env.disk().open(&path, Open::Existing)?;
            log.set_len(loaded.size)?;
            log.sync().await?;
            loaded.file_bytes = loaded.size;
        }
        Ok(cut)
    }

    /// After a sync that failed, memory may still hold a size that the disk does not: what lies
    /// beyond reads as zeros, and a batch that ends in zeros as whole. So the size is set once more,
    /// by way of a larger one; nothing that may have been acknowledged is written again.
    async fn make_sizes_durable(&self, scanned: &[Loaded]) -> io::Result<()> {
        let disk = self.env.disk();
        let point = self.known.recovery_point;
        let past_point = |loaded: &&Loaded| loaded.end > point && loaded.size > 0;
        let grown: Vec<&Loaded> = scanned.iter().filter(past_point).collect();
        for loaded in &grown {
            let log = disk.open(&path(self.dir, loaded.base, Kind::Log), Open::Existing)?;
            log.set_len(loaded.size + 1)?;
            log.set_len(loaded.size)?;
            if grown.len() <= SINGLE_MAX {
                log.sync().await?;
            }
        }
        if grown.len() > SINGLE_MAX {
            disk.sync_all(self.dir).await?;
        }
        Ok(())
    }

    /// Syncs the directory entries that lead to the records.
    async fn sync_entries(&self, first_base: Offset) -> io::Result<()> {
        let disk = self.env.disk();
        if self.known.recovery_point <= first_base {
            disk.open(&self.dir.join(IDENTITY_NAME), Open::Existing)?.sync().await?;
            disk.sync_dir(self.dir.parent().unwrap_or(Path::new("."))).await?;
        }
        disk.sync_dir(self.dir).await
    }
}
