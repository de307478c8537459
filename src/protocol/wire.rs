//! Values on the wire: what a field can be, how it is read and written, what can be wrong with it.
//!
//! Reading is zero-copy: strings, bytes and records share the memory of what was read; whoever
//! keeps a [`Text`] for long detaches it. Reading is bounded: an array must fit into what is left
//! before any memory is taken, and all memory comes out of a budget of 100 bytes per byte of
//! input. Bad bytes are a [`DecodeError`], never a panic.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, RangeInclusive};

use bytes::Bytes;

use self::reader::Reader;
use self::writer::Writer;
use super::api::ApiKey;

pub mod reader;
mod value;
pub mod writer;

/// One kind of value, read and written at the version that the reader or writer was set to.
pub trait Value: Sized {
    /// The fewest bytes it takes on the wire, in any version.
    const WIRE_MIN: usize;

    /// `field` is for errors.
    fn read(r: &mut Reader, field: &'static str) -> Result<Self, DecodeError>;
    fn write(&self, w: &mut Writer, field: &'static str) -> Result<(), EncodeError>;
}

/// Values with a null. The provided methods are those of structures: one byte says if one follows.
pub trait Nullable: Value {
    fn read_nullable(r: &mut Reader, field: &'static str) -> Result<Option<Self>, DecodeError> {
        let present = r.get::<i8>(field)? >= 0;
        Ok(if present { Some(Self::read(r, field)?) } else { None })
    }

    fn write_nullable(
        this: Option<&Self>,
        w: &mut Writer,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match this {
            None => w.put(field, &-1i8),
            Some(this) => {
                w.put(field, &1i8)?;
                this.write(w, field)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Header,
    Metadata,
    Remote,
    Key,
    Value,
    Data,
}

/// A whole message. `Default` gives every field the default of the schema.
pub trait Message:
    Value + Default + Clone + PartialEq + fmt::Debug + Send + Sync + 'static
{
    const NAME: &'static str;
    const KIND: Kind;
    /// The API's, the record's, or -1.
    const KEY: i16;
    const VERSIONS: RangeInclusive<i16>;
    /// `i16::MAX` for never.
    const FLEXIBLE_FROM: i16;

    /// Leaves `r` behind the message; [`Reader::finish`] refuses what may follow.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::Version { name: Self::NAME, version: i32::from(version) });
        }
        r.set_version(version, version >= Self::FLEXIBLE_FROM);
        Self::read(r, Self::NAME)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::Version { name: Self::NAME, version });
        }
        w.set_version(version, version >= Self::FLEXIBLE_FROM);
        self.write(w, Self::NAME)
    }
}

pub trait Request: Message {
    type Response: Message;
    const API: ApiKey;
}

/// For tests and fuzzing: does something with every message, see `messages::visit_all`.
pub trait Visitor {
    fn visit<M: Message>(&mut self);
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{field}: {needed} bytes needed, {left} left")]
    Short { field: &'static str, needed: usize, left: usize },
    #[error("{field}: null is not allowed")]
    Null { field: &'static str },
    #[error("{field}: a string of {len} bytes, {} allowed", STRING_BYTES_MAX)]
    StringTooLong { field: &'static str, len: usize },
    #[error("{field}: not UTF-8 after {valid} bytes")]
    Utf8 { field: &'static str, valid: usize },
    #[error("{field}: {count} elements of at least {each} bytes, {left} bytes left")]
    ArrayTooLong { field: &'static str, count: usize, each: usize, left: usize },
    #[error("{field}: {count} elements, {} allowed", ARRAY_ELEMENTS_MAX)]
    TooManyElements { field: &'static str, count: usize },
    #[error("{count} tagged fields, {} allowed", TAGGED_FIELDS_MAX)]
    TooManyTags { count: u32 },
    #[error("tagged field {tag} says {size} bytes and has {read}")]
    TagSize { tag: u32, size: usize, read: usize },
    #[error("{field}: a varint does not end in time")]
    Varint { field: &'static str },
    #[error("{field}: {wanted} more bytes of memory wanted, {left} in the budget")]
    Budget { field: &'static str, wanted: usize, left: usize },
    #[error("{name}: no version {version}")]
    Version { name: &'static str, version: i32 },
    #[error("no API has key {key}")]
    UnknownApi { key: i16 },
    #[error("{left} bytes after the end")]
    Trailing { left: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{name}: no version {version}")]
    Version { name: &'static str, version: i16 },
    #[error("{field}: not in version {version}, and its value may not be dropped")]
    Lacks { field: &'static str, version: i16 },
    #[error("{field}: null is not allowed in version {version}")]
    Null { field: &'static str, version: i16 },
    #[error("{field}: {len} bytes or elements, {max} allowed")]
    TooLong { field: &'static str, len: u64, max: u64 },
}

pub const STRING_BYTES_MAX: usize = i16::MAX as usize;
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;
pub const TAGGED_FIELDS_MAX: u32 = 10_000;

/// With the type of `value`: other crates make `value != Default::default()` ambiguous.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A string that shares the memory it was read from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    pub fn new(text: &str) -> Text {
        Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Fails with the number of valid bytes.
    pub fn from_utf8(bytes: Bytes) -> Result<Text, usize> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Text(bytes)),
            Err(error) => Err(error.valid_up_to()),
        }
    }

    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor takes a `str` or checks.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy with memory of its own: a name that is kept must not keep a whole request alive.
    pub fn detach(&self) -> Text {
        Text::new(self)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl std::borrow::Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Text) -> Ordering {
        self.as_str().cmp(other)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Text {
        Text(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text.into())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Record batches: in memory, or a promise to fill in so many bytes while sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    Bytes(Bytes),
    /// Only encoded, never decoded.
    Hole(u64),
}

impl Records {
    pub fn len(&self) -> u64 {
        match self {
            Records::Bytes(bytes) => bytes.len() as u64,
            Records::Hole(len) => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Records {
    fn default() -> Records {
        Records::Bytes(Bytes::new())
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records::Bytes(bytes)
    }
}
