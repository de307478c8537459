//! What Produce asks of the records of one partition, and what the log appends of them.
//!
//! In Kafka's order, since the first objection is the one that is answered: one whole batch, base
//! offset, size, checksum, codec, counts, then every record. A batch that needs no change is handed
//! on as it came, and nothing was allocated for its records.
//!
//! Where Kafka keeps wrong offsets within a batch (uncompressed) or fails on them (compressed), we
//! number the records anew.

use bytes::Bytes;

use super::batch::{
    Batch, BatchError, BatchHeader, HEADER_BYTES, MAGIC, MAGIC_AT, OVERHEAD_BYTES, TimestampType,
};
use super::compression::{
    Codec, Compression, CompressionError, Compressor, Decompressor, UnknownCodec,
};
use super::crc;
use super::record::RecordError;
use super::walk::{Source, Streamed};
use crate::protocol::error::ErrorCode;

/// Faults told one by one; a record more is only counted.
pub const FAULTS_TOLD_MAX: usize = 10_000;

/// The shortest message that Kafka ever had; anything shorter is damage, not an old format.
const LENGTH_MIN: i32 = 14;

/// The topic's configuration and the time, as far as they concern a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub now_ms: i64,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    pub message_bytes_max: u32,
    pub segment_bytes: u32,
    /// Every record needs a key.
    pub compacted: bool,
    /// `None` keeps what the producer chose.
    pub compression: Option<Compression>,
    /// The request is of a version whose consumers know zstd.
    pub zstd_allowed: bool,
    /// `max.decompressed.message.bytes`: of each record in a compressed batch.
    pub decompressed_record_bytes_max: u32,
    /// Of all records of a batch together, which Kafka does not bound.
    pub decompressed_bytes_max: usize,
}

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("no whole batch in {have} bytes")]
    NoBatch { have: usize },
    #[error("more than one batch for one partition")]
    SecondBatch,
    #[error("a message of format {magic}, which is no longer taken")]
    OldMagic { magic: i8 },
    #[error(transparent)]
    Damaged(BatchError),
    #[error("zstd needs a later version of the request")]
    ZstdVersion,
    #[error("a base offset of {base_offset}, 0 expected")]
    BaseOffset { base_offset: i64 },
    #[error("a batch of {size} bytes or more, at most {size_max} allowed")]
    BatchTooLarge { size: u64, size_max: u32 },
    #[error("a batch of {size} bytes, a segment holds {segment_bytes}")]
    SegmentTooSmall { size: u32, segment_bytes: u32 },
    #[error(transparent)]
    UnknownCodec(#[from] UnknownCodec),
    #[error("{record_count} records, and a last offset {last_offset_delta} after the first")]
    Count { record_count: i32, last_offset_delta: i32 },
    #[error("producer {producer_id} with a base sequence of {base_sequence}")]
    Sequence { producer_id: i64, base_sequence: i32 },
    #[error("a control batch, which only brokers write")]
    Control,
    #[error(transparent)]
    Compressed(CompressionError),
    #[error(transparent)]
    Structure(RecordError),
    #[error("{} of the batch's records are not valid", .0.count)]
    Records(Faults),
}

/// The records that were refused. One of them refuses the whole batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The first of them, in order.
    pub told: Vec<Fault>,
    pub count: u32,
    /// Some fault is one of timestamps, which decides the code.
    pub of_timestamps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which record of the batch, from 0.
    pub index: u32,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    #[error("a record without a key, in a compacted topic")]
    NoKey,
    #[error("timestamp {timestamp_ms} is not within {from_ms} and {to_ms}")]
    Timestamp { timestamp_ms: i64, from_ms: i64, to_ms: i64 },
    #[error("the producer claims the time of the append")]
    LogAppendTime,
}

/// Past so many bytes of records a check takes a millisecond or more.
const BRIEF_BYTES_MAX: usize = 1 << 20;
/// Compressed batches above this are taken to grow past it.
const BRIEF_COMPRESSED_BYTES_MAX: usize = 128 << 10;
/// To compress is many times the work.
const BRIEF_RECOMPRESSED_BYTES_MAX: usize = 32 << 10;
/// Plain records are only walked over.
const BRIEF_PLAIN_BYTES_MAX: usize = 4 << 20;

/// As `validate`, for records that are checked in a moment. `None`: these take longer.
pub fn validate_briefly(records: &Bytes, rules: &Rules) -> Result<Option<Batch>, Invalid> {
    if !looks_brief(records, rules) {
        return Ok(None);
    }
    let decompressed_bytes_max = rules.decompressed_bytes_max.min(BRIEF_BYTES_MAX);
    match validate(records, &Rules { decompressed_bytes_max, ..*rules }) {
        Err(Invalid::Compressed(CompressionError::TooLarge { .. }))
            if decompressed_bytes_max < rules.decompressed_bytes_max =>
        {
            Ok(None)
        }
        done => done.map(Some),
    }
}

/// What is no batch is refused in a moment.
fn looks_brief(records: &Bytes, rules: &Rules) -> bool {
    let Ok(codec) = BatchHeader::parse(records).map(|header| header.codec()) else { return true };
    let Ok(codec) = codec else { return true };
    let bytes_max = match rules.compression {
        Some(target) if target.codec != codec => BRIEF_RECOMPRESSED_BYTES_MAX,
        _ if codec == Codec::None => BRIEF_PLAIN_BYTES_MAX,
        _ => BRIEF_COMPRESSED_BYTES_MAX,
    };
    records.len() <= bytes_max
}

/// Checks the records that Produce brought for one partition. The batch comes back as it is to be
/// stored, except for its offset and leader epoch.
pub fn validate(records: &Bytes, rules: &Rules) -> Result<Batch, Invalid> {
    let whole = only_batch(records, rules)?;
    let header = check_batch(&whole, rules)?;
    let codec = header.codec()?;
    let batch = Batch::new(header, whole.slice(HEADER_BYTES..));

    let walked = match codec {
        Codec::None => check_records(&mut &batch.body()[..], &batch, rules)?,
        codec => {
            let decompressor = Decompressor::new(codec, batch.body(), rules.decompressed_bytes_max);
            let decompressor = decompressor.map_err(compressed)?;
            let record_bytes_max = rules.decompressed_record_bytes_max;
            check_records(&mut Streamed::new(decompressor, record_bytes_max), &batch, rules)?
        }
    };

    let target = rules.compression.filter(|target| target.codec != codec);
    let batch = if target.is_some() || walked.misnumbered {
        rebuilt(&batch, codec, target.unwrap_or(codec.into()), walked.misnumbered, rules)?
    } else {
        batch
    };
    let batch = match rules.timestamp_type {
        TimestampType::CreateTime => {
            batch.with_timestamps(TimestampType::CreateTime, walked.max_timestamp_ms)
        }
        TimestampType::LogAppendTime => batch.with_log_append_time(rules.now_ms),
    };

    check_size(u64::from(batch.size_bytes()), rules)?;
    let (size, segment_bytes) = (batch.size_bytes(), rules.segment_bytes);
    if size > segment_bytes {
        return Err(Invalid::SegmentTooSmall { size, segment_bytes });
    }
    Ok(batch)
}

/// The one batch that there must be. What follows it may only be too short to be another.
fn only_batch(records: &Bytes, rules: &Rules) -> Result<Bytes, Invalid> {
    let size = first_size(records)?.ok_or(Invalid::NoBatch { have: records.len() })?;
    let magic = records[MAGIC_AT] as i8;
    if magic != MAGIC {
        return Err(Invalid::OldMagic { magic });
    }
    if size < HEADER_BYTES {
        let length = (size - OVERHEAD_BYTES) as i32;
        return Err(Invalid::Damaged(BatchError::Length { length }));
    }
    let (first, rest) = (records.slice(..size), &records[size..]);
    let header = first.first_chunk().expect("the batch is longer than its header");
    if !rules.zstd_allowed && BatchHeader::read(header).codec() == Ok(Codec::Zstd) {
        return Err(Invalid::ZstdVersion);
    }
    match first_size(rest)? {
        None => Ok(first),
        Some(_) => Err(Invalid::SecondBatch),
    }
}

/// How long the first batch or message in `bytes` is, if it is all there.
fn first_size(bytes: &[u8]) -> Result<Option<usize>, Invalid> {
    let Some((overhead, _)) = bytes.split_at_checked(OVERHEAD_BYTES) else { return Ok(None) };
    let length = overhead[8..].try_into().expect("the length is 4 bytes");
    let length = i32::from_be_bytes(length);
    if length < LENGTH_MIN {
        return Err(Invalid::Damaged(BatchError::Length { length }));
    }
    let Some(&magic) = bytes.get(MAGIC_AT) else { return Ok(None) };
    if magic as i8 > MAGIC || (magic as i8) < 0 {
        return Err(Invalid::Damaged(BatchError::Magic { magic: magic as i8 }));
    }
    let size = length as usize + OVERHEAD_BYTES;
    Ok((size <= bytes.len()).then_some(size))
}

fn check_batch(whole: &Bytes, rules: &Rules) -> Result<BatchHeader, Invalid> {
    let header = whole.first_chunk().expect("the batch is longer than its header");
    let header = BatchHeader::read(header);
    let BatchHeader { base_offset, last_offset_delta, record_count, .. } = header;
    let BatchHeader { producer_id, base_sequence, .. } = header;
    if base_offset != 0 {
        return Err(Invalid::BaseOffset { base_offset });
    }
    check_size(whole.len() as u64, rules)?;
    let (stored, computed) = (header.crc, crc(0, &whole[BatchHeader::CHECKED_AT..]));
    if stored != computed {
        return Err(Invalid::Damaged(BatchError::Crc { stored, computed }));
    }
    header.codec()?;
    if record_count <= 0 || last_offset_delta != record_count - 1 {
        return Err(Invalid::Count { record_count, last_offset_delta });
    }
    if producer_id >= 0 && base_sequence < 0 {
        return Err(Invalid::Sequence { producer_id, base_sequence });
    }
    if header.is_control() {
        return Err(Invalid::Control);
    }
    Ok(header)
}

fn check_size(size: u64, rules: &Rules) -> Result<(), Invalid> {
    match rules.message_bytes_max {
        size_max if size > u64::from(size_max) => Err(Invalid::BatchTooLarge { size, size_max }),
        _ => Ok(()),
    }
}

struct Walked {
    /// -1 when no record has one.
    max_timestamp_ms: i64,
    /// The offsets within the batch are not 0, 1, 2 and so on.
    misnumbered: bool,
}

fn check_records(
    source: &mut impl Source,
    header: &BatchHeader,
    rules: &Rules,
) -> Result<Walked, Invalid> {
    let mut faults = Faults::default();
    let (mut max_timestamp_ms, mut misnumbered) = (-1, false);
    let times = Times::of(header, rules);
    for index in 0..header.record_count() {
        let record = source.outline().map_err(structure)?;
        misnumbered |= record.offset_delta as u32 != index;
        let timestamp_ms = header.timestamp_ms(record.timestamp_delta);
        max_timestamp_ms = timestamp_ms.max(max_timestamp_ms);
        let no_key = rules.compacted && !record.has_key;
        if no_key || times.refuse(timestamp_ms) {
            let kind = if no_key { FaultKind::NoKey } else { times.fault(timestamp_ms) };
            faults.add(Fault { index, kind });
        }
    }
    if !source.is_at_end().map_err(structure)? {
        return Err(Invalid::Structure(RecordError::Trailing));
    }
    if faults.count > 0 {
        return Err(Invalid::Records(faults));
    }
    Ok(Walked { max_timestamp_ms, misnumbered })
}

/// What is asked of the timestamps of one batch.
struct Times {
    from_ms: i64,
    to_ms: i64,
    /// The producers' timestamps count: they are looked at, where there are any.
    of_creation: bool,
    /// The batch claims the time of the append.
    claimed: bool,
}

impl Times {
    fn of(header: &BatchHeader, rules: &Rules) -> Times {
        Times {
            from_ms: rules.now_ms.saturating_sub(rules.timestamp_before_max_ms),
            to_ms: rules.now_ms.saturating_add(rules.timestamp_after_max_ms),
            of_creation: rules.timestamp_type == TimestampType::CreateTime,
            claimed: header.timestamp_type() == TimestampType::LogAppendTime,
        }
    }

    /// A batch may claim the time of the append and pass, if its timestamp is a possible one. Odd,
    /// and Kafka's; the claim is removed afterwards.
    #[inline]
    fn refuse(&self, timestamp_ms: i64) -> bool {
        match self.of_creation && timestamp_ms != -1 {
            true => timestamp_ms < self.from_ms || timestamp_ms > self.to_ms,
            false => self.claimed,
        }
    }

    /// Of a timestamp that is refused.
    fn fault(&self, timestamp_ms: i64) -> FaultKind {
        let Times { from_ms, to_ms, of_creation, .. } = *self;
        match of_creation && timestamp_ms != -1 {
            true => FaultKind::Timestamp { timestamp_ms, from_ms, to_ms },
            false => FaultKind::LogAppendTime,
        }
    }
}

impl Invalid {
    /// What Kafka answers, and for what it would decompress without end: what makes a producer
    /// split its batch.
    pub fn code(&self) -> ErrorCode {
        match self {
            Invalid::Damaged(_) => ErrorCode::CorruptMessage,
            Invalid::ZstdVersion => ErrorCode::UnsupportedCompressionType,
            Invalid::BatchTooLarge { .. } => ErrorCode::MessageTooLarge,
            Invalid::SegmentTooSmall { .. } => ErrorCode::RecordListTooLarge,
            Invalid::Compressed(CompressionError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
            Invalid::Compressed(_) | Invalid::UnknownCodec(_) => ErrorCode::UnknownServerError,
            Invalid::Records(faults) if faults.of_timestamps => ErrorCode::InvalidTimestamp,
            Invalid::NoBatch { .. }
            | Invalid::SecondBatch
            | Invalid::OldMagic { .. }
            | Invalid::BaseOffset { .. }
            | Invalid::Count { .. }
            | Invalid::Sequence { .. }
            | Invalid::Control
            | Invalid::Structure(_)
            | Invalid::Records(_) => ErrorCode::InvalidRecord,
        }
    }
}

impl Faults {
    fn add(&mut self, fault: Fault) {
        self.count += 1;
        self.of_timestamps |= fault.kind != FaultKind::NoKey;
        if self.told.len() < FAULTS_TOLD_MAX {
            self.told.push(fault);
        }
    }
}

/// The same records under another codec, or numbered anew. Stops when the result grows too large.
fn rebuilt(
    batch: &Batch,
    codec: Codec,
    target: Compression,
    misnumbered: bool,
    rules: &Rules,
) -> Result<Batch, Invalid> {
    let mut compressor = Compressor::new(target, Vec::new());
    let mut push = |bytes: &[u8]| {
        compressor.push(bytes);
        check_size((HEADER_BYTES + compressor.written_bytes()) as u64, rules)
    };
    if misnumbered {
        let mut encoded = Vec::new();
        for (offset_delta, record) in (0..).zip(batch.records(rules.decompressed_bytes_max)) {
            let mut record = record.map_err(structure)?;
            record.offset_delta = offset_delta;
            encoded.clear();
            record.encode(&mut encoded);
            push(&encoded)?;
        }
    } else {
        let decompressor = Decompressor::new(codec, batch.body(), rules.decompressed_bytes_max);
        let mut decompressor = decompressor.map_err(compressed)?;
        while let chunk = decompressor.next_chunk().map_err(compressed)?
            && !chunk.is_empty()
        {
            push(chunk)?;
        }
    }
    let attributes = batch.attributes().with_codec(target.codec);
    let header = BatchHeader { attributes, ..*batch.header() };
    Ok(Batch::sealed(header, compressor.finish().into()))
}

fn structure(error: RecordError) -> Invalid {
    match error {
        RecordError::Compression(error) => compressed(error),
        error => Invalid::Structure(error),
    }
}

fn compressed(error: CompressionError) -> Invalid {
    Invalid::Compressed(error)
}

#[cfg(test)]
mod tests;
