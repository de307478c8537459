//! The codecs of a batch's body, in both directions.
//!
//! Decompression goes chunk by chunk through one bounded buffer, and counts: a bomb ends in
//! [`CompressionError::TooLarge`] and has cost no memory. What a consumer of Kafka's own could not
//! read is refused here too, since the body is stored as it came.

use std::io::{self, Read, Write};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

pub mod lz4;
pub mod snappy;
pub mod zstd;

/// What gzip and zstd decompress at a time; the others have blocks of their own.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// How to compress. No level means the codec's own default; snappy and lz4 have none here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    pub codec: Codec,
    pub level: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no compression codec has the id {id}")]
pub struct UnknownCodec {
    pub id: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error(transparent)]
    UnknownCodec(#[from] UnknownCodec),
    #[error("the {codec:?} data is damaged: {reason}")]
    Damaged { codec: Codec, reason: String },
    #[error("more than {bytes_max} bytes when decompressed")]
    TooLarge { bytes_max: usize },
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    pub fn id(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    pub fn from_id(id: u8) -> Result<Codec, UnknownCodec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id).ok_or(UnknownCodec { id })
    }
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Compression {
        Compression { codec, level: None }
    }
}

/// Decompresses `data` whole, into one buffer of at most `bytes_max` bytes.
pub fn decompress(
    codec: Codec,
    data: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, CompressionError> {
    let mut decompressor = Decompressor::new(codec, data, bytes_max)?;
    let mut out = Vec::new();
    while let chunk = decompressor.next_chunk()?
        && !chunk.is_empty()
    {
        out.extend_from_slice(chunk);
    }
    Ok(out)
}

/// Compresses `data` whole.
pub fn compress(compression: Compression, data: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(compression, Vec::new());
    compressor.push(data);
    compressor.finish()
}

/// Hands out the decompressed bytes chunk by chunk.
pub struct Decompressor<'a> {
    codec: Codec,
    stage: Stage<'a>,
    buffer: Vec<u8>,
    produced: usize,
    bytes_max: usize,
}

#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack of who walks a batch")]
enum Stage<'a> {
    None(&'a [u8]),
    Gzip(GzDecoder<&'a [u8]>),
    Snappy(snappy::Blocks<'a>),
    Lz4(lz4::Blocks<'a>),
    Zstd(zstd::Frames<'a>),
}

impl<'a> Decompressor<'a> {
    pub fn new(
        codec: Codec,
        data: &'a [u8],
        bytes_max: usize,
    ) -> Result<Decompressor<'a>, CompressionError> {
        let stage = match codec {
            Codec::None => Stage::None(data),
            Codec::Gzip => Stage::Gzip(GzDecoder::new(data)),
            Codec::Snappy => {
                Stage::Snappy(snappy::Blocks::new(data).map_err(|e| damaged(codec, e))?)
            }
            Codec::Lz4 => Stage::Lz4(lz4::Blocks::new(data).map_err(|e| damaged(codec, e))?),
            Codec::Zstd => Stage::Zstd(zstd::Frames::new(data).map_err(|e| damaged(codec, e))?),
        };
        Ok(Decompressor { codec, stage, buffer: Vec::new(), produced: 0, bytes_max })
    }

    /// The next bytes; none at the end.
    pub fn next_chunk(&mut self) -> Result<&[u8], CompressionError> {
        let buffer = &mut self.buffer;
        let filled = match &mut self.stage {
            Stage::None(rest) => {
                let (chunk, after) = rest.split_at(rest.len().min(CHUNK_BYTES));
                *rest = after;
                buffer.clear();
                buffer.extend_from_slice(chunk);
                Ok(())
            }
            Stage::Gzip(decoder) => gunzip_chunk(decoder, buffer),
            Stage::Zstd(frames) => {
                buffer.resize(CHUNK_BYTES, 0);
                frames.next_chunk(buffer)
            }
            Stage::Snappy(blocks) => blocks.next_block(buffer),
            Stage::Lz4(blocks) => blocks.next_block(buffer),
        };
        filled.map_err(|e| damaged(self.codec, e))?;
        self.produced += self.buffer.len();
        if self.produced > self.bytes_max {
            return Err(CompressionError::TooLarge { bytes_max: self.bytes_max });
        }
        Ok(&self.buffer)
    }

    /// What `next_chunk` gave last.
    #[inline]
    pub fn chunk(&self) -> &[u8] {
        &self.buffer
    }
}

/// Members may be concatenated. Like Java, ends at whatever does not begin as another member.
fn gunzip_chunk(decoder: &mut GzDecoder<&[u8]>, buffer: &mut Vec<u8>) -> io::Result<()> {
    read_chunk(decoder, buffer)?;
    while buffer.is_empty() && !decoder.get_ref().is_empty() {
        *decoder = GzDecoder::new(*decoder.get_ref());
        match read_chunk(decoder, buffer) {
            Err(_) if decoder.header().is_none() => {
                *decoder.get_mut() = &[];
                buffer.clear();
            }
            read => read?,
        }
    }
    Ok(())
}

fn read_chunk(reader: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(CHUNK_BYTES, 0);
    let mut filled = 0;
    while filled < CHUNK_BYTES {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    buffer.truncate(filled);
    Ok(())
}

fn damaged(codec: Codec, error: io::Error) -> CompressionError {
    CompressionError::Damaged { codec, reason: error.to_string() }
}

/// Compresses what is pushed, behind what `out` already holds.
pub struct Compressor {
    sink: Sink,
}

#[expect(clippy::large_enum_variant, reason = "one at a time, and moved once")]
enum Sink {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Snappy(snappy::Writer),
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Zstd(::zstd::stream::write::Encoder<'static, Vec<u8>>),
}

const IN_MEMORY: &str = "compressing into memory does not fail";

impl Compressor {
    pub fn new(compression: Compression, out: Vec<u8>) -> Compressor {
        let level = compression.level;
        let sink = match compression.codec {
            Codec::None => Sink::None(out),
            Codec::Gzip => {
                let level = level.and_then(|level| u32::try_from(level.min(9)).ok());
                let level = level.map_or(flate2::Compression::default(), flate2::Compression::new);
                Sink::Gzip(GzEncoder::new(out, level))
            }
            Codec::Snappy => Sink::Snappy(snappy::Writer::new(out)),
            Codec::Lz4 => Sink::Lz4(Box::new(lz4::encoder(out))),
            Codec::Zstd => {
                let level = level.unwrap_or(::zstd::DEFAULT_COMPRESSION_LEVEL);
                Sink::Zstd(::zstd::stream::write::Encoder::new(out, level).expect(IN_MEMORY))
            }
        };
        Compressor { sink }
    }

    pub fn push(&mut self, data: &[u8]) {
        match &mut self.sink {
            Sink::None(out) => out.extend_from_slice(data),
            Sink::Gzip(encoder) => encoder.write_all(data).expect(IN_MEMORY),
            Sink::Snappy(writer) => writer.push(data),
            Sink::Lz4(encoder) => encoder.write_all(data).expect(IN_MEMORY),
            Sink::Zstd(encoder) => encoder.write_all(data).expect(IN_MEMORY),
        }
    }

    /// What has come out so far; more is on its way.
    pub fn written_bytes(&self) -> usize {
        match &self.sink {
            Sink::None(out) => out.len(),
            Sink::Gzip(encoder) => encoder.get_ref().len(),
            Sink::Snappy(writer) => writer.written_bytes(),
            Sink::Lz4(encoder) => encoder.get_ref().len(),
            Sink::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        match self.sink {
            Sink::None(out) => out,
            Sink::Gzip(encoder) => encoder.finish().expect(IN_MEMORY),
            Sink::Snappy(writer) => writer.finish(),
            Sink::Lz4(encoder) => encoder.finish().expect(IN_MEMORY),
            Sink::Zstd(encoder) => encoder.finish().expect(IN_MEMORY),
        }
    }
}
