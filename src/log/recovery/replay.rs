//! Producers and transactions up to some offset: the newest snapshot that reads well, and the
//! batches after it.

use std::io::{self, IoSlice};

use crate::env::disk::{Disk, File, Open};
use crate::env::{Env, FileOf};
use crate::log::index;
use crate::log::producers::Producers;
use crate::log::read::{Part, ReadError, View};
use crate::log::scan::{Scanner, Step};
use crate::log::segment::{Kind, path};
use crate::log::snapshot;
use crate::log::transactions::{self, AbortedTransaction, ENTRY_BYTES, MARKER_BYTES_MAX};
use crate::protocol::records::batch::BatchHeader;
use crate::types::Offset;

/// A snapshot beyond this is none of ours.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// What to restore.
pub struct Span {
    pub end: Offset,
    /// The transaction index is believed only below, and written anew from there on.
    pub rewrite_from: Option<Offset>,
    pub now_ms: i64,
    pub expiration_ms: i64,
}

pub struct Restored {
    pub producers: Producers,
    /// Of those offered, the ones that read well up to the newest.
    pub snapshots: Vec<Offset>,
    /// Segments that got a transaction index.
    pub txn_indexes: Vec<Offset>,
    /// Bytes of batches after the snapshot.
    pub replayed_bytes: u64,
}

/// `snapshots` ascend and end at or below the span's end.
pub async fn restore<E: Env>(
    view: &View<E>,
    snapshots: &[Offset],
    span: &Span,
) -> Result<Restored, ReadError> {
    let (mut producers, snapshots) = newest_snapshot(view, snapshots, span).await?;
    let first = view.part(0).base;
    let newest = snapshots.last().copied().unwrap_or(Offset(0));
    if newest < first {
        // Between it and the first segment there were batches that are gone: whoever sent one would
        // be taken for somebody who left a gap. Nobody is known, and everybody may go on.
        producers = Producers::default();
    }
    // Deleted records count as long as they are there.
    let from = newest.max(first);
    let mut replay = Replay {
        view,
        span,
        restored: Restored { producers, snapshots, txn_indexes: Vec::new(), replayed_bytes: 0 },
    };
    if let Some(point) = span.rewrite_from {
        cut_transaction_indexes(view, point).await?;
    }
    let mut from = from;
    while from < span.end {
        let part = view.part_of(from);
        replay.segment(&part, from).await?;
        if part.is_open {
            break;
        }
        from = part.end;
    }
    Ok(replay.restored)
}

/// The newest snapshot that reads well; those that do not are removed.
async fn newest_snapshot<E: Env>(
    view: &View<E>,
    snapshots: &[Offset],
    span: &Span,
) -> io::Result<(Producers, Vec<Offset>)> {
    let mut snapshots = snapshots.to_vec();
    while let Some(&offset) = snapshots.last() {
        let path = path(&view.dir, offset, Kind::Snapshot);
        let file = view.env.disk().open(&path, Open::Existing)?;
        let len = file.len()?;
        if len <= SNAPSHOT_BYTES_MAX {
            let bytes = index::read(&file, 0, len as u32).await?;
            if let Ok(producers) = snapshot::decode(&bytes, span.now_ms, span.expiration_ms) {
                return Ok((producers, snapshots));
            }
        }
        view.env.disk().remove(&path)?;
        snapshots.pop();
    }
    Ok((Producers::default(), snapshots))
}

struct Replay<'a, E: Env> {
    view: &'a View<E>,
    span: &'a Span,
    restored: Restored,
}

impl<E: Env> Replay<'_, E> {
    async fn segment(&mut self, part: &Part, from: Offset) -> Result<(), ReadError> {
        let (file, size) = self.view.open_log(part)?;
        let Some((start, _)) = self.view.position(part, &file, size, from).await? else {
            return Ok(());
        };
        let mut scanner = Scanner::new(file, start, size);
        loop {
            let batch = match scanner.header().await? {
                Step::Batch(batch) if batch.base_offset() < self.span.end => batch,
                Step::Invalid(_) => {
                    return Err(ReadError::Damaged { base: part.base, at: scanner.at() });
                }
                _ => return Ok(()),
            };
            self.restored.replayed_bytes += u64::from(batch.size_bytes());
            if batch.producer_id().is_some() {
                if batch.is_control() {
                    self.marker(part, &mut scanner, &batch).await?;
                } else {
                    self.restored.producers.on_data(&batch);
                }
            }
            scanner.skip(&batch);
        }
    }

    async fn marker(
        &mut self,
        part: &Part,
        scanner: &mut Scanner<FileOf<E>>,
        header: &BatchHeader,
    ) -> io::Result<()> {
        let bytes_max = MARKER_BYTES_MAX as u32;
        let Some(batch) = scanner.batch(header, bytes_max).await? else { return Ok(()) };
        let Some(marker) = transactions::marker(&batch) else { return Ok(()) };
        let producers = &mut self.restored.producers;
        let Some(ended) = producers.on_marker(header, marker) else { return Ok(()) };
        let rewritten = self.span.rewrite_from.is_some_and(|point| ended.last >= point);
        if !ended.aborted || !rewritten {
            return Ok(());
        }
        let last_stable = producers.stable_after(&ended);
        let (producer, first, last) = (ended.producer, ended.first, ended.last);
        let entry = AbortedTransaction { producer, first, last, last_stable };
        let path = path(&self.view.dir, part.base, Kind::TxnIndex);
        let file = self.view.env.disk().open(&path, Open::OrCreate)?;
        file.write_at(file.len()?, &[IoSlice::new(&entry.encode())])?;
        file.sync().await?;
        self.view.env.disk().sync_dir(&self.view.dir).await?;
        self.restored.txn_indexes.push(part.base);
        Ok(())
    }
}

/// Leaves the entries of markers below `point`.
async fn cut_transaction_indexes<E: Env>(view: &View<E>, point: Offset) -> io::Result<()> {
    for at in 0..=view.closed.len() {
        let part = view.part(at);
        // A segment's index holds the markers in it.
        if !part.has_txn_index || part.end <= point {
            continue;
        }
        let file = view.open(part.base, Kind::TxnIndex)?;
        let len = file.len()?;
        let kept = entries_below(&file, point).await? * ENTRY_BYTES as u64;
        if kept < len {
            file.set_len(kept)?;
            file.sync().await?;
        }
    }
    Ok(())
}

/// How many entries name markers below `point`.
pub async fn entries_below<F: File>(file: &F, point: Offset) -> io::Result<u64> {
    let len = u32::try_from(file.len()?).unwrap_or(u32::MAX);
    let entries = transactions::decode(&index::read(file, 0, len).await?);
    Ok(entries.iter().take_while(|entry| entry.last < point).count() as u64)
}
