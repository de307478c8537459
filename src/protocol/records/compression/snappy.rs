//! Snappy, in the framing of the Java library (magic, two versions, blocks with their length), as
//! most clients write it, and bare, as some do.
//!
//! A block says how long it will be; what no snappy block of its size can reach is refused before
//! memory is taken.

use std::io;

use snap::raw;

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version and lowest compatible version.
const FRAME_HEADER_BYTES: usize = 16;
const FRAME_VERSION: u32 = 1;
const BLOCK_BYTES: usize = 32 << 10;
/// Three bytes can copy 64.
const RATIO_MAX: usize = 22;

/// The blocks of compressed data, one after the other.
pub struct Blocks<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: raw::Decoder,
}

impl<'a> Blocks<'a> {
    pub fn new(data: &'a [u8]) -> io::Result<Blocks<'a>> {
        if data.is_empty() {
            return Err(invalid("not even an empty block"));
        }
        let framed = data.starts_with(MAGIC);
        Ok(Blocks { rest: data, framed, decoder: raw::Decoder::new() })
    }

    /// Leaves `block` empty at the end.
    pub fn next_block(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        block.clear();
        while block.is_empty()
            && let Some(compressed) = self.cut_block()?
        {
            let size = raw::decompress_len(compressed)?;
            if size / RATIO_MAX > compressed.len() {
                return Err(invalid("a block claims more than snappy can hold"));
            }
            block.resize(size, 0);
            let filled = self.decoder.decompress(compressed, block)?;
            block.truncate(filled);
        }
        Ok(())
    }

    fn cut_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.framed {
            let whole = std::mem::take(&mut self.rest);
            return Ok((!whole.is_empty()).then_some(whole));
        }
        // Streams may be concatenated, each with its own header.
        while self.rest.starts_with(MAGIC) {
            self.cut(FRAME_HEADER_BYTES)?;
        }
        // Too little for another block is no block, as it is to Java.
        let Some((size, rest)) = self.rest.split_first_chunk() else { return Ok(None) };
        self.rest = rest;
        self.cut(u32::from_be_bytes(*size) as usize).map(Some)
    }

    fn cut(&mut self, size: usize) -> io::Result<&'a [u8]> {
        let (head, rest) =
            self.rest.split_at_checked(size).ok_or_else(|| invalid("a block is cut short"))?;
        self.rest = rest;
        Ok(head)
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Writes the Java framing.
pub struct Writer {
    out: Vec<u8>,
    block: Vec<u8>,
    encoder: raw::Encoder,
}

impl Writer {
    pub fn new(mut out: Vec<u8>) -> Writer {
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FRAME_VERSION.to_be_bytes());
        out.extend_from_slice(&FRAME_VERSION.to_be_bytes());
        Writer { out, block: Vec::with_capacity(BLOCK_BYTES), encoder: raw::Encoder::new() }
    }

    pub fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let (part, rest) = data.split_at(data.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(part);
            data = rest;
            if self.block.len() == BLOCK_BYTES {
                self.flush();
            }
        }
    }

    pub fn written_bytes(&self) -> usize {
        self.out.len()
    }

    pub fn finish(mut self) -> Vec<u8> {
        if !self.block.is_empty() {
            self.flush();
        }
        self.out
    }

    fn flush(&mut self) {
        let at = self.out.len();
        self.out.resize(at + 4 + raw::max_compress_len(self.block.len()), 0);
        let size = self
            .encoder
            .compress(&self.block, &mut self.out[at + 4..])
            .expect("the buffer has the room that snappy asked for");
        self.out[at..at + 4].copy_from_slice(&(size as u32).to_be_bytes());
        self.out.truncate(at + 4 + size);
        self.block.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    /// A length of 4, a literal of 4.
    const BLOCK: &[u8] = b"\x04\x0cdata";

    fn read(parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        let bytes = parts.concat();
        let (mut blocks, mut block, mut out) = (Blocks::new(&bytes)?, vec![], vec![]);
        loop {
            blocks.next_block(&mut block)?;
            if block.is_empty() {
                return Ok(out);
            }
            out.extend_from_slice(&block);
        }
    }

    fn size(size: u32) -> [u8; 4] {
        size.to_be_bytes()
    }

    #[test]
    fn reads_the_streams_that_kafka_reads() {
        let six = &size(6);
        assert_eq!(read(&[BLOCK]).unwrap(), b"data");
        assert_eq!(read(&[HEADER, six, BLOCK]).unwrap(), b"data");
        assert_eq!(read(&[&HEADER[..8], &[0; 8], six, BLOCK]).unwrap(), b"data");
        assert_eq!(read(&[HEADER, six, BLOCK, six, BLOCK]).unwrap(), b"datadata");
        assert_eq!(read(&[HEADER, six, BLOCK, HEADER, six, BLOCK]).unwrap(), b"datadata");
        assert_eq!(read(&[HEADER, six, BLOCK, &[0, 0, 0]]).unwrap(), b"data");
        assert_eq!(read(&[HEADER, &size(1), &[0], six, BLOCK]).unwrap(), b"data");
        assert_eq!(read(&[HEADER]).unwrap(), b"");
    }

    #[test]
    fn refuses_the_streams_that_kafka_refuses() {
        read(&[]).unwrap_err();
        read(&[BLOCK, b"x"]).unwrap_err();
        read(&[HEADER, &size(6), BLOCK, &size(0)]).unwrap_err();
        read(&[HEADER, &size(7), BLOCK, b"x"]).unwrap_err();
        read(&[HEADER, &size(7), BLOCK]).unwrap_err();
        read(&[HEADER, &size(u32::MAX), BLOCK]).unwrap_err();
    }

    #[test]
    fn a_block_cannot_claim_what_it_cannot_hold() {
        let claim = b"\xff\xff\xff\xff\x0f\x0cdata";
        read(&[claim]).unwrap_err();
        let (mut blocks, mut block) = (Blocks::new(claim).unwrap(), vec![]);
        blocks.next_block(&mut block).unwrap_err();
        assert_eq!(block.capacity(), 0);
    }
}
