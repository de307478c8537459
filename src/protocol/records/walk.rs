//! Walks the records of a batch: whole, for who reads them, or in outline, for who checks them.
//!
//! The outline copies no key and no value, takes no memory per record, and reads compressed data
//! through one bounded buffer. Most records are alike: `common` reads these in a few dozen
//! instructions, and leaves every other one, and all that is wrong, to `outline`.

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
    #[inline]
    fn outline(&mut self) -> Result<Outline, RecordError> {
        match common(self) {
            Some((outline, size)) => {
                *self = &self[size..];
                Ok(outline)
            }
            None => any_record(self),
        }
    }

    fn is_at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.is_empty())
    }
}

#[inline(never)]
fn any_record(bytes: &mut &[u8]) -> Result<Outline, RecordError> {
    let length = read_varint(|| bytes.byte())?;
    let left = bytes.len();
    let size = usize::try_from(length).ok().filter(|&size| size <= left);
    let (record, rest) = bytes.split_at(size.ok_or(RecordError::Length { length, left })?);
    *bytes = rest;
    outline(&mut { record })
}

/// The record at the beginning of `bytes`, and its size with its length: one whose numbers are
/// short and that is not at the very end. Of any other, and of one that is wrong, it says nothing.
#[inline]
fn common(bytes: &[u8]) -> Option<(Outline, usize)> {
    let head: &[u8; 16] = bytes.first_chunk()?;
    let word = u64::from_le_bytes(*head.first_chunk()?);
    let (length, length_bytes) = short(word)?;
    // Attributes, which mean nothing yet, take one byte.
    let (timestamp, timestamp_bytes) = short(word >> (8 * length_bytes + 8))?;
    let at = length_bytes + 1 + timestamp_bytes;
    let word = u64::from_le_bytes(*head[at..].first_chunk()?);
    let (offset, offset_bytes) = short(word)?;
    let (key, key_bytes) = short(word >> (8 * offset_bytes))?;
    let at = at + offset_bytes + key_bytes + size_or_null(key);
    let word = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    let (value, value_bytes) = short(word)?;
    let at = at + value_bytes + size_or_null(value);

    let (end, is_negative) = (length_bytes + (length >> 1) as usize, length & 1 == 1);
    // The number of headers is the last byte: there are none.
    if is_negative || at + 1 != end || bytes.get(at) != Some(&0) {
        return None;
    }
    let zigzag = |raw: u64| (raw >> 1) as i64 ^ -((raw & 1) as i64);
    let outline = Outline {
        timestamp_delta: zigzag(timestamp),
        offset_delta: zigzag(offset) as i32,
        has_key: key & 1 == 0,
    };
    Some((outline, end))
}

/// A varint of up to three bytes, before its sign is read, and how many. The branches go one way
/// for nearly all records of a batch, so they cost next to nothing.
#[inline(always)]
fn short(word: u64) -> Option<(u64, usize)> {
    if word & 0x80 == 0 {
        Some((word & 0x7f, 1))
    } else if word & 0x8000 == 0 {
        Some((word & 0x7f | word >> 1 & 0x3f80, 2))
    } else if word & 0x80_0000 == 0 {
        Some((word & 0x7f | word >> 1 & 0x3f80 | word >> 2 & 0x1f_c000, 3))
    } else {
        None
    }
}

/// The bytes that follow a length. Any negative one means null.
#[inline(always)]
fn size_or_null(raw: u64) -> usize {
    if raw & 1 == 0 { (raw >> 1) as usize } else { 0 }
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
        if let Some((outline, size)) = common(self.chunk())
            && size <= self.record_bytes_max as usize
        {
            self.at += size;
            return Ok(outline);
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;
    use crate::protocol::records::record::Header;

    fn field(bytes_max: usize) -> impl Strategy<Value = Option<Bytes>> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..bytes_max).prop_map(Bytes::from);
        prop_oneof![Just(None), bytes.prop_map(Some)]
    }

    fn record() -> impl Strategy<Value = Record> {
        let timestamp_delta = prop_oneof![-100i64..100, -20_000_000i64..20_000_000, any::<i64>()];
        let offset_delta = prop_oneof![0..70i32, 0..3_000_000i32, any::<i32>()];
        let header = (any::<u8>(), field(3)).prop_map(|(key, value)| {
            let key = Bytes::copy_from_slice(&[key]);
            Header { key, value }
        });
        let headers = prop_oneof![Just(vec![]), proptest::collection::vec(header, 0..3)];
        let numbers = (any::<i8>(), timestamp_delta, offset_delta);
        (numbers, field(200), field(20_000), headers).prop_map(
            |((attributes, timestamp_delta, offset_delta), key, value, headers)| Record {
                attributes,
                timestamp_delta,
                offset_delta,
                key,
                value,
                headers,
            },
        )
    }

    /// Where `common` has a word, `any_record` has the same one.
    fn agrees(bytes: &[u8]) -> bool {
        let Some((outline, size)) = common(bytes) else { return false };
        let mut rest = bytes;
        assert_eq!(any_record(&mut rest), Ok(outline));
        assert_eq!(bytes.len() - rest.len(), size);
        true
    }

    #[test]
    fn the_everyday_record_is_a_common_one() {
        for (value_bytes, offset_delta) in [(0, 0), (63, 1), (100, 5000), (1000, 9999)] {
            for key in [None, Some(Bytes::new()), Some(Bytes::from_static(&[1; 300]))] {
                let value = Some(vec![7; value_bytes].into());
                let record = Record { offset_delta, key, value, ..Record::default() };
                let mut bytes = Vec::new();
                (0..4).for_each(|_| record.encode(&mut bytes));
                assert!(agrees(&bytes), "{record:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_short_way_finds_what_the_long_way_finds(records in proptest::collection::vec(record(), 1..4)) {
            let mut bytes = Vec::new();
            records.iter().for_each(|record| record.encode(&mut bytes));
            let mut rest = &bytes[..];
            for record in &records {
                agrees(rest);
                let outline = rest.outline().unwrap();
                prop_assert_eq!(outline.offset_delta, record.offset_delta);
                prop_assert_eq!(outline.timestamp_delta, record.timestamp_delta);
                prop_assert_eq!(outline.has_key, record.key.is_some());
            }
            assert!(rest.is_empty());
        }

        #[test]
        fn of_what_is_wrong_the_short_way_says_nothing(
            record in record(),
            changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4),
            cut in any::<u16>(),
        ) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            record.encode(&mut bytes);
            for (at, to) in changes {
                // Mostly among the numbers at the beginning.
                let at = at as usize % if at % 4 == 0 { bytes.len() } else { 16.min(bytes.len()) };
                bytes[at] = to;
            }
            agrees(&bytes);
            bytes.truncate(cut as usize % bytes.len());
            agrees(&bytes);
        }
    }
}
