//! Records that say whose they are and which, so that one look tells where they belong.

use bytes::Bytes;
use ottla::protocol::records::batch::Batch;
use ottla::protocol::records::build::NewRecord;
use ottla::protocol::records::record::Header;
use ottla::types::Offset;

use crate::chance::{Chance, Subsystem};
use crate::history::name_record;

const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// Makes the records of one producer.
pub struct Writer {
    pub name: String,
    pub index: usize,
    pub seed: u64,
    pub records: u64,
}

impl Writer {
    pub fn record(&mut self, timestamp_ms: i64, value_bytes: u32) -> NewRecord {
        let number = self.records;
        self.records += 1;
        let mut value = format!("{}/{number}/", self.name).into_bytes();
        let mut rest = vec![0; (value_bytes as usize).saturating_sub(value.len())];
        Chance::stream(self.seed, Subsystem::Workload, self.index as u64, number).fill(&mut rest);
        // Half of it compresses.
        let half = rest.len() / 2;
        rest[half..].fill(b'.');
        value.extend_from_slice(&rest);
        NewRecord {
            timestamp_ms,
            key: Some(Bytes::from(format!("key-{}", number % 7))),
            value: Some(Bytes::from(value)),
            headers: vec![Header {
                key: Bytes::from_static(b"number"),
                value: Some(Bytes::from(number.to_string())),
            }],
        }
    }
}

pub fn name_of_new(record: &NewRecord) -> u64 {
    let NewRecord { key, value, headers, timestamp_ms } = record;
    name_of(key.as_ref(), value.as_ref(), headers, *timestamp_ms)
}

fn name_of(
    key: Option<&Bytes>,
    value: Option<&Bytes>,
    headers: &[Header],
    timestamp_ms: i64,
) -> u64 {
    let plain: Vec<(&[u8], &[u8])> = headers
        .iter()
        .map(|header| (&header.key[..], header.value.as_deref().unwrap_or_default()))
        .collect();
    let (key, value) = (key.map_or(&b""[..], |key| key), value.map_or(&b""[..], |value| value));
    name_record(key, value, &plain, timestamp_ms)
}

/// The records of a batch from `from` on: the offset of the first, and their names.
pub fn names(batch: &Batch, from: Offset) -> (i64, Vec<u64>) {
    let (mut records, mut base) = (vec![], None);
    for record in batch.records(DECOMPRESSED_BYTES_MAX) {
        // A record that cannot be read is one that nobody sent.
        let Ok(record) = record else {
            records.push(0);
            break;
        };
        let offset = batch.header().offset_of(&record);
        if offset >= from {
            base.get_or_insert(offset.0);
            let timestamp_ms = batch.header().timestamp_ms_of(&record);
            let (key, value) = (record.key.as_ref(), record.value.as_ref());
            records.push(name_of(key, value, &record.headers, timestamp_ms));
        }
    }
    (base.unwrap_or(from.0), records)
}
