//! Whatever passes the checks of Produce is whole, readable and unchanged where it should be.

use bytes::Bytes;
use ottla::protocol::records::batch::{Batch, HEADER_BYTES, OVERHEAD_BYTES, TimestampType};
use ottla::protocol::records::compression::Codec;
use ottla::protocol::records::crc;
use ottla::protocol::records::validate::{Rules, validate};
use ottla::types::{LeaderEpoch, Offset};

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
/// The checksum stands before what it covers.
const CHECKED_AT: usize = 21;
const LOG_APPEND_TIME_BIT: u8 = 0x08;
/// In the first byte: length and checksum are made right, so that the rest is reached.
const REPAIR: u8 = 0x80;

/// A byte that says how to check, and the records of one partition.
pub fn records(data: &[u8]) {
    let Some((&how, records)) = data.split_first() else { return };
    let mut records = records.to_vec();
    if how & REPAIR != 0 && records.len() >= HEADER_BYTES {
        let length = (records.len() - OVERHEAD_BYTES) as i32;
        records[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc(0, &records[CHECKED_AT..]);
        records[CHECKED_AT - 4..CHECKED_AT].copy_from_slice(&crc.to_be_bytes());
    }
    let records = Bytes::from(records);

    let mut rest = records.clone();
    while let Ok(Some(batch)) = Batch::split(&mut rest) {
        let _ = batch.verify_crc();
        batch.records(DECOMPRESSED_BYTES_MAX).for_each(drop);
        assert_eq!(Batch::parse(&batch.to_bytes()), Ok(batch));
    }

    let rules = rules(how);
    let Ok(valid) = validate(&records, &rules) else { return };
    valid.verify_crc().expect("what passed has the right checksum");
    assert_eq!(valid.timestamp_type(), rules.timestamp_type);
    let mut count = 0;
    for record in valid.records(DECOMPRESSED_BYTES_MAX) {
        let record = record.expect("what passed can be read");
        assert_eq!(record.offset_delta, count);
        assert!(record.key.is_some() || !rules.compacted);
        count += 1;
    }
    assert_eq!(valid.record_count() as i32, count);

    let stored = valid.stamped(Offset(7), LeaderEpoch(3)).to_bytes();
    let again = validate(&valid.to_bytes(), &Rules { zstd_allowed: true, ..rules });
    // A claimed time of append outlives its claim as the largest timestamp, until it is checked.
    let claimed = records[CHECKED_AT + 1] & LOG_APPEND_TIME_BIT != 0;
    if rules.timestamp_type == TimestampType::CreateTime && !claimed {
        assert_eq!(again, Ok(valid), "what passed once passes as it is");
    }
    Batch::parse(&stored).and_then(|batch| batch.verify_crc()).expect("stamping breaks nothing");
}

fn rules(how: u8) -> Rules {
    let append = how & 1 != 0;
    Rules {
        now_ms: 1_795_262_305_459,
        timestamp_type: if append {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        message_bytes_max: 1 << 20,
        segment_bytes: 1 << 20,
        compacted: how & 2 != 0,
        compression: Codec::from_id(how >> 2 & 7).ok().filter(|_| how & 32 != 0).map(Into::into),
        zstd_allowed: how & 64 == 0,
        decompressed_record_bytes_max: i32::MAX as u32,
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
    }
}
