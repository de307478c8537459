//! What is built reads back; what Kafka wrote reads as Kafka reads it.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, proptest};

use super::batch::{Batch, BatchError, BatchHeader, HEADER_BYTES, TimestampType, sequence_plus};
use super::build::{BatchBuilder, BatchOptions, NewRecord, Producer};
use super::compression::{Codec, Compression, decompress};
use super::control::ControlType;
use super::record::{Header, Record, RecordError};
use crate::types::{LeaderEpoch, Offset, ProducerId};

/// One batch of each kind that a Kafka 4.4.0 left in its logs: all codecs from two producers, both
/// timestamp types, transactions, markers, raft's control records, compacted batches with delete
/// horizons and gaps, batches that compaction emptied.
const BATCHES: &[u8] = include_bytes!("../../../tests/golden/records/batches.log");
/// What Kafka's own dump tool reads in them.
const DUMP: &str = include_str!("../../../tests/golden/records/batches.txt");

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

fn golden() -> Vec<Batch> {
    split_all(Bytes::from_static(BATCHES))
}

fn split_all(mut bytes: Bytes) -> Vec<Batch> {
    std::iter::from_fn(|| Batch::split(&mut bytes).unwrap()).collect()
}

fn records(batch: &Batch) -> Vec<Record> {
    batch.records(DECOMPRESSED_BYTES_MAX).map(Result::unwrap).collect()
}

fn dump(out: &mut String, batch: &Batch) {
    let flag = |on, name| if on { name } else { "-" };
    let horizon = batch.delete_horizon_ms().map_or("-".to_owned(), |ms| ms.to_string());
    let codec = format!("{:?}", batch.codec().unwrap()).to_lowercase();
    writeln!(
        out,
        "batch {} {} {} seq {} {} producer {} {} epoch {} {} {} horizon {horizon} {:?} {} size {} \
         {codec} crc {}",
        batch.base_offset(),
        batch.last_offset(),
        batch.record_count(),
        batch.base_sequence(),
        batch.last_sequence(),
        batch.producer_id().map_or(-1, |id| id.0),
        batch.producer_epoch(),
        batch.leader_epoch().0,
        flag(batch.is_transactional(), "transactional"),
        flag(batch.is_control(), "control"),
        batch.timestamp_type(),
        batch.max_timestamp_ms(),
        batch.size_bytes(),
        batch.crc(),
    )
    .unwrap();
    for record in records(batch) {
        let size = |field: &Option<Bytes>| field.as_ref().map_or(-1, |bytes| bytes.len() as i64);
        let keys: Vec<_> =
            record.headers.iter().map(|h| std::str::from_utf8(&h.key).unwrap()).collect();
        let headers = if keys.is_empty() { "-".to_owned() } else { keys.join(",") };
        let control = match batch.is_control() {
            true => format!("{:?}", ControlType::from_key(record.key.as_ref()).unwrap()),
            false => "-".to_owned(),
        };
        let (offset, timestamp) = (batch.offset_of(&record), batch.timestamp_ms_of(&record));
        let (key, value) = (size(&record.key), size(&record.value));
        writeln!(
            out,
            "record {offset} {timestamp} key {key} value {value} headers {headers} {control}"
        )
        .unwrap();
    }
}

#[test]
fn kafkas_batches_read_as_its_own_tool_reads_them() {
    let mut out = String::new();
    for batch in golden() {
        batch.verify_crc().unwrap();
        dump(&mut out, &batch);
    }
    for (ours, kafkas) in out.lines().zip(DUMP.lines()) {
        assert_eq!(ours, kafkas);
    }
    assert_eq!(out.lines().count(), DUMP.lines().count());
}

#[test]
fn kafkas_batches_can_be_built_again_byte_by_byte() {
    for batch in golden() {
        let plain = |batch: &Batch| match batch.codec().unwrap() {
            _ if batch.body().is_empty() => vec![],
            codec => decompress(codec, batch.body(), DECOMPRESSED_BYTES_MAX).unwrap(),
        };
        let again = built_like(&batch, batch.codec().unwrap().into());
        assert_eq!(plain(&again), plain(&batch));
        if batch.codec() == Ok(Codec::None) {
            assert_eq!(again, batch);
        }
    }
}

fn built_like(batch: &Batch, compression: Compression) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: batch.base_offset(),
        leader_epoch: batch.leader_epoch(),
        compression,
        producer: batch.producer_id().map(|id| Producer {
            id,
            epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
        }),
        transactional: batch.is_transactional(),
        control: batch.is_control(),
        delete_horizon_ms: batch.delete_horizon_ms(),
        ..BatchOptions::default()
    });
    builder.base_timestamp_ms(batch.base_timestamp_ms());
    for record in records(batch) {
        // Under LogAppendTime the records still carry the time of their creation.
        let timestamp_ms = batch.base_timestamp_ms() + record.timestamp_delta;
        let Record { offset_delta, key, value, headers, .. } = record;
        builder.push_at(offset_delta, NewRecord { timestamp_ms, key, value, headers });
    }
    builder.extend_to((batch.offset_count() - 1) as i32);
    builder.build_batch().with_timestamps(batch.timestamp_type(), batch.max_timestamp_ms())
}

#[test]
fn batches_are_cut_off_one_by_one() {
    let whole = Bytes::from_static(BATCHES);
    let batches = golden();
    let joined: Vec<u8> = batches.iter().flat_map(|batch| batch.to_bytes()).collect();
    assert_eq!(joined, BATCHES);

    let first = batches[0].size_bytes() as usize;
    for end in [1, 16, 17, 60, 61, first - 1] {
        let mut cut = whole.slice(..end);
        let error = Batch::split(&mut cut).unwrap_err();
        let expected = match end {
            ..HEADER_BYTES => BatchError::HeaderCut { have: end },
            have => BatchError::Cut { have, size: first },
        };
        assert_eq!(error, expected);
        assert_eq!(cut.len(), end, "nothing was consumed");
    }
    assert_eq!(Batch::parse(&whole.slice(..first)), Ok(batches[0].clone()));
    assert!(Batch::parse(&whole.slice(..first + 1)).is_err());
    assert!(Batch::parse(&Bytes::new()).is_err());
}

#[test]
fn a_header_is_enough_to_know_a_batch() {
    let header = BatchHeader::parse(&BATCHES[..HEADER_BYTES]).unwrap();
    assert_eq!(header, *golden()[0].header());
    assert_eq!(header.encode(), BATCHES[..HEADER_BYTES]);
}

#[test]
fn impossible_headers_are_refused() {
    let bytes = golden()[0].to_bytes();
    let refused = |at: usize, field: &[u8], expected| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + field.len()].copy_from_slice(field);
        assert_eq!(BatchHeader::parse(&bytes), Err(expected));
    };
    refused(8, &48i32.to_be_bytes(), BatchError::Length { length: 48 });
    refused(8, &(-1i32).to_be_bytes(), BatchError::Length { length: -1 });
    refused(16, &[1], BatchError::Magic { magic: 1 });
    refused(57, &(-1i32).to_be_bytes(), BatchError::RecordCount { record_count: -1 });
    let offsets = |base_offset, last_offset_delta| {
        let mut header = *golden()[0].header();
        (header.base_offset, header.last_offset_delta) = (base_offset, last_offset_delta);
        assert_eq!(
            BatchHeader::parse(&header.encode()),
            Err(BatchError::Offsets { base_offset, last_offset_delta })
        );
    };
    offsets(-1, 0);
    offsets(0, -1);
    offsets(i64::MAX, 0);
    offsets(i64::MAX - 5, 5);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let batch = built_like(&golden()[3], Codec::Lz4.into());
    let bytes = batch.to_bytes();
    for bit in 0..bytes.len() * 8 {
        let outside_the_checksum = (0..8).contains(&(bit / 8)) || (12..16).contains(&(bit / 8));
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let noticed = Batch::parse(&flipped.into()).and_then(|batch| batch.verify_crc()).is_err();
        assert!(noticed || outside_the_checksum, "bit {bit}");
    }
}

#[test]
fn stamping_changes_offset_and_epoch_alone() {
    for batch in golden() {
        let stamped = batch.stamped(Offset(1 << 40), LeaderEpoch(9));
        stamped.verify_crc().unwrap();
        assert_eq!(stamped.base_offset(), Offset(1 << 40));
        assert_eq!(stamped.leader_epoch(), LeaderEpoch(9));
        assert_eq!(stamped.stamped(batch.base_offset(), batch.leader_epoch()), batch);
        assert_eq!(stamped.body().as_ptr(), batch.body().as_ptr());
        let header = batch.stamped_header(Offset(1 << 40), LeaderEpoch(9));
        assert_eq!(header, stamped.header().encode());
    }
}

#[test]
fn the_time_of_the_append_makes_a_new_checksum() {
    for batch in golden() {
        let appended = batch.with_log_append_time(77);
        appended.verify_crc().unwrap();
        assert_eq!(appended.log_append_time_ms(), Some(77));
        assert_eq!(appended.body(), batch.body());
    }
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_plus(0, 0), 0);
    assert_eq!(sequence_plus(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(sequence_plus(i32::MAX, 1), 0);
    assert_eq!(sequence_plus(i32::MAX, 10), 9);
}

#[test]
fn a_walk_ends_after_its_first_error() {
    let batch = &golden()[3];
    let header = BatchHeader { record_count: 2, ..*batch.header() };
    let batch = Batch::sealed(header, batch.body().clone());
    let mut walk = batch.records(DECOMPRESSED_BYTES_MAX);
    assert!(walk.next().unwrap().is_ok());
    assert!(walk.next().unwrap().is_ok());
    assert_eq!(walk.next(), Some(Err(RecordError::Trailing)));
    assert_eq!(walk.next(), None);
}

#[test]
fn levels_reach_the_codecs() {
    let text: Vec<u8> =
        (0..20_000u32).flat_map(|i| (i * i % 1009).to_string().into_bytes()).collect();
    for (codec, low, high) in [(Codec::Gzip, 1, 9), (Codec::Zstd, -50, 19)] {
        let size = |level| {
            let data = super::compression::compress(Compression { codec, level }, &text);
            assert_eq!(decompress(codec, &data, text.len()).unwrap(), text);
            data.len()
        };
        assert!(size(Some(low)) > size(Some(high)));
    }
}

fn field() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn header() -> impl Strategy<Value = Header> {
    // Few keys, so that some come twice.
    ("[abc]{0,1}", field()).prop_map(|(key, value)| Header { key: key.into(), value })
}

fn new_record() -> impl Strategy<Value = NewRecord> {
    (any::<i64>(), field(), field(), vec(header(), 0..4)).prop_map(
        |(timestamp_ms, key, value, headers)| NewRecord { timestamp_ms, key, value, headers },
    )
}

proptest! {
    #[test]
    fn what_is_built_reads_back(
        sent in vec((1..4i32, new_record()), 1..20),
        codec in 0..5u8,
        (transactional, append_time) in (any::<bool>(), any::<bool>()),
        producer in option::of((0..i64::MAX, 0..i16::MAX, 0..i32::MAX)),
        delete_horizon_ms in option::of(any::<i64>()),
    ) {
        let timestamp_type =
            if append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: Offset(1000),
            leader_epoch: LeaderEpoch(3),
            compression: Codec::from_id(codec).unwrap().into(),
            timestamp_type,
            producer: producer.map(|(id, epoch, base_sequence)| {
                Producer { id: ProducerId(id), epoch, base_sequence }
            }),
            transactional,
            control: false,
            delete_horizon_ms,
        });
        let mut offset_delta = -1;
        for (gap, record) in &sent {
            offset_delta += gap;
            builder.push_at(offset_delta, record.clone());
        }
        let batches = split_all([builder.build(), golden()[0].to_bytes()].concat().into());
        let [batch, _] = &batches[..] else { panic!("two batches went in") };
        batch.verify_crc().unwrap();
        assert_eq!(batch.delete_horizon_ms(), delete_horizon_ms);
        assert_eq!(batch.producer_id().map(|id| id.0), producer.map(|(id, ..)| id));
        assert_eq!(batch.is_transactional(), transactional);

        let max = sent.iter().map(|(_, record)| record.timestamp_ms).max().unwrap().max(-1);
        assert_eq!(batch.max_timestamp_ms(), max);
        let mut offset = Offset(999);
        for (record, (gap, expected)) in records(batch).into_iter().zip(&sent) {
            offset = offset.plus(*gap as u64);
            assert_eq!(batch.offset_of(&record), offset);
            let timestamp_ms = if append_time { max } else { expected.timestamp_ms };
            assert_eq!(batch.timestamp_ms_of(&record), timestamp_ms);
            let Record { key, value, headers, .. } = record;
            let timestamp_ms = expected.timestamp_ms;
            assert_eq!(NewRecord { timestamp_ms, key, value, headers }, *expected);
        }
        assert_eq!(batch.record_count() as usize, sent.len());
        assert_eq!(batch.last_offset(), offset);
    }

    #[test]
    fn hostile_bytes_never_panic(
        mut bytes in vec(any::<u8>(), 0..300),
        length in 0..300i32,
        codec in 0..8u8,
    ) {
        if bytes.len() > HEADER_BYTES {
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
            bytes[21..23].copy_from_slice(&[0, codec]);
            bytes[57..59].fill(0);
        }
        let mut rest = Bytes::from(bytes);
        while let Ok(Some(batch)) = Batch::split(&mut rest) {
            let _ = batch.verify_crc();
            batch.records(1 << 16).for_each(drop);
            let mut again = BytesMut::from(&batch.header().encode()[..]);
            again.extend_from_slice(batch.body());
            assert_eq!(Batch::parse(&again.freeze()), Ok(batch));
        }
    }
}
