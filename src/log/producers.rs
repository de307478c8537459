//! What the log remembers of each idempotent producer: enough to answer a retry with the offsets
//! of the first attempt, to refuse a gap, and to know which transactions are still open.
//!
//! Pure. `check` looks before the write, `on_data` and `on_marker` follow a write that succeeded,
//! so a failed write leaves no trace. Replaying a log's batches gives the same state, but for what
//! a snapshot leaves out: of each producer it keeps only the last batch.

use std::collections::BTreeMap;

use crate::protocol::records::batch::{BatchHeader, sequence_plus};
use crate::types::{Offset, ProducerId};

/// A retry is recognized among so many of a producer's latest batches.
pub const BATCHES_KEPT: usize = 5;

const NO_SEQUENCE: i32 = -1;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Producers {
    by_id: BTreeMap<ProducerId, Producer>,
    /// The first offset of each open transaction.
    open: BTreeMap<Offset, ProducerId>,
    /// First offset and marker offset of ended transactions whose marker may not be replicated yet.
    ended: BTreeMap<Offset, Offset>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Producer {
    pub(super) epoch: i16,
    /// Oldest first.
    batches: [BatchMeta; BATCHES_KEPT],
    batch_count: u8,
    pub(super) timestamp_ms: i64,
    /// Of the last marker; -1 before any.
    pub(super) coordinator_epoch: i32,
    pub(super) transaction_start: Option<Offset>,
}

/// One appended batch, as a retry would name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchMeta {
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    pub timestamp_ms: i64,
}

/// Who asks for the append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: everything is checked.
    Client,
    /// A coordinator of this cluster writing its own records or transaction markers.
    Coordinator,
    /// The leader's log, or our own at recovery: it was checked when it was first written.
    Replication,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// This very batch is in the log already.
    Duplicate(BatchMeta),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub aborts: bool,
    pub coordinator_epoch: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTransaction {
    pub producer: ProducerId,
    pub first: Offset,
    /// Where the marker lies.
    pub last: Offset,
    pub aborted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    #[error("producer {} has epoch {stored}, the batch {asked}", producer.0)]
    StaleEpoch { producer: ProducerId, asked: i16, stored: i16 },
    #[error("producer {} continues at sequence {expected}, the batch at {asked}", producer.0)]
    OutOfOrder { producer: ProducerId, asked: i32, expected: i32 },
    #[error("producer {} is in a transaction, the batch is not", producer.0)]
    OutsideTransaction { producer: ProducerId },
    #[error("coordinator epoch {stored} has marked producer {}, this is {asked}", producer.0)]
    CoordinatorFenced { producer: ProducerId, asked: i32, stored: i32 },
}

impl Producers {
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.by_id.get(&id)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ProducerId, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    /// Whether a batch of data may be appended. Batches without a producer id always may.
    pub fn check(&self, batch: &BatchHeader, origin: Origin) -> Result<Verdict, ProducerError> {
        let Some(id) = batch.producer_id() else { return Ok(Verdict::Append) };
        let Some(known) = self.by_id.get(&id) else { return Ok(Verdict::Append) };
        if origin == Origin::Replication {
            return Ok(Verdict::Append);
        }
        if origin == Origin::Client
            && let Some(duplicate) = known.find(batch)
        {
            return Ok(Verdict::Duplicate(duplicate));
        }
        known.check_epoch(id, batch.producer_epoch())?;
        if origin == Origin::Client {
            known.check_sequence(id, batch)?;
        }
        if known.transaction_start.is_some() && !batch.is_transactional() {
            return Err(ProducerError::OutsideTransaction { producer: id });
        }
        Ok(Verdict::Append)
    }

    /// Whether a marker may be appended.
    pub fn check_marker(
        &self,
        batch: &BatchHeader,
        marker: Marker,
        origin: Origin,
    ) -> Result<(), ProducerError> {
        let Some(id) = batch.producer_id() else { return Ok(()) };
        let Some(known) = self.by_id.get(&id) else { return Ok(()) };
        if origin == Origin::Replication {
            return Ok(());
        }
        known.check_epoch(id, batch.producer_epoch())?;
        let (asked, stored) = (marker.coordinator_epoch, known.coordinator_epoch);
        // An operator who ends a hanging transaction by hand has no coordinator epoch.
        if asked >= 0 && asked < stored {
            return Err(ProducerError::CoordinatorFenced { producer: id, asked, stored });
        }
        Ok(())
    }

    /// A batch of data was written where its header says.
    pub fn on_data(&mut self, batch: &BatchHeader) {
        let Some(id) = batch.producer_id() else { return };
        let producer =
            self.by_id.entry(id).or_insert_with(|| Producer::new(batch.producer_epoch()));
        producer.enter_epoch(batch.producer_epoch());
        producer.remember(BatchMeta {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.offset_count() as i32 - 1,
            timestamp_ms: batch.max_timestamp_ms(),
        });
        producer.timestamp_ms = batch.max_timestamp_ms();
        if batch.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(batch.base_offset());
            self.open.insert(batch.base_offset(), id);
        }
    }

    /// A marker was written where its header says. It ends a transaction if one is open.
    pub fn on_marker(&mut self, batch: &BatchHeader, marker: Marker) -> Option<EndedTransaction> {
        let id = batch.producer_id()?;
        let producer =
            self.by_id.entry(id).or_insert_with(|| Producer::new(batch.producer_epoch()));
        producer.enter_epoch(batch.producer_epoch());
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.timestamp_ms = batch.max_timestamp_ms();
        let first = producer.transaction_start.take()?;
        self.open.remove(&first);
        let last = batch.last_offset();
        self.ended.insert(first, last);
        Some(EndedTransaction { producer: id, first, last, aborted: marker.aborts })
    }

    /// Where read_committed consumers stop, below `high_watermark`: before the first transaction
    /// that is open, or whose marker is not below `high_watermark` yet.
    pub fn last_stable(&self, high_watermark: Offset) -> Offset {
        let open = self.open.keys().next();
        let ended = self.ended.iter().find(|(_, marker)| **marker >= high_watermark);
        let unstable = [open, ended.map(|(first, _)| first)].into_iter().flatten().min();
        unstable.map_or(high_watermark, |&first| first.min(high_watermark))
    }

    /// The last stable offset once `ended` is all over: what its aborted entry records.
    pub fn stable_after(&self, ended: &EndedTransaction) -> Offset {
        self.open.keys().next().copied().unwrap_or(ended.last.plus(1))
    }

    /// Markers below `high_watermark` are replicated, and no longer hold the stable offset back.
    pub fn on_high_watermark(&mut self, high_watermark: Offset) {
        if !self.ended.is_empty() {
            self.ended.retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// Forgets producers without an open transaction that wrote nothing for so long.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_id.retain(|_, producer| !producer.is_expired(now_ms, expiration_ms));
    }

    pub(super) fn restore(&mut self, id: ProducerId, producer: Producer) {
        if let Some(first) = producer.transaction_start {
            self.open.insert(first, id);
        }
        self.by_id.insert(id, producer);
    }
}

impl Producer {
    pub(super) fn new(epoch: i16) -> Producer {
        Producer {
            epoch,
            batches: [BatchMeta::default(); BATCHES_KEPT],
            batch_count: 0,
            timestamp_ms: -1,
            coordinator_epoch: -1,
            transaction_start: None,
        }
    }

    pub fn batches(&self) -> &[BatchMeta] {
        &self.batches[..usize::from(self.batch_count)]
    }

    pub fn epoch(&self) -> i16 {
        self.epoch
    }

    pub fn last(&self) -> Option<&BatchMeta> {
        self.batches().last()
    }

    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    pub fn coordinator_epoch(&self) -> i32 {
        self.coordinator_epoch
    }

    pub fn transaction_start(&self) -> Option<Offset> {
        self.transaction_start
    }

    pub(super) fn is_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        let idle_ms = now_ms.saturating_sub(self.timestamp_ms);
        self.transaction_start.is_none() && idle_ms >= expiration_ms
    }

    pub(super) fn remember(&mut self, batch: BatchMeta) {
        let count = usize::from(self.batch_count);
        if count == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.batches[BATCHES_KEPT - 1] = batch;
        } else {
            self.batches[count] = batch;
            self.batch_count += 1;
        }
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batch_count = 0;
        }
    }

    fn find(&self, batch: &BatchHeader) -> Option<BatchMeta> {
        let same = |known: &&BatchMeta| {
            known.first_sequence() == batch.base_sequence()
                && known.last_sequence == batch.last_sequence()
        };
        let same_epoch = self.epoch == batch.producer_epoch();
        same_epoch.then(|| self.batches().iter().find(same).copied()).flatten()
    }

    fn check_epoch(&self, producer: ProducerId, asked: i16) -> Result<(), ProducerError> {
        let stored = self.epoch;
        if asked < stored {
            return Err(ProducerError::StaleEpoch { producer, asked, stored });
        }
        Ok(())
    }

    fn check_sequence(
        &self,
        producer: ProducerId,
        batch: &BatchHeader,
    ) -> Result<(), ProducerError> {
        let asked = batch.base_sequence();
        let expected = match self.last() {
            Some(last) if self.epoch == batch.producer_epoch() => {
                sequence_plus(last.last_sequence.max(0), u32::from(last.last_sequence >= 0))
            }
            _ => 0,
        };
        if asked != expected {
            return Err(ProducerError::OutOfOrder { producer, asked, expected });
        }
        Ok(())
    }
}

impl BatchMeta {
    pub fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }

    /// Sequences wrap from 2^31 - 1 to 0.
    pub fn first_sequence(&self) -> i32 {
        if self.last_sequence < 0 {
            return NO_SEQUENCE;
        }
        (i64::from(self.last_sequence) - i64::from(self.offset_delta)).rem_euclid(1 << 31) as i32
    }
}

#[cfg(test)]
mod tests;
