//! How the basic types look on the wire.

use bytes::Bytes;

use super::reader::Reader;
use super::writer::Writer;
use super::{DecodeError, EncodeError, Nullable, Records, Text, Value};
use crate::types::Uuid;

macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl Value for $number {
            const WIRE_MIN: usize = size_of::<$number>();

            fn read(r: &mut Reader, field: &'static str) -> Result<Self, DecodeError> {
                r.fixed(field).map(<$number>::from_be_bytes)
            }

            fn write(&self, w: &mut Writer, _: &'static str) -> Result<(), EncodeError> {
                w.put_fixed(&self.to_be_bytes());
                Ok(())
            }
        }
    )* };
}

numbers!(i8, i16, i32, i64, u16, u32, f64);

/// Like Kafka, takes every byte but 0 for true.
impl Value for bool {
    const WIRE_MIN: usize = 1;

    fn read(r: &mut Reader, field: &'static str) -> Result<Self, DecodeError> {
        r.get::<i8>(field).map(|byte| byte != 0)
    }

    fn write(&self, w: &mut Writer, _: &'static str) -> Result<(), EncodeError> {
        w.put_fixed(&[u8::from(*self)]);
        Ok(())
    }
}

impl Value for Uuid {
    const WIRE_MIN: usize = 16;

    fn read(r: &mut Reader, field: &'static str) -> Result<Self, DecodeError> {
        r.fixed(field).map(Uuid)
    }

    fn write(&self, w: &mut Writer, _: &'static str) -> Result<(), EncodeError> {
        w.put_fixed(&self.0);
        Ok(())
    }
}

/// Types whose length says if they are null.
macro_rules! sized {
    ($([$($generic:tt)*] $sized:ty { $read:expr, $write:expr })*) => { $(
        impl $($generic)* Value for $sized {
            const WIRE_MIN: usize = 1;

            fn read(r: &mut Reader, field: &'static str) -> Result<Self, DecodeError> {
                Self::read_nullable(r, field)?.ok_or(DecodeError::Null { field })
            }

            fn write(&self, w: &mut Writer, field: &'static str) -> Result<(), EncodeError> {
                Self::write_nullable(Some(self), w, field)
            }
        }

        impl $($generic)* Nullable for $sized {
            fn read_nullable(
                r: &mut Reader,
                field: &'static str,
            ) -> Result<Option<Self>, DecodeError> {
                $read(r, field)
            }

            fn write_nullable(
                this: Option<&Self>,
                w: &mut Writer,
                field: &'static str,
            ) -> Result<(), EncodeError> {
                $write(this, w, field)
            }
        }
    )* };
}

sized! {
    [] Text {
        Reader::text,
        |this: Option<&Text>, w: &mut Writer, field| {
            w.put_text(this.map(|text| &text.as_bytes()[..]), field)
        }
    }
    [] Bytes {
        Reader::blob,
        |this: Option<&Bytes>, w: &mut Writer, field| {
            w.put_len(this.map(|bytes| bytes.len() as u64), field)?;
            this.into_iter().for_each(|bytes| w.put_raw(bytes));
            Ok(())
        }
    }
    [] Records {
        |r: &mut Reader, field| Ok(r.blob(field)?.map(Records::Bytes)),
        |this: Option<&Records>, w: &mut Writer, field| {
            w.put_len(this.map(Records::len), field)?;
            this.into_iter().for_each(|records| w.put_records(records));
            Ok(())
        }
    }
    [<T: Value>] Vec<T> {
        Reader::array,
        |this: Option<&Vec<T>>, w: &mut Writer, field| {
            w.put_len(this.map(|elements| elements.len() as u64), field)?;
            this.into_iter().flatten().try_for_each(|element| element.write(w, field))
        }
    }
}
