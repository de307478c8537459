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

/// Records that are read once, front to back.
pub(super) trait Source {
    /// Reads past one record, and checks that it is made right.
    fn outline(&mut self) -> Result<Outline, RecordError>;
    fn is_at_end(&mut self) -> Result<bool, RecordError>;
}

impl Source for &[u8] {
    fn outline(&mut self) -> Result<Outline, RecordError> {
        let length = read_varint(|| self.byte())?;
        let left = self.len();
        let size = usize::try_from(length).ok().filter(|&size| size <= left);
        let (record, rest) = self.split_at(size.ok_or(RecordError::Length { length, left })?);
        *self = rest;
        outline(&mut { record })
    }

    fn is_at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.is_empty())
    }
}

/// Compressed records, decompressed chunk by chunk.
pub(super) struct Streamed<'a> {
    decompressor: Decompressor<'a>,
    at: usize,
    record_bytes_max: u32,
}

impl<'a> Streamed<'a> {
    pub fn new(decompressor: Decompressor<'a>, record_bytes_max: u32) -> Streamed<'a> {
        Streamed { decompressor, at: 0, record_bytes_max }
    }

    fn chunk(&self) -> &[u8] {
        &self.decompressor.chunk()[self.at..]
    }

    #[cold]
    fn refill(&mut self) -> Result<(), RecordError> {
        self.at = 0;
        self.decompressor.next_chunk()?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, RecordError> {
        if self.chunk().is_empty() {
            self.refill()?;
        }
        let byte = *self.chunk().first().ok_or(RecordError::Cut)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut size: usize) -> Result<(), RecordError> {
        while size > self.chunk().len() {
            size -= self.chunk().len();
            self.refill()?;
            if self.chunk().is_empty() {
                return Err(RecordError::Cut);
            }
        }
        self.at += size;
        Ok(())
    }
}

impl Source for Streamed<'_> {
    fn outline(&mut self) -> Result<Outline, RecordError> {
        let length = read_varint(|| self.byte())?;
        let left = usize::try_from(length).map_err(|_| RecordError::Length { length, left: 0 })?;
        let size_max = self.record_bytes_max;
        if length as u32 > size_max {
            return Err(RecordError::TooLarge { length, size_max });
        }
        // Most records lie within one chunk.
        if let Some(mut record) = self.chunk().get(..left) {
            let outline = outline(&mut record)?;
            self.at += left;
            return Ok(outline);
        }
        outline(&mut Across { source: self, left })
    }

    fn is_at_end(&mut self) -> Result<bool, RecordError> {
        if self.chunk().is_empty() {
            self.refill()?;
        }
        Ok(self.chunk().is_empty())
    }
}

/// The bytes of one record, after its length.
trait Body {
    fn left(&self) -> usize;
    fn byte(&mut self) -> Result<u8, RecordError>;
    /// At most what is left.
    fn skip(&mut self, size: usize) -> Result<(), RecordError>;
}

impl Body for &[u8] {
    #[inline]
    fn left(&self) -> usize {
        self.len()
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, RecordError> {
        let (&byte, rest) = self.split_first().ok_or(RecordError::Cut)?;
        *self = rest;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, size: usize) -> Result<(), RecordError> {
        *self = &self[size..];
        Ok(())
    }
}

/// A record that begins in one chunk and ends in another.
struct Across<'a, 'b> {
    source: &'a mut Streamed<'b>,
    left: usize,
}

impl Body for Across<'_, '_> {
    fn left(&self) -> usize {
        self.left
    }

    fn byte(&mut self) -> Result<u8, RecordError> {
        self.left = self.left.checked_sub(1).ok_or(RecordError::Cut)?;
        self.source.byte()
    }

    fn skip(&mut self, size: usize) -> Result<(), RecordError> {
        self.left -= size;
        self.source.skip(size)
    }
}

#[inline]
fn outline(body: &mut impl Body) -> Result<Outline, RecordError> {
    body.byte()?;
    let timestamp_delta = read_varlong(|| body.byte())?;
    let offset_delta = read_varint(|| body.byte())?;
    let has_key = skip_bytes_or_null(body)?;
    skip_bytes_or_null(body)?;
    let count = read_varint(|| body.byte())?;
    if count < 0 {
        return Err(RecordError::HeaderCount { count, left: body.left() });
    }
    for _ in 0..count {
        if !skip_bytes_or_null(body)? {
            return Err(RecordError::HeaderKey);
        }
        skip_bytes_or_null(body)?;
    }
    match body.left() {
        0 => Ok(Outline { timestamp_delta, offset_delta, has_key }),
        left => Err(RecordError::Surplus { left }),
    }
}

/// Whether there were bytes, if none at all. Any negative length means null.
#[inline]
fn skip_bytes_or_null(body: &mut impl Body) -> Result<bool, RecordError> {
    let length = read_varint(|| body.byte())?;
    let Ok(size) = usize::try_from(length) else { return Ok(false) };
    let left = body.left();
    if size > left {
        return Err(RecordError::Length { length, left });
    }
    body.skip(size)?;
    Ok(true)
}
