//! Records that say whose they are, which, and of when, so that one look tells where they belong.

use bytes::Bytes;
use ottla::protocol::records::batch::Batch;
use ottla::protocol::records::build::NewRecord;
use ottla::protocol::records::record::Header;
use ottla::types::Offset;

use crate::chance::{Chance, Subsystem};
use crate::history::name_record;
use crate::plan::clients::Shape;

const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// Of the header that says it where no value does.
const TAG: &[u8] = b"record";

/// Makes the records of one producer.
pub struct Writer {
    pub name: String,
    pub index: usize,
    pub seed: u64,
    pub shape: Shape,
    pub records: u64,
}

impl Writer {
    pub fn record(&mut self, timestamp_ms: i64, value_bytes: u32) -> NewRecord {
        let number = self.records;
        self.records += 1;
        let tag = format!("{}/{number}/{timestamp_ms}/", self.name).into_bytes();
        let key = || Some(Bytes::from(format!("key-{}", number % 7)));
        let header = |key: &'static [u8], value| Header { key: Bytes::from_static(key), value };
        let (key, value, headers) = match self.shape {
            Shape::Full => {
                let number = Some(Bytes::from(number.to_string()));
                (key(), Some(self.fill(tag, value_bytes)), vec![header(b"number", number)])
            }
            Shape::Bare => (None, Some(self.fill(tag, value_bytes)), vec![]),
            Shape::Tombstone => (key(), None, vec![header(TAG, Some(self.fill(tag, value_bytes)))]),
            Shape::Headers => {
                let tag = Some(self.fill(tag, value_bytes));
                (None, None, vec![header(b"nothing", None), header(TAG, tag)])
            }
        };
        NewRecord { timestamp_ms, key, value, headers }
    }

    /// Half of what comes after the tag compresses.
    fn fill(&self, mut tag: Vec<u8>, len: u32) -> Bytes {
        let from = tag.len();
        tag.resize(from.max(len as usize), b'.');
        let half = from + (tag.len() - from) / 2;
        let (index, number) = (self.index as u64, self.records);
        Chance::stream(self.seed, Subsystem::Workload, index, number).fill(&mut tag[from..half]);
        tag.into()
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

/// What a reader takes down of a batch.
pub struct Names {
    /// Of the first record.
    pub base: i64,
    pub records: Vec<u64>,
    pub append_ms: Option<i64>,
}

/// The records of a batch from `from` on.
pub fn names(batch: &Batch, from: Offset) -> Names {
    let (mut records, mut base) = (vec![], None);
    let append_ms = batch.header().log_append_time_ms();
    for record in batch.records(DECOMPRESSED_BYTES_MAX) {
        // A record that cannot be read is one that nobody sent.
        let Ok(record) = record else {
            records.push(0);
            break;
        };
        let offset = batch.header().offset_of(&record);
        if offset < from {
            continue;
        }
        base.get_or_insert(offset.0);
        let (value, headers) = (record.value.as_ref(), &record.headers[..]);
        let timestamp_ms = match append_ms {
            None => batch.header().timestamp_ms_of(&record),
            Some(_) => stated_ms(value, headers).unwrap_or_default(),
        };
        records.push(name_of(record.key.as_ref(), value, headers, timestamp_ms));
    }
    Names { base: base.unwrap_or(from.0), records, append_ms }
}

/// The time that a record's own text says.
fn stated_ms(value: Option<&Bytes>, headers: &[Header]) -> Option<i64> {
    let tagged = || headers.iter().find(|header| header.key == TAG)?.value.as_ref();
    let text = value.or_else(tagged)?;
    let part = text.split(|byte| *byte == b'/').nth(2)?;
    std::str::from_utf8(part).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use ottla::protocol::records::build::{BatchBuilder, BatchOptions};

    use super::*;

    #[test]
    fn a_reader_knows_the_records_of_every_shape_again() {
        for shape in [Shape::Full, Shape::Bare, Shape::Tombstone, Shape::Headers] {
            let name = "producer-0".to_string();
            let mut writer = Writer { name, index: 0, seed: 1, shape, records: 0 };
            let sent: Vec<_> = (0..3).map(|at| writer.record(1000 + at, 40)).collect();
            let names_sent: Vec<_> = sent.iter().map(name_of_new).collect();
            let mut builder = BatchBuilder::new(BatchOptions::default());
            sent.into_iter().for_each(|record| builder.push(record));
            let batch = builder.build_batch();
            assert_eq!(names(&batch, Offset(0)).records, names_sent);
            let stamped = names(&batch.with_log_append_time(77), Offset(1));
            assert_eq!(stamped.records, names_sent[1..]);
            assert_eq!((stamped.base, stamped.append_ms), (1, Some(77)));
        }
    }
}
