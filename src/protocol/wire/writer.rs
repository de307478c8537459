//! Puts values into pieces that are ready to be sent.
//!
//! Small values go into one buffer. Large ones are not copied: the buffer is cut where they
//! belong, and each becomes a piece of its own. Since a cut only remembers its position, what was
//! written before can still be patched: the length of a frame, the number of tagged fields.

use bytes::{BufMut, Bytes, BytesMut};

use super::{EncodeError, Nullable, Records, STRING_BYTES_MAX, Value};

/// From this size on, bytes are cheaper to send apart than to copy.
const PIECE_BYTES_MIN: usize = 1 << 10;
const LENGTH_PREFIX_BYTES: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    /// So many bytes that the connection fills in from a file.
    Hole(u64),
}

impl Piece {
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Hole(len) => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Something encoded; none of its pieces is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    pub pieces: Vec<Piece>,
    pub len: u64,
}

impl Encoded {
    /// All in one, for small messages and tests. There must be no hole.
    pub fn to_bytes(&self) -> Bytes {
        if let [Piece::Bytes(bytes)] = &self.pieces[..] {
            return bytes.clone();
        }
        let mut all = BytesMut::with_capacity(self.len as usize);
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => all.extend_from_slice(bytes),
                Piece::Hole(len) => panic!("a hole of {len} bytes has no bytes yet"),
            }
        }
        all.freeze()
    }
}

/// The version that is written, and what was written so far. After `finish` or `reset` it is as
/// new, and keeps what is left of its buffer.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// What comes before the byte of `buffer` at that position.
    cuts: Vec<(usize, Piece)>,
    version: i16,
    flexible: bool,
    /// How many tagged fields we are in. Their size comes first, so nothing is cut there.
    tag_depth: u32,
}

/// The tagged fields of a structure while they are written.
#[derive(Debug)]
pub struct Tags {
    count_at: usize,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    pub fn version(&self) -> i16 {
        self.version
    }

    pub fn flexible(&self) -> bool {
        self.flexible
    }

    pub fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    /// All bytes so far, those apart included.
    pub fn len(&self) -> u64 {
        self.buffer.len() as u64 + self.cuts.iter().map(|(_, piece)| piece.len()).sum::<u64>()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn finish(&mut self) -> Encoded {
        assert!(self.tag_depth == 0, "a tagged field is still open");
        let len = self.len();
        let buffer = self.buffer.split().freeze();
        let mut pieces = Vec::with_capacity(self.cuts.len() * 2 + 1);
        let mut from = 0;
        for (at, piece) in self.cuts.drain(..) {
            if at > from {
                pieces.push(Piece::Bytes(buffer.slice(from..at)));
            }
            pieces.push(piece);
            from = at;
        }
        if buffer.len() > from {
            pieces.push(Piece::Bytes(buffer.slice(from..)));
        }
        Encoded { pieces, len }
    }

    /// Forgets what was written, after an error.
    pub fn reset(&mut self) {
        self.buffer.clear();
        self.cuts.clear();
        self.tag_depth = 0;
    }

    /// Starts a frame: its length is patched in by `finish_frame`.
    pub fn begin_frame(&mut self) {
        assert!(self.is_empty(), "a frame starts at the beginning");
        self.buffer.put_bytes(0, LENGTH_PREFIX_BYTES);
    }

    pub fn finish_frame(&mut self) -> Result<Encoded, EncodeError> {
        let (len, max) = (self.len() - LENGTH_PREFIX_BYTES as u64, i32::MAX as u64);
        if len > max {
            return Err(EncodeError::TooLong { field: "frame", len, max });
        }
        self.buffer[..LENGTH_PREFIX_BYTES].copy_from_slice(&(len as u32).to_be_bytes());
        Ok(self.finish())
    }

    pub fn put<T: Value>(&mut self, field: &'static str, value: &T) -> Result<(), EncodeError> {
        value.write(self, field)
    }

    pub fn put_nullable<T: Nullable>(
        &mut self,
        field: &'static str,
        value: &Option<T>,
        allowed: bool,
    ) -> Result<(), EncodeError> {
        match value {
            None if !allowed => Err(EncodeError::Null { field, version: self.version }),
            Some(value) if !allowed => value.write(self, field),
            value => T::write_nullable(value.as_ref(), self, field),
        }
    }

    /// A tagged structure that may be null, see [`Reader::nullable_tagged`].
    ///
    /// [`Reader::nullable_tagged`]: super::reader::Reader::nullable_tagged
    pub fn put_nullable_tagged<T: Value>(
        &mut self,
        field: &'static str,
        value: &Option<T>,
    ) -> Result<(), EncodeError> {
        self.put_unsigned_varint(u32::from(value.is_some()));
        value.iter().try_for_each(|value| value.write(self, field))
    }

    /// The error for a value that this version has no place for.
    pub fn lacks(&self, field: &'static str) -> EncodeError {
        EncodeError::Lacks { field, version: self.version }
    }

    /// Writes with the encoding of the versions before the flexible ones.
    pub fn plain<T>(
        &mut self,
        write: impl FnOnce(&mut Writer) -> Result<T, EncodeError>,
    ) -> Result<T, EncodeError> {
        let flexible = std::mem::replace(&mut self.flexible, false);
        let result = write(self);
        self.flexible = flexible;
        result
    }

    /// Bytes as they are.
    pub fn put_raw(&mut self, bytes: &Bytes) {
        if bytes.len() >= PIECE_BYTES_MIN && self.tag_depth == 0 {
            self.cuts.push((self.buffer.len(), Piece::Bytes(bytes.clone())));
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    pub(super) fn put_fixed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub fn put_unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    pub fn no_tags(&mut self) {
        if self.flexible {
            self.buffer.put_u8(0);
        }
    }

    /// Opens the tagged fields of a structure; each follows through `tag`, in ascending order.
    pub fn tags(&mut self) -> Tags {
        assert!(self.flexible, "only flexible versions have tagged fields");
        self.buffer.put_u8(0);
        Tags { count_at: self.buffer.len() - 1 }
    }

    pub fn tag(
        &mut self,
        tags: &mut Tags,
        tag: u32,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.buffer[tags.count_at] += 1;
        assert!(self.buffer[tags.count_at] < 0x80, "no structure has so many tagged fields");
        self.put_unsigned_varint(tag);
        let start = self.buffer.len();
        self.tag_depth += 1;
        write(self)?;
        self.tag_depth -= 1;

        // The size is known only now, and belongs in front.
        let end = self.buffer.len();
        self.put_unsigned_varint((end - start) as u32);
        let size_len = self.buffer.len() - end;
        self.buffer[start..].rotate_right(size_len);
        Ok(())
    }

    /// `None` for null.
    pub(super) fn put_text(
        &mut self,
        text: Option<&[u8]>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        let len = text.map_or(0, <[u8]>::len);
        if len > STRING_BYTES_MAX {
            let (len, max) = (len as u64, STRING_BYTES_MAX as u64);
            return Err(EncodeError::TooLong { field, len, max });
        }
        match (self.flexible, text) {
            (true, None) => self.put_unsigned_varint(0),
            (true, Some(_)) => self.put_unsigned_varint(len as u32 + 1),
            (false, None) => self.buffer.put_i16(-1),
            (false, Some(_)) => self.buffer.put_i16(len as i16),
        }
        self.put_fixed(text.unwrap_or_default());
        Ok(())
    }

    /// The length of bytes or an array, `None` for null.
    pub(super) fn put_len(
        &mut self,
        len: Option<u64>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        let max = i32::MAX as u64 - 1;
        match (self.flexible, len) {
            (_, Some(len)) if len > max => return Err(EncodeError::TooLong { field, len, max }),
            (true, len) => self.put_unsigned_varint(len.map_or(0, |len| len as u32 + 1)),
            (false, len) => self.buffer.put_i32(len.map_or(-1, |len| len as i32)),
        }
        Ok(())
    }

    pub(super) fn put_records(&mut self, records: &Records) {
        match records {
            Records::Bytes(bytes) => self.put_raw(bytes),
            Records::Hole(0) => {}
            Records::Hole(len) => {
                assert!(self.tag_depth == 0, "no tagged field holds records");
                self.cuts.push((self.buffer.len(), Piece::Hole(*len)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::Text;

    #[test]
    fn large_bytes_become_pieces_without_a_copy() {
        let large = Bytes::from(vec![7; PIECE_BYTES_MIN]);
        let mut w = Writer::new();
        w.begin_frame();
        w.put("before", &1i16).unwrap();
        w.put("large", &large).unwrap();
        w.put("hole", &Records::Hole(5000)).unwrap();
        w.put("after", &2i8).unwrap();
        let encoded = w.finish_frame().unwrap();

        let pieces = &encoded.pieces[..];
        let [Piece::Bytes(head), Piece::Bytes(middle), Piece::Bytes(len), hole, tail] = pieces
        else {
            panic!("{pieces:?}")
        };
        assert_eq!(middle.as_ptr(), large.as_ptr());
        assert_eq!(*hole, Piece::Hole(5000));
        assert_eq!(len[..], 5000i32.to_be_bytes());
        assert_eq!(*tail, Piece::Bytes(Bytes::from_static(&[2])));
        assert_eq!(encoded.len, 4 + 2 + 4 + 1024 + 4 + 5000 + 1);
        assert_eq!(head[..4], (encoded.len as u32 - 4).to_be_bytes());
        assert_eq!(pieces.iter().map(Piece::len).sum::<u64>(), encoded.len);
    }

    #[test]
    fn the_size_of_a_tagged_field_comes_before_it() {
        let mut w = Writer::new();
        w.set_version(0, true);
        let mut tags = w.tags();
        let text = Text::from("x".repeat(200));
        w.tag(&mut tags, 3, |w| w.put("text", &text)).unwrap();
        w.tag(&mut tags, 200, |w| w.put("number", &5i8)).unwrap();
        let bytes = w.finish().to_bytes();
        assert_eq!(bytes[..6], [2, 3, 0xca, 0x01, 0xc9, 0x01]);
        assert_eq!(bytes[206..], [0xc8, 0x01, 1, 5]);
    }

    #[test]
    fn bytes_in_a_tagged_field_stay_in_the_buffer() {
        let mut w = Writer::new();
        w.set_version(0, true);
        let mut tags = w.tags();
        let large = Bytes::from(vec![7; 4 * PIECE_BYTES_MIN]);
        w.tag(&mut tags, 0, |w| w.put("large", &large)).unwrap();
        assert_eq!(w.finish().pieces.len(), 1);
    }

    #[test]
    fn a_string_too_long_for_its_length_is_refused() {
        let text = Text::from("x".repeat(STRING_BYTES_MAX + 1));
        let error = Writer::new().put("name", &text);
        let (len, max) = (STRING_BYTES_MAX as u64 + 1, STRING_BYTES_MAX as u64);
        assert_eq!(error, Err(EncodeError::TooLong { field: "name", len, max }));
    }

    #[test]
    fn a_writer_is_as_new_after_finish_and_reset() {
        let mut w = Writer::new();
        w.put("number", &1i32).unwrap();
        w.reset();
        w.begin_frame();
        assert_eq!(w.finish_frame().unwrap().to_bytes(), [0; 4][..]);
        w.put("number", &7i8).unwrap();
        assert_eq!(w.finish().to_bytes(), [7][..]);
        assert_eq!(w.finish(), Encoded::default());
    }
}
