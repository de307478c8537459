//! The lz4 frame, as Kafka's readers take it: independent blocks, a right header checksum, block
//! checksums verified where there are some, the content checksum passed over, one frame.
//!
//! A frame with linked blocks, or with the wrong header checksum of Kafka's oldest formats, is
//! refused: stored as it came, it would stop every Java consumer of the partition.

use std::io;

use lz4_flex::block;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

const MAGIC: u32 = 0x184d_2204;
const VERSION: u8 = 1;
/// The high bit of a block's size: it is stored as it is.
const STORED_BIT: u32 = 1 << 31;
/// One byte of a run's length can stand for 255.
const RATIO_MAX: usize = 255;

/// The blocks of one frame.
pub struct Blocks<'a> {
    rest: &'a [u8],
    block_bytes_max: usize,
    block_checksums: bool,
    content_checksum: bool,
    ended: bool,
}

impl<'a> Blocks<'a> {
    pub fn new(data: &'a [u8]) -> io::Result<Blocks<'a>> {
        let mut rest = data;
        if cut_u32(&mut rest)? != MAGIC {
            return Err(invalid("this is no lz4 frame"));
        }
        let descriptor = rest;
        let &[flags, block_size] = cut(&mut rest, 2)? else { unreachable!("2 bytes were cut") };
        if flags >> 6 != VERSION || flags & 0b11 != 0 {
            return Err(invalid("an lz4 frame of another version, or with a dictionary"));
        }
        if flags & 1 << 5 == 0 {
            return Err(invalid("the blocks of the lz4 frame are not independent"));
        }
        if flags & 1 << 3 != 0 {
            cut(&mut rest, 8)?;
        }
        let block_bytes_max = match block_size {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(invalid("an lz4 block size that does not exist")),
        };
        let descriptor = &descriptor[..descriptor.len() - rest.len()];
        if cut(&mut rest, 1)?[0] != (xxh32(descriptor) >> 8) as u8 {
            return Err(invalid("the checksum of the lz4 frame header is wrong"));
        }
        let block_checksums = flags & 1 << 4 != 0;
        let content_checksum = flags & 1 << 2 != 0;
        Ok(Blocks { rest, block_bytes_max, block_checksums, content_checksum, ended: false })
    }

    /// Leaves `out` empty at the end.
    pub fn next_block(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        while out.is_empty() && !self.ended {
            self.decode_block(out)?;
        }
        Ok(())
    }

    fn decode_block(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let head = cut_u32(&mut self.rest)?;
        let size = (head & !STORED_BIT) as usize;
        if size == 0 {
            self.ended = true;
            if self.content_checksum {
                cut_u32(&mut self.rest)?;
            }
            return Ok(());
        }
        if size > self.block_bytes_max {
            return Err(invalid("an lz4 block larger than its frame allows"));
        }
        let data = cut(&mut self.rest, size)?;
        if self.block_checksums && cut_u32(&mut self.rest)? != xxh32(data) {
            return Err(invalid("the checksum of an lz4 block is wrong"));
        }
        if head & STORED_BIT != 0 {
            out.extend_from_slice(data);
            return Ok(());
        }
        out.resize(self.block_bytes_max.min(size * RATIO_MAX), 0);
        let filled = block::decompress_into(data, out).map_err(io::Error::other)?;
        out.truncate(filled);
        Ok(())
    }
}

/// Frames as Kafka's own producer makes them.
pub fn encoder(out: Vec<u8>) -> FrameEncoder<Vec<u8>> {
    let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    FrameEncoder::with_frame_info(frame, out)
}

fn cut<'a>(rest: &mut &'a [u8], size: usize) -> io::Result<&'a [u8]> {
    let (head, tail) =
        rest.split_at_checked(size).ok_or_else(|| invalid("the lz4 frame is cut short"))?;
    *rest = tail;
    Ok(head)
}

fn cut_u32(rest: &mut &[u8]) -> io::Result<u32> {
    Ok(u32::from_le_bytes(cut(rest, 4)?.try_into().expect("4 bytes were cut")))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];

/// The checksum of lz4 frames: xxHash, 32 bits, seed 0.
fn xxh32(data: &[u8]) -> u32 {
    let [p1, p2, p3, p4, p5] = PRIMES;
    let stripes = data.chunks_exact(16);
    let tail = stripes.remainder();
    let mut hash = if data.len() < 16 {
        p5
    } else {
        let mut lanes = [p1.wrapping_add(p2), p2, 0, 0u32.wrapping_sub(p1)];
        for stripe in stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
                let mixed = lane.wrapping_add(le32(word).wrapping_mul(p2));
                *lane = mixed.rotate_left(13).wrapping_mul(p1);
            }
        }
        let [a, b, c, d] = lanes;
        let (ab, cd) = (a.rotate_left(1), c.rotate_left(12));
        ab.wrapping_add(b.rotate_left(7)).wrapping_add(cd).wrapping_add(d.rotate_left(18))
    };
    hash = hash.wrapping_add(data.len() as u32);
    let words = tail.chunks_exact(4);
    let bytes = words.remainder();
    for word in words {
        hash = hash.wrapping_add(le32(word).wrapping_mul(p3)).rotate_left(17).wrapping_mul(p4);
    }
    for &byte in bytes {
        let mixed = hash.wrapping_add(u32::from(byte).wrapping_mul(p5));
        hash = mixed.rotate_left(11).wrapping_mul(p1);
    }
    hash = (hash ^ hash >> 15).wrapping_mul(p2);
    hash = (hash ^ hash >> 13).wrapping_mul(p3);
    hash ^ hash >> 16
}

fn le32(word: &[u8]) -> u32 {
    u32::from_le_bytes(word.try_into().expect("words have 4 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: u8 = 0x60;

    struct Frame {
        flags: u8,
        block_size: u8,
        optional: Vec<u8>,
        header_checksum: Option<u8>,
        block_checksum: Option<u32>,
        end: &'static [u8],
    }

    fn frame(flags: u8) -> Frame {
        let (header_checksum, block_checksum) = (None, None);
        let end = &[0, 0, 0, 0];
        Frame { flags, block_size: 0x40, optional: vec![], header_checksum, block_checksum, end }
    }

    impl Frame {
        fn bytes(self) -> Vec<u8> {
            let descriptor = [&[self.flags, self.block_size], &self.optional[..]].concat();
            let checksum = self.header_checksum.unwrap_or((xxh32(&descriptor) >> 8) as u8);
            let mut bytes = MAGIC.to_le_bytes().to_vec();
            bytes.extend(descriptor);
            bytes.push(checksum);
            bytes.extend((STORED_BIT | 4).to_le_bytes());
            bytes.extend(b"data");
            if self.flags & 0x10 != 0 {
                bytes.extend(self.block_checksum.unwrap_or(xxh32(b"data")).to_le_bytes());
            }
            bytes.extend(self.end);
            bytes
        }
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (mut blocks, mut block, mut out) = (Blocks::new(bytes)?, vec![], vec![]);
        loop {
            blocks.next_block(&mut block)?;
            if block.is_empty() {
                return Ok(out);
            }
            out.extend_from_slice(&block);
        }
    }

    #[test]
    fn reads_the_frames_that_kafka_reads() {
        let content_size = [99, 0, 0, 0, 0, 0, 0, 0].to_vec();
        for frame in [
            frame(FLAGS),
            Frame { end: b"\0\0\0\0xyz", ..frame(FLAGS) },
            Frame { optional: content_size, ..frame(FLAGS | 0x08) },
            Frame { end: b"\0\0\0\0abcd", ..frame(FLAGS | 0x04) },
            frame(FLAGS | 0x10),
        ] {
            assert_eq!(read(&frame.bytes()).unwrap(), b"data");
        }
    }

    #[test]
    fn refuses_the_frames_that_kafka_refuses() {
        let mut old = MAGIC.to_le_bytes().to_vec();
        old.extend([FLAGS, 0x40]);
        let oldest_checksum = (xxh32(&old) >> 8) as u8;
        for frame in [
            Frame { header_checksum: Some(0), ..frame(FLAGS) },
            Frame { header_checksum: Some(oldest_checksum), ..frame(FLAGS) },
            Frame { end: b"", ..frame(FLAGS) },
            Frame { block_checksum: Some(1), ..frame(FLAGS | 0x10) },
            Frame { block_size: 0x30, ..frame(FLAGS) },
            Frame { block_size: 0xc0, ..frame(FLAGS) },
            Frame { block_size: 0x41, ..frame(FLAGS) },
            Frame { optional: vec![0; 4], ..frame(FLAGS | 0x01) },
            frame(FLAGS & !0x20),
            frame(FLAGS & !0x40),
            frame(FLAGS | 0x02),
            frame(FLAGS | 0x04),
        ] {
            read(&frame.bytes()).unwrap_err();
        }
        read(b"").unwrap_err();
        read(&[&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &frame(FLAGS).bytes()].concat()).unwrap_err();
    }

    #[test]
    fn an_empty_block_ends_the_frame() {
        let mut bytes = frame(FLAGS).bytes();
        bytes.splice(7..7, STORED_BIT.to_le_bytes());
        assert_eq!(read(&bytes).unwrap(), b"");
    }

    #[test]
    fn hashes_as_published() {
        assert_eq!(xxh32(b""), 0x02cc_5d05);
        assert_eq!(xxh32(b"abc"), 0x32d1_53ff);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
    }
}
