//! Makes batches: for the metadata log, the coordinators, rebuilt batches, clients and tests.

use bytes::Bytes;

use super::batch::{Attributes, Batch, BatchHeader, HEADER_BYTES, MAGIC, NONE, TimestampType};
use super::compression::{Codec, Compression, Compressor};
use super::control::ControlType;
use super::record::{Header, Record};
use crate::types::{LeaderEpoch, Offset, ProducerId};

/// Everything about a batch but its records.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub compression: Compression,
    pub timestamp_type: TimestampType,
    pub producer: Option<Producer>,
    pub transactional: bool,
    pub control: bool,
    /// Replaces the base timestamp; the records then count from it.
    pub delete_horizon_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: i16,
    /// -1 in control batches.
    pub base_sequence: i32,
}

/// A record as its maker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// -1 for none.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

pub struct BatchBuilder {
    options: BatchOptions,
    /// Encoded, not yet compressed.
    records: Vec<u8>,
    record_count: u32,
    base_timestamp_ms: Option<i64>,
    max_timestamp_ms: i64,
    last_offset_delta: i32,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch(-1),
            compression: Compression::default(),
            timestamp_type: TimestampType::CreateTime,
            producer: None,
            transactional: false,
            control: false,
            delete_horizon_ms: None,
        }
    }
}

impl BatchBuilder {
    pub fn new(options: BatchOptions) -> BatchBuilder {
        let base_timestamp_ms = options.delete_horizon_ms;
        BatchBuilder {
            options,
            records: Vec::new(),
            record_count: 0,
            base_timestamp_ms,
            max_timestamp_ms: NONE,
            last_offset_delta: -1,
        }
    }

    /// Appends at the next offset.
    pub fn push(&mut self, record: NewRecord) {
        self.push_at(self.last_offset_delta + 1, record);
    }

    /// Appends at `offset_delta` after the base offset: compaction leaves gaps.
    pub fn push_at(&mut self, offset_delta: i32, record: NewRecord) {
        assert!(offset_delta > self.last_offset_delta, "offsets grow");
        let NewRecord { timestamp_ms, key, value, headers } = record;
        let base_timestamp_ms = *self.base_timestamp_ms.get_or_insert(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(base_timestamp_ms);
        let record = Record { attributes: 0, timestamp_delta, offset_delta, key, value, headers };
        record.encode(&mut self.records);
        self.record_count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
    }

    /// Appends a control record; the batch must be a control batch.
    pub fn push_control(&mut self, kind: ControlType, timestamp_ms: i64, value: Bytes) {
        assert!(self.options.control, "control records have batches of their own");
        let key = Some(kind.to_key());
        self.push(NewRecord { timestamp_ms, key, value: Some(value), headers: vec![] });
    }

    /// What the records' timestamps count from, where it is not the first of them. Only before the
    /// first record.
    pub fn base_timestamp_ms(&mut self, base_timestamp_ms: i64) {
        assert!(self.is_empty(), "the records count from the base timestamp");
        self.base_timestamp_ms = Some(base_timestamp_ms);
    }

    /// Stretches the batch over offsets whose records are gone. Also makes a batch without records.
    pub fn extend_to(&mut self, last_offset_delta: i32) {
        assert!(last_offset_delta >= self.last_offset_delta, "records lie within their batch");
        self.last_offset_delta = last_offset_delta;
    }

    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Header and records, before compression.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The whole batch in one buffer.
    pub fn build(self) -> Bytes {
        self.build_batch().to_bytes()
    }

    pub fn build_batch(self) -> Batch {
        assert!(self.last_offset_delta >= 0, "a batch takes at least one offset");
        let options = &self.options;
        // Nothing to compress: Kafka says so, too, in a batch that compaction emptied.
        let compression =
            if self.record_count == 0 { Codec::None.into() } else { options.compression };
        let attributes = Attributes::default()
            .with_codec(compression.codec)
            .with_timestamp_type(options.timestamp_type)
            .with_transactional(options.transactional)
            .with_control(options.control)
            .with_delete_horizon(options.delete_horizon_ms.is_some());
        let producer = options.producer.unwrap_or(Producer {
            id: ProducerId(NONE),
            epoch: NONE as i16,
            base_sequence: NONE as i32,
        });
        let header = BatchHeader {
            base_offset: options.base_offset.0,
            length: 0,
            leader_epoch: options.leader_epoch.0,
            magic: MAGIC,
            crc: 0,
            attributes,
            last_offset_delta: self.last_offset_delta,
            base_timestamp_ms: self.base_timestamp_ms.unwrap_or(NONE),
            max_timestamp_ms: self.max_timestamp_ms,
            producer_id: producer.id.0,
            producer_epoch: producer.epoch,
            base_sequence: producer.base_sequence,
            record_count: self.record_count as i32,
        };
        let mut compressor = Compressor::new(compression, Vec::new());
        compressor.push(&self.records);
        Batch::sealed(header, compressor.finish().into())
    }
}
