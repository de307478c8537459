//! One record: what a producer sent, relative to its batch.

use bytes::{Buf, Bytes};

use super::compression::CompressionError;
use super::varint::{read_varint, read_varlong, varlong_bytes, write_varint, write_varlong};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Unused so far, kept as it came.
    pub attributes: i8,
    /// After the batch's base timestamp; see `BatchHeader::timestamp_ms_of`.
    pub timestamp_delta: i64,
    /// After the batch's base offset.
    pub offset_delta: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In the producer's order; a key may come twice.
    pub headers: Vec<Header>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// UTF-8 by convention, which nobody enforces.
    pub key: Bytes,
    pub value: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the data ends within a record")]
    Cut,
    #[error("a varint that does not end within {bits} bits")]
    Varint { bits: u32 },
    #[error("a record says it has {length} bytes, {left} are left")]
    Length { length: i32, left: usize },
    #[error("a compressed record of {length} bytes, at most {size_max} allowed")]
    TooLarge { length: i32, size_max: u32 },
    #[error("a record holds {left} bytes more than its fields")]
    Surplus { left: usize },
    #[error("{count} headers in {left} bytes")]
    HeaderCount { count: i32, left: usize },
    #[error("a header without a key")]
    HeaderKey,
    #[error("more bytes after the last record that the batch announced")]
    Trailing,
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// The smallest header: an empty key, a null value.
const HEADER_BYTES_MIN: usize = 2;

impl Record {
    /// Cuts one record off `bytes`. Keys and values share its memory.
    pub(super) fn split(bytes: &mut Bytes) -> Result<Record, RecordError> {
        let length = read_varint(|| next(bytes))?;
        let left = bytes.len();
        let size = usize::try_from(length).ok().filter(|&size| size <= left);
        let size = size.ok_or(RecordError::Length { length, left })?;
        let mut body = bytes.split_to(size);

        let attributes = next(&mut body)? as i8;
        let timestamp_delta = read_varlong(|| next(&mut body))?;
        let offset_delta = read_varint(|| next(&mut body))?;
        let key = bytes_or_null(&mut body)?;
        let value = bytes_or_null(&mut body)?;
        let headers = headers(&mut body)?;
        match body.len() {
            0 => Ok(Record { attributes, timestamp_delta, offset_delta, key, value, headers }),
            left => Err(RecordError::Surplus { left }),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let body_bytes = self.body_bytes();
        write_varlong(out, body_bytes as i64);
        let start = out.len();
        out.push(self.attributes as u8);
        write_varlong(out, self.timestamp_delta);
        write_varint(out, self.offset_delta);
        write_bytes_or_null(out, self.key.as_ref());
        write_bytes_or_null(out, self.value.as_ref());
        write_varlong(out, self.headers.len() as i64);
        for header in &self.headers {
            write_bytes_or_null(out, Some(&header.key));
            write_bytes_or_null(out, header.value.as_ref());
        }
        assert_eq!(out.len() - start, body_bytes, "a record is as long as it says");
    }

    /// Bytes in a batch, before compression.
    pub fn size_bytes(&self) -> usize {
        let body_bytes = self.body_bytes();
        varlong_bytes(body_bytes as i64) + body_bytes
    }

    fn body_bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|h| field_bytes(Some(&h.key)) + field_bytes(h.value.as_ref()));
        1 + varlong_bytes(self.timestamp_delta)
            + varlong_bytes(i64::from(self.offset_delta))
            + field_bytes(self.key.as_ref())
            + field_bytes(self.value.as_ref())
            + varlong_bytes(self.headers.len() as i64)
            + headers.sum::<usize>()
    }
}

fn headers(body: &mut Bytes) -> Result<Vec<Header>, RecordError> {
    let count = read_varint(|| next(body))?;
    let left = body.len();
    let bounded = usize::try_from(count).ok().filter(|&n| n <= left / HEADER_BYTES_MIN);
    let bounded = bounded.ok_or(RecordError::HeaderCount { count, left })?;
    let mut headers = Vec::with_capacity(bounded);
    for _ in 0..bounded {
        let key = bytes_or_null(body)?.ok_or(RecordError::HeaderKey)?;
        headers.push(Header { key, value: bytes_or_null(body)? });
    }
    Ok(headers)
}

/// Any negative length means null.
fn bytes_or_null(body: &mut Bytes) -> Result<Option<Bytes>, RecordError> {
    let length = read_varint(|| next(body))?;
    let Ok(size) = usize::try_from(length) else { return Ok(None) };
    let left = body.len();
    if size > left {
        return Err(RecordError::Length { length, left });
    }
    Ok(Some(body.split_to(size)))
}

fn next(bytes: &mut Bytes) -> Result<u8, RecordError> {
    bytes.try_get_u8().map_err(|_| RecordError::Cut)
}

fn write_bytes_or_null(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    match bytes {
        None => write_varint(out, -1),
        Some(bytes) => {
            write_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

fn field_bytes(field: Option<&Bytes>) -> usize {
    field.map_or(1, |bytes| varlong_bytes(bytes.len() as i64) + bytes.len())
}
