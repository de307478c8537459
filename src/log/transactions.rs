//! Transactions as the log sees them: markers, and the index of those that were aborted.
//!
//! Transaction index: 34 bytes an entry: version i16 = 0, producer id i64, first offset i64,
//! marker offset i64, last stable offset i64 once this transaction was over. In the order of the
//! markers. A segment has the file only if an abort marker lies in it. Pure.

use bytes::Buf;

use crate::log::producers::Marker;
use crate::protocol::records::batch::Batch;
use crate::protocol::records::control::ControlType;
use crate::types::{Offset, ProducerId};

pub const ENTRY_BYTES: usize = 34;
const VERSION: i16 = 0;

/// A marker is one small record.
pub const MARKER_BYTES_MAX: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first: Offset,
    /// Where the abort marker lies.
    pub last: Offset,
    pub last_stable: Offset,
}

impl AbortedTransaction {
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        let fields = [self.producer.0, self.first.0, self.last.0, self.last_stable.0];
        for (part, field) in bytes[2..].chunks_exact_mut(8).zip(fields) {
            part.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<AbortedTransaction> {
        let version = bytes.get_i16();
        let mut field = || bytes.get_i64();
        let entry = AbortedTransaction {
            producer: ProducerId(field()),
            first: Offset(field()),
            last: Offset(field()),
            last_stable: Offset(field()),
        };
        (version == VERSION && entry.first.0 >= 0 && entry.first <= entry.last).then_some(entry)
    }
}

/// The entries of a file, up to the first that is none.
pub fn decode(bytes: &[u8]) -> Vec<AbortedTransaction> {
    bytes.chunks_exact(ENTRY_BYTES).map_while(AbortedTransaction::decode).collect()
}

/// What `batch` says of a transaction's end. `None` for data, and for other control records.
pub fn marker(batch: &Batch) -> Option<Marker> {
    if !batch.is_control() || batch.producer_id().is_none() {
        return None;
    }
    let record = batch.records(MARKER_BYTES_MAX).next()?.ok()?;
    let aborts = match ControlType::from_key(record.key.as_ref()).ok()? {
        ControlType::Abort => true,
        ControlType::Commit => false,
        _ => return None,
    };
    let mut value = record.value?;
    let _version = value.try_get_i16().ok()?;
    let coordinator_epoch = value.try_get_i32().ok()?;
    Some(Marker { aborts, coordinator_epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer: ProducerId(n),
            first: Offset(n * 10),
            last: Offset(n * 10 + 5),
            last_stable: Offset(n * 10 + 6),
        }
    }

    #[test]
    fn entries_read_back_up_to_the_first_torn_one() {
        let mut file: Vec<u8> = (0..3).flat_map(|n| entry(n).encode()).collect();
        assert_eq!(file.len(), 3 * ENTRY_BYTES);
        assert_eq!(decode(&file), [entry(0), entry(1), entry(2)]);
        assert_eq!(decode(&file[..ENTRY_BYTES * 2 + 7]), [entry(0), entry(1)]);
        file[ENTRY_BYTES] = 1;
        assert_eq!(decode(&file), [entry(0)]);
    }
}
