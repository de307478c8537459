//! zstd, decompressing. Making a context costs more than decompressing a small batch, so each
//! thread keeps one; that is all that passes from batch to batch.

use std::cell::Cell;
use std::io;

use zstd::zstd_safe::{
    DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, SafeResult, get_error_name,
};

/// The largest window that Kafka's own readers take: levels 1 to 22 stay within.
const WINDOW_LOG_MAX: u32 = 27;
/// A context that has grown beyond, for a large window, is not kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

thread_local! {
    static KEPT: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

/// Frames, one after the other.
pub struct Frames<'a> {
    rest: &'a [u8],
    within_frame: bool,
    context: Option<DCtx<'static>>,
}

impl<'a> Frames<'a> {
    pub fn new(data: &'a [u8]) -> io::Result<Frames<'a>> {
        let kept = KEPT.take().or_else(DCtx::try_create);
        let mut context = kept.ok_or(io::ErrorKind::OutOfMemory)?;
        zstd(context.reset(ResetDirective::SessionOnly))?;
        zstd(context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)))?;
        Ok(Frames { rest: data, within_frame: false, context: Some(context) })
    }

    /// Fills `chunk`, up to its size, and cuts it where the data ends.
    pub fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> io::Result<()> {
        let context = self.context.as_mut().expect("only dropping takes the context");
        let size = chunk.len();
        let mut out = OutBuffer::around(&mut chunk[..]);
        while out.pos() < size && (self.within_frame || !self.rest.is_empty()) {
            let mut input = InBuffer::around(self.rest);
            let (at, written) = (input.pos(), out.pos());
            self.within_frame = zstd(context.decompress_stream(&mut out, &mut input))? != 0;
            if self.within_frame && input.pos() == at && out.pos() == written {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.rest = &self.rest[input.pos()..];
        }
        let filled = out.pos();
        chunk.truncate(filled);
        Ok(())
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        let context = self.context.take();
        KEPT.set(context.filter(|context| context.sizeof() <= KEPT_BYTES_MAX));
    }
}

fn zstd(result: SafeResult) -> io::Result<usize> {
    result.map_err(|code| io::Error::other(get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8]) -> io::Result<Vec<u8>> {
        let (mut frames, mut out) = (Frames::new(data)?, vec![]);
        loop {
            let mut chunk = vec![0; 7];
            frames.next_chunk(&mut chunk)?;
            if chunk.is_empty() {
                return Ok(out);
            }
            out.extend(chunk);
        }
    }

    fn frame(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 3).unwrap()
    }

    /// A frame of one stored block of four bytes, with a window and without a size.
    fn with_window(log: u8) -> Vec<u8> {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 4 << 3 | 1, 0, 0];
        frame.extend(b"data");
        frame
    }

    #[test]
    fn reads_the_frames_that_kafka_reads() {
        let text = b"some text, some text, some text";
        assert_eq!(read(&frame(text)).unwrap(), text);
        assert_eq!(read(&[frame(text), frame(b"!")].concat()).unwrap(), [&text[..], b"!"].concat());
        let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
        assert_eq!(read(&[skippable, &frame(text)[..]].concat()).unwrap(), text);
        assert_eq!(read(b"").unwrap(), b"");
        for log in [20, 24, 27] {
            assert_eq!(read(&with_window(log)).unwrap(), b"data");
        }
    }

    #[test]
    fn refuses_the_frames_that_kafka_refuses() {
        let whole = frame(b"some text, some text, some text");
        for size in 1..whole.len() {
            read(&whole[..size]).unwrap_err();
        }
        read(&[&whole[..], b"xyz"].concat()).unwrap_err();
        read(&[&whole[..], &[0; 5]].concat()).unwrap_err();
        for log in [28, 31] {
            read(&with_window(log)).unwrap_err();
        }
    }

    #[test]
    fn a_frame_left_unread_does_not_reach_the_next() {
        let long = frame(&[b'x'; 100_000]);
        let mut frames = Frames::new(&long).unwrap();
        frames.next_chunk(&mut vec![0; 10]).unwrap();
        drop(frames);
        read(b"no frame").unwrap_err();
        assert_eq!(read(&frame(b"next")).unwrap(), b"next");
    }
}
