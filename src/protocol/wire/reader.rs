//! Takes values from bytes that a stranger sent.

use bytes::Bytes;

use super::{
    ARRAY_ELEMENTS_MAX, DecodeError, Nullable, STRING_BYTES_MAX, TAGGED_FIELDS_MAX, Text, Value,
};

/// Memory that decoding may take per byte of input.
const BUDGET_PER_BYTE: usize = 100;
/// Elements for which memory is taken before the first was read, where they need much more memory
/// than bytes on the wire.
const ELEMENTS_AHEAD: usize = 16;

/// A position in bytes, and the version that they are read at.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
    /// What lies behind belongs to another: inside of a tagged field its end.
    end: usize,
    budget: usize,
    version: i16,
    flexible: bool,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Reader {
        let end = bytes.len();
        let budget = end.saturating_mul(BUDGET_PER_BYTE);
        Reader { bytes, at: 0, end, budget, version: 0, flexible: false }
    }

    pub fn version(&self) -> i16 {
        self.version
    }

    pub fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    pub fn left(&self) -> usize {
        self.end - self.at
    }

    /// For what must end here: records, files, responses. Kafka ignores bytes behind the body of a
    /// request, so requests are not asked.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }

    /// All that is left.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..self.end);
        self.at = self.end;
        rest
    }

    pub fn get<T: Value>(&mut self, field: &'static str) -> Result<T, DecodeError> {
        T::read(self, field)
    }

    pub fn nullable<T: Nullable>(
        &mut self,
        field: &'static str,
        allowed: bool,
    ) -> Result<Option<T>, DecodeError> {
        if allowed { T::read_nullable(self, field) } else { T::read(self, field).map(Some) }
    }

    /// A tagged structure that may be null. Unlike elsewhere, Kafka has an unsigned varint here,
    /// and 0 for null.
    pub fn nullable_tagged<T: Value>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<T>, DecodeError> {
        let present = self.unsigned_varint(field)? > 0;
        Ok(if present { Some(T::read(self, field)?) } else { None })
    }

    /// Reads with the encoding of the versions before the flexible ones.
    pub fn plain<T>(
        &mut self,
        read: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let flexible = std::mem::replace(&mut self.flexible, false);
        let result = read(self);
        self.flexible = flexible;
        result
    }

    /// Seven bits a byte, least first; at most five bytes, and no bit beyond 32.
    pub fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed(field)?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { field })
    }

    /// Gives each tagged field to `known`, which says if it read it. Others are skipped. As in
    /// Kafka their order does not matter, and of repeated ones the last counts.
    pub fn tags(
        &mut self,
        mut known: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.unsigned_varint("tagged fields")?;
        if count > TAGGED_FIELDS_MAX {
            return Err(DecodeError::TooManyTags { count });
        }
        for _ in 0..count {
            let tag = self.unsigned_varint("tag")?;
            let size = self.unsigned_varint("size of a tagged field")? as usize;
            let (start, outer_end) = (self.at, self.end);
            self.claim("tagged field", size)?;
            self.end = start + size;
            if known(self, tag)? {
                let read = self.at - start;
                if read != size {
                    return Err(DecodeError::TagSize { tag, size, read });
                }
            }
            (self.at, self.end) = (start + size, outer_end);
        }
        Ok(())
    }

    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        self.tags(|_, _| Ok(false))
    }

    pub(super) fn fixed<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        self.claim(field, N)?;
        let mut fixed = [0; N];
        fixed.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        Ok(fixed)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<Option<Text>, DecodeError> {
        let len = match self.flexible {
            true => self.compact_len(field)?,
            false => usize::try_from(self.get::<i16>(field)?).ok(),
        };
        let Some(len) = len else { return Ok(None) };
        if len > STRING_BYTES_MAX {
            return Err(DecodeError::StringTooLong { field, len });
        }
        let text = Text::from_utf8(self.slice(field, len)?);
        text.map(Some).map_err(|valid| DecodeError::Utf8 { field, valid })
    }

    pub(super) fn blob(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let Some(len) = self.len(field)? else { return Ok(None) };
        self.slice(field, len).map(Some)
    }

    pub(super) fn array<T: Value>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        const { assert!(T::WIRE_MIN > 0 && size_of::<T>() <= T::WIRE_MIN * BUDGET_PER_BYTE) };
        let Some(count) = self.len(field)? else { return Ok(None) };
        let (each, left) = (T::WIRE_MIN, self.left());
        if count > left / each {
            return Err(DecodeError::ArrayTooLong { field, count, each, left });
        }
        if count > ARRAY_ELEMENTS_MAX {
            return Err(DecodeError::TooManyElements { field, count });
        }
        let small = size_of::<T>() <= each * 4;
        let mut elements = vec![];
        self.grow(field, &mut elements, if small { count } else { count.min(ELEMENTS_AHEAD) })?;
        while elements.len() < count {
            if elements.len() == elements.capacity() {
                let more = elements.len().min(count - elements.len());
                self.grow(field, &mut elements, more)?;
            }
            elements.push(T::read(self, field)?);
        }
        Ok(Some(elements))
    }

    fn grow<T>(
        &mut self,
        field: &'static str,
        elements: &mut Vec<T>,
        more: usize,
    ) -> Result<(), DecodeError> {
        let (wanted, left) = (more * size_of::<T>(), self.budget);
        if wanted > left {
            return Err(DecodeError::Budget { field, wanted, left });
        }
        self.budget -= wanted;
        elements.reserve_exact(more);
        Ok(())
    }

    /// The length of bytes or an array. Like Kafka, takes every negative one for null.
    fn len(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        match self.flexible {
            true => self.compact_len(field),
            false => Ok(usize::try_from(self.get::<i32>(field)?).ok()),
        }
    }

    fn compact_len(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        Ok(self.unsigned_varint(field)?.checked_sub(1).map(|len| len as usize))
    }

    fn slice(&mut self, field: &'static str, len: usize) -> Result<Bytes, DecodeError> {
        self.claim(field, len)?;
        let slice = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(slice)
    }

    fn claim(&self, field: &'static str, needed: usize) -> Result<(), DecodeError> {
        match self.left() {
            left if needed > left => Err(DecodeError::Short { field, needed, left }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8], flexible: bool) -> Reader {
        let mut r = Reader::new(Bytes::from_static(bytes));
        r.set_version(0, flexible);
        r
    }

    #[test]
    fn a_varint_ends_within_five_bytes_and_32_bits() {
        let read = |bytes| reader(bytes, true).unsigned_varint("n");
        assert_eq!(read(b"\x00"), Ok(0));
        assert_eq!(read(b"\xac\x02"), Ok(300));
        assert_eq!(read(b"\xff\xff\xff\xff\x0f"), Ok(u32::MAX));
        assert_eq!(read(b"\xff\xff\xff\xff\x1f"), Err(DecodeError::Varint { field: "n" }));
        assert_eq!(read(b"\x80\x80\x80\x80\x80\x00"), Err(DecodeError::Varint { field: "n" }));
        let short = DecodeError::Short { field: "n", needed: 1, left: 0 };
        assert_eq!(read(b"\x80"), Err(short));
    }

    #[test]
    fn null_is_refused_where_it_is_not_allowed() {
        let null = DecodeError::Null { field: "name" };
        assert_eq!(reader(b"\xff\xff", false).get::<Text>("name"), Err(null.clone()));
        assert_eq!(reader(b"\x00", true).nullable::<Text>("name", false), Err(null));
        assert_eq!(reader(b"\x00", true).nullable::<Text>("name", true), Ok(None));
    }

    #[test]
    fn a_string_is_checked_and_shares_its_memory() {
        let input = Bytes::from_static(b"\x06topic");
        let mut r = Reader::new(input.clone());
        r.set_version(0, true);
        let text: Text = r.get("name").unwrap();
        assert_eq!(text, "topic");
        assert_eq!(text.as_bytes().as_ptr(), input[1..].as_ptr());

        let error = reader(b"\x04a\xffb", true).get::<Text>("name");
        assert_eq!(error, Err(DecodeError::Utf8 { field: "name", valid: 1 }));
    }

    #[test]
    fn a_tagged_field_ends_where_it_says() {
        // One field with tag 0 and two bytes; the byte behind belongs to another.
        let mut r = reader(b"\x01\x00\x02\x00\x07\x09", true);
        let mut found = 0;
        r.tags(|r, _| {
            found = r.get::<i16>("found")?;
            Ok(true)
        })
        .unwrap();
        assert_eq!((found, r.left()), (7, 1));

        let mut r = reader(b"\x01\x00\x02\x00\x07\x09", true);
        let result = r.tags(|r, _| r.get::<i32>("found").map(|_| true));
        assert_eq!(result, Err(DecodeError::Short { field: "found", needed: 4, left: 2 }));

        let mut r = reader(b"\x01\x00\x02\x00\x07\x09", true);
        let result = r.tags(|r, _| r.get::<i8>("found").map(|_| true));
        assert_eq!(result, Err(DecodeError::TagSize { tag: 0, size: 2, read: 1 }));
    }

    #[test]
    fn memory_comes_out_of_the_budget() {
        // Sixty empty strings a byte each, and a budget for one of them.
        let mut bytes = vec![61];
        bytes.resize(61, 1);
        let mut r = Reader::new(bytes.into());
        r.set_version(0, true);
        r.budget = size_of::<Text>();
        let error = r.get::<Vec<Text>>("names").unwrap_err();
        let wanted = ELEMENTS_AHEAD * size_of::<Text>();
        let left = size_of::<Text>();
        assert_eq!(error, DecodeError::Budget { field: "names", wanted, left });
    }
}
