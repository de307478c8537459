//! One record batch: its header, parsed, and its body, untouched.
//!
//! The parsed header is the only truth about the 61 bytes: [`BatchHeader::encode`] gives them back
//! bit by bit, so a batch is changed by changing its header, and the body is shared with whatever
//! buffer it came in. Offset and leader epoch lie outside the checksum; everything else does not.
//!
//! A header that parsed has a sane length, a last offset at or after its base offset, no
//! overflowing offset, and a record count that is not negative.

use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use super::compression::{Codec, UnknownCodec};
use super::crc;
use super::record::Record;
use super::walk::Records;
use crate::types::{LeaderEpoch, Offset, ProducerId};

pub const HEADER_BYTES: usize = 61;
/// Base offset and length come before the bytes that the length counts.
pub const OVERHEAD_BYTES: usize = 12;
pub const MAGIC: i8 = 2;
/// What a timestamp or a sequence says when there is none.
pub const NONE: i64 = -1;

const LENGTH_MIN: i32 = (HEADER_BYTES - OVERHEAD_BYTES) as i32;
pub(super) const MAGIC_AT: usize = 16;

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// Each record says when it was made.
    #[default]
    CreateTime,
    /// The batch says when it was appended, for all its records.
    LogAppendTime,
}

/// The 61 bytes, parsed. `Copy`, and enough for an index or a recovery scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub(super) base_offset: i64,
    pub(super) length: i32,
    pub(super) leader_epoch: i32,
    pub(super) magic: i8,
    pub(super) crc: u32,
    pub(super) attributes: Attributes,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp_ms: i64,
    pub(super) max_timestamp_ms: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) record_count: i32,
}

/// Bits 0 to 2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

/// A whole batch. Cloning it shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the header does.
    #[error("{have} bytes left, a batch header has {HEADER_BYTES}")]
    HeaderCut { have: usize },
    /// The bytes end before the batch does: the rest may simply not be here yet.
    #[error("{have} bytes left of a batch of {size}")]
    Cut { have: usize, size: usize },
    #[error("a batch length of {length}, at least {LENGTH_MIN} expected")]
    Length { length: i32 },
    #[error("a batch of magic {magic}, only {MAGIC} is supported")]
    Magic { magic: i8 },
    #[error("offsets from {base_offset} to {last_offset_delta} after it")]
    Offsets { base_offset: i64, last_offset_delta: i32 },
    #[error("a batch of {record_count} records")]
    RecordCount { record_count: i32 },
    #[error("checksum {stored:#010x} in the batch, {computed:#010x} over its bytes")]
    Crc { stored: u32, computed: u32 },
}

impl BatchHeader {
    /// The checksum covers everything from the attributes on.
    pub(super) const CHECKED_AT: usize = 21;

    /// Reads the header at the start of `bytes`, which need not hold the body.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic as i8 != MAGIC
        {
            return Err(BatchError::Magic { magic: magic as i8 });
        }
        let Some(header) = bytes.first_chunk() else {
            return Err(BatchError::HeaderCut { have: bytes.len() });
        };
        let header = BatchHeader::read(header);
        header.check()?;
        Ok(header)
    }

    /// Reads the fields and believes them.
    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> BatchHeader {
        BatchHeader {
            base_offset: i64::from_be_bytes(part(bytes, 0)),
            length: i32::from_be_bytes(part(bytes, 8)),
            leader_epoch: i32::from_be_bytes(part(bytes, 12)),
            magic: i8::from_be_bytes(part(bytes, MAGIC_AT)),
            crc: u32::from_be_bytes(part(bytes, 17)),
            attributes: Attributes(i16::from_be_bytes(part(bytes, BatchHeader::CHECKED_AT))),
            last_offset_delta: i32::from_be_bytes(part(bytes, 23)),
            base_timestamp_ms: i64::from_be_bytes(part(bytes, 27)),
            max_timestamp_ms: i64::from_be_bytes(part(bytes, 35)),
            producer_id: i64::from_be_bytes(part(bytes, 43)),
            producer_epoch: i16::from_be_bytes(part(bytes, 51)),
            base_sequence: i32::from_be_bytes(part(bytes, 53)),
            record_count: i32::from_be_bytes(part(bytes, 57)),
        }
    }

    fn check(&self) -> Result<(), BatchError> {
        let BatchHeader { length, base_offset, last_offset_delta, record_count, .. } = *self;
        if length < LENGTH_MIN {
            return Err(BatchError::Length { length });
        }
        let end = base_offset.checked_add(i64::from(last_offset_delta) + 1);
        if base_offset < 0 || last_offset_delta < 0 || end.is_none() {
            return Err(BatchError::Offsets { base_offset, last_offset_delta });
        }
        if record_count < 0 {
            return Err(BatchError::RecordCount { record_count });
        }
        Ok(())
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        bytes[16..17].copy_from_slice(&self.magic.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp_ms.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }

    pub fn base_offset(&self) -> Offset {
        Offset(self.base_offset)
    }

    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset + i64::from(self.last_offset_delta))
    }

    /// The first offset after the batch.
    pub fn next_offset(&self) -> Offset {
        Offset(self.base_offset + i64::from(self.last_offset_delta) + 1)
    }

    /// How many offsets the batch takes; more than its records once it was compacted.
    pub fn offset_count(&self) -> u32 {
        self.last_offset_delta as u32 + 1
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch)
    }

    /// Header and body.
    pub fn size_bytes(&self) -> u32 {
        self.length as u32 + OVERHEAD_BYTES as u32
    }

    pub fn body_bytes(&self) -> u32 {
        self.size_bytes() - HEADER_BYTES as u32
    }

    pub fn crc(&self) -> u32 {
        self.crc
    }

    pub fn attributes(&self) -> Attributes {
        self.attributes
    }

    pub fn codec(&self) -> Result<Codec, UnknownCodec> {
        self.attributes.codec()
    }

    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    pub fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// What the records' timestamps count from. With a delete horizon, it is the horizon.
    pub fn base_timestamp_ms(&self) -> i64 {
        self.base_timestamp_ms
    }

    /// -1 when no record has a timestamp.
    pub fn max_timestamp_ms(&self) -> i64 {
        self.max_timestamp_ms
    }

    /// When the broker appended the batch, if that is what its timestamps mean.
    pub fn log_append_time_ms(&self) -> Option<i64> {
        (self.timestamp_type() == TimestampType::LogAppendTime).then_some(self.max_timestamp_ms)
    }

    /// From when on compaction may drop the tombstones and markers of this batch.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp_ms)
    }

    pub fn producer_id(&self) -> Option<ProducerId> {
        (self.producer_id >= 0).then_some(ProducerId(self.producer_id))
    }

    /// -1 without a producer id.
    pub fn producer_epoch(&self) -> i16 {
        self.producer_epoch
    }

    /// -1 where records are not numbered: without a producer id, and in control batches.
    pub fn base_sequence(&self) -> i32 {
        self.base_sequence
    }

    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            ..0 => NONE as i32,
            base => sequence_plus(base, self.last_offset_delta as u32),
        }
    }

    pub fn record_count(&self) -> u32 {
        self.record_count as u32
    }

    pub fn offset_of(&self, record: &Record) -> Offset {
        Offset(self.base_offset.saturating_add(i64::from(record.offset_delta)))
    }

    pub fn timestamp_ms_of(&self, record: &Record) -> i64 {
        self.timestamp_ms(record.timestamp_delta)
    }

    pub(super) fn timestamp_ms(&self, delta: i64) -> i64 {
        match self.timestamp_type() {
            TimestampType::CreateTime => self.base_timestamp_ms.wrapping_add(delta),
            TimestampType::LogAppendTime => self.max_timestamp_ms,
        }
    }
}

impl Attributes {
    pub fn codec(self) -> Result<Codec, UnknownCodec> {
        Codec::from_id((self.0 & CODEC_MASK) as u8)
    }

    pub fn timestamp_type(self) -> TimestampType {
        match self.0 & LOG_APPEND_TIME_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL_BIT != 0
    }

    pub fn is_control(self) -> bool {
        self.0 & CONTROL_BIT != 0
    }

    pub fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON_BIT != 0
    }

    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Attributes {
        Attributes(self.0 & !CODEC_MASK | i16::from(codec.id()))
    }

    #[must_use]
    pub fn with_timestamp_type(self, kind: TimestampType) -> Attributes {
        self.with(LOG_APPEND_TIME_BIT, kind == TimestampType::LogAppendTime)
    }

    #[must_use]
    pub fn with_transactional(self, on: bool) -> Attributes {
        self.with(TRANSACTIONAL_BIT, on)
    }

    #[must_use]
    pub fn with_control(self, on: bool) -> Attributes {
        self.with(CONTROL_BIT, on)
    }

    #[must_use]
    pub fn with_delete_horizon(self, on: bool) -> Attributes {
        self.with(DELETE_HORIZON_BIT, on)
    }

    fn with(self, bit: i16, on: bool) -> Attributes {
        Attributes(if on { self.0 | bit } else { self.0 & !bit })
    }
}

impl Batch {
    /// Cuts the first batch off `bytes`; `None` when nothing is left. After an error `bytes` is as
    /// it was, so that a cut batch can be completed. The checksum is not looked at.
    pub fn split(bytes: &mut Bytes) -> Result<Option<Batch>, BatchError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let header = BatchHeader::parse(bytes)?;
        let (have, size) = (bytes.len(), header.size_bytes() as usize);
        if have < size {
            return Err(BatchError::Cut { have, size });
        }
        Ok(Some(Batch::new(header, bytes.split_to(size).split_off(HEADER_BYTES))))
    }

    /// Exactly one batch and nothing after it.
    pub fn parse(bytes: &Bytes) -> Result<Batch, BatchError> {
        let mut rest = bytes.clone();
        let batch = Batch::split(&mut rest)?.ok_or(BatchError::HeaderCut { have: 0 })?;
        match rest.len() {
            0 => Ok(batch),
            _ => Err(BatchError::Length { length: batch.header.length }),
        }
    }

    /// Both must have been checked, and belong together.
    pub(super) fn new(header: BatchHeader, body: Bytes) -> Batch {
        assert_eq!(body.len(), header.body_bytes() as usize, "a batch is as long as it says");
        Batch { header, body }
    }

    /// Makes length and checksum anew.
    pub(super) fn sealed(header: BatchHeader, body: Bytes) -> Batch {
        let length = body.len() + HEADER_BYTES - OVERHEAD_BYTES;
        let length = i32::try_from(length).expect("batches are bounded far below 2 GiB");
        let mut batch = Batch { header: BatchHeader { length, magic: MAGIC, ..header }, body };
        batch.header.crc = batch.computed_crc();
        batch
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records, as they are stored: compressed if the codec says so.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Copies header and body into one buffer.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.size_bytes() as usize);
        bytes.extend_from_slice(&self.header.encode());
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }

    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.header.crc, self.computed_crc());
        if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
    }

    fn computed_crc(&self) -> u32 {
        crc(crc(0, &self.header.encode()[BatchHeader::CHECKED_AT..]), &self.body)
    }

    /// The header that the log writes before the body. The checksum stays right.
    pub fn stamped_header(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
    ) -> [u8; HEADER_BYTES] {
        self.header.stamped(base_offset, leader_epoch).encode()
    }

    /// The same batch elsewhere in the log.
    #[must_use]
    pub fn stamped(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Batch {
        let header = self.header.stamped(base_offset, leader_epoch);
        Batch { header, body: self.body.clone() }
    }

    /// The same batch, appended at `now_ms`. The records keep the deltas that the producer wrote.
    #[must_use]
    pub fn with_log_append_time(&self, now_ms: i64) -> Batch {
        self.with_timestamps(TimestampType::LogAppendTime, now_ms)
    }

    /// Makes a new checksum when something changes.
    #[must_use]
    pub(super) fn with_timestamps(&self, kind: TimestampType, max_timestamp_ms: i64) -> Batch {
        let attributes = self.header.attributes.with_timestamp_type(kind);
        if attributes == self.header.attributes && max_timestamp_ms == self.header.max_timestamp_ms
        {
            return self.clone();
        }
        let header = BatchHeader { attributes, max_timestamp_ms, ..self.header };
        Batch::sealed(header, self.body.clone())
    }

    /// Walks the records. Keys and values are slices of the body, or of one buffer of at most
    /// `decompressed_bytes_max` bytes. The first error ends the walk.
    pub fn records(&self, decompressed_bytes_max: usize) -> Records {
        Records::new(self, decompressed_bytes_max)
    }
}

impl BatchHeader {
    #[must_use]
    pub fn stamped(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> BatchHeader {
        assert!(base_offset.0 >= 0, "the log assigns offsets from 0");
        let end = base_offset.0.checked_add(i64::from(self.last_offset_delta) + 1);
        assert!(end.is_some(), "offsets stay far below 2^63");
        BatchHeader { base_offset: base_offset.0, leader_epoch: leader_epoch.0, ..*self }
    }
}

/// A batch answers for its header.
impl Deref for Batch {
    type Target = BatchHeader;

    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

/// Sequences count from 0 to 2^31 - 1, and then from 0 again.
pub fn sequence_plus(sequence: i32, count: u32) -> i32 {
    assert!(sequence >= 0, "sequences are not negative");
    ((i64::from(sequence) + i64::from(count)) % (1 << 31)) as i32
}

fn part<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("fields lie within the header")
}
