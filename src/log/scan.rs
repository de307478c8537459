//! Walks the batches of a segment's file, in chunks of bounded size.
//!
//! Only headers are looked at unless more is asked for: whoever does not trust the file asks for
//! the checksum, which is taken chunk by chunk, so that a length that lies costs no memory.

use std::io;

use bytes::Bytes;

use crate::env::disk::File;
use crate::log::index;
use crate::protocol::records;
use crate::protocol::records::batch::{Batch, BatchError, BatchHeader, HEADER_BYTES};

/// Read when only headers are wanted; grows to `CHUNK_BYTES_MAX` over small batches.
const CHUNK_BYTES_MIN: u32 = 4 << 10;
const CHUNK_BYTES_MAX: u32 = 1 << 20;

/// The checksum covers a batch from here on.
const CHECKED_AT: usize = 21;

pub struct Scanner<F> {
    file: F,
    at: u64,
    /// Bytes of the file that count.
    end: u64,
    chunk: Bytes,
    chunk_at: u64,
    chunk_bytes: u32,
    chunk_bytes_min: u32,
}

/// What lies at the scanner's position.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Batch(BatchHeader),
    /// The file ends, exactly after a batch.
    End,
    /// No batch, or a part of one.
    Invalid(BatchError),
}

impl<F: File> Scanner<F> {
    pub fn new(file: F, at: u64, end: u64) -> Scanner<F> {
        let (chunk_bytes, chunk_bytes_min) = (CHUNK_BYTES_MIN, CHUNK_BYTES_MIN);
        Scanner { file, at, end, chunk: Bytes::new(), chunk_at: 0, chunk_bytes, chunk_bytes_min }
    }

    /// For someone who will look at all bytes.
    pub fn thorough(file: F, at: u64, end: u64) -> Scanner<F> {
        let chunk_bytes_min = CHUNK_BYTES_MAX;
        Scanner { chunk_bytes_min, ..Scanner::new(file, at, end) }
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// The batch's header is at the scanner's position: go past its end.
    pub fn skip(&mut self, batch: &BatchHeader) {
        self.at += u64::from(batch.size_bytes());
    }

    /// The header at the scanner's position. A batch that the file cuts off is invalid.
    pub async fn header(&mut self) -> io::Result<Step> {
        if self.at >= self.end {
            return Ok(Step::End);
        }
        let bytes = self.bytes(HEADER_BYTES as u32).await?;
        let header = match BatchHeader::parse(&bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Step::Invalid(error)),
        };
        let (have, size) = (self.end - self.at, u64::from(header.size_bytes()));
        if have < size {
            let (have, size) = (have as usize, size as usize);
            return Ok(Step::Invalid(BatchError::Cut { have, size }));
        }
        Ok(Step::Batch(header))
    }

    /// Checks the checksum of the batch at the scanner's position.
    pub async fn verify(&mut self, header: &BatchHeader) -> io::Result<Result<(), BatchError>> {
        let start = self.at;
        let mut crc = records::crc(0, &header.encode()[CHECKED_AT..]);
        let end = start + u64::from(header.size_bytes());
        self.at = start + HEADER_BYTES as u64;
        while self.at < end {
            let want = (end - self.at).min(u64::from(CHUNK_BYTES_MAX)) as u32;
            let bytes = self.some(want).await?;
            if bytes.is_empty() {
                break;
            }
            crc = records::crc(crc, &bytes);
            self.at += bytes.len() as u64;
        }
        self.at = start;
        let (stored, computed) = (header.crc(), crc);
        Ok(if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) })
    }

    /// The whole batch at the scanner's position, of at most `bytes_max` bytes.
    pub async fn batch(
        &mut self,
        header: &BatchHeader,
        bytes_max: u32,
    ) -> io::Result<Option<Batch>> {
        if header.size_bytes() > bytes_max {
            return Ok(None);
        }
        let bytes = self.bytes(header.size_bytes()).await?;
        Ok(Batch::parse(&bytes).ok())
    }

    /// `len` bytes from the scanner's position; fewer where the file ends.
    async fn bytes(&mut self, len: u32) -> io::Result<Bytes> {
        let have = self.cached();
        if have.len() >= len as usize || have.len() as u64 == self.end - self.at {
            return Ok(have.slice(..have.len().min(len as usize)));
        }
        self.fill(len).await?;
        Ok(self.chunk.slice(..self.chunk.len().min(len as usize)))
    }

    /// At least one and at most `len` bytes from the scanner's position; none at the end.
    async fn some(&mut self, len: u32) -> io::Result<Bytes> {
        let mut have = self.cached();
        if have.is_empty() {
            self.fill(len).await?;
            have = self.chunk.clone();
        }
        Ok(have.slice(..have.len().min(len as usize)))
    }

    /// What the chunk holds from the scanner's position on.
    fn cached(&self) -> Bytes {
        let chunk_end = self.chunk_at + self.chunk.len() as u64;
        if (self.chunk_at..chunk_end).contains(&self.at) {
            return self.chunk.slice((self.at - self.chunk_at) as usize..);
        }
        Bytes::new()
    }

    async fn fill(&mut self, len: u32) -> io::Result<()> {
        // Small batches one after another: read on in larger steps. Large ones: only the headers.
        let sequential = self.at <= self.chunk_at + self.chunk.len() as u64;
        let grown = if sequential { self.chunk_bytes * 4 } else { 0 };
        self.chunk_bytes = grown.clamp(self.chunk_bytes_min, CHUNK_BYTES_MAX);
        let left = self.end.saturating_sub(self.at);
        let want = u64::from(len.max(self.chunk_bytes)).min(left) as u32;
        self.chunk = index::read(&self.file, self.at, want).await?;
        self.chunk_at = self.at;
        Ok(())
    }
}
