//! Walks the records of a batch: whole, for who reads them, or in outline, for who checks them.
//!
//! The outline copies no key and no value, takes no memory per record, and reads compressed data
//! through one bounded buffer.

use bytes::Bytes;

use super::batch::Batch;
use super::compression::{Codec, CompressionError, Decompressor, decompress};
use super::record::{Record, RecordError};
use super::varint::{read_varint, read_varlong};

/// The records of one batch, in order. Ends after the first error.
pub struct Records {
    body: Bytes,
    left: u32,
    state: State,
}

enum State {
    Walking,
    Failed(RecordError),
    Ended,
}

impl Records {
    pub(super) fn new(batch: &Batch, decompressed_bytes_max: usize) -> Records {
        let left = batch.record_count();
        match plain_body(batch, decompressed_bytes_max) {
            Ok(body) => Records { body, left, state: State::Walking },
            Err(error) => {
                let state = State::Failed(RecordError::Compression(error));
                Records { body: Bytes::new(), left, state }
            }
        }
    }
}

fn plain_body(batch: &Batch, decompressed_bytes_max: usize) -> Result<Bytes, CompressionError> {
    match batch.codec()? {
        Codec::None => Ok(batch.body().clone()),
        // Compaction leaves headers without records behind.
        _ if batch.body().is_empty() && batch.record_count() == 0 => Ok(Bytes::new()),
        codec => Ok(decompress(codec, batch.body(), decompressed_bytes_max)?.into()),
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return None,
            State::Failed(error) => Err(error),
            State::Walking if self.left > 0 => Record::split(&mut self.body),
            State::Walking if self.body.is_empty() => return None,
            State::Walking => Err(RecordError::Trailing),
        };
        if result.is_ok() {
            self.left -= 1;
            self.state = State::Walking;
        }
        Some(result)
    }
}

/// What a record is, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub has_key: bool,
}

/// Bytes that are read once, front to back.
pub(super) trait Source {
    fn byte(&mut self) -> Result<u8, RecordError>;
    fn skip(&mut self, size: usize) -> Result<(), RecordError>;
    fn is_at_end(&mut self) -> Result<bool, RecordError>;
}

impl Source for &[u8] {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordError> {
        let (&byte, rest) = self.split_first().ok_or(RecordError::Cut)?;
        *self = rest;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, size: usize) -> Result<(), RecordError> {
        *self = self.get(size..).ok_or(RecordError::Cut)?;
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.is_empty())
    }
}

/// Compressed bytes, decompressed chunk by chunk.
pub(super) struct Streamed<'a> {
    decompressor: Decompressor<'a>,
    at: usize,
}

impl<'a> Streamed<'a> {
    pub fn new(decompressor: Decompressor<'a>) -> Streamed<'a> {
        Streamed { decompressor, at: 0 }
    }

    #[cold]
    fn refill(&mut self) -> Result<(), RecordError> {
        self.at = 0;
        self.decompressor.next_chunk()?;
        Ok(())
    }
}

impl Source for Streamed<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordError> {
        if self.at == self.decompressor.chunk().len() {
            self.refill()?;
        }
        let byte = *self.decompressor.chunk().get(self.at).ok_or(RecordError::Cut)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, mut size: usize) -> Result<(), RecordError> {
        while size > self.decompressor.chunk().len() - self.at {
            size -= self.decompressor.chunk().len() - self.at;
            self.refill()?;
            if self.decompressor.chunk().is_empty() {
                return Err(RecordError::Cut);
            }
        }
        self.at += size;
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, RecordError> {
        if self.at == self.decompressor.chunk().len() {
            self.refill()?;
        }
        Ok(self.decompressor.chunk().is_empty())
    }
}

/// Reads past one record, and checks that it is made right.
pub(super) fn outline(source: &mut impl Source) -> Result<Outline, RecordError> {
    let length = read_varint(|| source.byte())?;
    let left = usize::try_from(length).map_err(|_| RecordError::Length { length, left: 0 })?;
    let mut fields = Fields { source, left };

    fields.byte()?;
    let timestamp_delta = read_varlong(|| fields.byte())?;
    let offset_delta = read_varint(|| fields.byte())?;
    let has_key = fields.skip_bytes_or_null()?;
    fields.skip_bytes_or_null()?;
    let count = read_varint(|| fields.byte())?;
    if usize::try_from(count).is_err() {
        return Err(RecordError::HeaderCount { count, left: fields.left });
    }
    for _ in 0..count {
        if !fields.skip_bytes_or_null()? {
            return Err(RecordError::HeaderKey);
        }
        fields.skip_bytes_or_null()?;
    }
    match fields.left {
        0 => Ok(Outline { timestamp_delta, offset_delta, has_key }),
        left => Err(RecordError::Surplus { left }),
    }
}

/// The part of a source that one record may read.
struct Fields<'a, S> {
    source: &'a mut S,
    left: usize,
}

impl<S: Source> Fields<'_, S> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordError> {
        self.left = self.left.checked_sub(1).ok_or(RecordError::Cut)?;
        self.source.byte()
    }

    /// Whether there were bytes, if none at all. Any negative length means null.
    #[inline]
    fn skip_bytes_or_null(&mut self) -> Result<bool, RecordError> {
        let length = read_varint(|| self.byte())?;
        let Ok(size) = usize::try_from(length) else { return Ok(false) };
        let left = self.left;
        self.left = left.checked_sub(size).ok_or(RecordError::Length { length, left })?;
        self.source.skip(size)?;
        Ok(true)
    }
}
