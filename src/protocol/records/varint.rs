//! Zigzag varints, as records use them.
//!
//! Strict where it matters: at most 5 bytes for 32 bits and 10 for 64, and no bit beyond the type.
//! A longer form of a short number is fine, as it is to Kafka.

use super::record::RecordError;

pub const VARINT_BYTES_MAX: usize = 5;
pub const VARLONG_BYTES_MAX: usize = 10;

/// Reads a varint from `next`, which gives one byte at a time.
#[inline]
pub fn read_varint(next: impl FnMut() -> Result<u8, RecordError>) -> Result<i32, RecordError> {
    let raw = read(next, 32)?;
    let raw = u32::try_from(raw).map_err(|_| RecordError::Varint { bits: 32 })?;
    Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

#[inline]
pub fn read_varlong(next: impl FnMut() -> Result<u8, RecordError>) -> Result<i64, RecordError> {
    let raw = read(next, 64)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline]
fn read(mut next: impl FnMut() -> Result<u8, RecordError>, bits: u32) -> Result<u64, RecordError> {
    let first = u64::from(next()?);
    // Most lengths and deltas are small.
    if first < 0x80 {
        return Ok(first);
    }
    let mut value = first & 0x7f;
    for shift in (7..bits).step_by(7) {
        let byte = next()?;
        let group = u64::from(byte & 0x7f);
        value |= group << shift;
        if (value >> shift) & 0x7f != group {
            break;
        }
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(RecordError::Varint { bits })
}

pub fn write_varint(out: &mut Vec<u8>, value: i32) {
    write_varlong(out, i64::from(value));
}

pub fn write_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// How many bytes `write_varlong` writes.
pub fn varlong_bytes(value: i64) -> usize {
    (64 - (zigzag(value) | 1).leading_zeros()).div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: &[u8]) -> impl FnMut() -> Result<u8, RecordError> {
        let mut bytes = bytes.iter();
        move || bytes.next().copied().ok_or(RecordError::Cut)
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let too_many = [0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(read_varint(bytes(&too_many)), Err(RecordError::Varint { bits: 32 }));
        let too_wide = [0xff, 0xff, 0xff, 0xff, 0x1f];
        assert_eq!(read_varint(bytes(&too_wide)), Err(RecordError::Varint { bits: 32 }));
        let widest = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(read_varint(bytes(&widest)), Ok(i32::MIN));
        let too_wide = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03];
        assert_eq!(read_varlong(bytes(&too_wide)), Err(RecordError::Varint { bits: 64 }));
        assert_eq!(read_varlong(bytes(&[0x80])), Err(RecordError::Cut));
    }

    #[test]
    fn takes_a_long_form_of_a_short_number() {
        assert_eq!(read_varint(bytes(&[0x82, 0x00])), Ok(1));
    }

    proptest::proptest! {
        #[test]
        fn reads_back_what_it_wrote(
            wide in proptest::num::i64::ANY,
            narrow in proptest::num::i32::ANY,
        ) {
            let mut out = vec![];
            write_varlong(&mut out, wide);
            assert_eq!(out.len(), varlong_bytes(wide));
            assert_eq!(read_varlong(bytes(&out)), Ok(wide));
            out.clear();
            write_varint(&mut out, narrow);
            assert!(out.len() <= VARINT_BYTES_MAX);
            assert_eq!(read_varint(bytes(&out)), Ok(narrow));
        }
    }
}
