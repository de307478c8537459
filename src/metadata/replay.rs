//! Committed records become images. Inside a metadata transaction nothing new is shown: its records
//! count together, or not at all.

use std::sync::Arc;

use bytes::Bytes;

use crate::metadata::apply::ApplyError;
use crate::metadata::image::{Image, Provenance};
use crate::protocol::messages::{MetadataRecord, decode_metadata_record};
use crate::protocol::records::batch::Batch;
use crate::protocol::records::record::RecordError;
use crate::protocol::wire::DecodeError;
use crate::types::Offset;

#[cfg(test)]
mod tests;

const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
#[error("metadata record at offset {at}: {error}")]
pub struct ReplayError {
    pub at: Offset,
    pub error: RecordProblem,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordProblem {
    #[error(transparent)]
    Batch(#[from] RecordError),
    #[error("a record without a value")]
    NoValue,
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("{record} {problem}")]
    Transaction { record: &'static str, problem: &'static str },
}

#[derive(Clone, Debug, Default)]
pub struct Replay {
    image: Image,
    /// The image before the open transaction.
    before: Option<Image>,
}

impl Replay {
    /// Starts from a snapshot's records, which contain everything below `provenance.end`.
    pub fn from_snapshot(
        values: impl Iterator<Item = Bytes>,
        provenance: Provenance,
    ) -> Result<Replay, ReplayError> {
        let mut replay = Replay::default();
        for (nth, value) in (0..).map(Offset).zip(values) {
            replay.value(value).map_err(|error| ReplayError { at: nth, error })?;
        }
        replay.image.provenance = provenance;
        Ok(replay)
    }

    /// What follows in the log. Records below where the image stands are passed over: a snapshot
    /// may end within a batch.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), ReplayError> {
        if !batch.is_control() {
            for record in batch.records(DECOMPRESSED_BYTES_MAX) {
                let at = |error| ReplayError { at: batch.base_offset(), error };
                let record = record.map_err(|error| at(error.into()))?;
                let offset = batch.offset_of(&record);
                if offset < self.image.provenance.end {
                    continue;
                }
                let at = |error| ReplayError { at: offset, error };
                let value = record.value.ok_or_else(|| at(RecordProblem::NoValue))?;
                self.value(value).map_err(at)?;
            }
        }
        let timestamp_ms = batch.max_timestamp_ms();
        let (end, epoch) = (batch.next_offset(), batch.leader_epoch());
        self.image.provenance = Provenance { end, epoch, timestamp_ms };
        Ok(())
    }

    /// Where the replay stands, inside a transaction or not.
    pub fn end(&self) -> Offset {
        self.image.provenance.end
    }

    pub fn is_in_transaction(&self) -> bool {
        self.before.is_some()
    }

    /// The image to show. `None` inside a transaction.
    pub fn settled(&self) -> Option<Arc<Image>> {
        self.before.is_none().then(|| Arc::new(self.image.clone()))
    }

    /// The image as it is, also inside a transaction: what the next record is applied to.
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn into_image(self) -> Image {
        self.image
    }

    /// Values were replayed that are the log up to there.
    pub fn stands_at(&mut self, provenance: Provenance) {
        self.image.provenance = provenance;
    }

    /// Nothing has been said about the cluster yet.
    pub fn is_empty(&self) -> bool {
        self.before.is_none() && self.image.says_the_same(&Image::default())
    }

    pub fn replay_value(&mut self, value: Bytes, at: Offset) -> Result<(), ReplayError> {
        self.value(value).map_err(|error| ReplayError { at, error })
    }

    fn value(&mut self, value: Bytes) -> Result<(), RecordProblem> {
        let (record, version) = decode_metadata_record(value)?;
        self.record(&record, version)
    }

    pub fn record(&mut self, record: &MetadataRecord, version: i16) -> Result<(), RecordProblem> {
        let misplaced = |problem| {
            let record = record.name();
            Err(RecordProblem::Transaction { record, problem })
        };
        match record {
            MetadataRecord::BeginTransaction(_) if self.before.is_some() => {
                return misplaced("begins a transaction inside another");
            }
            MetadataRecord::BeginTransaction(_) => self.before = Some(self.image.clone()),
            MetadataRecord::EndTransaction(_) if self.before.is_none() => {
                return misplaced("ends a transaction that was not begun");
            }
            MetadataRecord::EndTransaction(_) => self.before = None,
            MetadataRecord::AbortTransaction(_) => match self.before.take() {
                Some(before) => {
                    let provenance = self.image.provenance;
                    self.image = Image { provenance, ..before };
                }
                None => return misplaced("aborts a transaction that was not begun"),
            },
            _ => self.image.apply(record, version)?,
        }
        Ok(())
    }
}
