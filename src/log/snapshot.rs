//! The file `<offset>.snapshot`: the state of all producers at an offset.
//!
//! version i16 = 1, CRC-32C u32 of all that follows, count i32, then for each producer: id i64,
//! epoch i16, last sequence i32, last offset i64, offset delta i32, timestamp i64, coordinator
//! epoch i32 (-1 before any marker), first offset of the open transaction i64 (-1 without one).
//! Pure.

use bytes::Buf;

use crate::log::producers::{BatchMeta, Producer, Producers};
use crate::protocol::records;
use crate::types::{Offset, ProducerId};

const VERSION: i16 = 1;
const HEAD_BYTES: usize = 6;
const PRODUCER_BYTES: usize = 46;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("{0} bytes are too few for a producer snapshot")]
    Cut(usize),
    #[error("producer snapshot version {0}, {VERSION} expected")]
    Version(i16),
    #[error("checksum {stored:#010x} in the snapshot, {computed:#010x} over its bytes")]
    Crc { stored: u32, computed: u32 },
    #[error("{count} producers in {bytes} bytes")]
    Count { count: i32, bytes: usize },
    #[error("a producer with an impossible sequence, offset or delta")]
    Producer,
}

pub fn encode(producers: &Producers) -> Vec<u8> {
    let count = producers.iter().len();
    let mut out = Vec::with_capacity(HEAD_BYTES + 4 + count * PRODUCER_BYTES);
    out.extend(VERSION.to_be_bytes());
    out.extend([0; 4]);
    out.extend((count as i32).to_be_bytes());
    for (id, producer) in producers.iter() {
        let (sequence, offset, delta) = match producer.last() {
            Some(last) => (last.last_sequence, last.last_offset.0, last.offset_delta),
            None => (-1, -1, 0),
        };
        out.extend(id.0.to_be_bytes());
        out.extend(producer.epoch().to_be_bytes());
        out.extend(sequence.to_be_bytes());
        out.extend(offset.to_be_bytes());
        out.extend(delta.to_be_bytes());
        out.extend(producer.timestamp_ms().to_be_bytes());
        out.extend(producer.coordinator_epoch().to_be_bytes());
        out.extend(producer.transaction_start().map_or(-1, |first| first.0).to_be_bytes());
    }
    let crc = records::crc(0, &out[HEAD_BYTES..]);
    out[2..HEAD_BYTES].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Producers that expired meanwhile are left out.
pub fn decode(mut bytes: &[u8], now_ms: i64, expiry_ms: i64) -> Result<Producers, SnapshotError> {
    if bytes.len() < HEAD_BYTES + 4 {
        return Err(SnapshotError::Cut(bytes.len()));
    }
    let version = bytes.get_i16();
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let stored = bytes.get_u32();
    let computed = records::crc(0, bytes);
    if stored != computed {
        return Err(SnapshotError::Crc { stored, computed });
    }
    let count = bytes.get_i32();
    if usize::try_from(count).ok().and_then(|n| n.checked_mul(PRODUCER_BYTES)) != Some(bytes.len())
    {
        return Err(SnapshotError::Count { count, bytes: bytes.len() });
    }
    let mut producers = Producers::default();
    for _ in 0..count {
        let (id, producer) = read_producer(&mut bytes)?;
        if !producer.is_expired(now_ms, expiry_ms) {
            producers.restore(id, producer);
        }
    }
    Ok(producers)
}

fn read_producer(bytes: &mut &[u8]) -> Result<(ProducerId, Producer), SnapshotError> {
    let id = ProducerId(bytes.get_i64());
    let mut producer = Producer::new(bytes.get_i16());
    let last_sequence = bytes.get_i32();
    let last_offset = Offset(bytes.get_i64());
    let offset_delta = bytes.get_i32();
    producer.timestamp_ms = bytes.get_i64();
    producer.coordinator_epoch = bytes.get_i32();
    let first = bytes.get_i64();
    producer.transaction_start = (first >= 0).then_some(Offset(first));
    if last_offset.0 >= 0 {
        if offset_delta < 0 || i64::from(offset_delta) > last_offset.0 || last_sequence < -1 {
            return Err(SnapshotError::Producer);
        }
        let timestamp_ms = producer.timestamp_ms;
        producer.remember(BatchMeta { last_sequence, last_offset, offset_delta, timestamp_ms });
    }
    Ok((id, producer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Producers {
        let mut producers = Producers::default();
        for n in 0..3i64 {
            let mut producer = Producer::new(n as i16);
            producer.timestamp_ms = 1000 * n;
            if n > 0 {
                let (last_sequence, last_offset) = (n as i32 + 5, Offset(100 * n));
                let timestamp_ms = 1000 * n;
                producer.remember(BatchMeta {
                    last_sequence,
                    last_offset,
                    offset_delta: 2,
                    timestamp_ms,
                });
            }
            if n == 2 {
                producer.transaction_start = Some(Offset(198));
            }
            producers.restore(ProducerId(n), producer);
        }
        producers
    }

    #[test]
    fn reads_back_what_it_writes() {
        let producers = some();
        let bytes = encode(&producers);
        assert_eq!(bytes.len(), 10 + 46 * 3);
        let read = decode(&bytes, 1000, 1 << 40).unwrap();
        assert_eq!(read, producers);
        assert_eq!(read.last_stable(Offset(300)), Offset(198), "an open transaction stays open");
    }

    #[test]
    fn leaves_out_whom_it_need_not_remember() {
        let read = decode(&encode(&some()), 5000, 4000).unwrap();
        let ids: Vec<_> = read.iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [2], "0 and 1 expired; 2 has a transaction open");
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let bytes = encode(&some());
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], 0, 1).is_err(), "cut to {len}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad, 0, 1).is_err(), "byte {at}");
        }
    }
}
