//! Record batches: the one format that clients send, the log keeps and consumers read.
//!
//! A batch (magic 2) is a header of 61 bytes and a body of records, compressed as a whole or not
//! at all. The broker reads the header, checks the body without copying it, and hands both on;
//! only offset and leader epoch change on the way into the log, and the checksum leaves those out.
//!
//! `batch` the header and the view, `record` and `walk` the body, `compression` the codecs,
//! `build` the way back, `control` the keys of control records, `validate` what Produce checks.

pub mod batch;
pub mod build;
pub mod compression;
pub mod control;
pub mod record;
pub mod validate;
pub mod varint;
pub mod walk;

/// CRC-32C of `bytes`, continuing from the checksum of what came before (0 at the start).
pub fn crc(before: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(before, bytes)
}

#[cfg(test)]
mod tests;
